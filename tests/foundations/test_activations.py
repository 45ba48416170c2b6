"""Activations against PyTorch's own, autograd and finite differences, at the extremes, and two usual mistakes."""

import functools
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from demos import _ui
from demos.foundations.activations import predict
from largemodels.foundations.activations import (
    gelu,
    gelu_derivative,
    gelu_tanh,
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    softmax,
    softmax_jacobian,
    tanh,
    tanh_derivative,
)

Function = Callable[[Tensor], Tensor]
TRIPLES = [
    pytest.param(sigmoid, sigmoid_derivative, torch.sigmoid, id="sigmoid"),
    pytest.param(tanh, tanh_derivative, torch.tanh, id="tanh"),
    pytest.param(relu, relu_derivative, torch.relu, id="relu"),
    pytest.param(gelu, gelu_derivative, F.gelu, id="gelu"),
]
INF = math.inf
finite = st.floats(-50, 50)
scores = st.lists(finite, min_size=1, max_size=7)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return 4 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope(f: Function, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


@pytest.mark.parametrize(("ours", "derivative", "theirs"), TRIPLES)
def test_values_and_gradients_equal_pytorch(ours: Function, derivative: Function, theirs: Function) -> None:
    x = torch.cat([numbers(2, 3, 5).flatten(), torch.tensor([0.0, -1000, 1000], dtype=torch.float64)])
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)
    for mine in (slope(ours, x), derivative(x)):
        torch.testing.assert_close(mine, slope(theirs, x), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("ours", "derivative", "theirs"), TRIPLES)
def test_derivatives_equal_finite_differences(ours: Function, derivative: Function, theirs: Function) -> None:
    x, h = numbers(7, 3, seed=1), 1e-5
    torch.testing.assert_close(derivative(x), (ours(x + h) - ours(x - h)) / (2 * h), rtol=0, atol=1e-8)


@pytest.mark.parametrize(("ours", "derivative", "theirs"), TRIPLES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_shape_and_type_are_kept_and_nan_is_not_hidden(
    ours: Function, derivative: Function, theirs: Function, dtype: torch.dtype
) -> None:
    x = numbers(2, 3, 5).to(dtype)
    for f in (ours, derivative):
        assert (f(x).shape, f(x).dtype) == (x.shape, dtype)
    assert ours(torch.tensor([math.nan], dtype=dtype)).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_sigmoid_and_tanh_are_right_at_the_extremes(dtype: torch.dtype) -> None:
    x = torch.tensor([-INF, -1000.0, -745.0, 0.0, 745.0, 1000.0, INF], dtype=dtype)
    assert sigmoid(x)[[0, 1, 3, 5, 6]].tolist() == [0, 0, 0.5, 1, 1]
    assert tanh(x).tolist() == [-1, -1, -1, 0, 1, 1, 1]
    for f, middle in ((sigmoid, 0.25), (sigmoid_derivative, 0.0), (tanh, 1.0), (tanh_derivative, 0.0)):
        assert torch.isfinite(f(x)).all()
        steep = slope(f, x)
        assert torch.isfinite(steep).all()
        # Written with torch.abs, the gradient at exactly 0 would be 0: the reason for _absolute.
        assert steep[3].item() == middle
        assert steep[[0, 1, 5, 6]].tolist() == [0, 0, 0, 0]


def test_small_numbers_are_not_rounded_away() -> None:
    """1 - e^-2x and 1 - sigmoid(x) cancel; ours keep fifteen digits."""
    x = torch.tensor([1e-12], dtype=torch.float64)
    assert tanh(x).item() == pytest.approx(1e-12, rel=1e-15)
    far = torch.tensor([50.0], dtype=torch.float64)
    assert sigmoid_derivative(far).item() == pytest.approx(math.exp(-50), rel=1e-15)
    assert (sigmoid(far) * (1 - sigmoid(far))).item() == 0


def test_by_hand() -> None:
    """The page's numbers: sigma(ln 3) = 3/4 with slope 3/16, tanh(ln 3 / 2) = 1/2, softmax(0, ln 3) = (1/4, 3/4)."""
    ln3 = torch.log(torch.tensor(3.0, dtype=torch.float64))
    assert sigmoid(ln3).item() == pytest.approx(3 / 4, abs=1e-15)
    assert sigmoid_derivative(ln3).item() == pytest.approx(3 / 16, abs=1e-15)
    assert tanh(ln3 / 2).item() == pytest.approx(1 / 2, abs=1e-15)
    assert tanh_derivative(ln3 / 2).item() == pytest.approx(3 / 4, abs=1e-15)
    assert softmax(torch.stack([0 * ln3, ln3])).tolist() == pytest.approx([1 / 4, 3 / 4], abs=1e-15)


def test_the_bounds_in_the_docstrings_hold() -> None:
    x = torch.linspace(-8, 8, 160_001, dtype=torch.float64)
    assert gelu(x).min() > -0.17
    assert gelu_derivative(x).min() > -0.13
    assert gelu_derivative(x).max() < 1.13
    gap = (gelu(x) - F.gelu(x, approximate="tanh")).abs().max()
    assert 0.0004 < gap < 0.0005


def test_gelu_tanh_equals_pytorch_in_value_and_gradient() -> None:
    x = torch.cat([numbers(2, 3, 5).flatten(), torch.tensor([0.0, -1000, 1000], dtype=torch.float64)])
    theirs = functools.partial(F.gelu, approximate="tanh")
    torch.testing.assert_close(gelu_tanh(x), theirs(x), rtol=0, atol=1e-12)
    torch.testing.assert_close(slope(gelu_tanh, x), slope(theirs, x), rtol=0, atol=1e-12)
    assert gelu_tanh(torch.linspace(-8, 8, 160_001)).min() > -0.18
    assert gelu_tanh(x.to(torch.bfloat16)).dtype == torch.bfloat16


def test_answers_of_the_exercises() -> None:
    """A shift changes nothing, a factor sharpens; GELU falls until x is about -0.75, down to about -0.17."""
    row = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(softmax(row + 100), softmax(row))
    assert softmax(10 * row)[2] > 0.99 > 0.6 > softmax(row)[2]
    x = torch.linspace(-8, 8, 16_001, dtype=torch.float64)
    lowest = gelu(x).argmin()
    assert (x[lowest].item(), gelu(x)[lowest].item()) == (pytest.approx(-0.752), pytest.approx(-0.17, abs=1e-3))
    assert (gelu_derivative(x[:lowest]) <= 0).all()


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_softmax_equals_pytorch(dim: int) -> None:
    x, weight = numbers(2, 3, 5), numbers(2, 3, 5, seed=2)
    torch.testing.assert_close(softmax(x, dim), F.softmax(x, dim), rtol=0, atol=1e-12)
    ours, theirs = (slope(lambda z, f=f: f(z, dim) * weight, x) for f in (softmax, F.softmax))  # type: ignore[misc]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_softmax_jacobian_equals_autograd_and_finite_differences() -> None:
    x, h = numbers(3, 5), 1e-5
    jacobian = softmax_jacobian(x)
    assert jacobian.shape == (3, 5, 5)
    for row, mine in zip(x, jacobian, strict=True):
        theirs = torch.autograd.functional.jacobian(lambda z: F.softmax(z, -1), row)
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
        steps = h * torch.eye(5, dtype=torch.float64)
        differences = (F.softmax(row + steps, -1) - F.softmax(row - steps, -1)) / (2 * h)
        torch.testing.assert_close(mine, differences.mT, rtol=0, atol=1e-8)
    torch.testing.assert_close(jacobian.sum(-1), torch.zeros(3, 5, dtype=torch.float64), rtol=0, atol=1e-15)


@settings(deadline=None)
@given(scores, st.floats(-900, 900))
def test_softmax_does_not_feel_a_constant_shift(row: list[float], shift: float) -> None:
    x = torch.tensor(row, dtype=torch.float64)
    torch.testing.assert_close(softmax(x + shift), softmax(x), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(scores)
def test_softmax_gives_shares_in_the_order_of_the_scores(row: list[float]) -> None:
    p = softmax(torch.tensor(row, dtype=torch.float64))
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    assert (p >= 0).all()
    assert (p[torch.tensor(row).argsort()].diff() >= 0).all()


@settings(deadline=None)
@given(finite)
def test_laws_of_the_sigmoid(value: float) -> None:
    """It is symmetric, tanh is a stretched sigmoid, and a softmax of two scores is a sigmoid of their difference."""
    x = torch.tensor(value, dtype=torch.float64)
    assert (sigmoid(x) + sigmoid(-x)).item() == pytest.approx(1, abs=1e-15)
    assert tanh(x).item() == pytest.approx((2 * sigmoid(2 * x) - 1).item(), abs=1e-15)
    assert softmax(torch.stack([x, 0 * x]))[0].item() == pytest.approx(sigmoid(x).item(), abs=1e-15)


def test_softmax_without_the_shift_overflows() -> None:
    """float16 ends at 65504, so e^12 is already infinite there: the formula as written gives NaN, ours does not."""
    x = torch.tensor([12.0, 11.0, 0.0], dtype=torch.float16)
    naive = torch.exp(x) / torch.exp(x).sum()
    assert naive.isnan().any()
    assert softmax(x).tolist() == pytest.approx(F.softmax(x.double(), -1).tolist(), abs=1e-3)
    assert softmax(torch.tensor([1e30, -INF, 1e30])).tolist() == [0.5, 0, 0.5]


def test_softmax_without_a_row_says_so() -> None:
    with pytest.raises(IndexError):
        softmax(torch.zeros(2, 0))
    with pytest.raises(IndexError):
        softmax(torch.zeros(2, 3), dim=2)


def test_without_an_activation_two_layers_are_one() -> None:
    x, first, second = numbers(5, 3), numbers(4, 3, seed=1), numbers(2, 4, seed=2)
    torch.testing.assert_close(x @ first.T @ second.T, x @ (second @ first).T)
    assert not torch.allclose(relu(x @ first.T) @ second.T, x @ (second @ first).T)


def chain_slope(f: Function, x: float, layers: int) -> float:
    """Slope of f(f(…f(x)…)): what is left of a gradient behind that many layers of weight 1."""
    start = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = start
    for _ in range(layers):
        y = f(y)
    return torch.autograd.grad(y, start)[0].item()


@settings(deadline=None)
@given(st.floats(-20, 20), st.integers(1, 12))
def test_m24_a_chain_of_sigmoids_loses_its_gradient(x: float, layers: int) -> None:
    """Each layer multiplies by at most 1/4, whatever its input; ReLU multiplies by 1 where it is on."""
    assert sigmoid_derivative(torch.tensor(x)).item() <= 0.25
    assert abs(chain_slope(sigmoid, x, layers)) <= 0.25**layers * (1 + 1e-12)  # rounding
    if x > 0:
        assert chain_slope(relu, x, layers) == 1


def first_layer_gradient(f: Function, gain: float, depth: int = 10, width: int = 64) -> float:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(128, width, generator=g)
    weights = [torch.randn(width, width, generator=g) * gain / width**0.5 for _ in range(depth)]
    first = weights[0].requires_grad_()
    for w in weights:
        x = f(x @ w)
    return float(torch.autograd.grad((x**2).mean(), first)[0].norm())


def test_m24_the_sigmoid_is_one_of_several_and_the_worst_of_them_in_depth() -> None:
    """Ten layers, each function with the gain that suits it: 1 for sigmoid and tanh, √2 for ReLU and GELU."""
    size = {f.__name__: first_layer_gradient(f, gain) for f, gain in GAINS}
    assert size["sigmoid"] < 1e-4 * min(size["tanh"], size["relu"], size["gelu"])


GAINS = [(sigmoid, 1.0), (tanh, 1.0), (relu, 2**0.5), (gelu, 2**0.5)]


def train(last: Function, bias: float, steps: int = 200) -> tuple[float, Tensor, Tensor]:
    """Fit y = 2x on [-1, 1] with a net of 16 hidden units; return the loss, the predictions, the last gradient."""
    g = torch.Generator().manual_seed(0)
    x = torch.linspace(-1, 1, 41)[:, None]
    first, inner = torch.randn(1, 16, generator=g), torch.zeros(16)
    second, outer = torch.randn(16, 1, generator=g) / 4, torch.full((1,), bias)
    params = [p.requires_grad_() for p in (first, inner, second, outer)]
    optimiser = torch.optim.SGD(params, lr=0.1)
    for _ in range(steps):
        prediction = last(torch.tanh(x @ first + inner) @ second + outer)
        loss = F.mse_loss(prediction, 2 * x)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert second.grad is not None
    return loss.item(), prediction.detach(), second.grad


def test_m05_relu_on_the_output_cannot_predict_below_zero() -> None:
    linear, free, _ = train(lambda x: x, bias=0.5)
    cut, clipped, _ = train(relu, bias=0.5)
    assert linear < 0.01
    assert free.min() < -1.5
    assert clipped.min() == 0
    # Even the best non-negative function errs by the mean square of the negative targets, 0.7 here.
    best = float(F.mse_loss(torch.linspace(0, 2, 21).new_zeros(21), torch.linspace(-2, 0, 21)) * 21 / 41)
    assert cut >= best - 1e-6 > 0.69


def test_m05_relu_on_the_output_can_die() -> None:
    """Started with every output below 0, it never moves: the gradient is exactly 0 for all parameters."""
    dead, prediction, gradient = train(relu, bias=-5.0)
    assert prediction.abs().max() == 0
    assert gradient.abs().max() == 0
    assert dead == pytest.approx(float((2 * torch.linspace(-1, 1, 41)).square().mean()))
    alive, _, _ = train(lambda x: x, bias=-5.0)
    assert alive < 0.01


@pytest.mark.parametrize("x", [math.nan, INF, "0.5", None, True, [], 8.1, "\ud800", "1" * 100_000])
def test_the_demo_refuses_a_wrong_x(x: object) -> None:
    with pytest.raises(_ui.InputError):
        predict("sigmoid", x)


@pytest.mark.parametrize("name", ["Sigmoid", "", None, 1, math.nan, ["relu"], "\ud800", "relu" * 25_000])
def test_the_demo_refuses_an_unknown_function(name: object) -> None:
    with pytest.raises(_ui.InputError):
        predict(name, 1.0)
