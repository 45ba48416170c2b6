"""The LSTM against torch.nn.LSTM, autograd, finite differences, and numbers worked out by hand."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from largemodels.sequence.lstm import lstm, lstm_gates, lstm_jacobians, lstm_step, with_forget_bias
from largemodels.sequence.recurrent import norms_over_distance

B, T, C, D = 2, 7, 3, 5


def drawn(seed: int = 0) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Return inputs, parameters in PyTorch's order, first state and first cell, all with gradients."""
    g = torch.Generator().manual_seed(seed)
    new = partial(torch.randn, generator=g, dtype=torch.float64)
    x, h0, c0 = new(B, T, C), new(B, D), new(B, D)
    params = [new(4 * D, C), new(4 * D, D), new(4 * D), new(4 * D)]
    return x.requires_grad_(), [p.requires_grad_() for p in params], h0.requires_grad_(), c0.requires_grad_()


def gap(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


def largest_differences() -> tuple[float, float]:
    """Largest difference to torch.nn.LSTM: of states and last cell, and of all gradients."""
    x, params, h0, c0 = drawn()
    layer = torch.nn.LSTM(C, D, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        for theirs, ours in zip(layer.parameters(), params, strict=True):
            theirs.copy_(ours)
    states, cells = lstm(x, *params, h0, c0)
    wanted, (_, last) = layer(x, (h0[None], c0[None]))
    weight = torch.randn(B, T, D, dtype=torch.float64)
    mine = torch.autograd.grad((weight * states).sum() + cells[:, -1].sum(), [*params, x, h0, c0])
    theirs = torch.autograd.grad((weight * wanted).sum() + last.sum(), [*layer.parameters(), x, h0, c0])
    value = max(gap(states, wanted), gap(cells[:, -1], last[0]))
    return value, max(gap(a, b) for a, b in zip(mine, theirs, strict=True))


def test_largest_difference_to_torch_in_value_and_gradient(record_differences: Callable[[float, float], None]) -> None:
    value, gradient = largest_differences()
    record_differences(value, gradient)
    assert value <= 1e-8
    assert gradient <= 1e-8


def test_gradients_equal_finite_differences() -> None:
    x, params, h0, c0 = drawn(1)
    assert torch.autograd.gradcheck(lstm, (x, *params, h0, c0), fast_mode=True)


def test_the_order_of_the_gates_is_that_of_torch() -> None:
    """Large biases on one quarter open or shut exactly the gate it belongs to."""
    cell = torch.nn.LSTMCell(C, D, dtype=torch.float64)
    x, h, c = (torch.randn(B, width, dtype=torch.float64) for width in (C, D, D))
    for quarter, name in enumerate("ifgo"):
        with torch.no_grad():
            cell.bias_ih.zero_()
            cell.bias_ih[quarter * D : (quarter + 1) * D] = -1e3
        gates = dict(zip("ifgo", lstm_gates(x, h, *cell.parameters()), strict=True))
        assert gap(gates[name], torch.full((B, D), -1.0 if name == "g" else 0.0, dtype=torch.float64)) < 1e-12
        for ours, theirs in zip(lstm_step(x, h, c, *cell.parameters()), cell(x, (h, c)), strict=True):
            assert gap(ours, theirs) <= 1e-8


def test_jacobians_equal_autograd() -> None:
    """Step by step, and their product over the whole sequence."""
    x, params, h0, c0 = (t if isinstance(t, list) else t[:1].detach() for t in drawn(2))
    states, cells = lstm(x, *params, h0, c0)
    ours = lstm_jacobians(x[0], states[0], cells[0], *params, h0[0], c0[0])

    def run(pair: Tensor, begin: int, end: int) -> Tensor:
        h, c = lstm(x[:, begin:end], *params, pair[None, :D], pair[None, D:])
        return torch.cat([h[0, -1], c[0, -1]])

    before = torch.cat([torch.cat([h0, states[0, :-1]]), torch.cat([c0, cells[0, :-1]])], dim=-1).detach()  # (T, 2D)
    for t in range(T):
        theirs = torch.autograd.functional.jacobian(partial(run, begin=t, end=t + 1), before[t])
        assert gap(ours[t], theirs) <= 1e-8
    whole = torch.autograd.functional.jacobian(partial(run, begin=0, end=T), before[0])
    assert norms_over_distance(ours)[T].item() == pytest.approx(torch.linalg.matrix_norm(whole, ord=2).item())


def test_without_first_state_and_cell_they_are_zero() -> None:
    x, params, *_ = drawn(3)
    zeros = torch.zeros(B, D, dtype=torch.float64)
    for ours, theirs in zip(lstm(x, *params), lstm(x, *params, zeros, zeros), strict=True):
        assert torch.equal(ours, theirs)
    states, cells = lstm(x, *params)
    two = [lstm_jacobians(x[0], states[0], cells[0], *params, *first) for first in ((), (zeros[0], zeros[0]))]
    assert torch.equal(*two)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 10**6))
def test_reading_in_two_pieces_needs_state_and_cell(batch: int, cut: int, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 10, C, generator=g, dtype=torch.float64)
    params = [p.detach() for p in drawn(seed)[1]]
    states, cells = lstm(x, *params)
    h, c = lstm(x[:, :cut], *params)
    rest, _ = lstm(x[:, cut:], *params, h[:, -1], c[:, -1])
    torch.testing.assert_close(states, torch.cat([h, rest], dim=1), rtol=0, atol=1e-12)
    assert (states.abs() < 1).all()


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 30))
def test_an_open_forget_gate_and_a_shut_input_gate_keep_the_cell(seed: int, steps: int) -> None:
    """The constant error carousel: value and gradient of the cell stay as they are, whatever comes in."""
    x = torch.randn(1, steps, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    bias = torch.zeros(4 * D, dtype=torch.float64)
    bias[:D], bias[D : 2 * D] = -1e3, 1e3
    c0 = torch.randn(1, D, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64).requires_grad_()
    w_ih, w_hh = torch.zeros(4 * D, C, dtype=torch.float64), torch.zeros(4 * D, D, dtype=torch.float64)
    _, cells = lstm(x, w_ih, w_hh, bias, torch.zeros_like(bias), c0=c0)
    assert torch.equal(cells[:, -1], c0)
    assert torch.equal(torch.autograd.grad(cells[:, -1].sum(), c0)[0], torch.ones(1, D, dtype=torch.float64))


@settings(deadline=None, max_examples=15)
@given(st.floats(-5, 8), st.integers(1, 40))
def test_the_cell_decays_with_the_power_of_its_forget_gate(value: float, steps: int) -> None:
    zeros = torch.zeros(4, dtype=torch.float64)
    params = zeros[:, None], zeros[:, None], with_forget_bias(zeros, value), zeros
    x, c0 = torch.zeros(1, steps, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64)
    _, cells = lstm(x, *params, c0=c0)
    assert cells[0, -1].item() == pytest.approx((1 / (1 + math.exp(-value))) ** steps, rel=1e-9)


def page_norms(bias: float) -> Tensor:
    """Norms over distance of a small LSTM with torch's first weights, as the page measures them."""
    torch.manual_seed(0)
    width, steps = 24, 100
    layer = torch.nn.LSTM(1, width, dtype=torch.float64)
    w_ih, w_hh, b_ih, b_hh = (p.detach() for p in layer.parameters())
    x = torch.randn(1, steps, 1, dtype=torch.float64)
    params = w_ih, w_hh, with_forget_bias(b_ih, bias), b_hh
    states, cells = lstm(x, *params)
    return norms_over_distance(lstm_jacobians(x[0], states[0], cells[0], *params))


def test_a_forget_bias_carries_the_gradient_further() -> None:
    norms = [page_norms(bias)[50].item() for bias in (0.0, 1.0, 3.0, 5.0)]
    assert norms == sorted(norms)
    assert norms[0] < 1e-8
    assert norms[3] > 0.5


def test_by_hand() -> None:
    """The page's numbers: gates of 3/4 and 1/2, a cell that halves."""
    log3 = math.log(3)
    x, zero = torch.tensor([[1.0]], dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64)
    w_ih = torch.tensor([[log3], [0.0], [log3 / 2], [0.0]], dtype=torch.float64)
    b = torch.zeros(4, dtype=torch.float64)
    h, c = lstm_step(x, zero, zero + 2, w_ih, torch.zeros(4, 1, dtype=torch.float64), b, b)
    assert c.item() == pytest.approx(0.5 * 2 + 0.75 * 0.5)
    assert h.item() == pytest.approx(0.5 * math.tanh(1.375))


def test_the_exercises() -> None:
    """The forget bias that halves the cell in 100 steps, and four times the parameters of an RNN."""
    zeros = torch.zeros(4, dtype=torch.float64)
    params = zeros[:, None], zeros[:, None], with_forget_bias(zeros, 4.967), zeros
    _, cells = lstm(torch.zeros(1, 100, 1).double(), *params, c0=torch.ones(1, 1).double())
    assert cells[0, -1].item() == pytest.approx(0.5, abs=1e-3)
    counts = [sum(p.numel() for p in kind(C, D).parameters()) for kind in (torch.nn.LSTM, torch.nn.RNN)]
    assert counts[0] == 4 * counts[1] == 4 * (D * C + D * D + 2 * D)


def test_gates_in_another_order_are_accepted_and_wrong() -> None:
    """The page's pitfall: ONNX stacks i, o, f, c; the shapes are the same."""
    x, params, *_ = drawn(4)
    i, f, g, o = params[1].chunk(4)
    swapped = [params[0], torch.cat([i, o, f, g]), *params[2:]]
    assert (lstm(x, *params)[0] - lstm(x, *swapped)[0]).abs().max() > 0.05


def test_both_biases_of_torch_count() -> None:
    """The page's pitfall: 1 in each is 2 before the sigmoid."""
    cell, zero = torch.nn.LSTMCell(1, 1), torch.zeros(1, 1)
    for p in cell.parameters():
        torch.nn.init.zeros_(p)
    for wanted, bias in ((1.0, cell.bias_ih), (2.0, cell.bias_hh)):
        bias.data[1] = 1.0
        assert cell(zero, (zero, zero + 1))[1].item() == pytest.approx(1 / (1 + math.exp(-wanted)))


def test_torch_wants_a_pair_and_says_something_else() -> None:
    """The page's pitfall: handing an LSTM only h."""
    layer, x, h = torch.nn.LSTM(C, D, batch_first=True), torch.randn(B, T, C), torch.zeros(1, B, D)
    with pytest.raises(IndexError, match="index 1 is out of bounds for dimension 0 with size 1"):
        layer(x, h)


def test_errors_say_what_must_hold() -> None:
    x, params, h0, c0 = drawn()
    with pytest.raises(ValueError, match=r"w_ih \(4D, C\).*got \(2, 7, 2\), \(20, 3\) and \(20, 5\)"):
        lstm(x[..., :2], *params)
    with pytest.raises(ValueError, match=r"T at least 1, got \(2, 0, 3\)"):
        lstm(x[:, :0], *params)
    with pytest.raises(ValueError, match=r"stack the four gates"):
        lstm(x, params[0], params[1][:D], *params[2:])
    with pytest.raises(ValueError, match=r"h0 and c0 must be \(B, D\) = \(2, 5\), got \(1, 5\)"):
        lstm(x, *params, h0, c0[:1])
    with pytest.raises(ValueError, match=r"bias must have shape \(4D,\), got \(6,\)"):
        with_forget_bias(torch.zeros(6), 1.0)
