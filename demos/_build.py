"""Build the static site: two strict passes of MkDocs, the page that chooses the language, one atomic swap."""

import hashlib
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LANGUAGES = ("zh", "en")
STAMP = ".built-from"
BIG = 1_000_000  # bytes; larger files (model weights) count by their size, not their content
LOCAL = "http://127.0.0.1:7860/"


class BuildError(RuntimeError):
    """The site could not be built; the message lists every warning, since each of them counts."""


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def sources() -> Iterator[Path]:
    """Every file that the site is made from."""
    yield ROOT / "mkdocs.yml"
    for folder in ("docs", "lib", "demos"):
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT).parts
            hidden = any(part.startswith((".", "__pycache__")) or part.endswith(".egg-info") for part in parts)
            if path.is_file() and not hidden:
                yield path


def fingerprint() -> str:
    """One hash over all sources. Modification times are not used: copies and fresh clones change them."""
    digest = hashlib.sha256()
    for path in sources():
        size = path.stat().st_size
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{size}\0".encode())
        digest.update(b"" if size > BIG else path.read_bytes())
    return digest.hexdigest()


def is_stale(out: Path) -> bool:
    """Whether the site in `out` is missing, unfinished, or made from other sources than today's."""
    stamp = Path(out) / STAMP
    return not stamp.is_file() or stamp.read_text("utf-8") != fingerprint()


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def _pass(lang: str, site_dir: Path, demo_host: str, site_url: str) -> None:
    """One language. MkDocs counts warnings only where they reach its logger, so nothing here may quieten it."""
    from mkdocs.commands.build import build as mkdocs_build
    from mkdocs.config import load_config

    docs = ROOT / "docs" / lang
    environment = {"SITE_LANG": lang, "DOCS_DIR": str(docs), "SITE_DIR": str(site_dir), "DEMO_HOST": demo_host}
    collector = _Collector()
    logger = logging.getLogger("mkdocs")
    logger.addHandler(collector)
    try:
        with _environment({**environment, "SITE_URL": f"{site_url}{lang}/"}):
            config = load_config(str(ROOT / "mkdocs.yml"), strict=True)
            config.plugins.on_startup(command="build", dirty=False)
            mkdocs_build(config)
            config.plugins.on_shutdown()
    except (Exception, SystemExit) as error:
        raise BuildError("\n".join([f"the {lang} pass failed: {error}", *collector.lines])) from error
    finally:
        logger.removeHandler(collector)


def _frame(out: Path, site_url: str, public: bool) -> None:
    """What stands above both languages: the choice of language, 404, robots, icons."""
    path = urllib.parse.urlsplit(site_url).path
    for source in sorted((ROOT / "docs" / "_root").iterdir()):
        text = source.read_text("utf-8")
        (out / source.name).write_text(text.replace("{{ root }}", path), "utf-8")
    lines = ["User-agent: *", "Disallow: /demos/" if path == "/" else "Allow: /"]
    lines += [f"Sitemap: {site_url}{lang}/sitemap.xml" for lang in LANGUAGES if public]
    (out / "robots.txt").write_text("\n".join(lines) + "\n", "utf-8")
    for name in ("favicon.svg", "favicon.ico"):
        shutil.copyfile(ROOT / "docs" / "_theme" / "img" / name, out / name)


def build(out: Path, *, demo_host: str = "", site_url: str = "") -> None:
    """Build both languages into `out`, which keeps its old content until the new one is whole.

    Args:
        out: Folder of the site; replaced.
        demo_host: Address below which the demos are served, if not beside the site.
        site_url: Public address of the site; a path in it is kept, so the site may lie below one.

    Raises:
        BuildError: If anything is wrong on any page. Every warning counts.
    """
    out, url = Path(out).resolve(), (site_url or LOCAL).rstrip("/") + "/"
    out.parent.mkdir(parents=True, exist_ok=True)
    stamp = fingerprint()
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as folder:
        fresh, old = Path(folder) / "new", Path(folder) / "old"
        fresh.mkdir()
        # A process for each language: MkDocs keeps one core busy, and its plugins keep state that is global.
        with ProcessPoolExecutor(len(LANGUAGES), multiprocessing.get_context("spawn")) as pool:
            passes = [pool.submit(_pass, lang, fresh / lang, demo_host, url) for lang in LANGUAGES]
            for finished in passes:
                finished.result()
        _frame(fresh, url, bool(site_url))
        (fresh / STAMP).write_text(stamp, "utf-8")
        if out.exists():
            out.rename(old)
        fresh.rename(out)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    for module in ("filelock", "urllib3", "markdown"):
        logging.getLogger(module).setLevel(logging.WARNING)
    try:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else "site")
        build(folder, demo_host=os.environ.get("DEMO_HOST", ""), site_url=os.environ.get("SITE_URL", ""))
    except BuildError as failure:
        sys.exit(str(failure))
