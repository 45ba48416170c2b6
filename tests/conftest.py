"""What the whole run shares: the site, built once, and one real server that shows it."""

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
import hypothesis
import pytest

from concepts import ROOT

SERVE = [sys.executable, "-m", "demos", "serve"]
OURS = ("GRADIO_", "HF_", "SPACE", "LARGEMODELS_")
hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")
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


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as `largemodels build` builds it."""
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "demos", "build", "--out", str(folder)]
    done = subprocess.run(command, env=variables(), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the site could not be built\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return folder


@pytest.fixture(scope="session")
def server(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real `largemodels serve`, demos ready."""
    log = tmp_path_factory.mktemp("server") / "log"
    with serving(log, [*SERVE, "--site", str(site)], variables()) as running:
        running.wait()
        yield running.url
