"""Write checkpoint folders whose files can be verified by hash."""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

MANIFEST = "manifest.json"


def describe_file(path: Path) -> dict[str, str | int]:
    """Hash and size of one file.

    Args:
        path: An existing file.

    Returns:
        `{"sha256": <64 hex digits>, "bytes": <size in bytes>}`.
    """
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def write_manifest(folder: Path) -> dict:
    """Write `manifest.json`, which lists every other file of `folder`.

    Args:
        folder: A checkpoint folder without sub-folders; an older manifest is replaced.

    Returns:
        `{"files": {name: {"sha256": ..., "bytes": ...}}}`, names sorted.
    """
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != MANIFEST)
    manifest = {"files": {name: describe_file(folder / name) for name in names}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return manifest


def write_checkpoint(
    folder: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    card: str,
    dtype: torch.dtype = torch.float16,
) -> dict:
    """Write model, tokenizer, model card and manifest; the model itself is left unchanged.

    Args:
        folder: Where to write; created if missing, files of the same name are replaced.
        model: Any `transformers` model; its `generation_config` is written where it has one.
        tokenizer: A fast tokenizer, written as `tokenizer.json` and `tokenizer_config.json`.
        card: Text of the model card, written to `README.md`.
        dtype: Floating-point type of the stored weights. `config.json` keeps the type the model has in memory, so
            `from_pretrained` computes in that type: half precision halves the file, not the arithmetic.

    Returns:
        The manifest, as `write_manifest` returns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    converted: dict[int, torch.Tensor] = {}
    for value in model.state_dict().values():  # tied weights share memory, so they are converted and stored once
        kept = value.to("cpu", dtype if value.is_floating_point() else value.dtype)
        converted.setdefault(value.data_ptr(), kept)
    weights = {name: converted[value.data_ptr()] for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=weights)
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves it readable by its owner alone
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return write_manifest(folder)


def write_weights(
    folder: Path, model: torch.nn.Module, config: dict, card: str, dtype: torch.dtype = torch.float16, **extra: str
) -> dict:
    """Write a model of our own: configuration, weights, model card, further text files, manifest.

    Args:
        folder: Where to write; created if missing, files of the same name are replaced.
        model: Its state dict is written; the model itself is left unchanged.
        config: What is needed to build the model again, as JSON.
        card: Text of the model card, written to `README.md`.
        dtype: Floating-point type of the stored weights.
        **extra: Further files, the dot of a name written as two underscores: `tokenizer__json="…"`.

    Returns:
        The manifest, as `write_manifest` returns it.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)  # safetensors leaves it readable by its owner alone
    texts = {name.replace("__", "."): text for name, text in extra.items()}
    texts |= {"config.json": json.dumps(config, indent=2) + "\n", "README.md": card}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return write_manifest(folder)


def fill_card(folder: Path, template: Path, **parts: str) -> None:
    """Write the model card from its template and bring the manifest up to date.

    Args:
        folder: A checkpoint folder.
        template: Markdown with a `{{name}}` for each of `parts`.
        **parts: What to put there.

    Raises:
        ValueError: The template lacks a place for one of `parts`.
    """
    card = template.read_text(encoding="utf-8")
    for name, text in parts.items():
        place = "{{" + name + "}}"
        if place not in card:
            raise ValueError(f"{template.name} must contain {place}, but does not; add it where the {name} belong")
        card = card.replace(place, text)
    (folder / "README.md").write_text(card, encoding="utf-8")
    write_manifest(folder)
