"""The static site: files, the right 404 page for each language, cache headers, nothing hidden."""

import re
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from demos._notices import notice, refusal

HASHED = re.compile(r"\.[0-9a-f]{8,}\.(min\.)?(js|css|map)$")
LONG_LIVED = (".woff2", ".woff", ".ttf", ".png", ".svg", ".ico", ".webp")


class Site:
    """An ASGI app that serves one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = GZipMiddleware(_Files(directory=folder, html=True), minimum_size=500)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.app(scope, receive, send)


class _Files(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, or the 404 page of the language that the path begins with."""
        try:
            if any(part.startswith(".") and part != "." for part in Path(path).parts) or "\0" in path:
                raise HTTPException(404)
            response = await super().get_response(path, scope)
        except (HTTPException, ValueError, OSError) as error:
            if isinstance(error, HTTPException) and error.status_code == 405:
                return refusal(405, "这里只能读。", "This can only be read.")
            return self._missing(path)
        if response.status_code == 404:
            return self._missing(path)
        response.headers["Cache-Control"] = _lifetime(path)
        return response

    def _missing(self, path: str) -> Response:
        lang = path.replace("\\", "/").split("/", 1)[0]
        lang = lang if lang in ("zh", "en") else ""
        page = Path(str(self.directory)) / lang / "404.html"
        if page.is_file():
            return FileResponse(page, 404, {"Cache-Control": "no-store"})
        return notice("missing", lang or "zh")


def _lifetime(path: str) -> str:
    if HASHED.search(path):
        return "public, max-age=31536000, immutable"
    if path.endswith(LONG_LIVED):
        return "public, max-age=86400"
    return "no-cache"  # kept by the browser, but asked for again: unchanged pages cost a 304
