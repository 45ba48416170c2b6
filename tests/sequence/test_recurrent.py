"""The recurrent network against torch.nn.RNN, autograd, finite differences, the theory's bound and numbers by hand."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from largemodels.sequence.recurrent import (
    backpropagate_through_time,
    clip_gradients,
    norms_over_distance,
    recurrent,
    recurrent_jacobians,
    recurrent_step,
    with_spectral_radius,
)

B, T, C, D = 2, 7, 3, 5
NAMES = ("w_ih", "w_hh", "b_ih", "b_hh")
ACTIVATIONS = pytest.mark.parametrize("activation", ["tanh", "relu"])


def drawn(seed: int = 0) -> tuple[Tensor, list[Tensor], Tensor]:
    """Return inputs, parameters in PyTorch's order and a first state, all with gradients."""
    g = torch.Generator().manual_seed(seed)
    new = partial(torch.randn, generator=g, dtype=torch.float64)
    x, h0 = new(B, T, C), new(B, D)
    params = [new(D, C), 0.5 * new(D, D), new(D), new(D)]
    return x.requires_grad_(), [p.requires_grad_() for p in params], h0.requires_grad_()


def reference(params: list[Tensor], activation: str) -> torch.nn.RNN:
    layer = torch.nn.RNN(C, D, nonlinearity=activation, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for theirs, ours in zip(layer.parameters(), params, strict=True):
            theirs.copy_(ours)
    return layer


def gap(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


def largest_differences(activation: str) -> tuple[float, float]:
    """Largest difference to torch.nn.RNN: of the states, and of all gradients, autograd's and our own."""
    x, params, h0 = drawn()
    layer, weight = reference(params, activation), torch.randn(B, T, D, dtype=torch.float64)
    ours, (theirs, _) = recurrent(x, *params, h0, activation), layer(x, h0[None])
    wanted = torch.autograd.grad((weight * theirs).sum(), [*layer.parameters(), x, h0])
    automatic = torch.autograd.grad((weight * ours).sum(), [*params, x, h0])
    own = backpropagate_through_time(weight, ours, x, params[0], params[1], h0, activation)
    by_name = [own[name] for name in (*NAMES, "x", "h0")]
    return gap(ours, theirs), max(gap(a, b) for mine in (automatic, by_name) for a, b in zip(mine, wanted, strict=True))


@ACTIVATIONS
def test_largest_difference_to_torch_in_value_and_gradient(
    activation: str, record_differences: Callable[[float, float], None]
) -> None:
    value, gradient = largest_differences(activation)
    record_differences(value, gradient)
    assert value <= 1e-8
    assert gradient <= 1e-8


@ACTIVATIONS
def test_gradients_equal_finite_differences(activation: str) -> None:
    x, params, h0 = drawn(1)
    assert torch.autograd.gradcheck(partial(recurrent, activation=activation), (x, *params, h0), fast_mode=True)


def test_without_a_first_state_it_is_zero() -> None:
    x, params, _ = drawn(2)
    zeros = torch.zeros(B, D, dtype=torch.float64)
    assert torch.equal(recurrent(x, *params), recurrent(x, *params, zeros))
    grad = torch.ones(B, T, D, dtype=torch.float64)
    states = recurrent(x, *params)
    two = [backpropagate_through_time(grad, states, x, params[0], params[1], h0) for h0 in (None, zeros)]
    assert all(torch.equal(two[0][name], two[1][name]) for name in two[0])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 10**6))
def test_reading_in_two_pieces_is_reading_in_one(batch: int, cut: int, seed: int) -> None:
    """The state is all there is to remember; and later inputs change no earlier state."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 10, C, generator=g, dtype=torch.float64)
    params = [p.detach() for p in drawn(seed)[1]]
    whole, first = recurrent(x, *params), recurrent(x[:, :cut], *params)
    rest = recurrent(x[:, cut:], *params, first[:, -1])
    torch.testing.assert_close(whole, torch.cat([first, rest], dim=1), rtol=0, atol=1e-12)


@ACTIVATIONS
def test_jacobians_equal_autograd(activation: str) -> None:
    """Step by step, and their product over every distance."""
    x, params, h0 = (t if isinstance(t, list) else t[:1] for t in drawn(3))
    states = recurrent(x, *params, h0, activation)
    ours = recurrent_jacobians(states[0], params[1], activation)
    path = [h0, *states.split(1, dim=1)]
    for t in range(T):
        step = partial(recurrent_step, x[:, t], activation=activation)
        theirs = torch.autograd.functional.jacobian(
            lambda h, step=step: step(h, *params), path[t].view(1, D).detach()
        ).view(D, D)  # fmt: skip
        assert gap(ours[t], theirs) <= 1e-8
    whole = torch.autograd.functional.jacobian(
        lambda h: recurrent(x, *params, h, activation)[:, -1], h0.detach()
    ).view(D, D)  # fmt: skip
    assert norms_over_distance(ours)[T].item() == pytest.approx(torch.linalg.matrix_norm(whole, ord=2).item())


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.floats(0.1, 2.0), st.sampled_from(["tanh", "relu"]))
def test_norms_never_pass_the_bound(seed: int, radius: float, activation: str) -> None:
    """Pascanu et al.: the product over k steps is at most the k-th power of the largest singular value."""
    g = torch.Generator().manual_seed(seed)
    w_hh = with_spectral_radius(torch.randn(12, 12, generator=g, dtype=torch.float64), radius)
    x = torch.randn(1, 30, 4, generator=g, dtype=torch.float64)
    zeros = torch.zeros(12, dtype=torch.float64)
    states = recurrent(x, torch.randn(12, 4, generator=g, dtype=torch.float64), w_hh, zeros, zeros, None, activation)
    norms = norms_over_distance(recurrent_jacobians(states[0], w_hh, activation))
    bound = torch.linalg.matrix_norm(w_hh, ord=2) ** torch.arange(31)
    assert (norms <= bound * (1 + 1e-9)).all()
    assert torch.linalg.eigvals(w_hh).abs().max().item() == pytest.approx(radius)


def test_the_bound_is_reached_by_an_orthogonal_matrix_and_no_bend() -> None:
    """ReLU units that are all on: the norm over k steps is exactly the k-th power of the radius."""
    q, _ = torch.linalg.qr(torch.randn(D, D, dtype=torch.float64))
    for radius in (0.5, 1.0, 1.5):
        norms = norms_over_distance(recurrent_jacobians(torch.ones(T, D, dtype=torch.float64), radius * q, "relu"))
        torch.testing.assert_close(norms, radius ** torch.arange(T + 1, dtype=torch.float64))


def test_a_small_radius_does_not_forbid_growth_at_first() -> None:
    """The page's pitfall: radius 0.5, yet the norm rises above 10 before it falls."""
    w = torch.tensor([[0.5, 10.0], [0.0, 0.5]], dtype=torch.float64)
    norms = norms_over_distance(w.expand(40, 2, 2))
    assert norms[1] > 10
    assert norms[40] < 1e-9


def test_by_hand() -> None:
    """The page's numbers: one ReLU unit, 1 + 2 · h, read 1, 1, 1, and the loss is the last state."""
    x, one, two = torch.ones(1, 3, 1), torch.ones(1, 1), torch.full((1, 1), 2.0)
    states = recurrent(x, one, two, torch.zeros(1), torch.zeros(1), activation="relu")
    assert states.flatten().tolist() == [1, 3, 7]
    last = torch.tensor([[[0.0], [0.0], [1.0]]])
    grads = backpropagate_through_time(last, states, x, one, two, activation="relu")
    assert grads["x"].flatten().tolist() == [4, 2, 1]
    assert grads["w_ih"].item() == 7
    assert grads["w_hh"].item() == 1 * 3 + 2 * 1 + 4 * 0


def test_the_exercises() -> None:
    """Below one millionth after 132 steps of 0.9; the identity adds up and keeps the gradient at 1."""
    assert 0.9**132 < 1e-6 < 0.9**131
    zeros, one = torch.zeros(3), torch.eye(3)
    states = recurrent(torch.ones(1, 50, 1), torch.ones(3, 1), one, zeros, zeros, activation="relu")
    assert states[0, -1].tolist() == [50, 50, 50]
    assert norms_over_distance(recurrent_jacobians(states[0], one, "relu")).unique().tolist() == [1]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_clipping_equals_torch(seed: int, size: float, max_norm: float) -> None:
    g = torch.Generator().manual_seed(seed)
    grads = [size * torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((3, 4), (5,), ())]
    params = [torch.zeros_like(grad).requires_grad_() for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = grad.clone()
    theirs = torch.nn.utils.clip_grad_norm_(params, max_norm)
    clipped, norm = clip_gradients(iter(grads), max_norm)
    torch.testing.assert_close(norm, theirs, rtol=1e-12, atol=0)
    for ours, param in zip(clipped, params, strict=True):
        torch.testing.assert_close(ours, param.grad, rtol=1e-12, atol=1e-15)
    assert torch.stack([c.norm() for c in clipped]).norm() <= max_norm * (1 + 1e-9)


def test_clipping_keeps_the_direction_and_leaves_short_gradients_alone() -> None:
    a, b = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    clipped, norm = clip_gradients([a, b], 1.0)
    assert norm.item() == 5
    assert [*clipped[0].tolist(), *clipped[1].tolist()] == pytest.approx([0.6, 0.0, 0.8])
    same, _ = clip_gradients([a, b], 6.0)
    assert torch.equal(same[0], a) and torch.equal(same[1], b)


def test_torch_turns_an_infinite_gradient_into_nan_where_we_refuse() -> None:
    """The page's pitfall."""
    param = torch.zeros(2, requires_grad=True)
    param.grad = torch.tensor([math.inf, 1.0])
    torch.nn.utils.clip_grad_norm_([param], 1.0)
    assert param.grad[0].isnan() and param.grad[1] == 0
    with pytest.raises(ValueError, match="norm must be finite, got inf; skip this step"):
        clip_gradients([torch.tensor([math.inf, 1.0])], 1.0)


def test_batch_and_time_swapped_mixes_the_sequences() -> None:
    """The page's pitfall: without batch_first, torch.nn.RNN reads axis 0 as time."""
    torch.manual_seed(0)
    layer, x = torch.nn.RNN(C, D), torch.randn(B, T, C)
    changed = x.clone()
    changed[0] += 1
    assert not torch.equal(layer(x)[0][1], layer(changed)[0][1])
    params = list(layer.parameters())
    assert torch.equal(recurrent(x, *params)[1], recurrent(changed, *params)[1])


def test_a_state_carried_over_must_be_detached() -> None:
    """The page's pitfall."""
    x, params, _ = drawn()
    h = recurrent(x, *params)[:, -1]
    h.sum().backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        recurrent(x, *params, h).sum().backward()
    recurrent(x, *params, h.detach()).sum().backward()


def test_errors_say_what_must_hold() -> None:
    x, params, h0 = drawn()
    with pytest.raises(ValueError, match=r"x must be \(B, T, C\).*got \(2, 7, 2\), \(5, 3\) and \(5, 5\)"):
        recurrent(x[..., :2], *params)
    with pytest.raises(ValueError, match=r"T at least 1, got \(2, 0, 3\)"):
        recurrent(x[:, :0], *params)
    with pytest.raises(ValueError, match=r"h0 must be \(B, D\) = \(2, 5\), got \(1, 5\)"):
        recurrent(x, *params, h0[:1])
    for call in (
        lambda: recurrent(x, *params, h0, "sigmoid"),
        lambda: recurrent_jacobians(h0, params[1], "sigmoid"),
        lambda: backpropagate_through_time(x, x, x, params[0], params[1], activation="sigmoid"),
    ):
        with pytest.raises(ValueError, match="one of tanh, relu, got 'sigmoid'"):
            call()
    with pytest.raises(ValueError, match="got -1 and a largest eigenvalue of 1"):
        with_spectral_radius(torch.eye(2), -1.0)
    with pytest.raises(ValueError, match="a largest eigenvalue of 0; draw another matrix"):
        with_spectral_radius(torch.tensor([[0.0, 1.0], [0.0, 0.0]]), 1.0)
    with pytest.raises(ValueError, match="got 0 and 1.0"):
        clip_gradients([], 1.0)
    with pytest.raises(ValueError, match="max_norm must be above 0, got 1 and 0"):
        clip_gradients([torch.ones(2)], 0)


def test_m32_attention_keeps_four_times_as_much_for_twice_the_length() -> None:
    """Bytes kept for the backward pass: counted, not timed, so the same on every machine."""
    from largemodels.training.recipes.long_range import layers, step_cost

    kept = {name: [step_cost(layer, T, 64, repeats=1)[1] for T in (256, 512)] for name, layer in layers(64).items()}
    growth = {name: double / single for name, (single, double) in kept.items()}
    assert growth["attention"] > 3.5
    assert max(growth["RNN"], growth["LSTM"], growth["fused attention"]) < 2.1
