"""The server: the site at once, every demo as soon as Gradio is loaded, in one ASGI app."""

import asyncio
import contextlib
import importlib
import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

import largemodels
from demos import _host
from demos._gate import Gate, headed
from demos._mount import LANGUAGES, Demos, Localiser
from demos._notices import notice, reason
from demos._site import Site

ROOT = Path(__file__).resolve().parent.parent
log = logging.getLogger("demos")


class App:
    """Site, demos and health reports. Gradio is imported in a thread while the site is already served."""

    def __init__(self, site: Path, *, package: str = "demos", warm: bool = True) -> None:
        """Serve the built site in `site` and the demos of `package`; `warm` loads the models early."""
        self.site = Site(site)
        self.demos = Demos(package)
        self.warm = warm
        self.gate: ASGIApp | None = None
        self.failure = ""
        self.closing = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.settled = asyncio.Event()
        self.contexts = contextlib.AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or take part in starting and ending."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            try:
                await self._route(scope, receive, headed(send))
            except asyncio.CancelledError:
                if not self.closing:  # at the end uvicorn cuts open streams; that is no error to log
                    raise
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self.loop = asyncio.get_running_loop()
        threading.Thread(target=self._load, args=(self.loop,), name="demos", daemon=True).start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        with contextlib.suppress(Exception):
            await self.contexts.aclose()
        await send({"type": "lifespan.shutdown.complete"})

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        """Build the demos, open them, then load their models. Runs in a thread of its own."""
        began = time.monotonic()
        try:
            inner = self.demos.build()
            asyncio.run_coroutine_threadsafe(self._open(inner), loop).result()
        except Exception as error:
            log.error("the demos could not be started", exc_info=error)
            self.failure = reason(error)
            loop.call_soon_threadsafe(self.settled.set)
            return
        log.info("demos ready: %d pages in %.1f s", len(self.demos.functions), time.monotonic() - began)
        if self.warm:
            self.demos.warm()
            log.info("models loaded after %.1f s", time.monotonic() - began)

    async def _open(self, inner: ASGIApp) -> None:
        router = inner.router  # type: ignore[attr-defined]
        await self.contexts.enter_async_context(router.lifespan_context(inner))  # starts the queues
        self.gate = Gate(Localiser(inner), self.demos.functions)
        self.settled.set()

    def close(self) -> None:
        """End the endless streams of open pages."""
        self.closing = True
        if self.loop:
            self.loop.call_soon_threadsafe(self.demos.close)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path in ("/healthz", "/livez", "/readyz"):
            await self._health(path)(scope, receive, send)
        elif path == "/demos" or path.startswith("/demos/"):
            await self._demo(scope, receive, send)
        else:
            await self.site(scope, receive, send)

    def _health(self, path: str) -> Response:
        state = "failed" if self.failure else "ready" if self.gate else "loading"
        content = {
            "status": "ok",
            "version": largemodels.__version__,
            "demos": state,
            "mounted": sorted(self.demos.functions),
            "broken": sorted(self.demos.broken),
        }
        unready = path == "/readyz" and state != "ready"
        headers = {"Cache-Control": "no-store", "Access-Control-Allow-Origin": "*"}
        return JSONResponse(content, 503 if unready else 200, headers)

    async def _demo(self, scope: Scope, receive: Receive, send: Send) -> None:
        lang, concept = [*scope["path"].split("/"), "", ""][2:4]
        if lang not in LANGUAGES or concept not in self.demos.concepts:
            await notice("missing", lang)(scope, receive, send)
            return
        if scope["path"].count("/") < 4:
            query = scope["query_string"].decode("latin-1")
            target = f"{concept}/" + (f"?{query}" if query else "")
            await RedirectResponse(target, 307)(scope, receive, send)  # relative: right behind any proxy
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.settled.wait(), _host.WAIT_SECONDS)
        path = f"/demos/{lang}/{concept}"
        if self.gate is None:
            answer = notice("broken", lang, self.failure) if self.failure else notice("loading", lang)
            await answer(scope, receive, send)
        elif path in self.demos.broken:
            await notice("broken", lang, self.demos.broken[path])(scope, receive, send)
        else:
            await self.gate(scope, receive, send)


class Server(uvicorn.Server):
    """uvicorn that says where it listens and ends within EXIT_SECONDS of a signal, whatever still runs."""

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self.app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, then print its address."""
        await super().startup(sockets)
        if self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            host = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104
            print(f"大模型，跑起来 · Large Models, Running: http://{host}:{port}/  (Ctrl-C 结束 · ends it)", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end: close streams, and set a last moment."""
        if not self.should_exit:
            timer = threading.Timer(_host.EXIT_SECONDS, _leave)
            timer.daemon = True
            timer.start()
            self.app.close()
        super().handle_exit(sig, frame)


def _leave() -> None:
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


def prepared_site() -> Path:
    """Return the folder of the built site, building it first when it is missing or stale.

    The folder is LARGEMODELS_SITE, or `site` beside the sources, or a temporary one when the site has to be
    built and that place cannot be written to.
    """
    out = Path(os.environ.get("LARGEMODELS_SITE") or ROOT / "site")
    builder = importlib.import_module("demos._build")
    built = (out / "index.html").is_file()
    if built and not builder.is_stale(out):
        return out
    target = out if _host.writable(out.resolve().parent) else Path(tempfile.mkdtemp(prefix="largemodels-site-"))
    print(f"正在生成网站 · building the site: {target}", flush=True)
    try:
        builder.build(target, site_url=_host.site_url())
    except Exception as error:
        if target != out:
            shutil.rmtree(target, ignore_errors=True)
        if not built:
            raise
        log.error("the site could not be rebuilt; the older one is served", exc_info=error)
        return out
    return target


def serve(host: str, port: int, site: Path | None = None, *, warm: bool = True, package: str = "demos") -> int:
    """Serve site and demos until a signal comes; return the exit status.

    Args:
        host: address of the interface to listen on.
        port: 0 takes a free one.
        site: a built site to serve as it is; by default the checkout's own, rebuilt when stale.
        warm: load the models at the start.
        package: where the demos are found.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: sys.exit(0))  # also while the site is being built
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    log.setLevel(logging.INFO)
    _host.settle_environment()
    app = App(site or prepared_site(), package=package, warm=warm)
    config = uvicorn.Config(
        app, host, port, log_level="warning", access_log=False, server_header=False, proxy_headers=True,
        forwarded_allow_ips=_host.trusted_proxies(), timeout_graceful_shutdown=_host.CLOSE_SECONDS, ws="none",
    )  # fmt: skip
    try:
        Server(config, app).run()
    except SystemExit as ended:
        if ended.code:  # the port is taken, say
            return 1
    _leave()
    return 0
