r"""Sinusoidal positional encoding: a vector for each place, so that order can be seen.

Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, section 3.5.
"""

import torch
from torch import Tensor


def frequencies(D: int, base: float = 10000.0) -> Tensor:
    r"""Return how fast each pair of dimensions turns: $\omega_i = 10000^{-2i/D}$.

    The wavelengths $2\pi/\omega_i$ form a geometric series from $2\pi$ to almost $10000 \cdot 2\pi$ positions.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5.

    Args:
        D: width of the encoding, even, at least 2.
        base: the paper's 10000, above 1.

    Returns:
        Angles per position, in radians, float64, shape `(D / 2,)`.

    Raises:
        ValueError: if `D` is odd or below 2, or `base` is not above 1.

    Examples:
        >>> frequencies(4)
        tensor([1.0000, 0.0100], dtype=torch.float64)
    """
    if D < 2 or D % 2:
        raise ValueError(f"D must be even and at least 2, got {D}; a sine and a cosine share each frequency")
    if not base > 1:
        raise ValueError(f"base must be above 1, got {base}; the paper uses 10000")
    return base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)  # (D/2,)


def positional_encoding(T: int, D: int, *, base: float = 10000.0, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Return a table of sines and cosines with one row for each position.

    Row `pos` holds $\sin(pos\,\omega_i)$ in dimension $2i$ and $\cos(pos\,\omega_i)$ in dimension $2i+1$: sine and
    cosine take turns over the dimension, in every row. The angles are computed in float64 and only the result is
    rounded to `dtype`: in bfloat16 the positions 256 and 257 are already the same number.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5, the two equations (not numbered).

    Args:
        T: number of positions, at least 1; the first is position 0.
        D: width of the encoding, even, at least 2.
        base: the paper's 10000, above 1.
        dtype: type of the result.

    Returns:
        Encoding, values from -1 to 1, shape `(T, D)`.

    Raises:
        ValueError: if `T` is below 1, `D` is odd or below 2, or `base` is not above 1.

    Examples:
        >>> positional_encoding(3, 4)
        tensor([[ 0.0000,  1.0000,  0.0000,  1.0000],
                [ 0.8415,  0.5403,  0.0100,  0.9999],
                [ 0.9093, -0.4161,  0.0200,  0.9998]])
    """
    if T < 1:
        raise ValueError(f"T must be at least 1, got {T}; give the number of positions")
    pos = torch.arange(T, dtype=torch.float64)
    angles = torch.outer(pos, frequencies(D, base))  # (T, D/2)
    pairs = torch.stack((angles.sin(), angles.cos()), dim=-1)  # (T, D/2, 2)
    return pairs.flatten(start_dim=1).to(dtype)  # (T, D)


def shift_matrix(offset: int, D: int, *, base: float = 10000.0, dtype: torch.dtype = torch.float32) -> Tensor:
    r"""Return the rotation that moves every position on by the same offset.

    $PE(pos + k) = M_k\,PE(pos)$ for every position. $M_k$ depends on the offset only: moving by $k$ is the same linear
    map wherever one stands. The addition formulas of sine and cosine give one 2 × 2 rotation by $k\,\omega_i$ for each
    pair of dimensions.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5, states that such a map exists.

    Args:
        offset: $k$, in positions; negative moves back.
        D: width of the encoding, even, at least 2.
        base: the same as the encoding's.
        dtype: type of the result.

    Returns:
        Rotation matrix, block diagonal, shape `(D, D)`.

    Raises:
        ValueError: if `D` is odd or below 2, or `base` is not above 1.

    Examples:
        >>> table = positional_encoding(9, 6)
        >>> torch.allclose(table[3:], table[:-3] @ shift_matrix(3, 6).T, atol=1e-6)
        True
    """
    angles = offset * frequencies(D, base)  # (D/2,)
    sin, cos = angles.sin(), angles.cos()
    blocks = torch.stack((cos, sin, -sin, cos), dim=-1).view(-1, 2, 2)  # (D/2, 2, 2)
    return torch.block_diag(*blocks).to(dtype)  # (D, D)


def add_positions(x: Tensor, table: Tensor) -> Tensor:
    """Add to each token's vector the encoding of its place.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5.

    Differs from the paper: its section 3.4 multiplies the token embeddings by the root of the width first; do that
    before, if at all.

    Args:
        x: token vectors, floating point, shape `(..., T, D)`: batch first, then time, then width.
        table: encoding of at least `T` positions, shape `(T_max, D)`.

    Returns:
        The sums, in the type of `x`, shape `(..., T, D)`.

    Raises:
        ValueError: if the widths differ, or `x` is longer than the table.

    Examples:
        >>> add_positions(torch.zeros(3, 2, 4), positional_encoding(5, 4))[2]
        tensor([[0.0000, 1.0000, 0.0000, 1.0000],
                [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    T, D = x.shape[-2:]
    if table.shape[-1] != D:
        raise ValueError(
            f"x and table must have the same width (D), got {D} and {table.shape[-1]}; make the table for this width"
        )
    if len(table) < T:
        raise ValueError(f"table must cover every position of x, got {len(table)} rows for T = {T}; make it longer")
    return x + table[:T].to(x)  # (..., T, D)
