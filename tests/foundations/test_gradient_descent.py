"""Update rules against torch.optim, step by step, and against the algebra of a quadratic."""

import inspect
import math
from collections.abc import Callable
from functools import partial
from itertools import islice
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from largemodels.foundations.gradient_descent import adam, adamw, descend, minibatches, momentum, sgd

STEPS = 80
PAIRS = [
    (sgd, {}, torch.optim.SGD, {}),
    (sgd, {"weight_decay": 0.3}, torch.optim.SGD, {"weight_decay": 0.3}),
    (momentum, {}, torch.optim.SGD, {"momentum": 0.9}),
    (momentum, {"mu": 0.5, "dampening": 0.25}, torch.optim.SGD, {"momentum": 0.5, "dampening": 0.25}),
    (momentum, {"mu": 0.8, "weight_decay": 0.3}, torch.optim.SGD, {"momentum": 0.8, "weight_decay": 0.3}),
    (adam, {}, torch.optim.Adam, {}),
    (adam, {"betas": (0.7, 0.9), "eps": 1e-3}, torch.optim.Adam, {"betas": (0.7, 0.9), "eps": 1e-3}),
    (adam, {"weight_decay": 0.3}, torch.optim.Adam, {"weight_decay": 0.3}),
    (adamw, {}, torch.optim.AdamW, {}),
    (
        adamw,
        {"weight_decay": 0.3, "betas": (0.8, 0.95)},
        torch.optim.AdamW,
        {"weight_decay": 0.3, "betas": (0.8, 0.95)},
    ),
]


def valley(x: Tensor) -> Tensor:
    """Rosenbrock's chain in five dimensions: a curved ravine."""
    return ((1 - x[:-1]) ** 2 + 5 * (x[1:] - x[:-1] ** 2) ** 2).sum()


def start() -> Tensor:
    return torch.tensor([-1.2, 1.0, -0.5, 0.8, 1.5], dtype=torch.float64)


@pytest.mark.parametrize(("rule", "ours", "optimiser", "theirs"), PAIRS)
def test_every_step_equals_torch_optim(
    rule: Callable[..., Any], ours: dict[str, Any], optimiser: Callable[..., Any], theirs: dict[str, Any]
) -> None:
    lr = 0.05 if rule in (adam, adamw) else 0.003
    path = descend(valley, start(), partial(rule, **ours), lr, STEPS)
    params = start().requires_grad_()
    optimizer = optimiser([params], lr=lr, **theirs)
    for step in range(STEPS):
        torch.testing.assert_close(path[step], params.detach(), rtol=0, atol=1e-10)
        optimizer.zero_grad()
        valley(params).backward()
        optimizer.step()
    torch.testing.assert_close(path[-1], params.detach(), rtol=0, atol=1e-10)
    assert valley(path[-1]) < 0.2 * valley(path[0])


def test_a_changing_learning_rate_equals_torch_optim() -> None:
    """Here PyTorch's momentum and the papers' part ways, and ours follows PyTorch's."""
    for rule, make in ((momentum, partial(torch.optim.SGD, momentum=0.9)), (adamw, torch.optim.AdamW)):
        params, state = start(), None
        theirs = start().requires_grad_()
        optimizer = make([theirs], lr=1.0)
        for step in range(STEPS):
            lr = 0.002 / (1 + 0.1 * step)
            (grad,) = torch.autograd.grad(valley(here := params.clone().requires_grad_()), here)
            params, state = rule(params, grad, state, lr)  # type: ignore[arg-type]
            optimizer.param_groups[0]["lr"] = lr
            optimizer.zero_grad()
            valley(theirs).backward()
            optimizer.step()
            torch.testing.assert_close(params, theirs.detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("batch_size", [1, 7, 30])
def test_one_some_or_all_equal_torch_sgd_on_the_same_rows(batch_size: int) -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(30, 4, generator=g, dtype=torch.float64), torch.randn(30, generator=g, dtype=torch.float64)

    def loss(w: Tensor, rows: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(x[rows] @ w, y[rows])

    begin = torch.zeros(4, dtype=torch.float64)
    path = descend(loss, begin, sgd, 0.02, STEPS, minibatches(30, batch_size, torch.Generator().manual_seed(1)))
    w = begin.clone().requires_grad_()
    optimizer = torch.optim.SGD([w], lr=0.02)
    for rows in islice(minibatches(30, batch_size, torch.Generator().manual_seed(1)), STEPS):
        optimizer.zero_grad()
        loss(w, rows).backward()
        optimizer.step()
    torch.testing.assert_close(path[-1], w.detach(), rtol=0, atol=1e-10)


def test_defaults_are_pytorch_s() -> None:
    def default(function: Callable[..., Any], name: str) -> object:
        return inspect.signature(function).parameters[name].default

    for rule, optimiser, names in (
        (sgd, torch.optim.SGD, ("lr", "weight_decay")),
        (momentum, torch.optim.SGD, ("lr", "weight_decay", "dampening")),
        (adam, torch.optim.Adam, ("lr", "betas", "eps", "weight_decay")),
        (adamw, torch.optim.AdamW, ("lr", "betas", "eps", "weight_decay")),
    ):
        assert [default(rule, name) for name in names] == [default(optimiser, name) for name in names]


@pytest.mark.parametrize("rule", [sgd, momentum, adam, adamw])
def test_rules_change_nothing_in_place(rule: Callable[..., Any]) -> None:
    params, grad = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.5, 4.0, -1.0])
    params, state = rule(params, grad, None, 0.1)
    kept = [t.clone() for t in (params, grad)] + [t.clone() for t in _tensors(state)]
    rule(params, grad, state, 0.1)
    for before, after in zip(kept, [params, grad, *_tensors(state)], strict=True):
        assert torch.equal(before, after)


def _tensors(state: object) -> list[Tensor]:
    return [t for t in (state if isinstance(state, tuple) else (state,)) if isinstance(t, Tensor)]


def test_by_hand() -> None:
    """The page's numbers: f = x²/2 + 2y² from (4, 1) with step 0.1, and two steps of momentum 0.5 and Adam."""
    first = torch.tensor([4.0, 1.0], dtype=torch.float64)
    path = descend(lambda p: p[0] ** 2 / 2 + 2 * p[1] ** 2, first, sgd, 0.1, 2)
    torch.testing.assert_close(path[1:], torch.tensor([[3.6, 0.6], [3.24, 0.36]], dtype=torch.float64))
    path = descend(lambda p: p[0] ** 2 / 2 + 2 * p[1] ** 2, first, partial(momentum, mu=0.5), 0.1, 2)
    torch.testing.assert_close(path[2], torch.tensor([3.04, 0.16], dtype=torch.float64))
    path = descend(lambda p: p[0] ** 2 / 2 + 2 * p[1] ** 2, first, adam, 0.1, 1)
    torch.testing.assert_close(path[1], torch.tensor([3.9, 0.9], dtype=torch.float64))


@settings(deadline=None)
@given(st.lists(st.floats(0.05, 20), min_size=1, max_size=5), st.integers(0, 10**6))
def test_a_quadratic_converges_just_below_two_over_the_largest_curvature(curvatures: list[float], seed: int) -> None:
    """In any orientation: below 2/λmax every step comes nearer, above it the distance grows without end."""
    P = len(curvatures)
    g = torch.Generator().manual_seed(seed)
    q, _ = torch.linalg.qr(torch.randn(P, P, generator=g, dtype=torch.float64))
    hessian = q @ torch.diag(torch.tensor(curvatures, dtype=torch.float64)) @ q.T
    limit = 2 / max(curvatures)
    steepest = q[:, curvatures.index(max(curvatures))]
    begin = torch.randn(P, generator=g, dtype=torch.float64) + 2 * steepest

    def loss(p: Tensor) -> Tensor:
        return p @ hessian @ p / 2

    below = descend(loss, begin, sgd, 0.99 * limit, 20).norm(dim=-1)
    assert (below.diff() < 0).all()
    above = descend(loss, steepest, sgd, 1.01 * limit, 20).norm(dim=-1)
    assert above[-1].item() == pytest.approx(1.02**20, rel=1e-6)


@pytest.mark.parametrize("mu", [0.3, 0.9])
def test_momentum_stretches_the_limit_by_one_plus_mu(mu: float) -> None:
    """Goh, 2017: 0 < αλ < 2(1 + μ)."""
    limit, begin = 2 * (1 + mu) / 5, torch.ones(1, dtype=torch.float64)
    rule = partial(momentum, mu=mu)
    assert descend(lambda p: 2.5 * (p**2).sum(), begin, rule, 0.98 * limit, 2000)[-1].abs() < 1e-3
    assert descend(lambda p: 2.5 * (p**2).sum(), begin, rule, 1.02 * limit, 2000)[-1].abs() > 1e3


def test_too_large_a_learning_rate_ends_in_inf_and_nan() -> None:
    path = descend(lambda p: 5 * (p**2).sum(), torch.ones(1), sgd, 0.3, 200)
    assert path[1].item() == pytest.approx(-2)
    assert path.isinf().any() and path[-1].isnan().all()


def test_momentum_is_polyak_s_heavy_ball() -> None:
    """θ' = θ − α g + μ (θ − θ before), with a constant learning rate."""
    path = descend(valley, start(), momentum, 0.003, STEPS)
    for before, here, after in zip(path, path[1:], path[2:], strict=False):
        (grad,) = torch.autograd.grad(valley(point := here.clone().requires_grad_()), point)
        torch.testing.assert_close(after, here - 0.003 * grad + 0.9 * (here - before), rtol=0, atol=1e-10)


@settings(deadline=None)
@given(st.floats(1e-3, 1e6), st.sampled_from([-1.0, 1.0]))
def test_adam_s_first_step_has_the_length_of_the_learning_rate(size: float, sign: float) -> None:
    params, _ = adam(torch.zeros(1, dtype=torch.float64), torch.tensor([sign * size], dtype=torch.float64), None, 0.1)
    assert params.item() == pytest.approx(-0.1 * sign, rel=1e-4)


def test_a_loss_times_a_thousand_leaves_adam_s_path_alone() -> None:
    """The page's exercise: plain descent diverges, Adam divides the factor away, but for eps."""
    begin, ends = torch.tensor([4.0, 1.0], dtype=torch.float64), {}
    for rule in (sgd, adam):
        ends[rule] = [
            descend(lambda p, scale=scale: scale * (p[0] ** 2 / 2 + 2 * p[1] ** 2), begin, rule, 0.1, 20)[-1]
            for scale in (1, 1000)
        ]
    torch.testing.assert_close(*ends[adam], rtol=0, atol=1e-6)
    assert ends[sgd][0].norm() < 1 < 1e20 < ends[sgd][1].norm()


def test_adam_s_means_are_the_paper_s_sums() -> None:
    """Kingma & Ba, section 3, equation (1): v_t = (1 − β₂) Σ β₂^(t−i) g_i²."""
    grads = [torch.tensor([float(i), -1.0 / i], dtype=torch.float64) for i in range(1, 9)]
    params, state = torch.zeros(2, dtype=torch.float64), None
    for grad in grads:
        params, state = adam(params, grad, state, 0.1)
    assert state is not None
    t, m, v = state
    assert t == 8
    sum_m = sum(0.1 * 0.9 ** (8 - i) * g for i, g in enumerate(grads, 1))
    sum_v = sum(0.001 * 0.999 ** (8 - i) * g**2 for i, g in enumerate(grads, 1))
    torch.testing.assert_close(m, sum_m, rtol=0, atol=1e-12)
    torch.testing.assert_close(v, sum_v, rtol=0, atol=1e-12)


def test_adam_divides_weight_decay_away_and_adamw_does_not() -> None:
    """Two weights, one with gradients a thousand times larger: L2 hardly shrinks it, AdamW shrinks both alike."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(400, 2, generator=g) * torch.tensor([1000.0, 1.0])
    noise = torch.stack((noise, -noise), dim=1).flatten(0, 1)  # sums to 0: nothing but decay is left
    ends = []
    for rule in (partial(adam, weight_decay=0.1), partial(adamw, weight_decay=0.1)):
        params, state = torch.full((2,), 10.0), None
        for grad in noise:
            params, state = rule(params, grad, state, 0.01)
        ends.append(params)
    decayed = 10 * (1 - 0.01 * 0.1) ** 800
    l2, decoupled = ends
    assert (decoupled - decayed).abs().max() < 0.7
    assert l2[0] > 9.9 > 6 > l2[1]


def test_m25_the_factor_in_the_loss_moves_the_limit_by_two() -> None:
    """The largest stable learning rate of 1/(2m) is twice that of 1/m: 1.2 lies between them."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, generator=g, dtype=torch.float64)
    x = (x - x.mean()) / x.std(correction=0)
    y = 0.8 * x + 0.1 * torch.randn(40, generator=g, dtype=torch.float64)

    def half(w: Tensor) -> Tensor:
        return ((w[0] * x + w[1] - y) ** 2).sum() / (2 * 40)

    def whole(w: Tensor) -> Tensor:
        return torch.nn.functional.mse_loss(w[0] * x + w[1], y)

    begin = torch.ones(2, dtype=torch.float64)
    limits = [2 / torch.linalg.eigvalsh(torch.autograd.functional.hessian(f, begin))[-1].item() for f in (half, whole)]
    assert limits == pytest.approx([2, 1])
    assert half(descend(half, begin, sgd, 1.2, 100)[-1]) < 0.02
    assert whole(descend(whole, begin, sgd, 1.2, 100)[-1]) > 1e9
    torch.testing.assert_close(descend(half, begin, sgd, 1.2, 9), descend(whole, begin, sgd, 0.6, 9))


def test_forgetting_zero_grad_sums_the_gradients() -> None:
    """PyTorch adds to .grad: without zero_grad, plain SGD becomes momentum with mu = 1, which never settles."""
    w = torch.tensor([1.0, 1.0], dtype=torch.float64, requires_grad=True)
    optimizer, total = torch.optim.SGD([w], lr=0.1), torch.zeros(2, dtype=torch.float64)
    by_hand, path = w.detach().clone(), []
    for _ in range(50):
        (0.5 * w[0] ** 2 + 2 * w[1] ** 2).backward()
        total = total + torch.tensor([1.0, 4.0], dtype=torch.float64) * by_hand
        by_hand = by_hand - 0.1 * total
        optimizer.step()
        path.append(w.detach().clone())
    torch.testing.assert_close(w.detach(), by_hand)
    assert torch.stack(path[-20:]).abs().max() > 0.9


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_an_epoch_shows_every_row_once(n: int, data: st.DataObject) -> None:
    batch_size = data.draw(st.integers(1, n))
    batches = minibatches(n, batch_size, torch.Generator().manual_seed(n))
    per_epoch = math.ceil(n / batch_size)
    for _ in range(3):
        epoch = list(islice(batches, per_epoch))
        assert sorted(torch.cat(epoch).tolist()) == list(range(n))
        assert all(len(rows) == batch_size for rows in epoch[:-1])


def test_the_mean_over_the_batches_is_the_whole_gradient_and_small_batches_scatter_more() -> None:
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 3, generator=g, dtype=torch.float64), torch.randn(60, generator=g, dtype=torch.float64)
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)

    def gradient(rows: Tensor) -> Tensor:
        return torch.autograd.grad(((x[rows] @ w - y[rows]) ** 2).mean(), w)[0]

    whole, scatter = gradient(torch.arange(60)), {}
    for batch_size in (1, 6, 20):
        draws = islice(minibatches(60, batch_size, torch.Generator().manual_seed(1)), 60 // batch_size)
        grads = torch.stack([gradient(rows) for rows in draws])
        torch.testing.assert_close(grads.mean(0), whole)
        scatter[batch_size] = (grads - whole).norm(dim=-1).mean().item()
    assert scatter[1] > scatter[6] > scatter[20]


def test_descend_takes_as_many_steps_as_there_are() -> None:
    assert descend(lambda p: (p**2).sum(), torch.ones(2, 3), sgd, 0.1, 0).shape == (1, 2, 3)
    few = [torch.tensor([0]), torch.tensor([1])]
    assert descend(lambda p, rows: (p[rows] ** 2).sum(), torch.ones(4), sgd, 0.1, 9, few).shape == (3, 4)


def test_errors_say_what_must_hold() -> None:
    two, three = torch.ones(2), torch.ones(3)
    for rule in (sgd, momentum, adam, adamw):
        with pytest.raises(ValueError, match=r"same shape, got \(2,\) and \(3,\)"):
            rule(two, three, None, 0.1)
        with pytest.raises(ValueError, match="lr must be at least 0, got -0.1"):
            rule(two, two, None, -0.1)
        with pytest.raises(ValueError, match="lr must be at least 0, got nan"):
            rule(two, two, None, math.nan)
    with pytest.raises(ValueError, match="mu must be at least 0 and below 1, got 1.5"):
        momentum(two, two, None, 0.1, mu=1.5)
    with pytest.raises(ValueError, match="beta2 must be at least 0 and below 1, got 1"):
        adamw(two, two, None, 0.1, betas=(0.9, 1.0))
    with pytest.raises(ValueError, match="between 1 and n = 5, got 6"):
        minibatches(5, 6)
    with pytest.raises(TypeError, match="start must be floating point, got torch.int64"):
        descend(lambda p: p.sum(), torch.tensor([1, 2]), sgd, 0.1, 1)
