r"""Gradient descent and its kin: rules that turn a gradient into the next parameters.

Every rule is a pure function, `(params, grad, state, lr) -> (new params, new state)`; the state of the first step
is None. Rules work element by element, so a model with several tensors applies one to each of them.

Source: Cauchy, "Méthode générale pour la résolution des systèmes d'équations simultanées", 1847; in today's words
Goodfellow et al., "Deep Learning", 2016, https://www.deeplearningbook.org, equation (4.5) and chapter 8.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice, repeat
from typing import Any

import torch
from torch import Tensor

Rule = Callable[[Tensor, Tensor, Any, float], tuple[Tensor, Any]]
AdamState = tuple[int, Tensor, Tensor]  # steps taken; running means of the gradient and of its square


def _check(params: Tensor, grad: Tensor, lr: float, **shares: float) -> None:
    """Refuse what would broadcast, walk uphill or never forget."""
    if params.shape != grad.shape:
        raise ValueError(
            f"params and grad must have the same shape, got {tuple(params.shape)} and {tuple(grad.shape)}; "
            "give the gradient with respect to these params"
        )
    if not lr >= 0:
        raise ValueError(f"lr must be at least 0, got {lr}; the rule already walks against the gradient")
    for name, share in shares.items():
        if not 0 <= share < 1:
            raise ValueError(f"{name} must be at least 0 and below 1, got {share}; it is the share kept at each step")


def sgd(
    params: Tensor, grad: Tensor, state: None = None, lr: float = 1e-3, *, weight_decay: float = 0.0
) -> tuple[Tensor, None]:
    r"""Take one plain step against the gradient: $\theta \leftarrow \theta - \alpha g$.

    The rule is called gradient descent when `grad` comes from all examples, stochastic when it comes from one, and
    mini-batch when it comes from some: the step is the same. Equal to `torch.optim.SGD` with momentum 0.

    Source: Goodfellow et al., "Deep Learning", 2016, https://www.deeplearningbook.org, equation (4.5), algorithm 8.1.

    Args:
        params: parameters, any shape.
        grad: gradient of the loss at `params`, same shape.
        state: None; this rule remembers nothing.
        lr: learning rate $\alpha$, at least 0.
        weight_decay: $\lambda$; adds $\lambda\theta$ to the gradient.

    Returns:
        The new parameters, same shape, and None.

    Raises:
        ValueError: if the shapes differ or `lr` is negative.

    Examples:
        >>> sgd(torch.tensor([1.0, 2.0]), torch.tensor([10.0, -10.0]), None, 0.1)
        (tensor([0., 3.]), None)
    """
    _check(params, grad, lr)
    if weight_decay:
        grad = grad + weight_decay * params
    return params - lr * grad, None


def momentum(
    params: Tensor,
    grad: Tensor,
    state: Tensor | None = None,
    lr: float = 1e-3,
    *,
    mu: float = 0.9,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
) -> tuple[Tensor, Tensor]:
    r"""Follow a running sum of the gradients instead of the last one alone.

    The velocity is $v \leftarrow \mu v + g$, the step $\theta \leftarrow \theta - \alpha v$. Equal to
    `torch.optim.SGD(momentum=mu)`.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", 1964,
    https://doi.org/10.1016/0041-5553(64)90137-5; in today's notation Sutskever et al., 2013,
    https://proceedings.mlr.press/v28/sutskever13.html, equations (1) and (2).

    Differs from the paper: like PyTorch's, the velocity holds gradients and meets the learning rate afterwards; the
    papers' holds steps ($v \leftarrow \mu v - \alpha g$, $\theta \leftarrow \theta + v$). With a constant learning rate
    both walk the same path; when it changes on the way, they do not.

    Args:
        params: parameters, any shape.
        grad: gradient of the loss at `params`, same shape.
        state: velocity of the step before, same shape; None at the first step, where $v = g$.
        lr: learning rate $\alpha$, at least 0.
        mu: share of the velocity that is kept, from 0 to below 1.
        dampening: share of each later gradient that is left out; PyTorch's default is 0.
        weight_decay: $\lambda$; adds $\lambda\theta$ to the gradient.

    Returns:
        The new parameters and the velocity, both of the same shape.

    Raises:
        ValueError: if the shapes differ, `lr` is negative, or `mu` is outside [0, 1).

    Examples:
        >>> params, velocity = momentum(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.0]), None, 0.1, mu=0.5)
        >>> momentum(params, torch.tensor([1.0, 0.0]), velocity, 0.1, mu=0.5)
        (tensor([0.7500, 2.0000]), tensor([1.5000, 0.0000]))
    """
    _check(params, grad, lr, mu=mu)
    if weight_decay:
        grad = grad + weight_decay * params
    velocity = grad if state is None else mu * state + (1 - dampening) * grad
    return params - lr * velocity, velocity


def adam(
    params: Tensor,
    grad: Tensor,
    state: AdamState | None = None,
    lr: float = 1e-3,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> tuple[Tensor, AdamState]:
    r"""Give each parameter a step of its own, scaled by the gradients it has seen.

    The step is $\theta \leftarrow \theta - \alpha\,\hat m / (\sqrt{\hat v} + \epsilon)$. The running means start at 0
    and are too small at first; dividing by $1 - \beta^t$ corrects that bias. The $\epsilon$ stands outside the root, as
    in the paper's algorithm 1. Equal to `torch.optim.Adam`.

    Source: Kingma & Ba, "Adam: A Method for Stochastic Optimization", 2015, https://arxiv.org/abs/1412.6980,
    algorithm 1.

    Differs from the paper: `weight_decay` is PyTorch's addition. It goes through the gradient and is divided by
    $\sqrt{\hat v}$ with it, so parameters with large gradients hardly decay; `adamw` repairs that.

    Args:
        params: parameters, any shape.
        grad: gradient of the loss at `params`, same shape.
        state: what the step before returned: $t$, $m$, $v$; None at the first step.
        lr: learning rate $\alpha$, at least 0: about the length of one step in each parameter.
        betas: shares kept of the mean gradient and of the mean squared gradient, each from 0 to below 1.
        eps: keeps the division finite where the gradient has always been 0.
        weight_decay: $\lambda$; adds $\lambda\theta$ to the gradient.

    Returns:
        The new parameters, same shape, and the new state $(t, m, v)$.

    Raises:
        ValueError: if the shapes differ, `lr` is negative, or a beta is outside [0, 1).

    Examples:
        >>> params, state = adam(torch.tensor([1.0, 1.0, 1.0]), torch.tensor([500.0, -0.02, 0.0]), None, 0.1)
        >>> params, state[0]
        (tensor([0.9000, 1.1000, 1.0000]), 1)
    """
    beta1, beta2 = betas
    _check(params, grad, lr, beta1=beta1, beta2=beta2)
    if weight_decay:
        grad = grad + weight_decay * params
    t, m, v = state or (0, torch.zeros_like(params), torch.zeros_like(params))
    t = t + 1
    m = beta1 * m + (1 - beta1) * grad
    v = beta2 * v + (1 - beta2) * grad**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return params - lr * m_hat / (v_hat.sqrt() + eps), (t, m, v)


def adamw(
    params: Tensor,
    grad: Tensor,
    state: AdamState | None = None,
    lr: float = 1e-3,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> tuple[Tensor, AdamState]:
    r"""Take Adam's step, and shrink the parameters beside it, not through the gradient.

    First $\theta \leftarrow (1 - \alpha\lambda)\,\theta$, then the step of `adam` without weight decay. Equal to
    `torch.optim.AdamW`, whose default $\lambda$ is 0.01.

    Source: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019, https://arxiv.org/abs/1711.05101,
    algorithm 2.

    Differs from the paper: there the decay is $\eta_t\lambda\theta$ with a schedule $\eta_t$ and without $\alpha$; like
    PyTorch, we multiply $\lambda$ by the whole learning rate, so a smaller `lr` also decays less.

    Args:
        params: parameters, any shape.
        grad: gradient of the loss at `params`, same shape, without any penalty in it.
        state: what the step before returned: $t$, $m$, $v$; None at the first step.
        lr: learning rate $\alpha$, at least 0.
        betas: shares kept of the mean gradient and of the mean squared gradient, each from 0 to below 1.
        eps: keeps the division finite where the gradient has always been 0.
        weight_decay: $\lambda$; each step multiplies the parameters by $1 - \alpha\lambda$.

    Returns:
        The new parameters, same shape, and the new state $(t, m, v)$.

    Raises:
        ValueError: if the shapes differ, `lr` is negative, or a beta is outside [0, 1).

    Examples:
        >>> params, _ = adamw(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0]), None, 0.1, weight_decay=0.5)
        >>> params
        tensor([0.9500, 2.8500])
    """
    shrunk = (1 - lr * weight_decay) * params
    return adam(shrunk, grad, state, lr, betas=betas, eps=eps)


def minibatches(n: int, batch_size: int, generator: torch.Generator | None = None) -> Iterator[Tensor]:
    """Draw the rows of one mini-batch after another, without end.

    Every epoch is shuffled anew and uses every row once; its last batch is smaller when `n` does not divide evenly.

    Source: Goodfellow et al., "Deep Learning", 2016, https://www.deeplearningbook.org, section 8.1.3.

    Args:
        n: number of examples, at least 1.
        batch_size: examples in one batch, from 1 to `n`.
        generator: source of the shuffling; PyTorch's global one when None.

    Returns:
        An endless iterator of row numbers, shape `(batch_size,)` or shorter.

    Raises:
        ValueError: if `batch_size` is not between 1 and `n`.

    Examples:
        >>> batches = minibatches(5, 2, torch.Generator().manual_seed(0))
        >>> [len(next(batches)) for _ in range(6)]
        [2, 2, 1, 2, 2, 1]
    """
    if not 1 <= batch_size <= n:
        raise ValueError(f"batch_size must be between 1 and n = {n}, got {batch_size}; n itself means all examples")

    epochs = (torch.randperm(n, generator=generator) for _ in repeat(None))
    return (rows for epoch in epochs for rows in epoch.split(batch_size))


def descend(
    loss: Callable[..., Tensor],
    start: Tensor,
    rule: Rule,
    lr: float,
    steps: int,
    batches: Iterable[Tensor] | None = None,
) -> Tensor:
    """Walk down a loss and return every point on the way.

    Nothing stops a walk that diverges: the path then ends in inf or nan, which is what a real training run shows.

    Args:
        loss: `loss(params)`, or `loss(params, rows)` when there are batches; returns one number, shape `()`.
        start: where to begin, floating point, any shape.
        rule: `sgd`, `momentum`, `adam`, `adamw`, or one of them with its options bound by `functools.partial`.
        lr: learning rate, at least 0.
        steps: number of steps, at least 0; fewer are taken if `batches` ends earlier.
        batches: rows for each step, each of shape `(batch_size,)`, as from `minibatches`; None: no batches.

    Returns:
        The path, shape `(steps + 1, *start.shape)`, the start first.

    Raises:
        TypeError: if `start` is not floating point.

    Examples:
        >>> descend(lambda x: (x**2).sum(), torch.tensor([8.0, -4.0]), sgd, lr=0.25, steps=3)
        tensor([[ 8.0000, -4.0000],
                [ 4.0000, -2.0000],
                [ 2.0000, -1.0000],
                [ 1.0000, -0.5000]])
    """
    if not start.is_floating_point():
        raise TypeError(f"start must be floating point, got {start.dtype}; use start.float()")
    params, state = start.detach(), None
    path = [params]
    draws: Iterable[tuple[Tensor, ...]] = repeat(()) if batches is None else ((rows,) for rows in batches)
    for batch in islice(draws, steps):
        here = params.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(here, *batch), here)
        params, state = rule(params, grad, state, lr)
        path.append(params)
    return torch.stack(path)  # (steps + 1, ...)
