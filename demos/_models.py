"""The models of the demos, each read once and shared by all of them."""

import functools
import logging
import os
import threading
import typing
from collections.abc import Callable

from demos import _credit, _host, _ui

if typing.TYPE_CHECKING:
    from tokenizers import Tokenizer

    from largemodels.models.bert import Bert
    from largemodels.models.gpt import Gpt

Model = typing.TypeVar("Model")
log = logging.getLogger("demos")
_LOCK = threading.Lock()
_OPEN: "dict[str, Bert | Gpt]" = {}


def bert(*, classifies: bool = False) -> "Bert":
    """Return the shipped BERT or the one that LARGEMODELS_BERT names; InputError if it cannot be used.

    Args:
        classifies: whether it must have a classification head.
    """
    from largemodels.models.bert import Bert

    model = typing.cast(Bert, _open("bert", Bert))
    if classifies and not model.labels:
        raise _headless("bert", "分类头", "a classification head")
    return model


def pretrained_bert(head: str) -> "Bert":
    """Return the BERT that has the head of pretraining "masked" or "next"; InputError if it cannot be used."""
    from largemodels.models.bert import Bert

    model, kind = typing.cast(Bert, _open("bilingual-bert", Bert)), "bilingual-bert"
    if head not in model.heads:
        raise _unusable(_host.FOLDERS[kind], "config.json", ValueError(f"heads must hold {head!r}, got {model.heads}"))
    return model


def gpt(kind: str) -> "Gpt":
    """Return the GPT "gpt-zh" or "gpt-en", or the one that LARGEMODELS_GPT names; InputError if it cannot be used."""
    from largemodels.models.gpt import Gpt

    return typing.cast(Gpt, _open(kind, Gpt))


def _open(kind: str, read: "type[Bert] | type[Gpt]") -> "Bert | Gpt":
    """Return the model, read at the first call; a failure is not kept, so a repaired file counts at once."""
    import torch

    from largemodels._checkpoints import ModelError

    _credit.note(_host.model_name(kind))
    with _LOCK:
        if kind not in _OPEN:
            try:
                device, dtype = _host.device_and_dtype()
                if device.type == "cpu" and not os.environ.get(_host.SETTINGS[kind]):
                    # Threads of so small a model wait for each other: two are slower than one on a busy machine.
                    torch.set_num_threads(1)
                _OPEN[kind] = read.from_pretrained(_host.model_source(kind), device=device, dtype=dtype)
            except (ModelError, ValueError) as error:
                setting = _host.SETTINGS[kind]
                file = getattr(error, "file", "") or (setting if os.environ.get(setting) else "config.json")
                raise _unusable(_host.FOLDERS[kind], file, error) from error
        return _OPEN[kind]


def shipped(read: Callable[[str], Model], name: str) -> Model:
    """Return the small model called `name` as `read` makes it; InputError if its files cannot be used."""
    from largemodels._checkpoints import ModelError

    try:
        return read(name)
    except ModelError as error:
        raise _unusable(name, error.file or "config.json", error) from error


@functools.cache
def tokenizer(name: str) -> "Tokenizer":
    """Return the tokenizer of the shipped model called `name`, its weights left alone; InputError if it is damaged."""
    return shipped(_read_tokenizer, name)


def _read_tokenizer(name: str) -> "Tokenizer":
    from tokenizers import Tokenizer

    from largemodels import _checkpoints

    folder = _checkpoints.SHIPPED / name
    _checkpoints.verify(folder)
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def _headless(kind: str, zh: str, en: str) -> _ui.InputError:
    """Log that the model set for a demo lacks the head that the demo needs, and say so in both languages."""
    name, setting, ours = _host.model_name(kind), _host.SETTINGS[kind], _host.FOLDERS[kind]
    log.error("model %s cannot be used: %s must name one with %s", name, setting, en)
    return _ui.InputError(
        zh=f"这个演示的模型必须有{zh}，收到的 {name} 没有；请网站的维护者把 {setting} 设成有{zh}的模型，例如 {ours}，"
        "或者取消这项设置。",
        en=f"The model of this demo must have {en}, got {name}, which has none; the site's keeper should set {setting} "
        f"to a model that has one, such as {ours}, or unset it.",
    )


def _unusable(name: str, file: str, error: Exception) -> _ui.InputError:
    """Log why a model cannot be used; a visitor learns which file, not where on this machine it is."""
    log.error("model %s cannot be used: %s", name, error)
    return _ui.InputError(
        zh=f"模型 {name} 现在用不了：{file} 必须完好，它却缺失、损坏或设置有误；"
        "请网站的维护者重新取一份，其余演示不受影响。",
        en=f"The model {name} cannot be used now: {file} must be intact, but is missing, damaged or set "
        "wrongly; the site's keeper should fetch it again. Other demos work.",
    )
