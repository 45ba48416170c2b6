"""Finds every demo beside this file, builds it in both languages, and mounts what could be built."""

import importlib
import inspect
import logging
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from demos import _host, _look
from demos._gate import Function
from demos._notices import reason

if typing.TYPE_CHECKING:
    from fastapi import FastAPI

LANGUAGES = ("zh", "en")
log = logging.getLogger("demos")


def find(package: str = "demos") -> dict[str, str]:
    """Return the module of every concept: the files <package>/<chapter>/<concept>.py."""
    root = Path(typing.cast(str, importlib.import_module(package).__file__)).parent
    found: dict[str, str] = {}
    for path in sorted(root.glob("*/*.py")):
        chapter, concept = path.parent.name, path.stem
        if not chapter.startswith(("_", ".")) and not concept.startswith("_"):
            if concept in found:
                raise ValueError(f"two demos are called {concept}: {found[concept]} and {package}.{chapter}.{concept}")
            found[concept] = f"{package}.{chapter}.{concept}"
    return found


class Demos:
    """The demos of one package, mounted below /demos/<lang>/<concept>/ of one ASGI app."""

    def __init__(self, package: str = "demos") -> None:
        """Find the demos; nothing is imported before `build`."""
        self.concepts = find(package)
        self.modules: dict[str, ModuleType] = {}
        self.functions: dict[str, dict[int, Function]] = {}
        self.broken: dict[str, str] = {}
        self.closers: list[typing.Callable[[], None]] = []

    def build(self) -> "FastAPI":
        """Import Gradio and every demo, and return the app; a demo that fails is noted in `broken`."""
        import gradio as gr
        from fastapi import FastAPI
        from fastapi.middleware.cors import CORSMiddleware

        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        app.add_middleware(CORSMiddleware, allow_origins=[])  # Gradio would answer any other site's page
        theme, css = _look.theme(), _look.css()
        for concept, name in self.concepts.items():
            try:
                module = importlib.import_module(name)
            except Exception as error:
                self._fail(concept, LANGUAGES, error)
                continue
            self.modules[concept] = module
            for lang in LANGUAGES:
                try:
                    self._mount(app, gr, module, concept, lang, theme, css)
                except Exception as error:
                    self._fail(concept, (lang,), error)
        if _host.ON_ZERO_GPU:
            self.warm()  # what is on the GPU before the report is packed once, not sent along with every call
            _host.report_start()
        return app

    def _mount(
        self, app: "FastAPI", gr: typing.Any, module: ModuleType, concept: str, lang: str, theme: object, css: str
    ) -> None:
        with _without_apps(gr):
            blocks = module.build(lang)
            blocks.queue(max_size=_host.MAX_QUEUE, default_concurrency_limit=_host.CONCURRENCY, api_open=False)
        blocks.space_id = None  # else a Space's page asks other hosts for a header and fonts
        blocks.state_session_capacity = 300
        path = f"/demos/{lang}/{concept}"
        gr.mount_gradio_app(
            app, blocks, path, theme=theme, css=css, show_error=False, max_file_size="1kb", enable_monitoring=False,
            run_history=False, footer_links=[], allowed_paths=[], ssr_mode=False, mcp_server=False, pwa=False,
            app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        )  # fmt: skip
        blocks.app = typing.cast(Mount, app.routes[-1]).app  # its queue and its open pages ask this one
        self.functions[path] = {
            number: Function(
                str(function.api_name),
                sum(not isinstance(widget, gr.State) for widget in function.inputs),
                len(function.inputs),
            )
            for number, function in blocks.fns.items()
        }
        self.closers.append(blocks.app.stop_event.set)

    def _fail(self, concept: str, languages: tuple[str, ...], error: Exception) -> None:
        log.error("demo %s (%s) is not available", concept, ", ".join(languages), exc_info=error)
        for lang in languages:
            path = f"/demos/{lang}/{concept}"
            self.functions.pop(path, None)
            self.broken[path] = reason(error)

    def warm(self) -> None:
        """Load every demo's model, so that the first visitor does not wait for it."""
        for concept, module in self.modules.items():
            try:
                _load(module)
            except Exception as error:
                if hasattr(error, "zh"):  # the demo says so itself, in both languages, and tries again when asked
                    log.error("demo %s has no model: %s", concept, error)
                else:
                    self._fail(concept, LANGUAGES, error)

    def close(self) -> None:
        """End the streams that open pages hold, so that the server can end."""
        for closer in self.closers:
            closer()


@contextmanager
def _without_apps(gr: typing.Any) -> Iterator[None]:
    """Gradio makes an app of 80 routes at each of three steps before the mounting, which makes the one that serves."""
    with patch.object(gr.routes.App, "create_app", lambda blocks, **_: None):
        yield


def _load(module: ModuleType) -> None:
    """Load what a demo needs: its `load`, or where that asks which model, the first answer in both languages."""
    load = getattr(module, "load", None)
    if load is None:
        return
    if not inspect.signature(load).parameters:
        load()
        return
    for lang in LANGUAGES:
        answer = module.predict(*module.EXAMPLES[lang][0], lang=lang)
        if inspect.isgenerator(answer):
            next(answer, None)
            answer.close()


class Localiser:
    """Sets the language of Gradio's pages, compresses them, and lets browsers keep its hashed files."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`, which serves below /demos/<lang>/<concept>/."""
        self.app, self.page = app, GZipMiddleware(self._page)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        lang, _, rest = scope["path"].removeprefix("/demos/").partition("/")
        rest = rest.partition("/")[2]
        if rest == "" and scope["method"] == "GET":
            await self.page(scope, receive, send)
            return

        async def keep(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200 and rest.startswith("assets/"):
                MutableHeaders(scope=message)["Cache-Control"] = "public, max-age=31536000, immutable"
            await send(message)

        await self.app(scope, receive, keep)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        lang = scope["path"].split("/")[2]
        plain = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]}
        start: Message = {}
        body = b""

        async def rewrite(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                start = message
                return
            body += message.get("body", b"")
            if message.get("more_body"):
                return
            if "text/html" in Headers(scope=start).get("content-type", ""):
                body = _look.localised(body.decode("utf-8"), lang).encode("utf-8")
                headers = MutableHeaders(scope=start)
                headers["Content-Length"] = str(len(body))
                headers["Cache-Control"] = "no-cache"
                headers["Access-Control-Allow-Origin"] = "*"  # a static site elsewhere asks whether we are awake
            await send(start)
            await send({"type": "http.response.body", "body": body})

        await self.app(plain, receive, rewrite)
