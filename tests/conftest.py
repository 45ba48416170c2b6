"""What the whole run shares: the site, built once, and one real server that shows it."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest
from filelock import FileLock

from concepts import ROOT
from running import SERVE, serving, variables

OTHERS_SECONDS = 600  # that a worker may still need the server when another has finished

hypothesis.settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("untimed")


@pytest.fixture
def record_differences(record_property: Callable[[str, object], None]) -> Callable[[float, float], None]:
    """Note the largest difference to the reference in value and in gradient, for `benchmarks/concept_table.py`."""

    def note(value: float, gradient: float) -> None:
        record_property("value", float(value))
        record_property("gradient", float(gradient))

    return note


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The folder of the site, built as `largemodels build` builds it; the workers of one run share it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "built" / "site"
    with FileLock(f"{folder.parent}.lock"):
        if not folder.is_dir():
            command = [sys.executable, "-m", "demos", "build", "--out", str(folder)]
            done = subprocess.run(command, env=variables(), cwd=ROOT, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"the site could not be built\n{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
    return folder


@pytest.fixture(scope="session")
def server(site: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[str]:
    """The address of a real `largemodels serve`, demos ready; the workers of one run share it.

    The first worker that asks starts it, and at the end waits for the others before it stops it.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "server"
    mine, address = folder / f"used-by-{worker_id}", folder / "address"
    with contextlib.ExitStack() as stack:
        with FileLock(f"{folder}.lock"):
            folder.mkdir(exist_ok=True)
            mine.touch()
            started = not address.exists()
            if started:
                command = [*SERVE, "--site", str(site)]
                running = stack.enter_context(serving(folder / "log", command, variables()))
                running.wait()
                address.write_text(running.url, "utf-8")
        yield address.read_text("utf-8")
        mine.unlink()
        end = time.monotonic() + OTHERS_SECONDS
        while started and any(folder.glob("used-by-*")) and time.monotonic() < end:
            time.sleep(0.2)
