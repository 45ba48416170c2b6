r"""Scaled dot-product attention: each position looks at all others and mixes what it finds.

Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, equation (1).
"""

import torch
from torch import Tensor

from largemodels.foundations.activations import softmax


def attention_energies(q: Tensor, k: Tensor) -> Tensor:
    r"""Score how well each query fits each key: $e_{ij} = q_i \cdot k_j / \sqrt{D}$.

    The division keeps the spread of the energies near 1 whatever the width `D`: a sum of `D` products of
    independent numbers with variance 1 has variance `D`.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.1 and its footnote 4.

    Args:
        q: queries, shape `(..., Tq, D)`.
        k: keys, shape `(..., Tk, D)`.

    Returns:
        Energies, shape `(..., Tq, Tk)`.

    Raises:
        ValueError: if the last axes of `q` and `k` differ.

    Examples:
        >>> q = torch.tensor([[2.0, 0.0, 0.0, 0.0]])
        >>> k = torch.tensor([[3.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [-1.0, 0.0, 5.0, 0.0]])
        >>> attention_energies(q, k)
        tensor([[ 3.,  0., -1.]])
    """
    D = q.shape[-1]
    if k.shape[-1] != D:
        raise ValueError(
            f"q and k must have the same last axis (D), got {D} and {k.shape[-1]}; project them to one width first"
        )
    return q @ k.mT / D**0.5  # (..., Tq, Tk)


def attention_weights(energies: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Turn energies into shares of attention that sum to 1 for each query.

    $a_{ij} = \exp e_{ij} / \sum_l \exp e_{il}$: it is the weights of each query that sum to 1, not the output of
    attention.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, equation (1); masking: section 3.2.3.

    Args:
        energies: shape `(..., Tq, Tk)`.
        mask: True where looking is allowed, shape broadcastable to `(..., Tq, Tk)`; None allows everything.

    Returns:
        Weights, shape `(..., Tq, Tk)`: each row sums to 1, masked places are exactly 0.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if the mask leaves a query with nothing to look at.

    Examples:
        >>> energies = torch.tensor([[0.0, 0.0, 9.0], [1.0, 1.0, 1.0]])
        >>> mask = torch.tensor([True, True, False])
        >>> attention_weights(energies, mask)
        tensor([[0.5000, 0.5000, 0.0000],
                [0.5000, 0.5000, 0.0000]])
    """
    if mask is not None:
        if mask.dtype != torch.bool:
            raise TypeError(f"mask must be boolean, True where looking is allowed, got {mask.dtype}; use mask.bool()")
        if not mask.any(dim=-1).all():
            raise ValueError("every query must be allowed at least one key, got a row of only False; drop that row")
        energies = energies.masked_fill(~mask, float("-inf"))
    return softmax(energies, dim=-1)


def scaled_dot_product_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    r"""Mix the values by how well each query fits each key.

    $\mathrm{softmax}(QK^\top/\sqrt{d_k})\,V$, with $d_k$ the width `D` of queries and keys.

    Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, equation (1).

    Args:
        q: queries, shape `(..., Tq, D)`.
        k: keys, shape `(..., Tk, D)`.
        v: values, shape `(..., Tk, Dv)`.
        mask: True where looking is allowed, broadcastable to `(..., Tq, Tk)`; None allows everything.

    Returns:
        Two tensors: the output, shape `(..., Tq, Dv)`, and the weights, shape `(..., Tq, Tk)`.

    Raises:
        TypeError: if the mask is not boolean.
        ValueError: if `q` and `k` differ in width, `k` and `v` in length, or a query may look at nothing.

    Examples:
        >>> q = torch.zeros(2, 3)
        >>> k = torch.randn(4, 3)
        >>> v = torch.tensor([[0.0], [2.0], [4.0], [6.0]])
        >>> output, weights = scaled_dot_product_attention(q, k, v)
        >>> output.squeeze(-1), weights.shape
        (tensor([3., 3.]), torch.Size([2, 4]))
    """
    if k.shape[-2] != v.shape[-2]:
        raise ValueError(
            f"k and v must have the same length (Tk), got {k.shape[-2]} and {v.shape[-2]}; give one value to each key"
        )
    energies = attention_energies(q, k)  # (..., Tq, Tk)
    weights = attention_weights(energies, mask)  # (..., Tq, Tk)
    return weights @ v, weights  # (..., Tq, Dv)


def causal_mask(T: int) -> Tensor:
    """Allow each position to look at itself and at what came before it.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.3.

    Args:
        T: sequence length, in tokens, at least 1.

    Returns:
        Boolean mask, shape `(T, T)`, True on and below the diagonal.

    Raises:
        ValueError: if `T` is less than 1.

    Examples:
        >>> causal_mask(3)
        tensor([[ True, False, False],
                [ True,  True, False],
                [ True,  True,  True]])
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, got {T}; give the number of tokens")
    return torch.ones(T, T, dtype=torch.bool).tril()


def padding_mask(lengths: Tensor, T: int) -> Tensor:
    """Hide the filler at the end of the shorter sequences of a batch.

    Args:
        lengths: number of real tokens in each sequence, integers from 1 to `T`, shape `(B,)`.
        T: padded length, in tokens.

    Returns:
        Boolean mask, shape `(B, 1, T)`: the middle axis broadcasts over the queries.

    Raises:
        ValueError: if a length is below 1 or above `T`.

    Examples:
        >>> padding_mask(torch.tensor([2, 3]), T=4)
        tensor([[[ True,  True, False, False]],
        <BLANKLINE>
                [[ True,  True,  True, False]]])
    """
    if bool((lengths < 1).any() or (lengths > T).any()):
        raise ValueError(f"lengths must lie between 1 and T = {T}, got {lengths.tolist()}; count the real tokens")
    return (torch.arange(T) < lengths[:, None])[:, None, :]  # (B, 1, T)
