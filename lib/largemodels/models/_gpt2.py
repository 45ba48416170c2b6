"""What `GptDecoder` rests on: GPT-2's files in our terms, and checks of what comes in."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

OUTSIDE = {"wte.weight": "wte", "wpe.weight": "wpe", "ln_f.weight": "gamma", "ln_f.bias": "beta"}
INSIDE = {  # of block i, "h.i." in front
    "ln_1.weight": "gamma_1", "ln_1.bias": "beta_1", "ln_2.weight": "gamma_2", "ln_2.bias": "beta_2",
    "attn.c_attn.weight": "w_qkv", "attn.c_attn.bias": "b_qkv", "attn.c_proj.weight": "w_o", "attn.c_proj.bias": "b_o",
    "mlp.c_fc.weight": "w_1", "mlp.c_fc.bias": "b_1", "mlp.c_proj.weight": "w_2", "mlp.c_proj.bias": "b_2",
}  # fmt: skip
NO_WEIGHTS = (".attn.bias", ".attn.masked_bias")  # old files carry the causal mask along
ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")  # two names of one function
FIXED = {
    "model_type": "gpt2", "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False, "tie_word_embeddings": True,
}  # fmt: skip


def check_sizes(config: Any) -> None:
    """Refuse a `GptConfig` that no model can have."""
    least = ("vocab_size", "context_length", "n_embd", "n_head", "n_layer", "n_hidden")
    if min(getattr(config, name) for name in least) < 1:
        raise ValueError(f"every size must be at least 1, got {config}; GPT-2's n_hidden is 4 n_embd")
    if config.n_embd % config.n_head:
        raise ValueError(f"n_embd must be a multiple of n_head = {config.n_head}, got {config.n_embd}; widen it")


def sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `GptConfig`, or refuse a setting that would change the computation."""
    for name, only in FIXED.items():
        if config.get(name, only) != only:
            raise ValueError(f"{name} must be {only!r}, got {config[name]!r}; this is another architecture than GPT-2")
    if (activation := config.get("activation_function", "gelu_new")) not in ACTIVATIONS:
        raise ValueError(f"activation_function must be {' or '.join(ACTIVATIONS)}, got {activation!r}; use Gpt instead")
    if missing := [name for name in ("vocab_size", "n_positions", "n_embd", "n_head", "n_layer") if name not in config]:
        raise ValueError(f"config must hold the sizes of a GPT-2, lacks {missing[0]}; give its config.json")
    return {
        **{name: config[name] for name in ("vocab_size", "n_embd", "n_head", "n_layer")},
        "context_length": config["n_positions"],
        "n_hidden": config.get("n_inner") or 4 * config["n_embd"],
        "eps": config.get("layer_norm_epsilon", 1e-5),
    }


def ours(tensors: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Rename every tensor and turn the matrices round; a tensor that is missing, left over or misshapen is an error."""
    rest = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    rest = {name: value for name, value in rest.items() if not name.endswith(NO_WEIGHTS)}
    names = {f"h.{i}.{theirs}": f"blocks.{i}.{own}" for i in blocks(shapes) for theirs, own in INSIDE.items()} | OUTSIDE
    if missing := sorted(names.keys() - rest.keys()):
        raise ValueError(f"every tensor of the model must be there, lacks {missing[0]}; it is a part or another model")
    head = rest.pop("lm_head.weight", rest["wte.weight"])
    if not torch.equal(head, rest["wte.weight"]):
        raise ValueError("lm_head.weight must equal wte.weight (tied), got other numbers; use Gpt instead")
    if extra := sorted(rest.keys() - names.keys()):
        raise ValueError(f"every tensor must have its place, {extra[0]} has none; it is another architecture")
    found = {}
    for theirs, own in names.items():
        value, wanted = rest[theirs].detach(), tuple(shapes[own])
        turned = ".w_" in own  # Conv1D stores (n_in, n_out), we (n_out, n_in)
        if tuple(value.shape) != (wanted[::-1] if turned else wanted):
            raise ValueError(
                f"{theirs} must have the shape of the configuration, {wanted[::-1] if turned else wanted}, "
                f"got {tuple(value.shape)}; configuration and weights belong to different models"
            )
        found[own] = (value.T if turned else value).clone(memory_format=torch.contiguous_format)
    return found


def blocks(shapes: Mapping[str, Any]) -> range:
    """Return the numbers of the blocks."""
    return range(sum(name.endswith(".w_qkv") for name in shapes))


def check(ids: Tensor, cache: Sequence[Any] | None, mask: Tensor | None, config: Any, P: int) -> None:
    """Refuse ids, cache and mask that do not fit each other, the vocabulary or the context; `P` tokens are cached."""
    if ids.ndim != 2 or not ids.numel():
        raise ValueError(f"ids must be (B, T), not empty, got shape {tuple(ids.shape)}; one row for each text")
    (B, T), (low, high) = ids.shape, (int(end) for end in ids.aminmax())
    if low < 0 or high >= config.vocab_size:
        most = config.vocab_size - 1
        raise ValueError(f"ids must lie between 0 and {most}, got {low} to {high}; use this model's own tokenizer")
    if cache and (len(cache) != config.n_layer or len(cache[0][0]) != B):
        raise ValueError(
            f"cache must have {config.n_layer} layers and B = {B} rows, got {len(cache)} and {len(cache[0][0])}; "
            "give what this model returned for the same rows"
        )
    if mask is not None and (mask.dtype != torch.bool or mask.shape != (B, P + T)):
        raise ValueError(
            f"mask must be boolean, shape (B, P + T) = {(B, P + T)}, got {mask.dtype} {tuple(mask.shape)}; "
            "it covers the tokens in the cache too"
        )
    longest = P + T if mask is None else int(mask.sum(1).max())
    if longest > config.context_length:
        raise ValueError(
            f"a text must fit into the {config.context_length} positions that were trained, got {longest} tokens; "
            "cut it, or move a window over it"
        )
