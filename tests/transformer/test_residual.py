"""Residual connection against autograd, torch.nn and finite differences; the claims about deep stacks, measured."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.transformer.residual import predict
from largemodels.transformer.residual import (
    layer_jacobian,
    layer_weights,
    learn_sign,
    residual,
    run_stack,
    run_stack_backward,
)

B, C, L = 3, 5, 4


class Written(torch.nn.Module):
    """The same stack from torch.nn's parts, with copied weights, written out as the recursion."""

    def __init__(self, weights: torch.Tensor, skip: bool) -> None:
        super().__init__()
        self.skip = skip
        self.layers = torch.nn.ModuleList(
            torch.nn.Linear(weights.shape[-1], weights.shape[-1], bias=False, dtype=torch.float64) for _ in weights
        )
        for layer, weight in zip(self.layers, weights, strict=True):
            layer.weight.data.copy_(weight)

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        states = [x]
        for layer in self.layers:
            change = torch.tanh(layer(states[-1]))
            states.append(states[-1] + change if self.skip else change)
        return states


def gaps(depth: int, skip: bool, scale: float = 1.0) -> tuple[float, float]:
    """Largest difference to the written-out stack under autograd, in value and in gradient."""
    g = torch.Generator().manual_seed(depth)
    x = torch.randn(B, C, generator=g, dtype=torch.float64, requires_grad=True)
    gradient = torch.randn(B, C, generator=g, dtype=torch.float64)
    weights = layer_weights(depth, C, scale, seed=3)
    reference = Written(weights, skip)
    theirs = reference(x)
    wanted = torch.autograd.grad(theirs[-1], [*theirs[:-1], *reference.parameters()], gradient)
    with torch.no_grad():
        ours = run_stack(x, weights, skip=skip)
        by_state, by_weight = run_stack_backward(ours, weights, gradient, skip=skip)
    assert torch.equal(by_state[-1], gradient)
    value = max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    found = [*by_state[:-1], *by_weight]
    return value, max((a - b).abs().max().item() for a, b in zip(found, wanted, strict=True))


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(("depth", "scale"), [(1, 1.0), (4, 0.5), (12, 1.5), (32, 1.0)])
def test_values_and_gradients_equal_autograd_of_the_written_out_recursion(
    depth: int, scale: float, skip: bool, record_differences: Callable[[float, float], None]
) -> None:
    value, gradient = gaps(depth, skip, scale)
    record_differences(value, gradient)
    assert value <= 1e-8
    assert gradient <= 1e-8


@pytest.mark.parametrize("skip", [False, True])
def test_gradients_equal_finite_differences(skip: bool) -> None:
    x = torch.randn(B, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    weights = layer_weights(L, C).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, w: run_stack(a, w, skip=skip)[-1], (x, weights))


@pytest.mark.parametrize("skip", [False, True])
def test_the_jacobian_equals_autograd_and_the_chain_of_them_is_the_backward_pass(skip: bool) -> None:
    weights = layer_weights(L, C, 1.3)
    x = torch.randn(1, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    states = run_stack(x, weights, skip=skip)
    wanted = torch.autograd.functional.jacobian(lambda v: run_stack(v[None], weights[:1], skip=skip)[-1, 0], x[0])
    torch.testing.assert_close(layer_jacobian(x[0], weights[0], skip=skip), wanted, rtol=0, atol=1e-12)
    gradient = torch.ones(1, C, dtype=torch.float64)
    by_state, _ = run_stack_backward(states, weights, gradient, skip=skip)
    for level in reversed(range(L)):
        gradient = gradient @ layer_jacobian(states[level, 0], weights[level], skip=skip)
        torch.testing.assert_close(by_state[level], gradient, rtol=0, atol=1e-12)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.integers(1, 6), st.floats(0, 3))
def test_what_arrives_is_the_sum_of_identity_and_branches(depth: int, width: int, scale: float) -> None:
    """He et al., 2016: the last state is the first plus every branch's change; the gradient has a term that is 1."""
    weights = layer_weights(depth, width, scale)
    x = torch.randn(B, width, generator=torch.Generator().manual_seed(depth), dtype=torch.float64)
    states = run_stack(x, weights, skip=True)
    changes = [torch.tanh(state @ weight.T) for state, weight in zip(states, weights, strict=False)]
    torch.testing.assert_close(states[-1], x + sum(changes), rtol=0, atol=1e-12)
    identity = torch.eye(width, dtype=torch.float64)
    difference = layer_jacobian(x, weights[0], skip=True) - layer_jacobian(x, weights[0], skip=False)
    torch.testing.assert_close(difference, identity.expand(B, width, width), rtol=0, atol=1e-12)


def test_dead_layers_cut_the_plain_stack_and_not_the_residual_one() -> None:
    x, gradient = torch.randn(2, B, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = layer_weights(L, C, scale=0)
    for skip, want in ((False, torch.zeros_like(gradient)), (True, gradient)):
        states = run_stack(x, weights, skip=skip)
        assert torch.equal(run_stack_backward(states, weights, gradient, skip=skip)[0][0], want)


def test_by_hand() -> None:
    """The page's numbers: width 1 at x = 0, where tanh has slope 1; weights 1/2, −1/2, 1/2."""
    weights = torch.tensor([0.5, -0.5, 0.5], dtype=torch.float64).view(3, 1, 1)
    states, one = torch.zeros(4, 1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    plain, _ = run_stack_backward(states, weights, one, skip=False)
    with_skip, _ = run_stack_backward(states, weights, one, skip=True)
    assert plain.flatten().tolist() == [-0.125, -0.25, 0.5, 1]
    assert with_skip.flatten().tolist() == [1.125, 0.75, 1.5, 1]


def test_weights_have_the_spread_they_promise() -> None:
    weights = layer_weights(6, 100, scale=1.7)
    assert weights.std().item() == pytest.approx(0.17, rel=0.02)
    assert weights.mean().item() == pytest.approx(0, abs=0.002)
    torch.testing.assert_close(weights, 1.7 * layer_weights(6, 100))
    assert not torch.equal(layer_weights(2, 3, seed=1), layer_weights(2, 3, seed=2))


@pytest.mark.parametrize("skip", [False, True])
def test_training_equals_torch_optim(skip: bool) -> None:
    """The losses of `learn_sign` against torch.optim.SGD on the written-out stack, the same vectors drawn again."""
    weights = layer_weights(L, C)
    g = torch.Generator().manual_seed(1)
    x = torch.randn(7, C, generator=g, dtype=torch.float64)
    reading = torch.randn(C, generator=g, dtype=torch.float64) / math.sqrt(C)
    model = Written(weights, skip)
    step, wanted = torch.optim.SGD(model.parameters(), lr=0.1), []
    for _ in range(7):
        loss = torch.nn.functional.mse_loss(model(x)[-1] @ reading, (x[:, 0] * x[:, 1]).sign())
        wanted.append(loss.item())
        step.zero_grad()
        loss.backward()
        step.step()
    found = learn_sign(weights, skip=skip, lr=0.1, steps=6, examples=7)
    assert found.tolist() == pytest.approx(wanted, abs=1e-8)


def bottom_to_top(scale: float, skip: bool, depth: int = 32, seed: int = 0) -> float:
    """Gradient norm before the first layer, as a share of that after the last."""
    g = torch.Generator().manual_seed(seed)
    x, gradient = torch.randn(2, 64, 16, generator=g, dtype=torch.float64)
    weights = layer_weights(depth, 16, scale, seed)
    by_state, _ = run_stack_backward(run_stack(x, weights, skip=skip), weights, gradient, skip=skip)
    return (by_state[0].norm() / by_state[-1].norm()).item()


def best(scale: float, skip: bool, depth: int = 32, seed: int = 0) -> float:
    """Smallest loss after 40 steps over three learning rates."""
    weights = layer_weights(depth, 16, scale, seed)
    return min(learn_sign(weights, skip=skip, lr=lr, steps=40)[-1].item() for lr in (0.01, 0.03, 0.1))


def test_m31_the_connection_stops_vanishing_but_that_is_not_all_it_does() -> None:
    """Measured over two seeds: vanishing gone; deep plain stacks stuck even with healthy gradients; growth stays."""
    for seed in range(2):
        assert bottom_to_top(0.5, skip=False, seed=seed) < 1e-8
        assert 0.5 < bottom_to_top(0.5, skip=True, seed=seed) < 20
        assert bottom_to_top(1.5, skip=False, seed=seed) > 0.5  # nothing vanishes here, and yet:
        assert best(1.5, skip=False, seed=seed) > 0.3
        assert best(1.5, skip=True, seed=seed) < 0.1
        assert bottom_to_top(2.5, skip=True, seed=seed) > 50


def test_halving_the_shortcut_brings_the_vanishing_back() -> None:
    x = torch.randn(B, C, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    state = x
    for weight in layer_weights(32, C, 0.5):
        state = (state + torch.tanh(state @ weight.T)) / 2
    (gradient,) = torch.autograd.grad(state.sum(), x)
    assert gradient.abs().max() < 1e-5


def test_errors_say_what_must_hold() -> None:
    with pytest.raises(ValueError, match=r"branch must keep the shape \(3, 5\), got \(3, 1\)"):
        residual(torch.zeros(B, C), lambda x: x.mean(-1, keepdim=True))
    with pytest.raises(ValueError, match="depth and width must be at least 1, got 0 and 5"):
        layer_weights(0, C)
    for scale in (-1.0, math.nan):
        with pytest.raises(ValueError, match="scale must not be negative"):
            layer_weights(L, C, scale)
    with pytest.raises(ValueError, match=r"as wide as the weights \(C\), got 2 and 5"):
        run_stack(torch.zeros(B, 2), layer_weights(L, C), skip=True)
    with pytest.raises(ValueError, match="width must be at least 2, got 1"):
        learn_sign(layer_weights(L, 1), skip=True, lr=0.1)


@pytest.mark.parametrize(
    "values",
    [(1, 16, 1.0, "both"), (8, 200, 1.0, "both"), (8, 16, math.nan, "both"), (8, 16, "1", "both"), (8, 16, 1.0, "x")],
)
def test_the_demo_refuses_what_it_cannot_draw(values: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        predict(*values)


@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0])
def test_the_demo_answers_at_the_ends_of_its_ranges(scale: float) -> None:
    for depth in (2, 32):
        answer = predict(depth, 4, scale, "both", lang="en")
        assert "nan" not in answer
        assert "inf" not in answer
