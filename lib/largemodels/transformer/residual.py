r"""Residual connection: a layer learns what to add, the input itself goes straight on.

The stack in this module is the smallest one that shows the effect: every layer is $F_l(x) = \tanh(W_l x)$, with the
connection (residual) or without it (plain), from the same weights.

Source: He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", 2015, https://arxiv.org/abs/1512.03385;
the gradient: the same authors, "Identity Mappings in Deep Residual Networks", 2016, https://arxiv.org/abs/1603.05027.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from largemodels.foundations.activations import tanh_derivative
from largemodels.foundations.losses import mean_squared_error, mean_squared_error_gradient


def residual(x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
    r"""Add to the input what a branch makes of it: $y = x + F(x)$.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, equation (1).

    Args:
        x: input, any shape.
        branch: $F$: attention, a feed-forward layer, anything that gives the same shape.

    Returns:
        The sum, the same shape as `x`.

    Raises:
        ValueError: if the branch changes the shape; broadcasting could hide that.

    Examples:
        >>> residual(torch.tensor([[1.0, 2.0, -3.0], [0.0, 4.0, 5.0]]), torch.relu)
        tensor([[ 2.,  4., -3.],
                [ 0.,  8., 10.]])
    """
    change = branch(x)
    if change.shape != x.shape:
        raise ValueError(
            f"branch must keep the shape {tuple(x.shape)}, got {tuple(change.shape)}; "
            "end the branch, or replace the input, with a projection to one width"
        )
    return x + change


def layer_weights(depth: int, width: int, scale: float = 1.0, seed: int = 0) -> Tensor:
    r"""Draw the weights of a stack: normal, with standard deviation $s/\sqrt{C}$.

    With $s = 1$ a linear layer keeps the mean square of its input; tanh then shrinks it a little.

    Source: the scaling by the width is that of Glorot, Bengio, "Understanding the difficulty of training deep
    feedforward neural networks", 2010, https://proceedings.mlr.press/v9/glorot10a.html.

    Args:
        depth: number of layers L, at least 1.
        width: numbers per example C, at least 1.
        scale: $s$, not negative.
        seed: the same seed gives the same weights; a larger `scale` only stretches them.

    Returns:
        Weights, float64, shape `(L, C, C)`, output first as in `torch.nn.Linear`.

    Raises:
        ValueError: if `depth` or `width` is below 1, or `scale` is negative.

    Examples:
        >>> layer_weights(3, 2, scale=0.5).shape
        torch.Size([3, 2, 2])
    """
    if depth < 1 or width < 1:
        raise ValueError(f"depth and width must be at least 1, got {depth} and {width}; choose at least one of each")
    if not scale >= 0:
        raise ValueError(f"scale must not be negative, got {scale}; it is a standard deviation")
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(depth, width, width, generator=generator, dtype=torch.float64)  # (L, C, C)
    return weights * scale / width**0.5


def run_stack(x: Tensor, weights: Tensor, *, skip: bool) -> Tensor:
    r"""Run a deep stack and keep the state before and after every layer.

    Plain: $x_{l+1} = F_l(x_l)$. Residual: $x_{l+1} = x_l + F_l(x_l)$. Always $F_l(x) = \tanh(W_l x)$.

    Source: He et al., 2016, https://arxiv.org/abs/1603.05027, equation (3).

    Differs from the paper: its branches hold two convolutions with batch normalisation; here one matrix and one tanh.

    Args:
        x: inputs, shape `(B, C)`.
        weights: one matrix per layer, shape `(L, C, C)`.
        skip: True for the residual stack, False for the plain one.

    Returns:
        The input and the output of each layer, shape `(L + 1, B, C)`.

    Raises:
        ValueError: if the input is not as wide as the weights.

    Examples:
        >>> x = torch.tensor([[0.0, 1.0, -1.0]])
        >>> run_stack(x, torch.eye(3).expand(2, 3, 3), skip=True)[:, 0]
        tensor([[ 0.0000,  1.0000, -1.0000],
                [ 0.0000,  1.7616, -1.7616],
                [ 0.0000,  2.7043, -2.7043]])
    """
    if x.shape[-1] != weights.shape[-1]:
        raise ValueError(f"x must be as wide as the weights (C), got {x.shape[-1]} and {weights.shape[-1]}; project it")
    states = [x]
    for weight in weights:
        change = torch.tanh(states[-1] @ weight.mT)  # (B, C)
        states.append(states[-1] + change if skip else change)
    return torch.stack(states)  # (L+1, B, C)


def run_stack_backward(states: Tensor, weights: Tensor, gradient: Tensor, *, skip: bool) -> tuple[Tensor, Tensor]:
    r"""Send a gradient back through the stack, layer by layer, as autograd would.

    Plain: $g_l = g_{l+1} F_l'$. Residual: $g_l = g_{l+1} + g_{l+1} F_l' = g_{l+1}(I + F_l')$: one addition more, and
    whatever the layer does, $g_{l+1}$ itself arrives.

    Source: follows, one layer at a time, from He et al., 2016, https://arxiv.org/abs/1603.05027, equation (5).

    Args:
        states: what `run_stack` returned, shape `(L + 1, B, C)`.
        weights: one matrix per layer, shape `(L, C, C)`.
        gradient: slope of the loss with respect to the last state, shape `(B, C)`.
        skip: as given to `run_stack`.

    Returns:
        Slopes with respect to each state, shape `(L + 1, B, C)`, and to each weight, shape `(L, C, C)`.

    Examples:
        >>> weights = 0.5 * torch.eye(3).expand(2, 3, 3)
        >>> states = run_stack(torch.zeros(1, 3), weights, skip=True)
        >>> run_stack_backward(states, weights, torch.ones(1, 3), skip=True)[0][:, 0]
        tensor([[2.2500, 2.2500, 2.2500],
                [1.5000, 1.5000, 1.5000],
                [1.0000, 1.0000, 1.0000]])
    """
    changes = states.diff(dim=0) if skip else states[1:]  # what each branch gave, (L, B, C)
    slopes = 1 - changes**2  # tanh' from the value of tanh
    by_state, by_branch = [gradient], []
    for slope, weight in zip(slopes.flip(0), weights.flip(0), strict=True):
        by_branch.append(by_state[-1] * slope)  # (B, C)
        through_branch = by_branch[-1] @ weight  # (B, C)
        by_state.append(by_state[-1] + through_branch if skip else through_branch)
    by_weight = torch.stack(by_branch[::-1]).mT @ states[:-1]  # (L, C, C)
    return torch.stack(by_state[::-1]), by_weight


def layer_jacobian(x: Tensor, weight: Tensor, *, skip: bool) -> Tensor:
    r"""Return the matrix of slopes of one layer: $F'(x)$, or $I + F'(x)$ with the connection.

    Source: the $1 + \partial F$ of He et al., 2016, https://arxiv.org/abs/1603.05027, equation (5), for one layer.

    Args:
        x: where the slopes are wanted, shape `(..., C)`.
        weight: the layer's matrix, shape `(C, C)`.
        skip: whether the layer has the connection.

    Returns:
        Slopes of output i with respect to input j, shape `(..., C, C)`.

    Examples:
        >>> weight = torch.tensor([[0.5, 0.25, 0.0], [0.0, -0.5, 0.0], [1.0, 0.0, 0.5]])
        >>> layer_jacobian(torch.zeros(3), weight, skip=True)
        tensor([[1.5000, 0.2500, 0.0000],
                [0.0000, 0.5000, 0.0000],
                [1.0000, 0.0000, 1.5000]])
    """
    slopes = tanh_derivative(x @ weight.mT)[..., None] * weight  # (..., C, C)
    return slopes + torch.eye(x.shape[-1], dtype=x.dtype) if skip else slopes


def learn_sign(weights: Tensor, *, skip: bool, lr: float, steps: int = 20, examples: int = 64) -> Tensor:
    """Train a stack by gradient descent on a small task and return its losses.

    The task: 64 random vectors; is the product of the first two numbers positive (1) or negative (−1)? A fixed random
    reading of the last state answers. The loss is the mean squared error, so answering 0 always costs 1.

    Source: our own task; the comparison of deep plain and residual stacks is that of He et al., 2015,
    https://arxiv.org/abs/1512.03385, section 4.

    Args:
        weights: where training starts, float64, shape `(L, C, C)`, C at least 2; left unchanged.
        skip: True for the residual stack, False for the plain one.
        lr: learning rate.
        steps: number of steps.
        examples: number of random vectors.

    Returns:
        Loss before each step and after the last, shape `(steps + 1,)`.

    Raises:
        ValueError: if the width is below 2.

    Examples:
        >>> losses = learn_sign(layer_weights(4, 16), skip=True, lr=0.1, steps=50)
        >>> losses.shape, bool(losses[-1] < 0.1)
        (torch.Size([51]), True)
    """
    C = weights.shape[-1]
    if C < 2:
        raise ValueError(f"width must be at least 2, got {C}; the task multiplies two numbers")
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(examples, C, generator=generator, dtype=torch.float64)  # (B, C)
    reading = torch.randn(C, generator=generator, dtype=torch.float64) / C**0.5  # (C,)
    target, losses = (x[:, 0] * x[:, 1]).sign(), []
    for step in range(steps + 1):
        states = run_stack(x, weights, skip=skip)  # (L+1, B, C)
        answer = states[-1] @ reading  # (B,)
        losses.append(mean_squared_error(answer, target))
        if step < steps:
            gradient = mean_squared_error_gradient(answer, target)[:, None] * reading  # (B, C)
            weights = weights - lr * run_stack_backward(states, weights, gradient, skip=skip)[1]
    return torch.stack(losses)  # (steps+1,)
