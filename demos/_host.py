"""Where we run: device, model folders, limits, Hugging Face Spaces. The only file that knows.

Import it before torch and Gradio: on ZeroGPU the `spaces` package has to patch both.
"""

import functools
import json
import os
import re
import tempfile
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import largemodels

if typing.TYPE_CHECKING:
    import torch

ON_SPACE = bool(os.environ.get("SPACE_ID"))
ON_ZERO_GPU = os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")
TRUST_FORWARDED = ON_SPACE or bool(os.environ.get("FORWARDED_ALLOW_IPS"))

PORT = 7860  # what a Space expects
PYTHON = "3.11"  # what ZeroGPU offers and we test
MAX_BODY_BYTES = 64 * 1024  # the longest honest request is a few kB of text
MAX_NEW_TOKENS = 120  # three poems or a short speech; about 2 s on a laptop's CPU
MAX_QUEUE = 64  # visitors waiting for one demo; more get "queue is full" at once
CONCURRENCY = 2  # runs of one demo at a time: the models share one device
GPU_SECONDS = 30  # ZeroGPU takes this from a visitor's daily quota when a call starts, so keep it short
WAIT_SECONDS = 90  # a request that comes before the demos are ready waits this long
CLOSE_SECONDS = 5  # open pages hold a stream that never ends by itself; SIGTERM cuts it after this long
EXIT_SECONDS = 10  # whatever still runs after SIGTERM is dropped then

FOLDERS = {
    "gpt-zh": "poem-gpt-zh",
    "gpt-en": "shakespeare-gpt-en",
    "bert": "sentiment-bert-zh-en",
    "bilingual-bert": "bilingual-bert",
}
SETTINGS = {
    "gpt-zh": "LARGEMODELS_GPT",
    "gpt-en": "LARGEMODELS_GPT",
    "bert": "LARGEMODELS_BERT",
    "bilingual-bert": "LARGEMODELS_PRETRAINED_BERT",
}
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")

if ON_ZERO_GPU:
    import spaces


def settle_environment() -> None:
    """Switch telemetry and look-ups off; call before Gradio or Transformers is imported."""
    quiet = {
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_RUN_HISTORY": "False",
        "GRADIO_ANALYTICS_MAX_EVENTS": "20",  # by default 10,000 rows are kept and tabulated after each request
        "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DISABLE_SAFETENSORS_CONVERSION": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if not any(HUB_ID.fullmatch(os.environ.get(name, "")) for name in set(SETTINGS.values())):
        quiet["HF_HUB_OFFLINE"] = "1"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)


def address() -> tuple[str, int]:
    """Return the host and port to listen on: HOST and PORT, or all interfaces on a Space."""
    port = os.environ.get("PORT") or str(PORT)
    if not port.isdecimal() or not 0 <= int(port) <= 65535:
        raise ValueError(f"PORT must be a number from 0 to 65535, got {port!r}; unset it to use {PORT}")
    return os.environ.get("HOST") or ("0.0.0.0" if ON_SPACE else "127.0.0.1"), int(port)  # noqa: S104


def trusted_proxies() -> str:
    """Return whose forwarded headers count: a Space's own proxy, elsewhere FORWARDED_ALLOW_IPS."""
    return os.environ.get("FORWARDED_ALLOW_IPS") or ("*" if ON_SPACE else "127.0.0.1,::1")


def site_url() -> str:
    """Return the public address of the site, or "" when it is not known."""
    space = os.environ.get("SPACE_HOST")
    return os.environ.get("SITE_URL") or (f"https://{space}/" if space else "")


def writable(folder: Path) -> bool:
    """Say whether `folder`, or the nearest parent that exists, can be written to."""
    while not folder.exists():
        folder = folder.parent
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


@functools.cache
def device_and_dtype() -> "tuple[torch.device, torch.dtype]":
    """Return where models run and in which precision; LARGEMODELS_DEVICE overrides the device."""
    import torch

    wanted = os.environ.get("LARGEMODELS_DEVICE")
    device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type != "cuda":
        return device, torch.float32
    # A T4 only emulates bfloat16, slowly.
    native = torch.cuda.get_device_capability(device) >= (8, 0)
    return device, torch.bfloat16 if native else torch.float16


def model_source(kind: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the folder or hub id of a model: our own checkpoint, or the visitor's host's choice.

    Args:
        kind: a key of FOLDERS.
        environ: where the settings, such as LARGEMODELS_GPT, are looked up.

    Raises:
        ModelError: the setting is the name of a pretrained model that has not been fetched.
        ValueError: the setting is no such name, no folder and no hub id, or the hub is switched off.
    """
    name = SETTINGS[kind]
    wanted = environ.get(name)
    if not wanted:
        return str(Path(largemodels.__file__).parent / "checkpoints" / FOLDERS[kind])
    from largemodels._checkpoints import locate

    found = str(locate(wanted, environ))
    if Path(found).is_dir():
        return found
    if not HUB_ID.fullmatch(found):
        raise ValueError(
            f"{name} must be a name, a folder or a hub id such as owner/model, got {wanted!r}; correct or unset it"
        )
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise ValueError(f"{name} names the hub's {wanted!r}, but HF_HUB_OFFLINE is set; unset it or give a folder")
    return found


def model_name(kind: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return what visitors may read about which model answers: its name or hub id, but no path of this machine."""
    wanted = environ.get(SETTINGS[kind]) or FOLDERS[kind]
    return Path(wanted).name if Path(wanted).is_dir() else wanted


def _layers_and_heads(kind: str) -> tuple[int, int]:
    """Return a model's layers and heads from its config.json alone; a hub model is not fetched for it."""
    try:
        config = json.loads((Path(model_source(kind)) / "config.json").read_text("utf-8"))
        return int(config["num_hidden_layers"]), int(config["num_attention_heads"])
    except (OSError, ValueError, KeyError, TypeError):
        return 12, 12  # BERT-base


# How far the sliders go: a demo builds its widgets before any model is loaded, and checks again afterwards.
BERT_LAYERS, BERT_HEADS = _layers_and_heads("bert")


def gpu(function: Callable[..., Any]) -> Callable[..., Any]:
    """Borrow a GPU for each call of `function` on ZeroGPU; elsewhere return it unchanged."""
    return spaces.GPU(duration=GPU_SECONDS)(function) if ON_ZERO_GPU else function


def report_start() -> None:
    """Tell ZeroGPU that the demos are built; it stops a Space that says nothing."""
    if ON_ZERO_GPU:
        spaces.zero.startup()
