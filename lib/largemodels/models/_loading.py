"""Load a Hugging Face folder or hub id so that a damaged model is refused instead of giving wrong answers.

Transformers by itself loads flipped bits, fills missing tensors with random numbers and computes with NaN weights.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from largemodels._checkpoints import HUB_IDS, ModelError, check_finite, first_line, locate, models_folder, verify

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

HEADS = {  # end of an architecture's name: the class that loads it with its head
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "BertForPreTraining": "AutoModelForPreTraining",
    "ForMaskedLM": "AutoModelForMaskedLM",
}

PREFIXES = {"e5": "query: "}  # Wang et al., 2024, https://arxiv.org/abs/2402.05672: what it saw before each text


def load(
    source: str | Path, task: str, *, device: torch.device | str, dtype: torch.dtype
) -> "tuple[PreTrainedModel, PreTrainedTokenizerFast]":
    """Return model and tokenizer, checked, in evaluation mode.

    Args:
        source: local folder, hub id such as "owner/model", or a name: of a model that `largemodels models add` has
            fetched, that the hub may give, or that ships with the package, in this order.
        task: name of a Transformers auto class: "AutoModel", "AutoModelForCausalLM", …; "" takes
            the head that the configuration names, if it is one of HEADS, and else the bare encoder.
        device: where the weights go.
        dtype: floating-point type to compute in.

    Returns:
        The model and its tokenizer.

    Raises:
        ModelError: if anything is missing, damaged or not safetensors.
    """
    source = locate(source)
    local = Path(source).is_dir()
    if local:
        verify(Path(source))
    elif isinstance(source, Path) or source.count("/") > 1 or source.startswith((".", "/", "~")):
        raise ModelError(source, "", "must be a folder or a hub id such as owner/model; correct the path")
    import transformers

    safe: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    exact: dict[str, Any] = {"use_safetensors": True, "dtype": dtype, "output_loading_info": True}
    try:
        with quiet():
            config = transformers.AutoConfig.from_pretrained(source, **safe)
            if not task:
                names: Sequence[str] = config.architectures or ()
                heads = (auto for head, auto in HEADS.items() if any(name.endswith(head) for name in names))
                task = next(heads, "AutoModel")
            if task == "AutoModel" and config.model_type in ("bert", "roberta", "xlm-roberta"):
                exact["add_pooling_layer"] = False  # masked-LM checkpoints have none, and we do not read it
            if task != "AutoModelForCausalLM":
                exact["attn_implementation"] = "eager"  # the others do not return attention weights
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, **safe)
            model, report = getattr(transformers, task).from_pretrained(source, **safe, **exact)
    except Exception as error:  # each layer below has its own: OSError, ValueError, SafetensorError, JSONDecodeError…
        raise ModelError(source, "", f"Transformers cannot load it ({first_line(error)}); fetch it again") from error
    _check_report(source, report)
    check_finite(source, model.named_parameters())
    return model.to(device).eval(), tokenizer


def own_prefix(source: str | Path) -> str:
    """Return what a model was trained to see before each text, "" for most.

    Args:
        source: as for `load`; a name, its hub id and its folder among the user's models count as the same.
    """
    for name, prefix in PREFIXES.items():
        if str(source) in (name, HUB_IDS[name]) or Path(source) == models_folder() / name:
            return prefix
    return ""


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


@contextmanager
def quiet() -> Iterator[None]:
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
