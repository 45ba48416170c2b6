r"""Activation functions and their derivatives: the bend between two linear layers.

Each function works element by element and keeps the shape; only softmax looks along an axis.

Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016, https://www.deeplearningbook.org/contents/mlp.html,
sections 6.2.2 and 6.3.
"""

import math

import torch
from torch import Tensor


def sigmoid(x: Tensor) -> Tensor:
    r"""Squeeze any number into the range 0 to 1: $\sigma(x) = 1/(1 + e^{-x})$.

    Only $e^{-|x|}$ is ever computed, which lies between 0 and 1, so neither the value nor its gradient overflows,
    not even at plus or minus infinity.

    Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986,
    https://doi.org/10.1038/323533a0, equation (2).

    Args:
        x: any shape, floating point.

    Returns:
        The same shape, each value from 0 to 1.

    Examples:
        >>> sigmoid(torch.tensor([-1000.0, -math.log(3), 0.0, math.log(3), 1000.0]))
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    z = torch.exp(-_absolute(x))  # e^-|x|
    return torch.where(x < 0, z, 1.0) / (1 + z)


def sigmoid_derivative(x: Tensor) -> Tensor:
    r"""Return the slope of the sigmoid, at most 1/4: $\sigma'(x) = \sigma(x)\,\sigma(-x)$.

    $\sigma(-x)$ is $1 - \sigma(x)$ without the rounding: for large x the difference would be 0 far too early.

    Source: follows from equation (2) of Rumelhart, Hinton, Williams, 1986, https://doi.org/10.1038/323533a0.

    Args:
        x: where the slope is wanted, any shape.

    Returns:
        The same shape, each value from 0 to 1/4.

    Examples:
        >>> sigmoid_derivative(torch.tensor([-1000.0, 0.0, math.log(3)]))
        tensor([0.0000, 0.2500, 0.1875])
    """
    return sigmoid(x) * sigmoid(-x)


def tanh(x: Tensor) -> Tensor:
    r"""Squeeze any number into the range −1 to 1: $\tanh x = (1 - e^{-2x})/(1 + e^{-2x})$.

    It is a sigmoid, stretched and moved so that 0 stays 0: $\tanh x = 2\sigma(2x) - 1$.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/mlp.html, section 6.3.2.

    Args:
        x: any shape, floating point.

    Returns:
        The same shape, each value from −1 to 1.

    Examples:
        >>> tanh(torch.tensor([-1000.0, 0.0, 0.5 * math.log(3)]))
        tensor([-1.0000,  0.0000,  0.5000])
    """
    u = torch.expm1(-2 * _absolute(x))  # e^-2|x| - 1, exact for small x where the subtraction would cancel
    return torch.where(x < 0, u, -u) / (2 + u)


def tanh_derivative(x: Tensor) -> Tensor:
    r"""Return the slope of tanh, at most 1: $\tanh'(x) = 1 - \tanh^2 x$.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/mlp.html, section 6.3.2.

    Args:
        x: where the slope is wanted, any shape.

    Returns:
        The same shape, each value from 0 to 1.

    Examples:
        >>> tanh_derivative(torch.tensor([-1000.0, 0.0, 0.5 * math.log(3)]))
        tensor([0.0000, 1.0000, 0.7500])
    """
    return 1 - tanh(x) ** 2


def relu(x: Tensor) -> Tensor:
    r"""Pass positive numbers on and turn the others into 0: $\max(0, x)$.

    NaN stays NaN, so that a broken number is not hidden.

    Source: Glorot, Bordes, Bengio, "Deep Sparse Rectifier Neural Networks", 2011,
    https://proceedings.mlr.press/v15/glorot11a.html.

    Args:
        x: any shape.

    Returns:
        The same shape, no value below 0.

    Examples:
        >>> relu(torch.tensor([-3.0, 0.0, 2.5]))
        tensor([0.0000, 0.0000, 2.5000])
    """
    return torch.where(x <= 0, 0.0, x)


def relu_derivative(x: Tensor) -> Tensor:
    r"""Return the slope of ReLU: 1 where x is positive, 0 elsewhere.

    At exactly 0 there is no slope; 0 is taken there, as PyTorch does.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/mlp.html, section 6.3.

    Args:
        x: where the slope is wanted, any shape.

    Returns:
        The same shape, each value 0 or 1.

    Examples:
        >>> relu_derivative(torch.tensor([-3.0, 0.0, 2.5]))
        tensor([0., 0., 1.])
    """
    return (x > 0).to(x.dtype)


def gelu(x: Tensor) -> Tensor:
    r"""Weigh x by the chance that a standard normal number is below it: $x\,\Phi(x)$.

    This is the exact form. The tanh form, $\frac{x}{2}(1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715\,x^3)))$, which GPT-2
    uses, is off by less than 0.0005. At minus infinity the product is NaN, as in PyTorch.

    Source: Hendrycks, Gimpel, "Gaussian Error Linear Units (GELUs)", 2016, https://arxiv.org/abs/1606.08415, section 2.

    Args:
        x: any shape, floating point.

    Returns:
        The same shape, no value below −0.17.

    Examples:
        >>> gelu(torch.tensor([-1.0, 0.0, 1.0, 3.0]))
        tensor([-0.1587,  0.0000,  0.8413,  2.9960])
    """
    return x * _normal_cdf(x)


def gelu_tanh(x: Tensor) -> Tensor:
    r"""Weigh x as `gelu` does, with a tanh in place of the normal distribution: GPT-2's form.

    $\frac{x}{2}(1 + \tanh(\sqrt{2/\pi}\,(x + 0.044715\,x^3)))$: off by less than 0.0005, yet a model that was trained
    with one form must be run with that form.

    Source: Hendrycks, Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2.

    Args:
        x: any shape, floating point.

    Returns:
        The same shape, no value below −0.18.

    Examples:
        >>> gelu_tanh(torch.tensor([-1.0, 0.0, 1.0, 3.0]))
        tensor([-0.1588,  0.0000,  0.8412,  2.9964])
    """
    inner = math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x)
    return 0.5 * x * (1 + torch.tanh(inner))  # torch's own, one kernel: a GPT does this for every token


def gelu_derivative(x: Tensor) -> Tensor:
    r"""Return the slope of GELU: $\Phi(x) + x\,\varphi(x)$, with $\varphi$ the normal density.

    Source: follows from Hendrycks, Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2.

    Args:
        x: where the slope is wanted, any shape.

    Returns:
        The same shape, each value from −0.13 to 1.13.

    Examples:
        >>> gelu_derivative(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([-0.0833,  0.5000,  1.0833])
    """
    density = torch.exp(-0.5 * x**2) / math.sqrt(2 * math.pi)
    return _normal_cdf(x) + x * density


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    r"""Turn scores into shares that sum to 1: $p_i = e^{x_i} / \sum_j e^{x_j}$.

    The largest score is subtracted first. That changes nothing in the result, and the largest exponent becomes
    $e^0 = 1$, so nothing overflows. A score of minus infinity gets a share of exactly 0.

    Source: Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs", 1990,
    https://doi.org/10.1007/978-3-642-76153-9_28; the subtraction: Goodfellow, Bengio, Courville, 2016,
    https://www.deeplearningbook.org/contents/numerical.html, section 4.1.

    Args:
        x: scores (logits), any shape, floating point.
        dim: the axis along which the shares sum to 1.

    Returns:
        Shares, the same shape, each from 0 to 1.

    Raises:
        IndexError: if `x` has no axis `dim`, or that axis is empty.

    Examples:
        >>> softmax(torch.tensor([[0.0, math.log(3)], [1000.0, 1000.0], [5.0, -math.inf]]))
        tensor([[0.2500, 0.7500],
                [0.5000, 0.5000],
                [1.0000, 0.0000]])
    """
    # The shift cancels out, so its gradient would too: detach spares autograd the work.
    z = torch.exp(x - x.max(dim=dim, keepdim=True).values.detach())
    return z / z.sum(dim=dim, keepdim=True)


def softmax_jacobian(x: Tensor) -> Tensor:
    r"""Return the slope of each softmax share with respect to each score.

    Softmax has a matrix of slopes, not one slope: raising one score takes shares away from all the others.
    $\partial p_i / \partial x_j = p_i(\delta_{ij} - p_j)$.

    Source: follows from the definition in Bridle, 1990, https://doi.org/10.1007/978-3-642-76153-9_28.

    Args:
        x: scores (logits), shape `(..., V)`; the shares sum to 1 along the last axis.

    Returns:
        Slopes, shape `(..., V, V)`, symmetric; each row and each column sums to 0.

    Raises:
        IndexError: if the last axis is empty.

    Examples:
        >>> softmax_jacobian(torch.tensor([0.0, math.log(3)]))
        tensor([[ 0.1875, -0.1875],
                [-0.1875,  0.1875]])
    """
    p = softmax(x)  # (..., V)
    return torch.diag_embed(p) - p[..., :, None] * p[..., None, :]  # (..., V, V)


def _absolute(x: Tensor) -> Tensor:
    # torch.abs has slope 0 at 0, which would make the gradient of sigmoid and tanh 0 there instead of 1/4 and 1.
    return torch.where(x < 0, -x, x)


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))
