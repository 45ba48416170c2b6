"""The few pages that the server writes itself, in both languages: not found, loading, broken."""

import html
import re

from starlette.responses import HTMLResponse, JSONResponse, Response

TAGS = {"zh": "zh-CN", "en": "en"}
TEXTS = {
    "missing": (
        404,
        "没有这一页",
        "请回到目录，从那里再找。",
        "No such page",
        "Go back to the contents and try from there.",
    ),
    "loading": (
        503,
        "演示还在启动",
        "启动一般要几秒到一分钟，这一页会自己刷新；课文现在就可以读。",
        "The demos are still starting",
        "This takes from a few seconds to a minute, and this page reloads by itself; the lessons can be read now.",
    ),
    "broken": (
        503,
        "这个演示现在不能用",
        "它启动时出了错，原因记在服务器日志里。课文和其他演示照常可用。",
        "This demo is not available",
        "It failed to start and the server's log says why. The lessons and the other demos work as usual.",
    ),
}
STYLE = """:root{color-scheme:light dark}
body{font:1rem/1.7 system-ui,"PingFang SC","Microsoft YaHei","Noto Sans CJK SC",sans-serif}
body{margin:0;padding:1.5rem;max-width:40rem;color:#171c26;background:#fff}h1,h2{font-size:1.25rem;margin:.2rem 0}
section+section{margin-top:1.2rem}code{overflow-wrap:anywhere}a{color:#3d4fd1}
@media(prefers-color-scheme:dark){body{color:#e9edf6;background:#141821}a{color:#93a1ff}}"""
PATH = re.compile(r"(?:[A-Za-z]:)?(?:[\\/][^\\/\s'\":]+)+[\\/]([^\\/\s'\":]+)")


def reason(error: BaseException) -> str:
    """Return an error's words without this machine's folders."""
    text = PATH.sub(r"\1", str(error)).strip() or type(error).__name__
    return text if len(text) <= 400 else text[:399] + "…"


def notice(kind: str, lang: str, detail: str = "") -> Response:
    """Return one of TEXTS as a page, `lang` first; `detail` is shown as it is."""
    status, zh_title, zh_text, en_title, en_text = TEXTS[kind]
    parts = {"zh": (zh_title, zh_text), "en": (en_title, en_text)}
    first = "en" if lang == "en" else "zh"
    order = (first, "zh" if first == "en" else "en")
    back = {"zh": "回到目录", "en": "Contents"}
    body = "".join(
        f'<section lang="{TAGS[code]}"><h{level}>{parts[code][0]}</h{level}><p>{parts[code][1]}</p>'
        f'<p><a href="/{code}/" target="_top">{back[code]}</a></p></section>'
        for level, code in enumerate(order, start=1)
    )
    extra = f"<p><code>{html.escape(detail)}</code></p>" if detail else ""
    refresh = '<meta http-equiv="refresh" content="5">' if kind == "loading" else ""
    page = (
        f'<!doctype html><html lang="{TAGS[first]}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{parts[first][0]}</title>{refresh}'
        f"<style>{STYLE}</style></head><body><main>{body}{extra}</main></body></html>"
    )
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "5"} if kind == "loading" else {})
    return HTMLResponse(page, status, headers)


def refusal(status: int, zh: str, en: str) -> Response:
    """Return a short answer to a program's request, in both languages."""
    return JSONResponse({"detail": f"{zh} {en}"}, status, {"Cache-Control": "no-store"})
