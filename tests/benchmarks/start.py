"""Print how long `largemodels serve` takes to its first page and to each demo's first answer, and what is installed.

The site is built first, outside the measurement; the server and its models start cold.
"""

import importlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from concepts import LANGUAGES, ROOT, demos

LIMIT = 300  # seconds


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(url: str, body: object = None) -> bytes:
    """Ask until the server answers; post the body, if there is one, as JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    end = time.monotonic() + LIMIT
    while True:
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            time.sleep(0.05)


def first_answer(base: str, language: str, module: str) -> None:
    """Ask one demo for its first example and wait for the end of its answer."""
    row = importlib.import_module(f"demos.{module}").EXAMPLES[language][0]
    name = module.rsplit(".", 1)[1]
    url = f"{base}/demos/{language}/{name}/gradio_api/call/{name}"
    event = json.loads(fetch(url, {"data": row}))["event_id"]
    stream = fetch(f"{url}/{event}").decode()
    if "event: complete" not in stream or "lm-figure" not in stream:
        raise RuntimeError(f"{name} did not answer: {stream[:300]}")


def megabytes(folder: Path) -> float:
    """Size of a folder's files, in MB."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def main() -> None:
    """Print the figures."""
    command = [sys.executable, "-m", "demos"]
    began = time.monotonic()
    subprocess.run([*command, "build"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    print(f"build both languages            {time.monotonic() - began:6.1f} s")
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    began = time.monotonic()
    server = subprocess.Popen([*command, "serve", "--port", str(port)], cwd=ROOT)
    try:
        fetch(f"{base}/zh/")
        print(f"start → first page              {time.monotonic() - began:6.1f} s")
        fetch(f"{base}/readyz")
        print(f"start → demos ready             {time.monotonic() - began:6.1f} s")
        for path in demos():
            for language in LANGUAGES:
                asked = time.monotonic()
                first_answer(base, language, f"{path.parent.name}.{path.stem}")
                now = time.monotonic()
                print(f"{path.stem:24} {language}  answers in {now - asked:.1f} s, {now - began:.1f} s after start")
    finally:
        server.terminate()
        server.wait(LIMIT)
    print(f"installed in {Path(sys.prefix).name:20} {megabytes(Path(sys.prefix)):6.0f} MB")


if __name__ == "__main__":
    main()
