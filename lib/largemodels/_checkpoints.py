"""Checkpoint folders: found by name, verified by their manifest, read as safetensors only, refused when damaged.

A flipped bit, a missing file or a NaN gives wrong answers without an error; here it gives an error that names the file.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

MANIFEST = "manifest.json"
SHIPPED = Path(__file__).parent / "checkpoints"
CHUNK = 1 << 20
HUB_IDS = {  # pretrained models that `largemodels models add` takes out of packages: where the hub has them
    "minilm": "sentence-transformers/all-MiniLM-L6-v2",
    "e5": "intfloat/multilingual-e5-small",
    "smollm2": "HuggingFaceTB/SmolLM2-135M-Instruct",
}
NO = ("0", "false", "no", "off")


class ModelError(OSError):
    """A model that cannot be used: which file, what was expected, what to do.

    Attributes:
        file: name of the file that is missing or damaged; "" where none can be named.
    """

    def __init__(self, source: str | Path, file: str, problem: str) -> None:
        super().__init__(f"{Path(source) / file if file else source}: {problem}")
        self.file = file


def shipped(source: str | Path) -> str | Path:
    """Return the folder of a model that ships with the package, if `source` is the name of one.

    Args:
        source: name such as "digits-mlp", or anything else.

    Returns:
        The folder, or `source` unchanged.
    """
    return SHIPPED / source if _is_name(source) and (SHIPPED / source).is_dir() else source


def models_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder in which the user's own models lie, one folder each; it need not exist.

    Args:
        environ: `LARGEMODELS_CACHE` names the cache; else it is `largemodels` in `XDG_CACHE_HOME` or in `~/.cache`.

    Returns:
        The folder `models` in the cache.
    """
    own, base = environ.get("LARGEMODELS_CACHE"), Path(environ.get("XDG_CACHE_HOME", ""))
    if own:
        return Path(own).expanduser() / "models"
    # The specification of the variable says that a relative path is to be ignored.
    return (base if base.is_absolute() else Path.home() / ".cache") / "largemodels" / "models"


def locate(source: str | Path, environ: Mapping[str, str] = os.environ) -> str | Path:
    """Say where a model is: an explicit path or id, the user's cache, the hub if it is allowed, our own folder.

    Args:
        source: name such as "minilm" or "poem-gpt-zh", a folder (`./minilm` if it is called like a model), or a hub id.
        environ: where the cache is looked up, and HF_HUB_OFFLINE: 0 allows to fetch a name of HUB_IDS from the hub.

    Returns:
        The folder or the hub id; a path or an id comes back unchanged.

    Raises:
        ModelError: if the name is one of HUB_IDS, and the model is not on this machine.
    """
    if not _is_name(source):
        return source
    if (folder := models_folder(environ) / source).is_dir():
        return folder
    if source not in HUB_IDS:
        return shipped(source)
    if environ.get("HF_HUB_OFFLINE", "").lower() in NO:
        return HUB_IDS[str(source)]
    raise ModelError(source, "", f"is not on this machine yet; run: largemodels models add {source}")


def _is_name(source: str | Path) -> bool:
    """Say whether it may be the name of a model, and is surely no path."""
    return isinstance(source, str) and source.replace("-", "").isalnum()


def read_checkpoint(source: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the configuration and the weights of a model of our own, checked.

    Args:
        source: name of a model that ships with the package or lies in the user's cache, or a folder.

    Returns:
        The content of `config.json`, and name to tensor, floating-point ones as float32.

    Raises:
        ModelError: if a file is missing, damaged, or holds a weight that is not finite.
    """
    from safetensors.torch import load_file

    folder = Path(locate(source))
    verify(folder)
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        tensors = load_file(folder / "model.safetensors")
    except Exception as error:  # JSONDecodeError, SafetensorError, OSError
        raise ModelError(folder, "", f"cannot be read ({first_line(error)}); fetch the folder again") from error
    weights = {name: value.float() if value.is_floating_point() else value for name, value in tensors.items()}
    check_finite(folder, weights.items())
    return config, weights


def verify(folder: Path) -> None:
    """Compare a folder with its manifest, if it has one; without one, ask for the files that no model can lack.

    Args:
        folder: a checkpoint folder.

    Raises:
        ModelError: naming the first file that is missing, of the wrong size or of the wrong hash.
    """
    if not (folder / MANIFEST).is_file():
        if not (folder / "config.json").is_file():
            raise ModelError(folder, "config.json", "is missing; give a folder written by save_pretrained")
        if not any(folder.glob("*.safetensors")):
            raise ModelError(
                folder, "model.safetensors", "is missing; other formats may run code when read: convert to safetensors"
            )
        return
    try:
        files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
        wanted = {str(name): (int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(folder, MANIFEST, f"cannot be read ({first_line(error)}); fetch the folder again") from None
    for name, (size, digest) in wanted.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise ModelError(folder, name, "is in the manifest but missing; fetch the folder again")
        if path.stat().st_size != size:
            raise ModelError(
                folder, name, f"must have {size} bytes by the manifest, has {path.stat().st_size}; fetch the file again"
            )
        found = sha256(path)
        if found != digest:
            raise ModelError(
                folder, name, f"must have sha256 {digest[:12]}… by the manifest, has {found[:12]}…; fetch it again"
            )
    for path in folder.glob("*.safetensors"):
        if path.name not in wanted:
            raise ModelError(folder, path.name, "is not in the manifest; remove it or fetch the folder again")


def sha256(path: Path) -> str:
    """Return the hash of a file, read in pieces.

    Args:
        path: an existing file.

    Returns:
        64 hexadecimal digits.
    """
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            total.update(piece)
    return total.hexdigest()


def check_finite(source: str | Path, weights: Iterable[tuple[str, Tensor]]) -> None:
    """Refuse NaN and infinite weights: greedy decoding would print token 0 for ever, without an error.

    Args:
        source: where the weights come from, for the message.
        weights: name and tensor of each.

    Raises:
        ModelError: naming the first tensor that is not finite.
    """
    for name, value in weights:
        if not torch.isfinite(value).all():
            raise ModelError(
                source, "model.safetensors", f"weights must be finite, {name} is not; fetch it or use another dtype"
            )


def first_line(error: Exception) -> str:
    """Return kind and first line of an error, for use inside another message."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"
