r"""Losses: one differentiable number that says how wrong the predictions are.

Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016, https://www.deeplearningbook.org/contents/mlp.html,
section 6.2.
"""

import torch
from torch import Tensor

from largemodels.foundations.activations import softmax

_FACTORS = {"mean": 1.0, "half": 0.5}


def mean_squared_error(prediction: Tensor, target: Tensor, convention: str = "mean") -> Tensor:
    r"""Average the squared errors: $\frac1m\sum_i(\hat y_i - y_i)^2$, or half of that.

    `"mean"` divides by $m$, as PyTorch does. `"half"` divides by $2m$, the $J(\theta)$ of many courses, so that the 2
    of the derivative cancels. Both have the same minimum; loss and gradient differ by a factor of 2.

    Source: 1/m: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/ml.html, equation (5.4);
    1/2m: Zhang et al., "Dive into Deep Learning", 2023, https://d2l.ai/chapter_linear-regression/linear-regression.html,
    equation (3.1.6).

    Args:
        prediction: predicted values, any shape, in the unit of the target.
        target: true values, the same shape.
        convention: `"mean"` for 1/m, `"half"` for 1/2m, where m counts all elements.

    Returns:
        The loss, shape `()`, in the square of the target's unit.

    Raises:
        ValueError: if the shapes differ or are empty, or the convention is neither of the two.

    Examples:
        >>> prediction, target = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 4.0, 5.0])
        >>> mean_squared_error(prediction, target), mean_squared_error(prediction, target, "half")
        (tensor(1.6667), tensor(0.8333))
    """
    _check_regression(prediction, target, convention)
    error = prediction - target
    return _FACTORS[convention] * (error**2).mean()


def mean_squared_error_gradient(prediction: Tensor, target: Tensor, convention: str = "mean") -> Tensor:
    r"""Return the slope for each prediction: $\frac2m(\hat y_i - y_i)$, or half of that.

    Source: the derivative of equation (5.4) of Goodfellow, Bengio, Courville, 2016,
    https://www.deeplearningbook.org/contents/ml.html.

    Args:
        prediction: predicted values, any shape.
        target: true values, the same shape.
        convention: `"mean"` for 1/m, `"half"` for 1/2m.

    Returns:
        The gradient, the same shape as the predictions.

    Raises:
        ValueError: if the shapes differ or are empty, or the convention is neither of the two.

    Examples:
        >>> prediction, target = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 4.0, 5.0])
        >>> mean_squared_error_gradient(prediction, target, "half")
        tensor([ 0.0000, -0.6667,  0.3333])
    """
    _check_regression(prediction, target, convention)
    return _FACTORS[convention] * 2 * (prediction - target) / prediction.numel()


def log_sum_exp(x: Tensor, dim: int = -1) -> Tensor:
    r"""Return $\log\sum_j e^{x_j}$ without overflow: a smooth version of the largest value.

    The largest value $m$ is taken out first: $m + \log\sum_j e^{x_j - m}$.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/numerical.html, section 4.1.

    Args:
        x: any shape, floating point.
        dim: the axis that is summed.

    Returns:
        The logarithms, shape `(...)`: that of `x` without the axis `dim`.

    Raises:
        IndexError: if `x` has no axis `dim`, or that axis is empty.

    Examples:
        >>> log_sum_exp(torch.tensor([[1000.0, 1000.0, 0.0], [0.0, 0.0, 0.0]]))
        tensor([1000.6932,    1.0986])
    """
    m = x.max(dim=dim, keepdim=True).values.detach()
    m = torch.where(m.isfinite(), m, 0.0)  # inf - inf would be NaN
    return torch.log(torch.exp(x - m).sum(dim=dim)) + m.squeeze(dim)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Return how much the right answers surprise the model: the mean of $-\log p_{b,y_b}$.

    It takes logits, not probabilities: $-\log p_y = \log\sum_j e^{z_j} - z_y$ needs no probability at all, so nothing
    is rounded to 0 before the logarithm.

    Source: Goodfellow, Bengio, Courville, 2016, https://www.deeplearningbook.org/contents/mlp.html, section 6.2.2.3,
    equation (6.30).

    Args:
        logits: scores before softmax, shape `(B, V)`.
        targets: index of the right class of each row, integers from 0 to V − 1, shape `(B,)`.

    Returns:
        The loss, shape `()`, in nats: 0 when every right answer has probability 1, log V for a blind guess.

    Raises:
        TypeError: if the targets are not integers.
        ValueError: if the shapes do not fit, the batch is empty, or a target names no class.

    Examples:
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([3, 0]))
        tensor(1.3863)
    """
    _check_classification(logits, targets)
    right = logits.gather(1, targets[:, None].long()).squeeze(1)  # (B,)
    return (log_sum_exp(logits) - right).mean()


def cross_entropy_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    r"""Return the slope of the cross-entropy for each logit: $(p - \text{one-hot}(y))/B$.

    What the model said minus what it should have said. It does not vanish while the answer is wrong, however
    saturated the softmax is.

    Source: Bishop, "Pattern Recognition and Machine Learning", 2006, section 4.3.4, equation (4.109),
    https://www.microsoft.com/en-us/research/uploads/prod/2006/01/Bishop-Pattern-Recognition-and-Machine-Learning-2006.pdf.

    Differs from the book: it sums over the examples and goes on to the weights; we average and stop at the logits.

    Args:
        logits: scores before softmax, shape `(B, V)`.
        targets: index of the right class of each row, shape `(B,)`.

    Returns:
        The gradient, shape `(B, V)`; each row sums to 0.

    Raises:
        TypeError: if the targets are not integers.
        ValueError: if the shapes do not fit, the batch is empty, or a target names no class.

    Examples:
        >>> cross_entropy_gradient(torch.zeros(2, 4), torch.tensor([3, 0]))
        tensor([[ 0.1250,  0.1250,  0.1250, -0.3750],
                [-0.3750,  0.1250,  0.1250,  0.1250]])
    """
    _check_classification(logits, targets)
    one_hot = torch.arange(logits.shape[1], device=logits.device) == targets[:, None]  # (B, V)
    return (softmax(logits) - one_hot.to(logits.dtype)) / len(logits)  # (B, V)


def _check_regression(prediction: Tensor, target: Tensor, convention: str) -> None:
    if convention not in _FACTORS:
        raise ValueError(f"convention must be one of {', '.join(_FACTORS)}, got {convention!r}; choose one of them")
    if prediction.shape != target.shape:
        raise ValueError(
            f"prediction and target must have the same shape, got {tuple(prediction.shape)} and {tuple(target.shape)}; "
            "reshape one of them, broadcasting would compare every prediction with every target"
        )
    if not prediction.numel():
        raise ValueError(f"there must be at least one prediction, got shape {tuple(prediction.shape)}; skip this batch")


def _check_classification(logits: Tensor, targets: Tensor) -> None:
    if targets.dtype.is_floating_point or targets.dtype.is_complex or targets.dtype == torch.bool:
        raise TypeError(f"targets must be integers, one class index a row, got {targets.dtype}; use targets.long()")
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or not logits.numel():
        raise ValueError(
            f"logits must be (B, V) and targets (B,), neither empty, got {tuple(logits.shape)} and "
            f"{tuple(targets.shape)}; flatten all leading axes into B"
        )
    if targets.min() < 0 or targets.max() >= logits.shape[1]:
        raise ValueError(
            f"targets must lie between 0 and V - 1 = {logits.shape[1] - 1}, got {int(targets.min())} to "
            f"{int(targets.max())}; count classes from 0"
        )
