r"""Layer normalisation: each position's vector gets mean 0 and variance 1 by itself.

Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, https://arxiv.org/abs/1607.06450.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from largemodels.transformer.residual import residual

Map = Callable[[Tensor], Tensor]


def layer_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, *, eps: float = 1e-5) -> Tensor:
    r"""Centre each vector, divide it by its standard deviation, then scale and shift.

    $y = \gamma \odot (x - \mu)/\sqrt{\sigma^2 + \epsilon} + \beta$, with $\mu$ and $\sigma^2$ taken over the last axis:
    no other position and no other example plays a part. The variance divides by C, not by C − 1. Half precision is
    computed in float32 and rounded last.

    Source: Ba, Kiros, Hinton, 2016, https://arxiv.org/abs/1607.06450, equation (3) for $\mu$ and $\sigma$.

    Differs from the paper: $\epsilon$ keeps constant vectors from dividing by 0; the paper's equations have none.

    Args:
        x: vectors, floating point, shape `(..., C)`.
        gamma: scale, shape `(C,)`; ones when None.
        beta: shift, shape `(C,)`; zeros when None.
        eps: $\epsilon$, added to the variance, so in squared units of `x`; not negative.

    Returns:
        The normalised vectors, shape `(..., C)`.

    Raises:
        ValueError: if the last axis is empty, gamma or beta has another shape, or `eps` is negative.

    Examples:
        >>> x = torch.tensor([[1.0, 2.0, 3.0], [10.0, 40.0, 10.0]])
        >>> layer_norm(x, gamma=torch.tensor([1.0, 1.0, 2.0]))
        tensor([[-1.2247,  0.0000,  2.4495],
                [-0.7071,  1.4142, -1.4142]])
    """
    _check(x, eps, gamma=gamma, beta=beta)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # squares overflow in float16
    centred = wide - wide.mean(dim=-1, keepdim=True)  # (..., C)
    variance = centred.square().mean(dim=-1, keepdim=True)  # (..., 1)
    normal = centred / torch.sqrt(variance + eps)  # (..., C)
    scaled = normal if gamma is None else normal * gamma
    return (scaled if beta is None else scaled + beta).to(x.dtype)


def layer_norm_backward(x: Tensor, gradient: Tensor, gamma: Tensor, *, eps: float = 1e-5) -> tuple[Tensor, ...]:
    r"""Send a gradient back through `layer_norm`.

    With $\hat x$ the normalised vector and $\hat g = \gamma \odot g$, the slope with respect to $x$ is
    $(\hat g - \overline{\hat g} - \hat x\,\overline{\hat g \odot \hat x})/\sqrt{\sigma^2 + \epsilon}$, bars being means
    over the vector: the parts of $\hat g$ along $(1, …, 1)$ and along $\hat x$ are taken out, because moving $x$ in
    those two directions changes nothing.

    Source: follows from equation (3) of Ba, Kiros, Hinton, 2016, https://arxiv.org/abs/1607.06450, by the chain rule.

    Args:
        x: what `layer_norm` was given, shape `(..., C)`.
        gradient: slope of the loss with respect to its result, shape `(..., C)`.
        gamma: scale, shape `(C,)`.
        eps: as given to `layer_norm`.

    Returns:
        Slopes with respect to `x`, gamma and beta, shapes `(..., C)`, `(C,)` and `(C,)`.

    Raises:
        ValueError: as `layer_norm`.

    Examples:
        >>> x, gradient = torch.tensor([[0.0, 3.0, 6.0]]), torch.tensor([[1.0, 0.0, 0.0]])
        >>> layer_norm_backward(x, gradient, torch.ones(3))[0]
        tensor([[ 0.0680, -0.1361,  0.0680]])
    """
    normal = layer_norm(x, eps=eps)  # (..., C)
    deviation = (x.var(dim=-1, keepdim=True, correction=0) + eps).sqrt()  # (..., 1)
    g = gradient * gamma
    along = (g * normal).mean(dim=-1, keepdim=True)  # (..., 1)
    by_x = (g - g.mean(dim=-1, keepdim=True) - normal * along) / deviation  # (..., C)
    examples = tuple(range(x.dim() - 1))
    if not examples:
        return by_x, gradient * normal, gradient
    return by_x, (gradient * normal).sum(examples), gradient.sum(examples)


def rms_norm(x: Tensor, gamma: Tensor | None = None, *, eps: float = 1e-6) -> Tensor:
    r"""Divide each vector by its root mean square: layer normalisation without centring.

    $y = \gamma \odot x/\sqrt{\overline{x^2} + \epsilon}$. One statistic instead of two, and no shift.

    Source: Zhang, Sennrich, "Root Mean Square Layer Normalization", 2019, https://arxiv.org/abs/1910.07467,
    equation (4).

    Differs from the paper: $\epsilon$ keeps the zero vector from dividing by 0.

    Args:
        x: vectors, floating point, shape `(..., C)`.
        gamma: scale, shape `(C,)`; ones when None.
        eps: $\epsilon$, added to the mean square; not negative.

    Returns:
        The scaled vectors, shape `(..., C)`.

    Raises:
        ValueError: if the last axis is empty, gamma has another shape, or `eps` is negative.

    Examples:
        >>> rms_norm(torch.tensor([[3.0, -4.0, 0.0, 5.0], [0.3, -0.4, 0.0, 0.5]]))
        tensor([[ 0.8485, -1.1314,  0.0000,  1.4142],
                [ 0.8485, -1.1314,  0.0000,  1.4142]])
    """
    _check(x, eps, gamma=gamma)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))  # squares overflow in float16
    normal = wide / torch.sqrt(wide.square().mean(dim=-1, keepdim=True) + eps)  # (..., C)
    return (normal if gamma is None else normal * gamma).to(x.dtype)


def post_norm(x: Tensor, branch: Map, norm: Map = layer_norm) -> Tensor:
    r"""Add first, then normalise: $\mathrm{LN}(x + F(x))$.

    So in the first Transformer and in BERT.

    Source: Vaswani et al., "Attention Is All You Need", 2017, https://arxiv.org/abs/1706.03762, section 3.1.

    Args:
        x: state, shape `(..., C)`.
        branch: $F$: attention or the feed-forward layer; keeps the shape.
        norm: the normalisation, with its scale and shift bound if it has any.

    Returns:
        The next state, normalised, shape `(..., C)`.

    Examples:
        >>> post_norm(torch.tensor([[1.0, 2.0, 3.0]]), torch.square)
        tensor([[-1.1355, -0.1622,  1.2978]])
    """
    return norm(residual(x, branch))


def pre_norm(x: Tensor, branch: Map, norm: Map = layer_norm) -> Tensor:
    r"""Normalise only what the branch sees: $x + F(\mathrm{LN}(x))$.

    So in GPT-2. The direct way stays empty. The states grow from layer to layer, so one more normalisation follows the
    last layer.

    Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", 2020,
    https://arxiv.org/abs/2002.04745, table 1.

    Args:
        x: state, shape `(..., C)`.
        branch: $F$: attention or the feed-forward layer; keeps the shape.
        norm: the normalisation, with its scale and shift bound if it has any.

    Returns:
        The next state, not normalised, shape `(..., C)`.

    Examples:
        >>> pre_norm(torch.tensor([[1.0, 2.0, 3.0]]), torch.square)
        tensor([[2.5000, 2.0000, 4.5000]])
    """
    return residual(x, lambda state: branch(norm(state)))


def _check(x: Tensor, eps: float, **parameters: Tensor | None) -> None:
    if not x.dim() or not x.shape[-1]:
        raise ValueError(f"x must have at least one number per vector, got shape {tuple(x.shape)}; put C last")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, got {eps}; it keeps the root and the division defined")
    for name, parameter in parameters.items():
        if parameter is not None and parameter.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} must have one number for each of the last axis (C), got {tuple(parameter.shape)} "
                f"for C = {x.shape[-1]}; normalisation is over the last axis only"
            )
