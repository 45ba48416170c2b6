"""Serve the built site while something is measured."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from concepts import ROOT
from start import fetch, free_port

LESSON = "transformer/attention/"


@contextmanager
def serving() -> Iterator[str]:
    """Start the server, wait for its demos, and return its address."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "demos", "serve", "--port", str(port)], cwd=ROOT)
    try:
        fetch(f"http://127.0.0.1:{port}/readyz")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)
