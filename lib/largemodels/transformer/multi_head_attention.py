r"""Multi-head attention: several small attentions side by side, each its own way.

It also decides where queries, keys and values come from: one sequence (self-attention) or two (cross-attention).

Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, sections 3.2.2 and 3.2.3.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from largemodels.foundations.layer import affine, xavier_uniform
from largemodels.transformer.attention import scaled_dot_product_attention


class Projections(NamedTuple):
    r"""Four matrices and four biases: the parameters of all heads together.

    As in PyTorch a matrix has one row for each number that it gives out, so rows $hD$ to $(h+1)D$ of `w_q` are the
    transposed $W_h^Q$ of the paper, and the same columns of `w_o` its transposed $W_h^O$.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.2.
    Differs from the paper: the projections have biases, as in PyTorch.

    Attributes:
        w_q: makes queries, shape `(C, C)`.
        b_q: its bias, shape `(C,)`.
        w_k: makes keys, shape `(C, C)`.
        b_k: its bias, shape `(C,)`.
        w_v: makes values, shape `(C, C)`.
        b_v: its bias, shape `(C,)`.
        w_o: joins the heads, shape `(C, C)`.
        b_o: its bias, shape `(C,)`.

    Examples:
        >>> params = Projections(*[torch.eye(6), torch.zeros(6)] * 4)
        >>> sum(p.numel() for p in params)
        168
    """

    w_q: Tensor
    b_q: Tensor
    w_k: Tensor
    b_k: Tensor
    w_v: Tensor
    b_v: Tensor
    w_o: Tensor
    b_o: Tensor


def split_heads(x: Tensor, H: int) -> Tensor:
    """Cut the width of every token into heads, and put the heads where a batch axis would be.

    The first `D = C / H` numbers of a token go to the first head, the next `D` to the second, and so on.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.2: $d_k = d_v = d_{model}/h$.

    Args:
        x: one vector for each token, shape `(..., T, C)`.
        H: number of heads, at least 1; it must divide `C`.

    Returns:
        The same numbers, shape `(..., H, T, D)`.

    Raises:
        ValueError: if `H` is below 1 or does not divide `C`.

    Examples:
        >>> split_heads(torch.tensor([[1, 2, 3, 4, 5, 6]]), H=2)
        tensor([[[1, 2, 3]],
        <BLANKLINE>
                [[4, 5, 6]]])
    """
    C = x.shape[-1]
    _check_heads(C, H)
    return x.unflatten(-1, (H, C // H)).transpose(-3, -2)  # (..., T, C) → (..., T, H, D) → (..., H, T, D)


def merge_heads(x: Tensor) -> Tensor:
    """Lay the heads of every token end to end; this undoes `split_heads`.

    It is the paper's Concat.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.2.

    Args:
        x: the heads, shape `(..., H, T, D)`.

    Returns:
        The same numbers, shape `(..., T, H * D)`.

    Examples:
        >>> merge_heads(torch.tensor([[[1, 2, 3]], [[4, 5, 6]]]))
        tensor([[1, 2, 3, 4, 5, 6]])
    """
    return x.transpose(-3, -2).flatten(-2)  # (..., H, T, D) → (..., T, H, D) → (..., T, C)


def attention_heads(
    query: Tensor, memory: Tensor, params: Projections, H: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Return each head's own attention: $head_i = \mathrm{Attention}(QW_i^Q, KW_i^K, VW_i^V)$.

    Queries come from `query`, keys and values from `memory`. Give the same tensor twice for self-attention, two
    different ones for cross-attention. Up to here no head knows of any other.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.2; the uses: section 3.2.3.

    Args:
        query: the tokens that look, shape `(..., Tq, C)`.
        memory: the tokens that are looked at, shape `(..., Tk, C)`.
        params: the projections; `w_o` and `b_o` are not used here.
        H: number of heads; it must divide `C`.
        mask: boolean, True where looking is allowed, broadcastable to `(..., H, Tq, Tk)`; None allows everything.

    Returns:
        Two tensors: the heads, shape `(..., H, Tq, D)`, and the weights, shape `(..., H, Tq, Tk)`.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if `H` does not divide `C`, a width is not `C`, the mask has as many axes as `query` and more
            than two, so that its batch would be taken for heads, or a query may look at nothing.

    Examples:
        >>> x, y, params = torch.randn(5, 6), torch.randn(7, 6), Projections(*[torch.eye(6), torch.zeros(6)] * 4)
        >>> heads, weights = attention_heads(x, y, params, H=3)
        >>> heads.shape, weights.shape
        (torch.Size([3, 5, 2]), torch.Size([3, 5, 7]))
    """
    C = params.w_q.shape[-1]
    if not query.shape[-1] == memory.shape[-1] == C:
        raise ValueError(
            f"query and memory must have the width of the projections, C = {C}, got {query.shape[-1]} and "
            f"{memory.shape[-1]}; project them to it first"
        )
    if mask is not None and 2 < mask.ndim == query.ndim:
        raise ValueError(
            f"mask must have an axis for the heads, (..., H or 1, Tq, Tk), got shape {tuple(mask.shape)} for a query "
            f"of {query.ndim} axes; insert one: mask[..., None, :, :]"
        )
    q = split_heads(affine(query, params.w_q, params.b_q), H)  # (..., H, Tq, D)
    k = split_heads(affine(memory, params.w_k, params.b_k), H)  # (..., H, Tk, D)
    v = split_heads(affine(memory, params.w_v, params.b_v), H)  # (..., H, Tk, D)
    return scaled_dot_product_attention(q, k, v, mask)


def multi_head_attention(
    query: Tensor, memory: Tensor, params: Projections, H: int, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Let several heads look at once, then join what they found.

    $\mathrm{MultiHead}(Q, K, V) = \mathrm{Concat}(head_1, \dots, head_H)\,W^O$.

    Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, section 3.2.2.
    Differs from the paper: keys and values come from one `memory`, as in all three uses of its section 3.2.3.

    Args:
        query: the tokens that look, shape `(..., Tq, C)`.
        memory: the tokens that are looked at, shape `(..., Tk, C)`; the same as `query` for self-attention.
        params: the projections.
        H: number of heads; it must divide `C`.
        mask: boolean, True where looking is allowed, broadcastable to `(..., H, Tq, Tk)`; None allows everything.

    Returns:
        Two tensors: the output, shape `(..., Tq, C)`, and each head's weights, shape `(..., H, Tq, Tk)`.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if sizes do not fit, as for `attention_heads`.

    Examples:
        >>> x, params = torch.tensor([[1.0, 2.0], [1.0, 2.0]]), Projections(*[torch.eye(2), torch.zeros(2)] * 4)
        >>> output, weights = multi_head_attention(x, x, params, H=2)
        >>> output, weights.shape
        (tensor([[1., 2.],
                [1., 2.]]), torch.Size([2, 2, 2]))
    """
    heads, weights = attention_heads(query, memory, params, H, mask)  # (..., H, Tq, D), (..., H, Tq, Tk)
    return affine(merge_heads(heads), params.w_o, params.b_o), weights  # (..., Tq, C)


class MultiHeadAttention(torch.nn.Module):
    """Multi-head attention that keeps its parameters.

    There are `4 * C**2 + 4 * C` of them, however many heads.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.2. The first weights are drawn after
    Glorot and Bengio, 2010, the biases are 0.

    Args:
        C: width of a token's vector.
        H: number of heads; it must divide `C`.
        generator: source of the random numbers; None takes PyTorch's own.

    Raises:
        ValueError: if `H` is below 1 or does not divide `C`.

    Examples:
        >>> layer = MultiHeadAttention(C=6, H=3)
        >>> output, weights = layer(torch.randn(2, 5, 6), torch.randn(2, 7, 6))
        >>> output.shape, weights.shape
        (torch.Size([2, 5, 6]), torch.Size([2, 3, 5, 7]))
    """

    def __init__(self, C: int, H: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        _check_heads(C, H)
        self.H = H
        self.w_q, self.w_k, self.w_v, self.w_o = (
            torch.nn.Parameter(xavier_uniform(C, C, generator)) for _ in range(4)  # each (C, C)
        )
        self.b_q, self.b_k, self.b_v, self.b_o = (torch.nn.Parameter(torch.zeros(C)) for _ in range(4))  # each (C,)

    @property
    def params(self) -> Projections:
        """The parameters, as `multi_head_attention` takes them.

        Returns:
            The same tensors, not copies; shapes `(C, C)` and `(C,)`.
        """
        return Projections(self.w_q, self.b_q, self.w_k, self.b_k, self.w_v, self.b_v, self.w_o, self.b_o)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Let every token of `query` look at the tokens of `memory`.

        Args:
            query: the tokens that look, shape `(B, Tq, C)`.
            memory: the tokens that are looked at, shape `(B, Tk, C)`.
            mask: boolean, True where looking is allowed, broadcastable to `(B, H, Tq, Tk)`; None allows everything.

        Returns:
            Two tensors: the output, shape `(B, Tq, C)`, and the weights, shape `(B, H, Tq, Tk)`.

        Raises:
            TypeError: if the mask is not boolean.
            ValueError: if sizes do not fit, as for `attention_heads`.
        """
        return multi_head_attention(query, memory, self.params, self.H, mask)


def _check_heads(C: int, H: int) -> None:
    if H < 1 or C % H:
        raise ValueError(f"H must be at least 1 and divide the width, got H = {H} for C = {C}; choose a divisor of C")
