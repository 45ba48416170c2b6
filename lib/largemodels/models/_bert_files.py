"""What `BertEncoder` rests on: Hugging Face's names in our terms, and checks of what comes in."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

FIXED = {"is_decoder": False, "add_cross_attention": False, "position_embedding_type": "absolute"}  # else: no BERT
SIZES = {  # name in Hugging Face's config.json: name here
    "vocab_size": "vocab_size", "max_position_embeddings": "context_length", "type_vocab_size": "n_segment",
    "hidden_size": "n_embd", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer",
    "intermediate_size": "n_hidden", "layer_norm_eps": "eps", "hidden_act": "activation",
}  # fmt: skip
OUTSIDE = {  # tensor in Hugging Face's file: parameter here
    "embeddings.word_embeddings.weight": "words", "embeddings.position_embeddings.weight": "positions",
    "embeddings.token_type_embeddings.weight": "kinds",
    "embeddings.LayerNorm.weight": "gamma", "embeddings.LayerNorm.bias": "beta",
}  # fmt: skip
INSIDE = {  # the same for block i, "encoder.layer.i." and "blocks.i." in front
    "attention.self.query.weight": "attention.w_q", "attention.self.query.bias": "attention.b_q",
    "attention.self.key.weight": "attention.w_k", "attention.self.key.bias": "attention.b_k",
    "attention.self.value.weight": "attention.w_v", "attention.self.value.bias": "attention.b_v",
    "attention.output.dense.weight": "attention.w_o", "attention.output.dense.bias": "attention.b_o",
    "attention.output.LayerNorm.weight": "gamma_1", "attention.output.LayerNorm.bias": "beta_1",
    "intermediate.dense.weight": "w_1", "intermediate.dense.bias": "b_1",
    "output.dense.weight": "w_2", "output.dense.bias": "b_2",
    "output.LayerNorm.weight": "gamma_2", "output.LayerNorm.bias": "beta_2",
}  # fmt: skip
POOLER = {"pooler.dense.weight": "w_p", "pooler.dense.bias": "b_p"}
HEADS = ("cls.", "classifier.", "qa_outputs.")  # of pretraining and of tasks: no part of the encoder
NO_WEIGHTS = ("embeddings.position_ids",)  # 0, 1, 2 … in old files
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}  # in the first BERTs' files


def check_sizes(config: Any) -> None:
    """Refuse a `BertEncoderConfig` that no model can have."""
    if min(getattr(config, name) for name in list(SIZES.values())[:7]) < 1:
        raise ValueError(f"every size must be at least 1, got {config}; the defaults are BERT-base's")
    if config.n_embd % config.n_head:
        raise ValueError(f"n_embd must be a multiple of n_head = {config.n_head}, got {config.n_embd}; widen it")


def sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `BertEncoderConfig`, or refuse a setting that would change the computation."""
    found = {"model_type": None, **FIXED, **config}
    for name, only in {"model_type": "bert", **FIXED}.items():
        if found[name] != only:
            raise ValueError(f"{name} must be {only!r}, got {found[name]!r}; this is another architecture than BERT")
    return {own: config[theirs] for theirs, own in SIZES.items() if theirs in config}


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the encoder's own tensors under the names of a bare `BertModel`."""
    found = {}
    for name, value in tensors.items():
        short = name.removeprefix("bert.")
        for old, new in OLD_NAMES.items():
            short = short.replace(old, new)
        if not name.startswith(HEADS) and short not in NO_WEIGHTS:
            found[short] = value
    return found


def ours(found: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Rename every tensor; one that is missing, left over or misshapen is an error."""
    blocks = sum(name.endswith(".gamma_1") for name in shapes)
    names = OUTSIDE | {
        f"encoder.layer.{i}.{theirs}": f"blocks.{i}.{own}" for i in range(blocks) for theirs, own in INSIDE.items()
    }
    names |= {theirs: own for theirs, own in POOLER.items() if own in shapes}
    if missing := sorted(names.keys() - found.keys()):
        raise ValueError(f"every tensor of the model must be there, lacks {missing[0]}; it is a part or another model")
    if extra := sorted(found.keys() - names.keys()):
        raise ValueError(f"every tensor must have its place, {extra[0]} has none; it is another architecture")
    for theirs, own in names.items():
        if found[theirs].shape != shapes[own]:
            raise ValueError(
                f"{theirs} must have the shape of the configuration, {tuple(shapes[own])}, got "
                f"{tuple(found[theirs].shape)}; configuration and weights belong to different models"
            )
    return {own: found[theirs].detach().clone() for theirs, own in names.items()}


def check(ids: Tensor, segments: Tensor | None, mask: Tensor | None, config: Any, device: torch.device) -> None:
    """Refuse what does not fit the vocabulary, the context, the weights' device, or each other."""
    if not isinstance(ids, Tensor):
        raise TypeError(f"ids must be a tensor, got {type(ids).__name__}; unpack a tokenizer's output")
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(f"ids must be (B, T), not empty, got shape {tuple(ids.shape)}; one row for each text")
    for name, value in (("ids", ids), ("segments", segments), ("mask", mask)):
        if value is None:
            continue
        if value.device != device:
            raise ValueError(f"{name} must be where the weights are, on {device}, got {value.device}; use .to(device)")
        if value.shape != ids.shape:
            raise ValueError(f"{name} must have the shape of ids, {tuple(ids.shape)}, got {tuple(value.shape)}")
    if mask is not None and mask.dtype != torch.bool:
        raise TypeError(f"mask must be boolean, True on real tokens, got {mask.dtype}; use mask.bool()")
    if ids.shape[1] > config.context_length:
        raise ValueError(
            f"a text must fit into the {config.context_length} positions that were trained, got {ids.shape[1]} "
            "tokens; shorten or split it"
        )
    for name, value, size in (("ids", ids, config.vocab_size), ("segments", segments, config.n_segment)):
        low, high = (0, 0) if value is None else (int(end) for end in value.aminmax())
        if low < 0 or high >= size:
            raise ValueError(f"{name} must lie between 0 and {size - 1}, got {low} to {high}; use its own tokenizer")
