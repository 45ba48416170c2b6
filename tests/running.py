"""Real servers in processes of their own, for the tests that need one."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from concepts import ROOT

SERVE = [sys.executable, "-m", "demos", "serve"]
OURS = ("GRADIO_", "HF_", "SPACE", "LARGEMODELS_")
START_SECONDS = 240  # on a machine that does ten other things

GUARD = """
import sys
from pathlib import Path

HOME = {None, "", "localhost", "127.0.0.1", "0.0.0.0", "::", "::1", b"localhost", b"127.0.0.1", b"0.0.0.0"}
NOTES = Path(__file__).with_name("left")


def note(event, details):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        target = details[1] if event in ("socket.connect", "socket.sendto") else details[0]
        if isinstance(target, tuple):
            target = target[0]
        if target not in HOME and not str(target).startswith(("/", "\\0")):
            with NOTES.open("a") as notes:
                notes.write(f"{event} {target}\\n")


sys.addaudithook(note)
"""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait(self, path: str = "/readyz", seconds: float = START_SECONDS) -> httpx.Response:
        """Wait until `path` answers with 200."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process.poll() is None, f"the server ended\n{self.text()}"
            with contextlib.suppress(httpx.TransportError):
                response = httpx.get(self.url + path, timeout=30)
                if response.status_code == 200:
                    return response
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer within {seconds} s\n{self.text()}")

    def text(self) -> str:
        """Return the end of what the server printed."""
        return self.log.read_text("utf-8", "replace")[-6000:]

    def end(self, seconds: float = 30) -> int:
        """Send SIGTERM and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextlib.contextmanager
def serving(log: Path, command: list[str], environment: dict[str, str], cwd: Path = ROOT) -> Iterator[Running]:
    """Start a server on a free port and end it afterwards."""
    port = free_port()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            env={**environment, "PORT": str(port)},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Running(process, f"http://127.0.0.1:{port}", log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def variables() -> dict[str, str]:
    """Return the environment of a command of this checkout: no Space, no settings of ours."""
    paths = os.pathsep.join([str(ROOT / "lib"), str(ROOT), str(ROOT / "tests")])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return {**kept, "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "HOST": "127.0.0.1"}


def watched(folder: Path, environment: dict[str, str]) -> tuple[dict[str, str], Path]:
    """Return an environment whose Python writes down every attempt to leave this machine, and where it does so."""
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "sitecustomize.py").write_text(GUARD, "utf-8")
    paths = os.pathsep.join([str(folder), environment["PYTHONPATH"]])
    return {**environment, "PYTHONPATH": paths}, folder / "left"
