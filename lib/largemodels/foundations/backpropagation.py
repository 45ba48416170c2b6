r"""Back-propagation: the chain rule, walked once from the loss back to every parameter.

Twice over: by hand, for a net of two layers, and by a small machine that does it for any formula.

Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating errors", 1986,
https://doi.org/10.1038/323533a0; Goodfellow, Bengio, Courville, "Deep Learning", 2016,
https://www.deeplearningbook.org/contents/mlp.html, section 6.5.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from largemodels.foundations.activations import tanh
from largemodels.foundations.layer import affine
from largemodels.foundations.losses import mean_squared_error, mean_squared_error_gradient


class TwoLayer(NamedTuple):
    """The four parameters of a two-layer net, or, in the same places, their four gradients.

    Source: Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/mlp.html, algorithm 6.3.

    Attributes:
        W1: weights of the first layer, shape `(M, D)`, as in `torch.nn.Linear`.
        b1: biases of the first layer, shape `(M,)`.
        W2: weights of the second layer, shape `(K, M)`.
        b2: biases of the second layer, shape `(K,)`.

    Examples:
        >>> params = TwoLayer(torch.zeros(4, 3), torch.zeros(4), torch.zeros(2, 4), torch.zeros(2))
        >>> sum(p.numel() for p in params)
        26
    """

    W1: Tensor
    b1: Tensor
    W2: Tensor
    b2: Tensor


def two_layer_forward(params: TwoLayer, x: Tensor) -> tuple[Tensor, Tensor]:
    r"""Compute $\hat y = W_2 \tanh(W_1 x + b_1) + b_2$ and keep what the way back needs.

    Source: Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/mlp.html, algorithm 6.3.

    Args:
        params: the four parameters.
        x: inputs, shape `(B, D)`.

    Returns:
        The hidden values, shape `(B, M)`, and the predictions, shape `(B, K)`.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> params = TwoLayer(torch.zeros(4, 3), torch.zeros(4), torch.ones(2, 4), torch.tensor([5.0, 6.0]))
        >>> hidden, prediction = two_layer_forward(params, torch.ones(1, 3))
        >>> hidden.shape, prediction
        (torch.Size([1, 4]), tensor([[5., 6.]]))
    """
    h = tanh(affine(x, params.W1, params.b1))  # (B, M)
    return h, affine(h, params.W2, params.b2)  # (B, M), (B, K)


def two_layer_gradients(params: TwoLayer, x: Tensor, target: Tensor) -> tuple[Tensor, TwoLayer]:
    r"""Return the mean squared error and its slope for every parameter, each from a formula.

    From the loss backwards: $\delta_2 = \partial L/\partial\hat y$, then $\delta_1 = (\delta_2 W_2) \odot (1 - h^2)$;
    the gradient of each weight is the $\delta$ behind it times the value in front of it.

    Source: Rumelhart, Hinton, Williams, 1986, https://doi.org/10.1038/323533a0, equations (4) to (7); in matrices
    Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/mlp.html, algorithm 6.4.

    Differs from the paper: tanh where it has the sigmoid, no activation on the output, and the mean of the squared
    errors instead of half their sum.

    Args:
        params: the four parameters.
        x: inputs, shape `(B, D)`.
        target: what the predictions should be, shape `(B, K)`.

    Returns:
        The loss, shape `()`, and the gradients, each in the shape of its parameter.

    Raises:
        ValueError: if the shapes do not fit.

    Examples:
        >>> params = TwoLayer(torch.zeros(4, 3), torch.zeros(4), torch.ones(2, 4), torch.tensor([5.0, 6.0]))
        >>> loss, gradients = two_layer_gradients(params, torch.ones(1, 3), torch.tensor([[4.0, 4.0]]))
        >>> loss, gradients.b2, gradients.W1[0]
        (tensor(2.5000), tensor([1., 2.]), tensor([3., 3., 3.]))
    """
    h, prediction = two_layer_forward(params, x)
    loss = mean_squared_error(prediction, target)
    delta2 = mean_squared_error_gradient(prediction, target)  # (B, K)
    W2, b2 = delta2.mT @ h, delta2.sum(0)  # (K, M), (K,)
    delta1 = (delta2 @ params.W2) * (1 - h**2)  # (B, M)
    W1, b1 = delta1.mT @ x, delta1.sum(0)  # (M, D), (M,)
    return loss, TwoLayer(W1, b1, W2, b2)


class Value:
    r"""A number that remembers how it was computed, so that it can say what it owes to whom.

    Every operation gives a new `Value` that keeps its operands and, for each, the local slope: how fast the result
    changes with that operand. Numbers may stand where a `Value` may.

    Source: the idea is that of Karpathy, "micrograd", 2020, https://github.com/karpathy/micrograd.

    Differs from micrograd: it keeps slopes instead of closures, orders the graph without recursion, and a second
    `backward` adds exactly the same gradients once more, as PyTorch does with leaves.

    Args:
        data: the number.
        parents: operands, each with its local slope; none for an input or a parameter.
        operation: the sign or name of what made it, for pictures.

    Attributes:
        data: the number.
        grad: sum of the slopes of everything that `backward` was called on with respect to this number.
        parents: as above.
        operation: as above.

    Examples:
        >>> a, b = Value(3.0), Value(-2.0)
        >>> c = a * b + a**2
        >>> c.backward()
        >>> c.data, a.grad, b.grad
        (3.0, 4.0, 3.0)
    """

    def __init__(self, data: float, parents: Sequence[tuple["Value", float]] = (), operation: str = "") -> None:
        self.data, self.grad = float(data), 0.0
        self.parents, self.operation = tuple(parents), operation

    def __repr__(self) -> str:
        return f"Value({self.data:g}, grad={self.grad:g})"

    def __add__(self, other: "Value | float") -> "Value":
        other = _value(other)
        return Value(self.data + other.data, [(self, 1.0), (other, 1.0)], "+")

    def __sub__(self, other: "Value | float") -> "Value":
        other = _value(other)
        return Value(self.data - other.data, [(self, 1.0), (other, -1.0)], "−")

    def __mul__(self, other: "Value | float") -> "Value":
        other = _value(other)
        return Value(self.data * other.data, [(self, other.data), (other, self.data)], "×")

    def __pow__(self, exponent: "float | Value") -> "Value":
        if isinstance(exponent, Value):
            raise TypeError(f"the exponent must be a plain number, got {exponent!r}; this machine has no logarithm")
        if (self.data < 0 and exponent % 1) or (self.data == 0 and exponent < 1 and exponent):
            raise ValueError(
                f"the power and its slope must be finite real numbers, got {self.data:g} ** {exponent:g}; "
                "use a positive base"
            )
        slope = exponent * self.data ** (exponent - 1) if exponent else 0.0
        return Value(self.data**exponent, [(self, slope)], f"^{exponent:g}")

    def __neg__(self) -> "Value":
        return self * -1.0

    def __truediv__(self, other: "Value | float") -> "Value":
        return self * _value(other) ** -1

    def __radd__(self, other: float) -> "Value":
        return self + other

    def __rsub__(self, other: float) -> "Value":
        return _value(other) - self

    def __rmul__(self, other: float) -> "Value":
        return self * other

    def __rtruediv__(self, other: float) -> "Value":
        return _value(other) / self

    def exp(self) -> "Value":
        """Return e to the power of this number, whose slope is itself.

        Returns:
            The new number.
        """
        result = math.exp(self.data)
        return Value(result, [(self, result)], "exp")

    def tanh(self) -> "Value":
        """Return the hyperbolic tangent, whose slope is 1 minus its square.

        Returns:
            The new number, from −1 to 1.
        """
        result = math.tanh(self.data)
        return Value(result, [(self, 1 - result**2)], "tanh")

    def relu(self) -> "Value":
        """Return the number if it is positive, else 0.

        Returns:
            The new number, at least 0; its slope is 1 or 0, and 0 at 0, as in PyTorch.
        """
        return Value(max(self.data, 0.0), [(self, float(self.data > 0))], "relu")

    def backward(self) -> None:
        """Add this number's slope to the `grad` of everything it was computed from.

        Source: Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/mlp.html, algorithm 6.2.
        """
        flow = {self: 1.0}
        for node in reversed(topological_order(self)):
            for parent, slope in node.parents:
                flow[parent] = flow.get(parent, 0.0) + flow[node] * slope  # one term for each path
        for node, gradient in flow.items():
            node.grad += gradient


def topological_order(root: Value) -> list[Value]:
    """List everything that `root` was computed from, operands always before results.

    Args:
        root: the last number, such as the loss.

    Returns:
        All numbers of the graph, each once, the root last.

    Examples:
        >>> a = Value(2.0)
        >>> [node.data for node in topological_order(a * a + a)]
        [2.0, 4.0, 6.0]
    """
    order: list[Value] = []
    seen: set[Value] = set()
    stack = [(root, False)]
    while stack:
        node, operands_done = stack.pop()
        if operands_done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in reversed(node.parents))
    return order


def central_difference(f: Callable[[Tensor], Tensor], x: Tensor, step: float = 1e-5) -> Tensor:
    r"""Measure the gradient: $(f(x + \epsilon) - f(x - \epsilon)) / 2\epsilon$ for each entry.

    It knows nothing of the chain rule, which makes it the judge; it runs `f` twice for every entry, which makes it
    useless for training.

    Source: Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/guidelines.html, section 11.5.

    Args:
        f: takes a tensor of the shape of `x`, returns one number, shape `()`.
        x: where to measure, any shape, float64.
        step: $\epsilon$; the formula's error falls with its square, that of rounding grows with its inverse.

    Returns:
        The gradient, same shape as `x`.

    Raises:
        TypeError: if `x` is not float64.

    Examples:
        >>> central_difference(lambda x: (x**3).sum(), torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64))
        tensor([ 3.0000, 12.0000, 27.0000], dtype=torch.float64)
    """
    if x.dtype != torch.float64:
        raise TypeError(f"x must be float64, got {x.dtype}; in float32 rounding drowns the difference: use x.double()")
    x = x.detach()
    moves = step * torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape)
    slopes = [(f(x + move).detach() - f(x - move).detach()) / (2 * step) for move in moves]
    return torch.stack(slopes).view(x.shape)


def _value(number: Value | float) -> Value:
    return number if isinstance(number, Value) else Value(number)
