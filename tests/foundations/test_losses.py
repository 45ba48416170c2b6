"""Losses against torch.nn.functional, autograd, finite differences and numbers worked out by hand."""

import math
import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from largemodels.foundations.gradient_descent import descend, sgd
from largemodels.foundations.losses import (
    cross_entropy,
    cross_entropy_gradient,
    log_sum_exp,
    mean_squared_error,
    mean_squared_error_gradient,
)

FACTORS = {"mean": 1.0, "half": 0.5}


def regression(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    prediction, target = torch.randn(2, *shape, generator=g, dtype=torch.float64)
    return prediction.requires_grad_(), target


def classification(B: int, V: int, seed: int = 0, spread: float = 3.0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(B, V, generator=g, dtype=torch.float64)
    return logits.requires_grad_(), torch.randint(V, (B,), generator=g)


def slope(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss, at, retain_graph=True)[0]


def same(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(7,), (5, 3), (2, 3, 4)])
@pytest.mark.parametrize("convention", ["mean", "half"])
def test_mean_squared_error_equals_torch(shape: tuple[int, ...], convention: str) -> None:
    prediction, target = regression(*shape)
    loss = mean_squared_error(prediction, target, convention)
    theirs = FACTORS[convention] * F.mse_loss(prediction, target)
    same(loss, theirs)
    same(slope(loss, prediction), slope(theirs, prediction))
    same(mean_squared_error_gradient(prediction, target, convention), slope(theirs, prediction))


@pytest.mark.parametrize(("B", "V"), [(1, 1), (1, 6), (5, 3), (4, 7)])
def test_cross_entropy_equals_torch(B: int, V: int) -> None:
    logits, targets = classification(B, V)
    loss, theirs = cross_entropy(logits, targets), F.cross_entropy(logits, targets)
    same(loss, theirs)
    same(slope(loss, logits), slope(theirs, logits))
    same(cross_entropy_gradient(logits, targets), slope(theirs, logits))


@pytest.mark.parametrize("dim", [-1, 0, 1])
def test_log_sum_exp_equals_torch(dim: int) -> None:
    x = regression(3, 5)[0]
    ours, theirs = log_sum_exp(x, dim), torch.logsumexp(x, dim)
    same(ours, theirs)
    same(slope(ours.sum(), x), slope(theirs.sum(), x))


def test_log_sum_exp_at_the_ends_of_the_number_line() -> None:
    inf = math.inf
    x = torch.tensor([[1e4, 1e4, 0.0], [-1e4, -1e4, -inf], [-inf, -inf, -inf], [inf, 0.0, 1.0]])
    torch.testing.assert_close(log_sum_exp(x), torch.logsumexp(x, -1))


def test_gradients_equal_finite_differences() -> None:
    prediction, target = regression(5, 3)
    logits, targets = classification(5, 3)
    for convention in FACTORS:
        assert torch.autograd.gradcheck(partial(mean_squared_error, target=target, convention=convention), prediction)
    assert torch.autograd.gradcheck(partial(cross_entropy, targets=targets), logits)
    assert torch.autograd.gradcheck(log_sum_exp, logits)


def test_by_hand() -> None:
    """The page's numbers."""
    prediction, target = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([1.0, 4.0, 5.0])
    assert mean_squared_error(prediction, target).item() == pytest.approx(5 / 3)
    assert mean_squared_error(prediction, target, "half").item() == pytest.approx(5 / 6)
    assert mean_squared_error_gradient(prediction, target).tolist() == pytest.approx([0, -4 / 3, 2 / 3])
    logits, targets = torch.tensor([[math.log(2), 0.0, 0.0]]), torch.tensor([0])
    assert cross_entropy(logits, targets).item() == pytest.approx(math.log(2))
    assert cross_entropy_gradient(logits, targets)[0].tolist() == pytest.approx([-1 / 2, 1 / 4, 1 / 4])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 10**6), st.floats(-1e3, 1e3))
def test_a_constant_added_to_all_logits_changes_nothing(B: int, V: int, seed: int, constant: float) -> None:
    logits, targets = classification(B, V, seed)
    shifted = cross_entropy(logits + constant, targets)
    torch.testing.assert_close(shifted, cross_entropy(logits, targets), rtol=0, atol=1e-10)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 10**6), st.floats(0, 500))
def test_gradient_rows_sum_to_zero_and_only_the_right_class_is_pushed_up(B: int, V: int, seed: int, s: float) -> None:
    logits, targets = classification(B, V, seed, spread=s)
    gradient = cross_entropy_gradient(logits, targets)
    same(gradient.sum(-1), torch.zeros(B, dtype=torch.float64))
    assert ((gradient <= 0) == F.one_hot(targets, V).bool())[gradient != 0].all()
    assert (gradient.abs() <= 1 / B).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 8), st.integers(0, 10**6))
def test_cross_entropy_is_never_negative_and_log_v_for_a_blind_guess(B: int, V: int, seed: int) -> None:
    logits, targets = classification(B, V, seed)
    assert cross_entropy(logits, targets) >= -1e-12
    assert cross_entropy(torch.zeros(B, V), targets).item() == pytest.approx(math.log(V), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(0, 10**6), st.floats(-100, 100))
def test_squared_error_looks_at_differences_only_and_grows_with_their_square(B: int, seed: int, c: float) -> None:
    prediction, target = regression(B, seed=seed)
    loss = mean_squared_error(prediction, target)
    torch.testing.assert_close(mean_squared_error(prediction + c, target + c), loss, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mean_squared_error(c * prediction, c * target), c**2 * loss, rtol=1e-9, atol=1e-12)
    assert mean_squared_error(target, target) == 0


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(0, 10**6), st.floats(1e-3, 1.5))
def test_m25_the_two_conventions_walk_the_same_path_when_the_learning_rate_is_doubled(
    P: int, seed: int, lr: float
) -> None:
    """1/2m with twice the learning rate is 1/m; the gradients differ by exactly 2."""
    prediction, target = regression(P, seed=seed)
    whole, half = (mean_squared_error_gradient(prediction, target, c) for c in ("mean", "half"))
    assert torch.equal(whole, 2 * half)
    paths = [
        descend(partial(mean_squared_error, target=target, convention=convention), prediction, sgd, rate, 12)
        for convention, rate in (("mean", lr), ("half", 2 * lr))
    ]
    torch.testing.assert_close(*paths, rtol=1e-12, atol=1e-12)
    assert not torch.allclose(
        descend(partial(mean_squared_error, target=target, convention="half"), prediction, sgd, lr, 1)[1], paths[0][1]
    )


def test_probabilities_instead_of_logits_are_accepted_and_wrong() -> None:
    """The softmax runs twice: the loss never falls below log(1 + (V − 1)/e), however sure and right the model is."""
    logits, targets = torch.tensor([[8.0, 0.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    twice = cross_entropy(torch.softmax(logits, -1), targets)
    assert cross_entropy(logits, targets) < 1e-3 < 0.55 < twice
    same(twice, F.cross_entropy(torch.softmax(logits, -1), targets))
    bound = cross_entropy(torch.softmax(100 * logits, -1), targets)
    assert bound.item() == pytest.approx(math.log(1 + 2 / math.e))


def test_logarithm_of_a_rounded_probability_is_inf_and_its_gradient_nan() -> None:
    logits, targets = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True), torch.tensor([1])
    naive = -torch.softmax(logits, -1)[0, 1].log()
    assert naive.isinf() and slope(naive, logits).isnan().all()
    assert cross_entropy(logits, targets).item() == 200
    assert slope(cross_entropy(logits, targets), logits).tolist() == [[1, -1, 0]]


def test_broadcasting_is_refused_where_torch_only_warns() -> None:
    prediction, target = torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([[1.0], [2.0], [3.0], [6.0]])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert F.mse_loss(prediction, target).item() == 7
    assert "likely lead to incorrect results due to broadcasting" in str(seen[0].message)
    for function in (mean_squared_error, mean_squared_error_gradient):
        with pytest.raises(ValueError, match=r"same shape, got \(4,\) and \(4, 1\); reshape one of them"):
            function(prediction, target)


def test_squared_error_on_a_saturated_sigmoid_has_no_slope_left() -> None:
    """The page's comparison: the answer is 1, the model says 0 ever more surely."""
    for logit, limit in ((-2.0, 0.2), (-10.0, 1e-4), (-20.0, 1e-8)):
        z = torch.tensor([logit], dtype=torch.float64, requires_grad=True)
        squared = mean_squared_error(torch.sigmoid(z), torch.ones(1, dtype=torch.float64))
        pair = torch.cat([torch.zeros(1, dtype=torch.float64), z])[None]  # sigmoid is softmax over (0, z)
        assert abs(slope(squared, z).item()) < limit
        assert slope(cross_entropy(pair, torch.tensor([1])), z).item() < -0.88


def test_the_best_constant_is_the_mean_and_the_best_guess_the_frequencies() -> None:
    """The page's exercises."""
    target = torch.tensor([1.0, 4.0, 10.0], dtype=torch.float64)
    same(mean_squared_error_gradient(torch.full_like(target, 5.0), target).sum(), torch.tensor(0.0).double())
    targets = torch.tensor([0, 0, 0, 1])
    frequencies = torch.tensor([0.75, 0.25], dtype=torch.float64).log().expand(4, 2)
    same(cross_entropy_gradient(frequencies, targets).sum(0), torch.zeros(2, dtype=torch.float64))


def test_errors_say_what_must_hold() -> None:
    two, none = torch.ones(2), torch.ones(0)
    for function in (mean_squared_error, mean_squared_error_gradient):
        with pytest.raises(ValueError, match="one of mean, half, got 'sum'"):
            function(two, two, "sum")
        with pytest.raises(ValueError, match=r"at least one prediction, got shape \(0,\)"):
            function(none, none)
    logits = torch.zeros(2, 3)
    for entropy in (cross_entropy, cross_entropy_gradient):
        with pytest.raises(TypeError, match="targets must be integers, one class index a row, got torch.float32"):
            entropy(logits, two)
        with pytest.raises(ValueError, match=r"\(B, V\) and targets \(B,\), neither empty, got \(2, 3\) and \(3,\)"):
            entropy(logits, torch.tensor([0, 1, 2]))
        with pytest.raises(ValueError, match="neither empty"):
            entropy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
        with pytest.raises(ValueError, match="between 0 and V - 1 = 2, got 0 to 3"):
            entropy(logits, torch.tensor([0, 3]))
        with pytest.raises(ValueError, match="got -1 to 1"):
            entropy(logits, torch.tensor([-1, 1]))
