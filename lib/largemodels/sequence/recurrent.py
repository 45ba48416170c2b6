r"""Recurrent network: one small layer, used again at every step, carries a state along.

Source: Elman, "Finding Structure in Time", 1990, https://doi.org/10.1207/s15516709cog1402_1.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from largemodels.foundations.activations import relu, tanh

_ACTIVATIONS = {"tanh": tanh, "relu": relu}
_SLOPES = {"tanh": lambda h: 1 - h**2, "relu": lambda h: (h > 0).to(h.dtype)}  # from the value, not from its argument


def recurrent_step(
    x: Tensor, h: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, activation: str = "tanh"
) -> Tensor:
    r"""Take one step: mix what is read now with what is remembered.

    $h_t = \tanh(W_{ih} x_t + b_{ih} + W_{hh} h_{t-1} + b_{hh})$. One bias would do; there are two because PyTorch, and
    below it cuDNN, has two.

    Source: the formula of https://docs.pytorch.org/docs/stable/generated/torch.nn.RNN.html; the network is Elman's,
    1990, https://doi.org/10.1207/s15516709cog1402_1.

    Differs from the paper: Elman squeezes with the sigmoid; tanh or ReLU here.

    Args:
        x: inputs of this step, shape `(B, C)`.
        h: states after the step before, shape `(B, D)`.
        w_ih: weights from input to state, shape `(D, C)`.
        w_hh: weights from state to state, shape `(D, D)`.
        b_ih: bias of the input's part, shape `(D,)`.
        b_hh: bias of the state's part, shape `(D,)`.
        activation: `"tanh"` or `"relu"`.

    Returns:
        States after this step, shape `(B, D)`.

    Raises:
        ValueError: if the activation is neither of the two.

    Examples:
        >>> x, h = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[1.0, 0.0]])
        >>> recurrent_step(x, h, torch.ones(2, 3), torch.eye(2), torch.zeros(2), torch.zeros(2), "relu")
        tensor([[7., 6.]])
    """
    _check_activation(activation)
    return _ACTIVATIONS[activation](x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)  # (B, D)


def recurrent(
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor,
    b_hh: Tensor,
    h0: Tensor | None = None,
    activation: str = "tanh",
) -> Tensor:
    """Read sequences from left to right, with the same parameters at every step.

    The parameters come in the order of `torch.nn.RNN(C, D).parameters()`.

    Source: Elman, 1990, https://doi.org/10.1207/s15516709cog1402_1.

    Args:
        x: inputs, batch first, shape `(B, T, C)`.
        w_ih: weights from input to state, shape `(D, C)`.
        w_hh: weights from state to state, shape `(D, D)`.
        b_ih: bias of the input's part, shape `(D,)`.
        b_hh: bias of the state's part, shape `(D,)`.
        h0: states before the first step, shape `(B, D)`; zeros when None.
        activation: `"tanh"` or `"relu"`.

    Returns:
        The state after every step, shape `(B, T, D)`.

    Raises:
        ValueError: if shapes do not fit, a sequence is empty, or the activation is neither of the two.

    Examples:
        >>> x = torch.tensor([[[1.0], [2.0], [3.0]]])
        >>> two = torch.zeros(2)
        >>> recurrent(x, torch.ones(2, 1), torch.diag(torch.tensor([1.0, 0.5])), two, two, activation="relu")[0]
        tensor([[1.0000, 1.0000],
                [3.0000, 2.5000],
                [6.0000, 4.2500]])
    """
    h = _first_state(x, w_ih, w_hh, h0)
    states = []
    for t in range(x.shape[1]):
        h = recurrent_step(x[:, t], h, w_ih, w_hh, b_ih, b_hh, activation)  # (B, D)
        states.append(h)
    return torch.stack(states, dim=1)  # (B, T, D)


def backpropagate_through_time(
    grad_states: Tensor,
    states: Tensor,
    x: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    h0: Tensor | None = None,
    activation: str = "tanh",
) -> dict[str, Tensor]:
    r"""Send the gradient back from the last step to the first, and add up what each step owes.

    Unrolled over time, the network is a deep one whose layers share their weights: backpropagation as ever. What
    reaches step $t$ is what the loss asks of $h_t$ itself, plus what came back through $W_{hh}$ from step $t+1$.

    Source: Werbos, "Backpropagation Through Time: What It Does and How to Do It", 1990,
    https://doi.org/10.1109/5.58337.

    Args:
        grad_states: gradient of the loss for each state, each seen on its own, shape `(B, T, D)`.
        states: what `recurrent` returned, shape `(B, T, D)`.
        x: inputs, shape `(B, T, C)`.
        w_ih: weights from input to state, shape `(D, C)`.
        w_hh: weights from state to state, shape `(D, D)`.
        h0: states before the first step, shape `(B, D)`; zeros when None.
        activation: `"tanh"` or `"relu"`.

    Returns:
        Gradients by name, each of the same shape as what it belongs to: `w_ih`, `w_hh`, `b_ih`, `b_hh`, `x`, `h0`.

    Raises:
        ValueError: if shapes do not fit, a sequence is empty, or the activation is neither of the two.

    Examples:
        >>> x, w_ih, w_hh = torch.ones(1, 3, 2), torch.ones(1, 2), torch.tensor([[0.5]])
        >>> states = recurrent(x, w_ih, w_hh, torch.zeros(1), torch.zeros(1), activation="relu")
        >>> last = torch.tensor([[[0.0], [0.0], [1.0]]])
        >>> backpropagate_through_time(last, states, x, w_ih, w_hh, activation="relu")["x"][0, :, 0]
        tensor([0.2500, 0.5000, 1.0000])
    """
    _check_activation(activation)
    before = torch.cat([_first_state(x, w_ih, w_hh, h0)[:, None], states[:, :-1]], dim=1)  # (B, T, D)
    slopes, grad_h = _SLOPES[activation](states), torch.zeros_like(states[:, 0])
    parts = []
    for t in reversed(range(x.shape[1])):
        part = (grad_states[:, t] + grad_h) * slopes[:, t]  # (B, D)
        parts.append(part)
        grad_h = part @ w_hh  # (B, D)
    grad_a = torch.stack(parts[::-1], dim=1)  # (B, T, D): gradient before the activation
    bias = grad_a.sum(dim=(0, 1))  # (D,)
    return {
        "w_ih": torch.einsum("btd,btc->dc", grad_a, x), "w_hh": torch.einsum("btd,bte->de", grad_a, before),
        "b_ih": bias, "b_hh": bias.clone(), "x": grad_a @ w_ih, "h0": grad_h,
    }  # fmt: skip


def recurrent_jacobians(states: Tensor, w_hh: Tensor, activation: str = "tanh") -> Tensor:
    r"""Return how each state answers to a nudge of the state before.

    $\partial h_t / \partial h_{t-1} = \mathrm{diag}(\phi'(a_t))\,W_{hh}$.

    Source: Pascanu, Mikolov, Bengio, "On the difficulty of training recurrent neural networks", 2013,
    https://arxiv.org/abs/1211.5063, section 2.1.

    Args:
        states: the states of one sequence, shape `(T, D)`.
        w_hh: weights from state to state, shape `(D, D)`.
        activation: the one that made the states.

    Returns:
        One matrix for each step, row: state after, column: state before, shape `(T, D, D)`.

    Raises:
        ValueError: if the activation is neither of the two.

    Examples:
        >>> recurrent_jacobians(torch.tensor([[0.0, 0.5]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[[1.0000, 2.0000],
                 [2.2500, 3.0000]]])
    """
    _check_activation(activation)
    return _SLOPES[activation](states)[..., None] * w_hh  # (T, D, D)


def norms_over_distance(jacobians: Tensor) -> Tensor:
    r"""Measure what is left of a nudge k steps later, for every k.

    $\lVert\partial h_T / \partial h_{T-k}\rVert_2$: the derivative over k steps is the product of k Jacobians, so its
    norm is at most the product of theirs. With every norm at most η that is $\eta^k$: below 1 it must vanish, above 1
    it may explode.

    Source: Pascanu et al., 2013, https://arxiv.org/abs/1211.5063, section 2.1; first shown by Bengio, Simard, Frasconi,
    1994, https://doi.org/10.1109/72.279181.

    Args:
        jacobians: one square matrix for each step, first step first, shape `(T, D, D)`.

    Returns:
        Largest singular value of the product of the last k, for k = 0 (which is 1) to T, shape `(T + 1,)`.

    Examples:
        >>> norms_over_distance(torch.diag(torch.tensor([0.5, 0.25])).expand(3, 2, 2))
        tensor([1.0000, 0.5000, 0.2500, 0.1250])
    """
    product = torch.eye(jacobians.shape[-1]).to(jacobians)
    products = [product]
    for jacobian in jacobians.flip(0):
        product = product @ jacobian  # (D, D)
        products.append(product)
    return torch.linalg.matrix_norm(torch.stack(products), ord=2)  # (T + 1,)


def with_spectral_radius(w: Tensor, radius: float) -> Tensor:
    r"""Scale a matrix so that its largest eigenvalue has the wanted modulus.

    Source: the definition; why it matters: Pascanu et al., 2013, https://arxiv.org/abs/1211.5063, section 2.1.

    Args:
        w: shape `(D, D)`.
        radius: wanted largest modulus of an eigenvalue, not negative.

    Returns:
        The scaled matrix, shape `(D, D)`.

    Raises:
        ValueError: if the radius is negative, or the matrix has no eigenvalue but 0.

    Examples:
        >>> with_spectral_radius(torch.tensor([[0.0, 4.0], [1.0, 0.0]]), 0.5)
        tensor([[0.0000, 1.0000],
                [0.2500, 0.0000]])
    """
    largest = float(torch.linalg.eigvals(w).abs().max())
    if not radius >= 0 or largest == 0:
        raise ValueError(f"radius must not be negative and w must have an eigenvalue other than 0, got {radius:g} and "
                         f"a largest eigenvalue of {largest:g}; draw another matrix")  # fmt: skip
    return w * (radius / largest)


def clip_gradients(grads: Iterable[Tensor], max_norm: float) -> tuple[list[Tensor], Tensor]:
    r"""Shorten the whole gradient to at most `max_norm`, keeping its direction.

    All tensors count as one long vector $g$: beyond the limit it becomes $g \cdot \text{max\_norm} / \lVert g \rVert$.

    Source: Pascanu et al., 2013, https://arxiv.org/abs/1211.5063, algorithm 1.

    Differs from the paper: 1e-6 is added to the norm, as `torch.nn.utils.clip_grad_norm_` does. Differs from PyTorch:
    a norm that is not finite is refused; there it silently turns every gradient into 0 or nan.

    Args:
        grads: gradients of all parameters, each of any shape.
        max_norm: the longest that may be, above 0.

    Returns:
        The gradients, each of the same shape as before, and their norm before clipping, shape `()`.

    Raises:
        ValueError: if there is no gradient, the limit is not above 0, or the norm is not finite.

    Examples:
        >>> clipped, norm = clip_gradients([torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])], max_norm=1.0)
        >>> norm, clipped
        (tensor(5.), [tensor([0.6000]), tensor([[0.0000, 0.8000]])])
    """
    grads = list(grads)
    if not grads or not max_norm > 0:
        raise ValueError(f"there must be a gradient and max_norm must be above 0, got {len(grads)} and {max_norm}")
    norm = torch.stack([grad.norm() for grad in grads]).norm()
    if not norm.isfinite():
        raise ValueError(f"the norm must be finite, got {norm.item()}; skip this step or lower the learning rate")
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    return [grad * scale for grad in grads], norm


def _first_state(x: Tensor, w_ih: Tensor, w_hh: Tensor, h0: Tensor | None) -> Tensor:
    D = len(w_hh)
    if x.ndim != 3 or x.shape[1] < 1 or w_ih.shape != (D, x.shape[2]) or w_hh.shape != (D, D):
        raise ValueError(
            f"x must be (B, T, C), w_ih (D, C) and w_hh (D, D) with T at least 1, got {tuple(x.shape)}, "
            f"{tuple(w_ih.shape)} and {tuple(w_hh.shape)}; put the batch first and give one width C"
        )
    if h0 is None:
        return x.new_zeros(len(x), D)  # (B, D)
    if h0.shape != (len(x), D):
        raise ValueError(f"h0 must be (B, D) = {(len(x), D)}, got {tuple(h0.shape)}; give each sequence one state")
    return h0


def _check_activation(activation: str) -> None:
    if activation not in _ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(_ACTIVATIONS)}, got {activation!r}; choose one of them")
