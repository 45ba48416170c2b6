"""The layer against torch.nn, autograd, finite differences, torch.nn.init and numbers worked out by hand."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from demos.foundations import layer as demo
from largemodels.foundations.activations import gelu, relu, sigmoid, tanh
from largemodels.foundations.layer import (
    affine,
    affine_gradients,
    collapse,
    dense,
    he_normal,
    predict,
    xavier_uniform,
)

B, N_IN, N_OUT = 5, 3, 4
PAIRS = [(sigmoid, torch.sigmoid), (tanh, torch.tanh), (relu, torch.relu), (gelu, F.gelu)]
LIMIT = 1e-12


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def stack(sizes: tuple[int, ...], seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    pairs = zip(sizes, sizes[1:], strict=False)
    return [(randn(m, n, seed=seed + i), randn(m, seed=seed + 50 + i)) for i, (n, m) in enumerate(pairs)]


def largest(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


def torch_stack(params: list[tuple[Tensor, Tensor]], bend: Callable[[], nn.Module]) -> nn.Sequential:
    modules: list[nn.Module] = []
    for W, b in params:
        linear = nn.Linear(W.shape[1], W.shape[0], dtype=torch.float64)
        linear.weight.data.copy_(W)
        linear.bias.data.copy_(b)
        modules += [linear, bend()]
    return nn.Sequential(*modules[:-1])


def test_largest_difference_to_pytorch(record_differences: Callable[[float, float], None]) -> None:
    """The closing table's two numbers: a stack against torch.nn with copied parameters, values and gradients."""
    params = stack((3, 7, 5, 2))
    x, weight = randn(11, 3, seed=9), randn(11, 2, seed=10)
    value = gradient = 0.0
    for ours, bend in ((relu, nn.ReLU), (tanh, nn.Tanh), (sigmoid, nn.Sigmoid), (gelu, nn.GELU)):
        net = torch_stack(params, bend)
        y, y_torch = predict(x, params, ours), net(x)
        value = max(value, largest((y,), (y_torch,)))
        leaves = [x, *(tensor for pair in params for tensor in pair)]
        mine = torch.autograd.grad((y * weight).sum(), leaves)
        theirs = torch.autograd.grad((y_torch * weight).sum(), [x, *net.parameters()])
        gradient = max(gradient, largest(mine, theirs))
    record_differences(value, gradient)
    assert value <= 1e-8
    assert gradient <= 1e-8


@pytest.mark.parametrize("lead", [(), (B,), (2, B)])
def test_affine_and_its_written_out_gradients_equal_pytorch(lead: tuple[int, ...]) -> None:
    x, W, b, dz = randn(*lead, N_IN), randn(N_OUT, N_IN, seed=1), randn(N_OUT, seed=2), randn(*lead, N_OUT, seed=3)
    theirs = F.linear(x, W, b)
    assert largest((affine(x, W, b),), (theirs,)) <= LIMIT
    assert largest(affine_gradients(x, W, dz), torch.autograd.grad(theirs, (x, W, b), dz)) <= LIMIT


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_dense_equals_pytorch(ours: Callable[[Tensor], Tensor], theirs: Callable[[Tensor], Tensor]) -> None:
    x, W, b = randn(B, N_IN), randn(N_OUT, N_IN, seed=1), randn(N_OUT, seed=2)
    y, reference = dense(x, W, b, ours), theirs(F.linear(x, W, b))
    assert largest((y,), (reference,)) <= LIMIT
    pairs = (torch.autograd.grad((out**2).sum(), (x, W, b)) for out in (y, reference))
    assert largest(*pairs) <= LIMIT


def test_gradients_equal_finite_differences() -> None:
    x, (first, second) = randn(B, N_IN), stack((N_IN, N_OUT, 2))
    leaves = (x, *first, *second)
    assert torch.autograd.gradcheck(lambda x, W, b, V, c: predict(x, [(W, b), (V, c)], tanh), leaves, atol=1e-8)
    dz = randn(B, N_OUT, seed=3)
    for ours, at in zip(affine_gradients(x, first[0], dz), (x, *first), strict=True):
        numeric = torch.zeros_like(at)
        for i in range(at.numel()):
            ends = []
            for h in (1e-6, -1e-6):
                moved = at.detach().clone()
                moved.view(-1)[i] += h
                x_, W_, b_ = (moved if t is at else t for t in (x, *first))
                ends.append(((affine(x_, W_, b_) * dz).sum()).item())
            numeric.view(-1)[i] = (ends[0] - ends[1]) / 2e-6
        assert largest((ours,), (numeric,)) <= 1e-8


def test_by_hand() -> None:
    """The page's numbers."""
    x, W = torch.tensor([[2.0, -1.0]]), torch.tensor([[1.0, 3.0], [2.0, 1.0], [-1.0, -2.0]])
    b = torch.tensor([0.5, -1.0, 1.0])
    assert affine(x, W, b).tolist() == [[-0.5, 2, 1]]
    assert dense(x, W, b, relu).tolist() == [[0, 2, 1]]
    dx, dW, db = affine_gradients(x, W, torch.tensor([[0.0, 1.0, 1.0]]))
    assert (dx.tolist(), dW.tolist(), db.tolist()) == ([[1, -1]], [[0, 0], [2, -1], [2, -1]], [0, 1, 1])


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(0, 10**6))
def test_rows_of_a_batch_do_not_see_each_other(rows: int, n_in: int, n_out: int, seed: int) -> None:
    x, params = randn(rows, n_in, seed=seed), stack((n_in, 4, n_out), seed + 1)
    whole = predict(x, params, tanh)
    single = torch.stack([predict(row, params, tanh) for row in x])
    assert whole.shape == (rows, n_out)
    assert largest((whole,), (single,)) <= LIMIT


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=6), st.integers(0, 10**6))
def test_a_stack_without_activation_is_one_layer(sizes: list[int], seed: int) -> None:
    x, params = randn(B, sizes[0], seed=seed), stack(tuple(sizes), seed + 1)
    W, b = collapse(params)
    assert W.shape == (sizes[-1], sizes[0])
    plain = predict(x, params, lambda z: z)
    torch.testing.assert_close(affine(x, W, b), plain, rtol=1e-10, atol=1e-10)


def test_with_an_activation_it_is_not() -> None:
    x, params = randn(B, 3), stack((3, 7, 2), 1)
    assert (predict(x, params, relu) - affine(x, *collapse(params))).abs().max() > 0.1


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (xavier_uniform, nn.init.xavier_uniform_),
        (he_normal, lambda w, generator: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=generator)),
    ],
)
def test_initial_weights_are_those_of_torch_for_the_same_seed(ours: Callable, theirs: Callable) -> None:
    mine = ours(30, 20, torch.Generator().manual_seed(7))
    reference = theirs(torch.empty(20, 30), generator=torch.Generator().manual_seed(7))
    torch.testing.assert_close(mine, reference, rtol=1e-6, atol=0)


@settings(deadline=None, max_examples=20)
@given(st.integers(80, 300), st.integers(80, 300), st.integers(0, 10**6))
def test_initial_weights_have_the_variance_of_the_papers(n_in: int, n_out: int, seed: int) -> None:
    """Standard error of a variance from at least 6400 draws is below 2 %; 8 % is more than four of them."""
    for draw, variance in ((xavier_uniform, 2 / (n_in + n_out)), (he_normal, 2 / n_in)):
        W = draw(n_in, n_out, torch.Generator().manual_seed(seed))
        assert W.shape == (n_out, n_in)
        assert W.var().item() == pytest.approx(variance, rel=0.08)
        assert abs(W.mean().item()) < 5 * math.sqrt(variance / W.numel())


def spread(draw: Callable[[int, int, torch.Generator], Tensor], bend: Callable[[Tensor], Tensor]) -> float:
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 128, generator=g)
    for _ in range(20):
        x = dense(x, draw(128, 128, g), torch.zeros(128), bend)
    return x.pow(2).mean().sqrt().item()


def test_only_the_matching_variance_carries_a_signal_through_twenty_layers() -> None:
    """With half the variance, each ReLU layer halves the mean square: after twenty, the root is 2^-10."""
    assert 0.3 < spread(he_normal, relu) < 3
    assert spread(xavier_uniform, relu) == pytest.approx(2**-10, rel=0.7)
    assert 0.1 < spread(xavier_uniform, tanh) < 1
    assert spread(lambda n, m, g: 0.01 * torch.randn(m, n, generator=g), relu) < 1e-15
    assert spread(lambda n, m, g: 2 * he_normal(n, m, g), relu) > 1e5


@pytest.mark.parametrize("start", [0.0, 0.5])
def test_equal_initial_weights_stay_equal_under_training(start: float) -> None:
    """The page's failure: hidden neurons that begin alike get the same gradient, so one neuron is all there is."""
    x, target = randn(20, 2).detach(), randn(20, 1, seed=1).detach()
    params = [(torch.full((3, 2), start), torch.zeros(3)), (torch.full((1, 3), start), torch.zeros(1))]
    params = [(W.double().requires_grad_(), b.double().requires_grad_()) for W, b in params]
    leaves = [tensor for pair in params for tensor in pair]
    for _ in range(50):
        loss = F.mse_loss(predict(x, params, tanh), target)
        with torch.no_grad():
            for leaf, slope in zip(leaves, torch.autograd.grad(loss, leaves), strict=True):
                leaf -= 0.1 * slope
    W, b = params[0]
    assert torch.equal(W, W[:1].expand_as(W)) and torch.equal(b, b[:1].expand_as(b))
    assert (W.abs().sum() == 0) == (start == 0)


def test_two_layers_compute_what_one_neuron_cannot() -> None:
    """The page's exercise: exclusive or. For one neuron a grid of weights and biases finds no separating line."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    params = [(torch.ones(2, 2), torch.tensor([0.0, -1.0])), (torch.tensor([[1.0, -2.0]]), torch.zeros(1))]
    assert predict(x, params, relu).flatten().tolist() == [0, 1, 1, 0]
    grid = torch.linspace(-2, 2, 21)
    W = torch.cartesian_prod(grid, grid, grid)  # w1, w2, b of 9261 neurons
    sides = affine(x, W[:, :2], W[:, 2]) > 0  # (4, 9261)
    assert not (sides == torch.tensor([False, True, True, False])[:, None]).all(0).any()


def test_the_bias_is_the_weight_of_an_input_that_is_always_one() -> None:
    x, W, b = randn(B, N_IN), randn(N_OUT, N_IN, seed=1), randn(N_OUT, seed=2)
    longer = affine(torch.cat([x, torch.ones(B, 1)], 1), torch.cat([W, b[:, None]], 1), torch.zeros(N_OUT))
    assert largest((longer,), (affine(x, W, b),)) <= LIMIT


def test_torch_accepts_a_bias_along_the_batch_and_we_do_not() -> None:
    x, W = torch.zeros(B, N_IN), torch.ones(N_OUT, N_IN)
    wrong = torch.arange(float(B))[:, None]
    assert F.linear(x, W, wrong)[:, 0].tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"one number for each neuron, shape \(4,\), got \(5, 1\); flatten it"):
        affine(x, W, wrong)


def test_errors_say_what_must_hold() -> None:
    x, W, b = torch.zeros(B, N_IN), torch.zeros(N_OUT, N_IN), torch.zeros(N_OUT)
    with pytest.raises(ValueError, match=r"\(n_out, n_in\) and x \(..., n_in\), got \(3, 4\) and \(5, 3\); .* W\.T"):
        dense(x, W.T, b, relu)
    with pytest.raises(ValueError, match=r"shape \(4,\), got \(1,\)"):
        affine(x, W, torch.zeros(1))
    with pytest.raises(ValueError, match=r"shape of the sums, \(5, 4\), got \(4, 5\)"):
        affine_gradients(x, W, torch.zeros(N_OUT, B))
    with pytest.raises(ValueError, match=r"got \(3,\) and"):
        affine_gradients(x, W[0], torch.zeros(B, N_OUT))
    for call in (lambda: predict(x, [], relu), lambda: collapse([])):
        with pytest.raises(ValueError, match="at least one layer, got none"):
            call()
    with pytest.raises(ValueError, match="got"):
        collapse([(W, b), (W, b)])
    for draw in (xavier_uniform, he_normal):
        with pytest.raises(ValueError, match="at least 1 input and 1 neuron, got 0 and 3"):
            draw(0, 3)


def test_the_demo_says_where_the_line_is() -> None:
    """No line without weights; a line that does not cross the picture is said to be outside of it."""
    assert "lm-decision" not in demo.predict(0, 0, 1, 0, 0, "tanh", lang="en")
    assert "outside" in demo.predict(0, 0.1, 3, 0, 0, "tanh", lang="en")
    shown = demo.predict(1, 2, -0.5, 1, 1, "sigmoid", lang="en")
    assert "lm-decision" in shown and "0.924" in shown  # σ(2.5)


def test_doubling_weights_and_bias_leaves_the_line_and_steepens_the_edge() -> None:
    """What the demo's hint says."""
    W, b = randn(1, 2).detach(), randn(1, seed=1).detach()
    foot = -b * W / (W**2).sum()  # a point on the line
    for k in (1, 2):
        x = foot.clone().requires_grad_()
        y = dense(x, k * W, k * b, sigmoid)
        assert y.item() == pytest.approx(0.5, abs=1e-12)
        torch.testing.assert_close(torch.autograd.grad(y, x)[0], k * W / 4, rtol=0, atol=1e-12)
