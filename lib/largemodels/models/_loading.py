"""Load a Hugging Face folder or hub id so that a damaged model is refused instead of giving wrong answers.

Transformers by itself loads flipped bits, fills missing tensors with random numbers and computes with NaN weights.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MANIFEST = "manifest.json"
SHIPPED = Path(__file__).parents[1] / "checkpoints"
CHUNK = 1 << 20


class ModelError(OSError):
    """A model that cannot be used: which file, what was expected, what to do.

    Attributes:
        file: name of the file that is missing or damaged; "" where none can be named.
    """

    def __init__(self, source: str | Path, file: str, problem: str) -> None:
        super().__init__(f"{Path(source) / file if file else source}: {problem}")
        self.file = file


def load(
    source: str | Path, task: str, *, device: torch.device | str, dtype: torch.dtype
) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
    """Return model and tokenizer, checked, in evaluation mode.

    Args:
        source: local folder, name of a model that ships with the package, or hub id such as "owner/model".
        task: name of a Transformers auto class: "AutoModel", "AutoModelForCausalLM", …; "" takes
            sequence classification where the configuration names it and else the bare encoder.
        device: where the weights go.
        dtype: floating-point type to compute in.

    Returns:
        The model and its tokenizer.

    Raises:
        ModelError: if anything is missing, damaged or not safetensors.
    """
    shipped = isinstance(source, str) and source.replace("-", "").isalnum() and (SHIPPED / source).is_dir()
    source = SHIPPED / source if shipped else source
    local = Path(source).is_dir()
    if local:
        verify(Path(source))
    elif isinstance(source, Path) or source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise ModelError(source, "", "must be a folder or a hub id such as owner/model; correct the path")
    import transformers

    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    exact: dict[str, Any] = {"use_safetensors": True, "dtype": dtype, "output_loading_info": True}
    try:
        with _quiet():
            config = transformers.AutoConfig.from_pretrained(source, **safe)
            if not task:
                names: Sequence[str] = config.architectures or ()
                head = any(name.endswith("ForSequenceClassification") for name in names)
                task = "AutoModelForSequenceClassification" if head else "AutoModel"
            if task == "AutoModel" and config.model_type in ("bert", "roberta", "xlm-roberta"):
                exact["add_pooling_layer"] = False  # masked-LM checkpoints have none, and we do not read it
            if task != "AutoModelForCausalLM":
                exact["attn_implementation"] = "eager"  # the others do not return attention weights
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **safe)
            model, report = getattr(transformers, task).from_pretrained(source, **safe, **exact)
    except Exception as error:  # each layer below has its own: OSError, ValueError, SafetensorError, JSONDecodeError…
        raise ModelError(source, "", f"Transformers cannot load it ({_first_line(error)}); fetch it again") from error
    _check_report(source, report)
    _check_finite(source, model)
    return model.to(device).eval(), tokenizer


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
        raise ModelError(folder, MANIFEST, f"cannot be read ({_first_line(error)}); fetch the folder again") from None
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


def check_text(text: object, name: str) -> None:
    """Refuse what a tokenizer would choke on.

    Args:
        text: what should be a string.
        name: what the caller calls it.

    Raises:
        TypeError: if it is no string.
        ValueError: if it holds half of a surrogate pair.
    """
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {type(text).__name__}; give one text")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{name} must be valid Unicode, got half of a surrogate pair at index {error.start}; remove it"
        ) from None


def _check_report(source: str | Path, report: dict[str, Any]) -> None:
    """Refuse a model of which Transformers has made up a part."""
    lost = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report[kind])
    if lost:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        raise ModelError(
            source, "model.safetensors",
            f"must hold every tensor of the model, lacks {lost[0]}{more}; it is another model's file or a part of one",
        )  # fmt: skip


def _check_finite(source: str | Path, model: "PreTrainedModel") -> None:
    """Refuse NaN and infinite weights: greedy decoding would print token 0 for ever, without an error."""
    for name, value in model.named_parameters():
        if not torch.isfinite(value).all():
            raise ModelError(
                source, "model.safetensors", f"weights must be finite, {name} is not; fetch it or use another dtype"
            )


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and load reports off the terminal: what they say, we raise."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
