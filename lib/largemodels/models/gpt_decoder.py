r"""A GPT made of its parts, with GPT-2's weights and a cache of keys and values.

Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019,
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf, section 2.3.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from largemodels._checkpoints import ModelError, read_checkpoint
from largemodels.foundations.activations import gelu_tanh
from largemodels.foundations.layer import affine
from largemodels.foundations.losses import cross_entropy, log_sum_exp
from largemodels.models import _gpt2
from largemodels.transformer.attention import causal_mask, scaled_dot_product_attention
from largemodels.transformer.feed_forward import feed_forward
from largemodels.transformer.layer_norm import layer_norm
from largemodels.transformer.multi_head_attention import merge_heads, split_heads

Pair = tuple[Tensor, Tensor]  # keys and values, each (B, H, T, D)
Cache = tuple[Pair, ...]  # one pair for each block


@dataclass(frozen=True)
class GptConfig:
    """The sizes of a GPT.

    Attributes:
        vocab_size: number of tokens, `V`.
        context_length: number of positions it has learned.
        n_embd: width `C` of a token's vector, a multiple of `n_head`.
        n_head: attention heads `H` of each block.
        n_layer: number of blocks.
        n_hidden: width inside the feed-forward layer.
        eps: added to the variance by layer normalisation.

    Raises:
        ValueError: if a size is below 1 or `n_embd` is no multiple of `n_head`.

    Examples:
        >>> GptConfig(vocab_size=17, context_length=11, n_embd=6, n_head=3, n_layer=2, n_hidden=10).n_embd
        6
    """

    vocab_size: int
    context_length: int
    n_embd: int
    n_head: int
    n_layer: int
    n_hidden: int
    eps: float = 1e-5

    def __post_init__(self) -> None:
        _gpt2.check_sizes(self)


class GptBlock(nn.Module):
    """One block: look left, then think alone; norm first, and each result is added.

    Source: Radford et al., 2019, section 2.3 (norm first); Vaswani et al., 2017, https://arxiv.org/abs/1706.03762.

    Args:
        config: sizes of the model.

    Examples:
        >>> block = GptBlock(GptConfig(17, 11, n_embd=6, n_head=3, n_layer=2, n_hidden=10))
        >>> x, (k, v) = block(torch.zeros(4, 5, 6))
        >>> x.shape, k.shape
        (torch.Size([4, 5, 6]), torch.Size([4, 3, 5, 2]))
    """

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config, C, hidden = config, config.n_embd, config.n_hidden
        deep = 0.02 / (2 * config.n_layer) ** 0.5  # GPT-2 draws what is added to the state smaller in deep stacks
        self.gamma_1, self.beta_1 = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))
        self.w_qkv, self.b_qkv = nn.Parameter(0.02 * torch.randn(3 * C, C)), nn.Parameter(torch.zeros(3 * C))
        self.w_o, self.b_o = nn.Parameter(deep * torch.randn(C, C)), nn.Parameter(torch.zeros(C))
        self.gamma_2, self.beta_2 = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))
        self.w_1, self.b_1 = nn.Parameter(0.02 * torch.randn(hidden, C)), nn.Parameter(torch.zeros(hidden))
        self.w_2, self.b_2 = nn.Parameter(deep * torch.randn(C, hidden)), nn.Parameter(torch.zeros(C))

    def forward(self, x: Tensor, past: Pair | None = None, mask: Tensor | None = None) -> tuple[Tensor, Pair]:
        """Send `T` new tokens through; the `P` earlier ones are only looked at.

        Args:
            x: vectors of the new tokens, shape `(B, T, C)`.
            past: keys and values of the earlier tokens, each of shape `(B, H, P, D)`; None if there are none.
            mask: True where looking is allowed, broadcastable to `(B, H, T, P + T)`; None allows everything.

        Returns:
            The vectors, shape `(B, T, C)`, and keys and values of all tokens, each of shape `(B, H, P + T, D)`.
        """
        eps, H = self.config.eps, self.config.n_head
        h = layer_norm(x, self.gamma_1, self.beta_1, eps=eps)  # (B, T, C)
        qkv = affine(h, self.w_qkv, self.b_qkv)  # (B, T, 3 C)
        q, k, v = (split_heads(part, H) for part in qkv.chunk(3, dim=-1))  # each (B, H, T, D)
        if past is not None:
            k, v = torch.cat((past[0], k), dim=-2), torch.cat((past[1], v), dim=-2)  # (B, H, P + T, D)
        heads, _ = scaled_dot_product_attention(q, k, v, mask)  # (B, H, T, D)
        x = x + affine(merge_heads(heads), self.w_o, self.b_o)  # (B, T, C)
        h = layer_norm(x, self.gamma_2, self.beta_2, eps=eps)
        return x + feed_forward(h, self.w_1, self.b_1, self.w_2, self.b_2, gelu_tanh), (k, v)


class GptDecoder(nn.Module):
    """A whole GPT: token ids in, a row of logits for each out, and the cache to go on.

    Source: Radford et al., 2019, section 2.3. Differs from the paper: no dropout.

    Args:
        config: sizes of the model.

    Examples:
        >>> model = GptDecoder(GptConfig(17, 11, n_embd=6, n_head=3, n_layer=2, n_hidden=10))
        >>> logits, cache = model(torch.tensor([[3, 1, 4, 1]]))
        >>> next_logits, cache = model(torch.tensor([[5]]), cache)
        >>> logits.shape, next_logits.shape, cache[0][0].shape
        (torch.Size([1, 4, 17]), torch.Size([1, 1, 17]), torch.Size([1, 3, 5, 2]))
    """

    def __init__(self, config: GptConfig) -> None:
        super().__init__()
        self.config, C = config, config.n_embd
        self.wte = nn.Parameter(0.02 * torch.randn(config.vocab_size, C))  # also reads the logits off at the end
        self.wpe = nn.Parameter(0.02 * torch.randn(config.context_length, C))
        self.blocks = nn.ModuleList(GptBlock(config) for _ in range(config.n_layer))
        self.gamma, self.beta = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))

    @classmethod
    def from_gpt2(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "GptDecoder":
        """Make the model of a GPT-2's configuration and weights, each in its type.

        Args:
            config: content of GPT-2's `config.json`.
            tensors: its weights of any shape `(...)` by Transformers' names, with or without `transformer.` in front.

        Returns:
            The model; nothing is shared with `tensors`.

        Raises:
            ValueError: naming a tensor that is missing, left over or of another shape, or a setting unknown here.
        """
        with torch.device("meta"):  # shapes only: nothing is drawn that is replaced at once
            model = cls(GptConfig(**_gpt2.sizes(config)))
        model.load_state_dict(_gpt2.ours(tensors, {name: p.shape for name, p in model.named_parameters()}), assign=True)
        return model.eval()

    @classmethod
    def from_checkpoint(cls, source: str | Path = "poem-gpt-zh") -> "GptDecoder":
        """Load a shipped GPT, or a GPT-2 from a folder (`config.json`, `model.safetensors`).

        Args:
            source: "poem-gpt-zh", "shakespeare-gpt-en" or a folder.

        Returns:
            The model, in float32.

        Raises:
            ModelError: an OSError that names what is missing, damaged or not GPT-2's.
        """
        config, tensors = read_checkpoint(source)
        try:
            return cls.from_gpt2(config, tensors)
        except ValueError as error:
            raise ModelError(source, "", str(error)) from error

    def forward(self, ids: Tensor, cache: Cache | None = None, mask: Tensor | None = None) -> tuple[Tensor, Cache]:
        """Score every next token after each of `T` new ones, `P` more being in the cache.

        Args:
            ids: the new tokens, integers, shape `(B, T)`.
            cache: what the call before returned; None at the beginning. It is not changed.
            mask: False on fillers, shape `(B, P + T)`, which take up no position; None if all tokens are real.

        Returns:
            Logits, shape `(B, T, V)`, and the cache of all `P + T` tokens.

        Raises:
            ValueError: if ids, cache and mask do not fit each other, the vocabulary or the context.
        """
        P = cache[0][0].shape[-2] if cache else 0
        _gpt2.check(ids, cache, mask, self.config, P)
        positions, allowed = self._places(ids, mask, P)
        x = self.wte[ids] + self.wpe[positions]  # (B, T, C)
        kept = []
        for block, past in zip(self.blocks, cache or [None] * len(self.blocks), strict=True):
            x, pair = block(x, past, allowed)
            kept.append(pair)
        x = layer_norm(x, self.gamma, self.beta, eps=self.config.eps)
        return x @ self.wte.mT, tuple(kept)  # (B, T, V)

    def _places(self, ids: Tensor, mask: Tensor | None, P: int) -> tuple[Tensor, Tensor | None]:
        """Return the new tokens' positions and what they may look at: what came before, no filler, themselves."""
        T = ids.shape[1]
        if mask is None:
            allowed = None if T == 1 else causal_mask(P + T)[P:].to(ids.device)  # (T, P + T); the last sees all
            return torch.arange(P, P + T, device=ids.device), allowed
        positions = (mask.cumsum(1) - 1).clamp(min=0)[:, P:]  # (B, T)
        causal, itself = causal_mask(P + T)[P:].to(ids.device), torch.eye(P + T, dtype=torch.bool)[P:].to(ids.device)
        return positions, (causal & mask[:, None, None, :]) | itself  # (B, 1, T, P + T)


@torch.inference_mode()
def greedy_continuation(
    model: GptDecoder, ids: Tensor, max_new_tokens: int, *, mask: Tensor | None = None, use_cache: bool = True
) -> Tensor:
    """Append the most probable token again and again, to all rows of a batch at once.

    Args:
        model: the model.
        ids: the prompts, shape `(B, T)`; in a batch of different lengths the fillers stand in front.
        max_new_tokens: how many tokens to append.
        mask: False on the fillers, shape `(B, T)`; None if there are none.
        use_cache: pass only the new token through the model; otherwise all of them at every step.

    Returns:
        Ids, shape `(B, T + max_new_tokens)`; the same with and without the cache.

    Raises:
        ValueError: if the text outgrows the context, or a row ends with a filler.

    Examples:
        >>> model = GptDecoder.from_checkpoint("shakespeare-gpt-en")
        >>> greedy_continuation(model, torch.tensor([[31, 12]]), 3).shape
        torch.Size([1, 5])
    """
    if mask is not None and not mask[:, -1].all():
        raise ValueError("every row must end with a real token, got a filler there; put the fillers in front")
    step, cache = ids, None
    for _ in range(max_new_tokens):
        logits, cache = model(step, cache if use_cache else None, mask)
        chosen = logits[:, -1].argmax(-1, keepdim=True)  # (B, 1)
        ids = torch.cat((ids, chosen), dim=1)
        step = chosen if use_cache else ids
        mask = None if mask is None else torch.cat((mask, mask[:, -1:]), dim=1)  # a new token is real
    return ids


def next_token_loss(logits: Tensor, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Return GPT's pretraining loss: row $t$ of the logits must foretell token $t + 1$.

    Source: Radford et al., "Improving Language Understanding by Generative Pre-Training", 2018, equation (1), sign
    changed, divided by the number of tokens.

    Args:
        logits: from the model, shape `(B, T, V)`.
        ids: what it was given, shape `(B, T)`, `T` at least 2.
        mask: False on fillers, shape `(B, T)`; a pair with a filler does not count.

    Returns:
        Nats per token, shape `()`.

    Raises:
        ValueError: if the shapes do not fit or no pair of tokens is left.

    Examples:
        >>> next_token_loss(torch.zeros(2, 3, 5), torch.tensor([[4, 0, 2], [1, 1, 3]]))
        tensor(1.6094)
    """
    real = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask
    pairs = real[:, :-1] & real[:, 1:]  # (B, T - 1)
    return cross_entropy(logits[:, :-1][pairs], ids[:, 1:][pairs])


@torch.inference_mode()
def token_nats(model: GptDecoder, ids: Tensor, step: int) -> Tensor:
    r"""Measure how much each token of a long text surprises the model, window by window.

    Args:
        model: the model.
        ids: one text, shape `(T,)`.
        step: how far the window moves; from 1 (most context for each token, most work) to `context_length - 1`.

    Returns:
        Nats of every token but the first, shape `(T - 1,)`; perplexity is e to their mean.

    Raises:
        ValueError: if there are fewer than two tokens or `step` is out of range.

    Examples:
        >>> model = GptDecoder(GptConfig(17, 11, n_embd=6, n_head=3, n_layer=2, n_hidden=10))
        >>> token_nats(model, torch.arange(40) % 17, step=5).shape
        torch.Size([39])
    """
    L, T = model.config.context_length, len(ids)
    if T < 2 or not 1 <= step < L:
        raise ValueError(f"T must be at least 2 and step from 1 to {L - 1}, got {T} and {step}; change them")
    nats = ids.new_empty(0, dtype=model.wte.dtype)
    for start in range(0, max(T - L, 0) + step, step):
        window = ids[start : start + L]  # at positions 0, 1, 2, … again, so that no cache can be carried over
        logits = model(window[None])[0][0, :-1]  # (T - 1, V)
        surprise = log_sum_exp(logits) - logits.gather(1, window[1:, None]).squeeze(1)
        nats = torch.cat((nats, surprise[len(nats) - start :]))  # those that no earlier window has measured
    return nats
