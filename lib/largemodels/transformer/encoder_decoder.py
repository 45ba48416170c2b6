r"""The whole original Transformer: an encoder that reads, a decoder that writes.

Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, figure 1 and section 3.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from largemodels.foundations.layer import xavier_uniform
from largemodels.transformer.attention import causal_mask
from largemodels.transformer.feed_forward import feed_forward
from largemodels.transformer.layer_norm import layer_norm
from largemodels.transformer.multi_head_attention import MultiHeadAttention
from largemodels.transformer.positional_encoding import add_positions, positional_encoding
from largemodels.transformer.residual import residual


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """The sizes of a model; by default those of the paper's base model.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3 and table 3, row "base".

    Attributes:
        source_vocab_size: number of source tokens.
        target_vocab_size: number of target tokens.
        n_embd: width `C` of every token's vector, a multiple of `n_head`.
        n_head: attention heads `H` of each block.
        n_layer: blocks in the encoder, and again in the decoder.
        n_hidden: width inside the feed-forward layer.
        dropout: fraction of numbers set to 0 in training, 0 to below 1.
        norm_first: normalise before each sub-layer (pre-norm) instead of after it, as the paper does.

    Raises:
        ValueError: if a size is below 1, `n_embd` is no multiple of `n_head`, or `dropout` is not in [0, 1).

    Examples:
        >>> EncoderDecoderConfig(source_vocab_size=4000, target_vocab_size=2200, n_embd=192, n_head=6).n_layer
        6
    """

    source_vocab_size: int
    target_vocab_size: int
    n_embd: int = 512
    n_head: int = 8
    n_layer: int = 6
    n_hidden: int = 2048
    dropout: float = 0.1
    norm_first: bool = False

    def __post_init__(self) -> None:
        sizes = (self.source_vocab_size, self.target_vocab_size, self.n_embd, self.n_head, self.n_layer, self.n_hidden)
        if min(sizes) < 1:
            raise ValueError(f"every size must be at least 1, got {self}; the paper's sizes are the defaults")
        if self.n_embd % self.n_head or self.n_embd % 2:
            raise ValueError(f"n_embd must be even, a multiple of n_head = {self.n_head}, got {self.n_embd}; widen it")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be a fraction from 0 to below 1, got {self.dropout}; the paper uses 0.1")


class _Norm(nn.Module):
    """Layer normalisation with its parameters."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Parameter(torch.ones(C)), nn.Parameter(torch.zeros(C))

    def forward(self, x: Tensor) -> Tensor:
        return layer_norm(x, self.gamma, self.beta)


class _FeedForward(nn.Module):
    """The feed-forward layer with its parameters."""

    def __init__(self, C: int, hidden: int) -> None:
        super().__init__()
        self.w_1, self.b_1 = nn.Parameter(xavier_uniform(C, hidden)), nn.Parameter(torch.zeros(hidden))
        self.w_2, self.b_2 = nn.Parameter(xavier_uniform(hidden, C)), nn.Parameter(torch.zeros(C))

    def forward(self, x: Tensor) -> Tensor:
        return feed_forward(x, self.w_1, self.b_1, self.w_2, self.b_2)


class AddNorm(nn.Module):
    """Residual connection and layer normalisation: “Add & Norm” in the paper's figure.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1 (norm after the sum), section 5.4
    (dropout before the sum); norm first: Xiong et al., 2020, https://arxiv.org/abs/2002.04745.

    Args:
        config: sizes of the model.

    Examples:
        >>> config = EncoderDecoderConfig(7, 9, n_embd=4, n_head=2, dropout=0.0)
        >>> AddNorm(config)(torch.tensor([[1.0, 2.0, 3.0, 6.0]]), torch.zeros_like)
        tensor([[-1.0690, -0.5345,  0.0000,  1.6036]], grad_fn=<AddBackward0>)
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.norm, self.dropout, self.norm_first = _Norm(config.n_embd), config.dropout, config.norm_first

    def forward(self, x: Tensor, sublayer: Callable[[Tensor], Tensor]) -> Tensor:
        """Return `norm(x + sublayer(x))`, or `x + sublayer(norm(x))` with the norm first.

        Args:
            x: one vector per token, shape `(B, T, C)`.
            sublayer: attention or the feed-forward layer, `(B, T, C)` to `(B, T, C)`.

        Returns:
            Vectors, shape `(B, T, C)`.
        """
        if self.norm_first:
            return residual(x, lambda h: dropout(sublayer(self.norm(h)), self.dropout, self.training))
        return self.norm(residual(x, lambda h: dropout(sublayer(h), self.dropout, self.training)))


def _watched(result: tuple[Tensor, Tensor], seen: list[Tensor]) -> Tensor:
    """Keep the weights of an attention, pass its output on."""
    seen.append(result[1])
    return result[0]


class EncoderBlock(nn.Module):
    """One block of the encoder: self-attention, then the feed-forward layer.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1, figure 1 left.

    Args:
        config: sizes of the model.

    Examples:
        >>> block = EncoderBlock(EncoderDecoderConfig(7, 9, n_embd=4, n_head=2, n_hidden=16))
        >>> x, weights = block(torch.randn(3, 5, 4))
        >>> x.shape, weights.shape
        (torch.Size([3, 5, 4]), torch.Size([3, 2, 5, 5]))
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.attention, self.add_norm_1 = MultiHeadAttention(config.n_embd, config.n_head), AddNorm(config)
        self.feed_forward, self.add_norm_2 = _FeedForward(config.n_embd, config.n_hidden), AddNorm(config)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Let every source token look at all of them.

        Args:
            x: source vectors, shape `(B, Ts, C)`.
            mask: True where looking is allowed, broadcastable to `(B, H, Ts, Ts)`.

        Returns:
            Two tensors: the vectors, shape `(B, Ts, C)`, and the weights, shape `(B, H, Ts, Ts)`.
        """
        seen: list[Tensor] = []
        x = self.add_norm_1(x, lambda h: _watched(self.attention(h, h, mask), seen))
        return self.add_norm_2(x, self.feed_forward), seen[0]


class DecoderBlock(nn.Module):
    """One block of the decoder: causal self-attention, cross-attention, feed-forward layer.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.1, figure 1 right.

    Args:
        config: sizes of the model.

    Examples:
        >>> block = DecoderBlock(EncoderDecoderConfig(7, 9, n_embd=4, n_head=2, n_hidden=16))
        >>> x, itself, cross = block(torch.randn(3, 6, 4), torch.randn(3, 5, 4))
        >>> x.shape, itself.shape, cross.shape
        (torch.Size([3, 6, 4]), torch.Size([3, 2, 6, 6]), torch.Size([3, 2, 6, 5]))
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.attention, self.add_norm_1 = MultiHeadAttention(config.n_embd, config.n_head), AddNorm(config)
        self.cross_attention, self.add_norm_2 = MultiHeadAttention(config.n_embd, config.n_head), AddNorm(config)
        self.feed_forward, self.add_norm_3 = _FeedForward(config.n_embd, config.n_hidden), AddNorm(config)

    def forward(self, x: Tensor, memory: Tensor, source_mask: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Let every target token look at those before it, then at the whole source.

        Args:
            x: target vectors, shape `(B, Tt, C)`.
            memory: the encoder's output, shape `(B, Ts, C)`.
            source_mask: True where the source may be looked at, broadcastable to `(B, H, Tt, Ts)`.

        Returns:
            Three tensors: the vectors, shape `(B, Tt, C)`, and the weights of self- and cross-attention, shapes
            `(B, H, Tt, Tt)` and `(B, H, Tt, Ts)`.
        """
        seen: list[Tensor] = []
        causal = causal_mask(x.shape[1]).to(x.device)  # (Tt, Tt)
        x = self.add_norm_1(x, lambda h: _watched(self.attention(h, h, causal), seen))
        x = self.add_norm_2(x, lambda h: _watched(self.cross_attention(h, memory, source_mask), seen))
        return self.add_norm_3(x, self.feed_forward), seen[0], seen[1]


class EncoderDecoder(nn.Module):
    r"""The Transformer: one vector per source token, one row of logits per target token.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, figure 1.

    Differs from the paper: the two languages have vocabularies of their own, so only the target embedding is shared
    with the output projection (section 3.4 shares all three); with `norm_first` one more norm closes each stack.

    Args:
        config: sizes of the model.

    Examples:
        >>> model = EncoderDecoder(EncoderDecoderConfig(7, 9, n_embd=4, n_head=2, n_layer=3, n_hidden=16))
        >>> source, target = torch.tensor([[1, 4, 2, 6, 3]]), torch.tensor([[1, 8]])
        >>> model.encode(source).shape, model(source, target).shape
        (torch.Size([1, 5, 4]), torch.Size([1, 2, 9]))
    """

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config, C = config, config.n_embd
        self.source_embedding = nn.Parameter(torch.randn(config.source_vocab_size, C) / C**0.5)
        self.target_embedding = nn.Parameter(torch.randn(config.target_vocab_size, C) / C**0.5)
        self.encoder = nn.ModuleList(EncoderBlock(config) for _ in range(config.n_layer))
        self.decoder = nn.ModuleList(DecoderBlock(config) for _ in range(config.n_layer))
        self.encoder_norm = _Norm(C) if config.norm_first else nn.Identity()
        self.decoder_norm = _Norm(C) if config.norm_first else nn.Identity()

    def embed(self, ids: Tensor, table: Tensor) -> Tensor:
        r"""Look up the tokens' vectors, multiply them by $\sqrt{C}$, add the positions.

        Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, sections 3.4 and 3.5.

        Args:
            ids: token ids, shape `(B, T)`.
            table: one row for each token of the vocabulary, shape `(V, C)`.

        Returns:
            One vector per token, shape `(B, T, C)`.

        Raises:
            ValueError: if an id has no row in the table.
        """
        V, C = table.shape
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= V:
            raise ValueError(f"ids must lie between 0 and {V - 1}, got {low} to {high}; use this model's own tokenizer")
        x = table[ids] * C**0.5  # (B, T, C)
        x = add_positions(x, positional_encoding(ids.shape[-1], C, dtype=x.dtype))
        return dropout(x, self.config.dropout, self.training)

    def encode(self, source_ids: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Read the source: one vector for each of its tokens, however many there are.

        Args:
            source_ids: token ids, shape `(B, Ts)`.
            source_mask: as `padding_mask` gives it, True on real tokens, shape `(B, 1, Ts)`.

        Returns:
            The memory, shape `(B, Ts, C)`.
        """
        mask = None if source_mask is None else source_mask[:, None]  # (B, 1, 1, Ts)
        x = self.embed(source_ids, self.source_embedding)
        for block in self.encoder:
            x, _ = block(x, mask)
        return self.encoder_norm(x)

    def decode(self, target_ids: Tensor, memory: Tensor, source_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Score every possible next token after every beginning of the target, all in one pass.

        Args:
            target_ids: token ids, the start token first, shape `(B, Tt)`.
            memory: from `encode`, shape `(B, Ts, C)`.
            source_mask: the one given to `encode`, shape `(B, 1, Ts)`.

        Returns:
            Two tensors: logits, shape `(B, Tt, V)`, in row `t` those of the token after the first `t + 1`; and the
            cross-attention weights of every block, shape `(n_layer, B, H, Tt, Ts)`.
        """
        mask = None if source_mask is None else source_mask[:, None]  # (B, 1, 1, Ts)
        x, maps = self.embed(target_ids, self.target_embedding), []
        for block in self.decoder:
            x, _, weights = block(x, memory, mask)
            maps.append(weights)
        return self.decoder_norm(x) @ self.target_embedding.mT, torch.stack(maps)  # (B, Tt, V)

    def forward(self, source_ids: Tensor, target_ids: Tensor, source_mask: Tensor | None = None) -> Tensor:
        """Read the source, then score the target at every place.

        Args:
            source_ids: token ids, shape `(B, Ts)`.
            target_ids: token ids, the start token first, shape `(B, Tt)`.
            source_mask: as for `encode`, shape `(B, 1, Ts)`.

        Returns:
            Logits, shape `(B, Tt, V)`.
        """
        return self.decode(target_ids, self.encode(source_ids, source_mask), source_mask)[0]
