"""Back-propagation by hand and by machine against PyTorch's autograd and central differences, in float64."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from largemodels.foundations.backpropagation import (
    TwoLayer,
    Value,
    central_difference,
    topological_order,
    two_layer_forward,
    two_layer_gradients,
)
from largemodels.foundations.losses import mean_squared_error

BOUND = 1e-8
numbers = st.floats(-2, 2)


def net(B: int = 5, D: int = 3, M: int = 4, K: int = 2, seed: int = 0) -> tuple[TwoLayer, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = [(M, D), (M,), (K, M), (K,), (B, D), (B, K)]
    *params, x, target = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in shapes)
    return TwoLayer(*params), x, target


def by_torch(params: TwoLayer, x: Tensor, target: Tensor) -> tuple[Tensor, list[Tensor]]:
    """PyTorch's own layers, with our parameters copied in."""
    (M, D), K = params.W1.shape, len(params.b2)
    model = torch.nn.Sequential(torch.nn.Linear(D, M), torch.nn.Tanh(), torch.nn.Linear(M, K)).double()
    with torch.no_grad():
        for theirs, ours in zip(model.parameters(), params, strict=True):
            theirs.copy_(ours)
    loss = torch.nn.functional.mse_loss(model(x), target)
    loss.backward()
    return loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]


def by_measuring(params: TwoLayer, x: Tensor, target: Tensor) -> list[Tensor]:
    def loss_of(name: str) -> Callable[[Tensor], Tensor]:
        return lambda p: mean_squared_error(two_layer_forward(params._replace(**{name: p}), x)[1], target)

    return [central_difference(loss_of(name), p) for name, p in params._asdict().items()]


def by_values(params: TwoLayer, x: Tensor, target: Tensor) -> tuple[float, list[Tensor]]:
    """The same net, one number at a time."""
    W1, b1, W2, b2 = (
        [[Value(n) for n in row] for row in p.tolist()] if p.ndim == 2 else [Value(n) for n in p.tolist()]
        for p in params
    )
    total = Value(0.0)
    for row, wanted in zip(x.tolist(), target.tolist(), strict=True):
        h = [(sum((w * n for w, n in zip(ws, row, strict=True)), b)).tanh() for ws, b in zip(W1, b1, strict=True)]
        for ws, b, y in zip(W2, b2, wanted, strict=True):
            total += (sum((w * v for w, v in zip(ws, h, strict=True)), b) - y) ** 2
    loss = total / target.numel()
    loss.backward()
    grads = [[[v.grad for v in row] if isinstance(row, list) else row.grad for row in p] for p in (W1, b1, W2, b2)]
    return loss.data, [torch.tensor(grad, dtype=torch.float64) for grad in grads]


def largest(ours: Any, theirs: Any) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))


def test_largest_difference_to_autograd_and_to_central_differences(
    record_differences: Callable[[float, float], None],
) -> None:
    """The page's promise: by hand, by machine, by PyTorch and by measuring, the same gradients to 1e-8."""
    problem = net()
    loss, gradients = two_layer_gradients(*problem)
    machine_loss, machine = by_values(*problem)
    reference_loss, reference = by_torch(*problem)
    assert [g.shape for g in gradients] == [p.shape for p in problem[0]]
    value_gap = max(abs(float(loss - reference_loss)), abs(machine_loss - float(reference_loss)))
    gaps = {
        "by hand, autograd": largest(gradients, reference),
        "by machine, autograd": largest(machine, reference),
        "by hand, measured": largest(gradients, by_measuring(*problem)),
    }
    record_differences(value_gap, max(gaps["by hand, autograd"], gaps["by machine, autograd"]))
    assert value_gap <= 1e-12
    assert max(gaps["by hand, autograd"], gaps["by machine, autograd"]) <= 1e-12
    assert gaps["by hand, measured"] <= BOUND


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 7), st.integers(1, 4), st.integers(0, 10**6))
def test_the_formulas_hold_for_every_size(B: int, D: int, M: int, K: int, seed: int) -> None:
    problem = net(B, D, M, K, seed)
    loss, gradients = two_layer_gradients(*problem)
    reference_loss, reference = by_torch(*problem)
    torch.testing.assert_close(loss, reference_loss, rtol=1e-12, atol=1e-12)
    assert largest(gradients, reference) <= 1e-11


def test_by_hand() -> None:
    """The page's numbers: tanh(ln 3) = 0.8."""
    x, w1, w2, y = Value(2.0), Value(math.log(3) / 2), Value(2.5), Value(1.0)
    z = w1 * x
    h = z.tanh()
    loss = (w2 * h - y) ** 2
    loss.backward()
    assert (h.data, loss.data) == pytest.approx((0.8, 1.0))
    grads = (w2.grad, h.grad, z.grad, w1.grad, x.grad, y.grad)
    assert grads == pytest.approx((1.6, 5, 1.8, 3.6, 0.9 * math.log(3), -2))
    params = TwoLayer(torch.tensor([[w1.data]]), torch.zeros(1), torch.tensor([[2.5]]), torch.zeros(1))
    gradients = two_layer_gradients(params, torch.tensor([[2.0]]), torch.tensor([[1.0]]))[1]
    assert [float(gradients.W1), float(gradients.W2)] == pytest.approx([3.6, 1.6])
    assert [float(gradients.b1), float(gradients.b2)] == pytest.approx([1.8, 2.0])


EXPRESSIONS: dict[str, Callable[[Any, Any], Any]] = {
    "plus": lambda a, b: a + b + 3 + a,
    "reflected": lambda a, b: 2 + a * 3 - (5 - b) * 2,
    "minus": lambda a, b: a - b - 1,
    "times": lambda a, b: a * b * a,
    "division": lambda a, b: a / (b * b + 1) + 1 / (a * a + 2),
    "powers": lambda a, b: a**3 - b**2 + (a * a + 1) ** 0.5 + b**0 + a**1,
    "negative power": lambda a, b: (a * a + 0.5) ** -1.5 * b,
    "minus sign": lambda a, b: -a * -(b - 1),
    "exp": lambda a, b: (a * b).exp() - (-a).exp(),
    "tanh": lambda a, b: (a + 2 * b).tanh() * a,
    "relu": lambda a, b: (a * b - 0.3).relu() + a.relu() * b,
    "reused": lambda a, b: (lambda c: c * c + c * a + c.tanh())(a * b + a),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
@settings(deadline=None, max_examples=12)
@given(numbers, numbers)
def test_every_operation_equals_autograd_and_central_differences(name: str, a: float, b: float) -> None:
    f = EXPRESSIONS[name]
    ours = Value(a), Value(b)
    theirs = torch.tensor([a, b], dtype=torch.float64, requires_grad=True)
    result, reference = f(*ours), f(*theirs)
    result.backward()
    reference.backward()
    assert theirs.grad is not None
    assert result.data == pytest.approx(reference.item(), rel=1e-12, abs=1e-12)
    assert [v.grad for v in ours] == pytest.approx(theirs.grad.tolist(), rel=1e-12, abs=1e-12)
    kinks = [a * b - 0.3, a]
    if name != "relu" or min(map(abs, kinks)) > 1e-3:  # at a kink there is no slope to measure
        measured = central_difference(lambda p: f(p[0], p[1]), theirs)
        assert [v.grad for v in ours] == pytest.approx(measured.tolist(), rel=1e-7, abs=BOUND)


def test_relu_at_zero_has_the_slope_0_as_in_torch() -> None:
    a, t = Value(0.0), torch.tensor(0.0, requires_grad=True)
    a.relu().backward()
    t.relu().backward()
    assert t.grad is not None
    assert a.grad == t.grad.item() == 0


def test_a_number_used_twice_gets_the_sum_of_both_paths() -> None:
    """A diamond: a is visited once, after everything that uses it, and 2³⁰ paths cost 30 additions each."""
    a = Value(1.0)
    b = a
    for _ in range(30):
        b = b + b
    b.backward()
    assert a.grad == 2.0**30
    assert len(topological_order(b)) == 31


def test_a_graph_deeper_than_the_recursion_limit() -> None:
    a = Value(1.0)
    b = a
    for _ in range(20_000):
        b = b + 1
    b.backward()
    assert (b.data, a.grad) == (20_001, 1)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.booleans()), min_size=1, max_size=25))
def test_operands_come_before_results_and_each_once(steps: list[tuple[int, int, bool]]) -> None:
    made = [Value(0.5), Value(-1.5)]
    for i, j, add in steps:
        a, b = made[i % len(made)], made[j % len(made)]
        made.append(a + b if add else a * b * 0.1)
    order = topological_order(made[-1])
    places = {node: place for place, node in enumerate(order)}
    assert len(places) == len(order) and order[-1] is made[-1]
    assert all(places[parent] < places[node] for node in order for parent, _ in node.parents)


def test_gradients_accumulate_like_those_of_torch() -> None:
    """Pitfall: a second backward adds."""
    w, t = Value(0.7), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    for _ in range(2):
        (w * w).tanh().backward()
        (t * t).tanh().backward()
    assert t.grad is not None
    assert w.grad == pytest.approx(t.grad.item(), rel=1e-12)
    w = Value(3.0)
    loss = (w * w) ** 2
    loss.backward()
    once = w.grad
    loss.backward()  # the same graph once more: twice the gradient, not the compound of both
    assert (once, w.grad) == (108, 216)


def test_the_gradient_of_a_mean_is_the_mean_of_the_gradients_of_its_parts() -> None:
    """Why adding is right: two halves of a batch, each with half the weight, give the gradient of the whole."""
    params, x, target = net(B=6)
    whole = two_layer_gradients(params, x, target)[1]
    halves = [two_layer_gradients(params, x[rows], target[rows])[1] for rows in (slice(0, 3), slice(3, 6))]
    assert largest(whole, [(a + b) / 2 for a, b in zip(*halves, strict=True)]) <= 1e-15


def test_torch_refuses_an_overwritten_tensor_that_backward_needs() -> None:
    x = torch.tensor([0.5, 1.0], requires_grad=True)
    h = torch.tanh(x)
    h += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation.*is at version 1; expected"):
        h.sum().backward()
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad is being used in an in-place operation"):
        x += 1


def test_torch_frees_the_graph_after_the_first_backward() -> None:
    x = torch.tensor(0.5, requires_grad=True)
    loss = torch.tanh(x) ** 2
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="Trying to backward through the graph a second time"):
        loss.backward()


def test_detach_and_no_grad_cut_the_chain() -> None:
    x, w1, w2 = torch.tensor(2.0), torch.tensor(0.5, requires_grad=True), torch.tensor(2.5, requires_grad=True)
    (w2 * torch.tanh(w1 * x).detach()).backward()
    assert w1.grad is None and w2.grad is not None
    with torch.no_grad():
        loss = (w2 * torch.tanh(w1 * x)) ** 2
    with pytest.raises(RuntimeError, match="element 0 of tensors does not require grad and does not have a grad_fn"):
        loss.backward()


def test_what_the_layer_before_receives() -> None:
    """The page's exercise: the gradient of the input is delta1 times W1."""
    params, x, target = net()
    x.requires_grad_()
    loss = mean_squared_error(two_layer_forward(params, x)[1], target)
    (grad,) = torch.autograd.grad(loss, x)
    h, prediction = two_layer_forward(params, x.detach())
    delta1 = (2 / target.numel() * (prediction - target)) @ params.W2 * (1 - h**2)
    torch.testing.assert_close(delta1 @ params.W1, grad, rtol=0, atol=1e-12)


def test_errors_say_what_must_hold() -> None:
    params, x, target = net()
    with pytest.raises(ValueError, match="got"):
        two_layer_forward(params, x[:, :2])
    for name in ("b1", "b2"):
        with pytest.raises(ValueError, match=r"\(9,\)"):
            two_layer_gradients(params._replace(**{name: torch.zeros(9)}), x, target)
    with pytest.raises(ValueError, match="must have the same shape"):
        two_layer_gradients(params, x, target[:, :1])
    with pytest.raises(TypeError, match="x must be float64, got torch.float32"):
        central_difference(lambda p: p.sum(), torch.zeros(3))
    with pytest.raises(TypeError, match="the exponent must be a plain number"):
        Value(2.0) ** Value(3.0)  # type: ignore[operator]
    for base, exponent in ((-8.0, 0.5), (0.0, 0.5), (0.0, -1)):
        with pytest.raises(ValueError, match="must be finite real numbers, got .*; use a positive base"):
            Value(base) ** exponent
    with pytest.raises(ValueError, match="use a positive base"):
        Value(1.0) / 0.0
    with pytest.raises(OverflowError):
        Value(1000.0).exp()
    assert repr(Value(2.5)) == "Value(2.5, grad=0)"
