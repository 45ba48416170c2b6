"""What stands before every demo: which of Gradio's addresses exist, and what a request may say.

Gradio opens many more addresses than a page of text widgets needs (uploads, files, proxies, monitoring).
Only those that the page and the client use are let through, so a new one stays shut until somebody opens it.
"""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demos._host import MAX_BODY_BYTES, TRUST_FORWARDED
from demos._notices import refusal

SESSION = r"[A-Za-z0-9_-]{1,64}"
GET = re.compile(
    r"|config/?|theme\.css|favicon\.ico|manifest\.json|robots\.txt|(assets|static|svelte)/[^\\]+"
    r"|gradio_api/(info/?|startup-events|app_id/?|theme\.css|queue/data"
    rf"|heartbeat/{SESSION}|call/\w{{1,64}}/{SESSION})"
)
POST = re.compile(r"gradio_api/(queue/join|cancel|reset/?|call/(?P<api_name>\w{1,64})/?)")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
FULL = 503, "排队的人太多了，请过一会儿再试。", "Too many visitors are waiting; try again in a moment."
FAILED = 500, "服务器出错了。", "The server failed."
log = logging.getLogger("demos")


class Function(NamedTuple):
    """One function of a demo: its API name and how few and how many values it takes."""

    api_name: str
    fewest: int
    most: int


class RefusedError(Exception):
    """A request that is answered here and never reaches Gradio."""

    def __init__(self, status: int, zh: str, en: str) -> None:
        super().__init__(en)
        self.response = refusal(status, zh, en)


def headed(send: Send) -> Send:
    """Return a `send` that adds the security headers to every response."""

    async def add(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return add


class Gate:
    """Lets a request pass to Gradio when its address and its body are in order."""

    def __init__(self, app: ASGIApp, functions: Mapping[str, Mapping[int, Function]]) -> None:
        """Stand before `app`; `functions` gives, for each mounted path, what is known of each function id."""
        self.app, self.functions = app, functions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request below /demos/<lang>/<concept>/."""
        _, _, lang, concept, rest = scope["path"].split("/", 4)
        if not TRUST_FORWARDED:  # uvicorn has already applied what a trusted proxy says; Gradio would believe anybody
            headers = [pair for pair in scope["headers"] if not pair[0].startswith(b"x-forwarded-")]
            scope = {**scope, "headers": headers}
        try:
            known = self.functions[f"/demos/{lang}/{concept}"]
            if scope["method"] in ("GET", "HEAD"):
                _check_get(rest, scope)
            elif scope["method"] == "POST" and (address := POST.fullmatch(rest)):
                body = _checked_body(await _read(scope, receive), address, known)
                scope, receive = _replayed(scope, body, receive)
            else:
                raise RefusedError(404, "没有这个地址。", "There is no such address.")
        except RefusedError as refused:
            await refused.response(scope, receive, send)
            return
        await self._pass(scope, receive, send)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = full = False

        async def note(message: Message) -> None:
            nonlocal started, full
            if message["type"] == "http.response.start":
                started = True
                full = message["status"] == 503
            if not full:
                await send(message)

        try:
            await self.app(scope, receive, note)
        except Exception as error:  # one line in the log, not a page of traceback for each bad request
            log.error("%s %s: %s: %s", scope["method"], scope["path"], type(error).__name__, error)
            if started and not full:
                await send({"type": "http.response.body", "body": b""})
                return
            full = started
        if full or not started:
            words = FULL if full else FAILED
            await refusal(*words)(scope, receive, send)


def _check_get(rest: str, scope: Scope) -> None:
    if not GET.fullmatch(rest):
        raise RefusedError(404, "没有这个地址。", "There is no such address.")
    if rest == "gradio_api/queue/data":
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if not re.fullmatch(SESSION, (query.get("session_hash") or [""])[0]):
            raise RefusedError(404, "没有这个会话。", "There is no such session.")


async def _read(scope: Scope, receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "请求中断了。", "The request broke off.")
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(
                413,
                f"请求最多 {MAX_BODY_BYTES} 字节；请缩短。",
                f"A request may have {MAX_BODY_BYTES} bytes; shorten it.",
            )
    return body


def _checked_body(body: bytes, address: re.Match[str], known: Mapping[int, Function]) -> bytes:
    """Return the body with only the fields that Gradio needs, or raise RefusedError."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        raise RefusedError(400, "请求必须是一个 JSON 对象。", "The request must be a JSON object.")
    kept: dict[str, Any] = {}
    session = fields.get("session_hash")
    if session is not None:
        if not isinstance(session, str) or not re.fullmatch(SESSION, session):
            raise RefusedError(400, f"session_hash 必须符合 {SESSION}。", f"session_hash must match {SESSION}.")
        kept["session_hash"] = session
    if address[1].startswith(("cancel", "reset")):
        kept["event_id"] = str(fields.get("event_id"))
    if address[1].startswith("reset"):
        return json.dumps(kept).encode()
    number = fields.get("fn_index")
    if address["api_name"] is not None:
        number = next((n for n, function in known.items() if function.api_name == address["api_name"]), None)
    else:
        kept["fn_index"] = number
        if type(fields.get("trigger_id")) is int:
            kept["trigger_id"] = fields["trigger_id"]
    if type(number) is not int or number not in known:
        raise RefusedError(404, "没有这个函数。", "There is no such function.")
    if not address[1].startswith("cancel"):
        kept["data"] = _checked_data(fields.get("data"), known[number])
    return json.dumps(kept).encode()


def _checked_data(data: object, function: Function) -> list[Any]:
    """Return the values if they are as many as the function takes and hold no objects, or raise RefusedError.

    An object could name a file of this machine, which Gradio would copy to where it serves files from.
    """
    if not isinstance(data, list) or not function.fewest <= len(data) <= function.most:
        count = function.most
        raise RefusedError(400, f"data 必须是 {count} 个值的列表。", f"data must be a list of {count} values.")
    values = [value for entry in data for value in (entry if isinstance(entry, list) else [entry])]
    if any(isinstance(value, (list, dict)) for value in values):
        raise RefusedError(
            400, "data 只能放文字、数、真假值和列表。", "data may hold text, numbers, booleans and lists."
        )
    return data


def _replayed(scope: Scope, body: bytes, receive: Receive) -> tuple[Scope, Receive]:
    dropped = (b"content-length", b"content-type", b"transfer-encoding")
    headers = [(name, value) for name, value in scope["headers"] if name not in dropped]
    headers += [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return {**scope, "headers": headers}, replay
