r"""Rotary positions: queries and keys turn with their place, scores know distances.

Nothing is added to the tokens and nothing is learned. Each pair of dimensions is a clock hand, turned by an angle
proportional to the position; between two hands only the difference of the angles counts.

Source: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021,
https://arxiv.org/abs/2104.09864, section 3.
"""

import torch
from torch import Tensor

from largemodels.transformer.positional_encoding import frequencies

LAYOUTS = ("interleaved", "half")


def rotary_angles(positions: Tensor, D: int, *, base: float = 10000.0) -> Tensor:
    r"""Return how far each pair of dimensions is turned at each position: $m\,\theta_i$.

    $\theta_i = 10000^{-2i/D}$ with $i$ from 0, the same frequencies as the sinusoidal encoding's.

    Source: Su et al., 2021, https://arxiv.org/abs/2104.09864, section 3.2.2 (there $i$ counts from 1).

    Args:
        positions: $m$, any real numbers, shape `(..., T)`.
        D: width of a query, even, at least 2.
        base: the paper's 10000, above 1; some models take a larger one.

    Returns:
        Angles in radians, float64, shape `(..., T, D / 2)`.

    Raises:
        ValueError: if `D` is odd or below 2, or `base` is not above 1.

    Examples:
        >>> rotary_angles(torch.tensor([0, 1, 5]), D=4)
        tensor([[0.0000, 0.0000],
                [1.0000, 0.0100],
                [5.0000, 0.0500]], dtype=torch.float64)
    """
    return positions.double()[..., None] * frequencies(D, base).to(positions.device)  # (..., T, D/2)


def rotate(x: Tensor, positions: Tensor, *, base: float = 10000.0, layout: str = "interleaved") -> Tensor:
    r"""Turn every pair of dimensions of every vector by the angle of its position.

    A pair $(a, b)$ becomes $(a\cos m\theta_i - b\sin m\theta_i,\; a\sin m\theta_i + b\cos m\theta_i)$. Lengths stay,
    and $R_m q \cdot R_n k = q \cdot R_{n-m} k$: moving both by the same distance changes nothing. The angles are
    computed in float64: a bfloat16 angle near 1000 would be off by up to 2 radians.

    Source: Su et al., 2021, https://arxiv.org/abs/2104.09864, equations (14) to (16) and (34).
    Differs from the paper: with `layout="half"` pair `i` is the dimensions `i` and `i + D / 2`, as in Llama.

    Args:
        x: queries or keys, floating point, shape `(..., T, D)`; values are not turned.
        positions: place of each token, shape `(T,)` or broadcastable to `(..., T)`.
        base: the paper's 10000, above 1.
        layout: "interleaved": pair `i` is the dimensions `2 * i` and `2 * i + 1`, as in the paper; or "half".

    Returns:
        The turned vectors, in the type of `x`, shape `(..., T, D)`.

    Raises:
        ValueError: if `layout` is unknown, `D` is odd or below 2, `base` is not above 1, or `positions` has another
            length than `x`.

    Examples:
        >>> x = torch.tensor([[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0]])
        >>> rotate(x, torch.arange(3))
        tensor([[ 1.0000,  0.0000,  1.0000,  0.0000],
                [ 0.5403,  0.8415,  0.9999,  0.0100],
                [-0.4161,  0.9093,  0.9998,  0.0200]])
    """
    if layout not in LAYOUTS:
        raise ValueError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}; choose the one of the weights")
    T, D = x.shape[-2:]
    if positions.shape[-1:] != (T,):
        raise ValueError(
            f"positions must have one number for each of the T = {T} tokens, got shape {tuple(positions.shape)}; "
            "with a cache, give the places of the new tokens only"
        )
    angles = rotary_angles(positions, D, base=base).to(x.device)  # (..., T, D/2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)  # (..., T, D/2)
    a, b = (x[..., 0::2], x[..., 1::2]) if layout == "interleaved" else x.chunk(2, dim=-1)  # (..., T, D/2) each
    turned = (a * cos - b * sin, a * sin + b * cos)
    if layout == "half":
        return torch.cat(turned, dim=-1)  # (..., T, D)
    return torch.stack(turned, dim=-1).flatten(-2)  # (..., T, D/2, 2) → (..., T, D)


def half_order(D: int) -> Tensor:
    """Return the order that makes the interleaved layout the half-split one.

    All first members of the pairs come first, then all second ones. Applied to the rows of each head's query and key
    projection it converts the weights of a model; scores stay the same, because both are reordered alike.

    Source: the layouts of Su et al., 2021, https://arxiv.org/abs/2104.09864, equation (34), and of Llama in
    Transformers, https://github.com/huggingface/transformers, function `rotate_half`.

    Args:
        D: width of a query, even, at least 2.

    Returns:
        Indices, shape `(D,)`: `x[..., half_order(D)]` is `x` in the half-split layout.

    Raises:
        ValueError: if `D` is odd or below 2.

    Examples:
        >>> half_order(6)
        tensor([0, 2, 4, 1, 3, 5])
        >>> x, positions = torch.randn(3, 6), torch.arange(3)
        >>> one = rotate(x, positions)[..., half_order(6)]
        >>> torch.allclose(one, rotate(x[..., half_order(6)], positions, layout="half"))
        True
    """
    if D < 2 or D % 2:
        raise ValueError(f"D must be even and at least 2, got {D}; dimensions are turned in pairs")
    return torch.arange(D).view(-1, 2).T.flatten()  # (D,)
