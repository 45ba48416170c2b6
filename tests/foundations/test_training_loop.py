"""The training loop against PyTorch's own DataLoader, Linear, Adam and SGD, parameter by parameter."""

import math
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, Sampler, TensorDataset

from concepts import ROOT
from largemodels.foundations.backpropagation import TwoLayer, central_difference, two_layer_forward
from largemodels.foundations.gradient_descent import Rule, adam, sgd
from largemodels.foundations.layer import affine
from largemodels.foundations.losses import mean_squared_error
from largemodels.foundations.training_loop import (
    Batches,
    Epoch,
    Scale,
    braking_log,
    clean,
    split,
    stop_early,
    train,
)
from page import read

LOW, HIGH = torch.tensor([0.0, 0.0, 0.0]), torch.tensor([200.0, 1.0, 400.0])


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Shuffled(Sampler[int]):
    """Shuffles for a DataLoader as `Batches` does: one permutation for each epoch."""

    def __init__(self, n: int, generator: torch.Generator) -> None:
        self.n, self.generator = n, generator

    def __iter__(self) -> Iterator[int]:
        return iter(torch.randperm(self.n, generator=self.generator).tolist())


def linear(params: list[Tensor], x: Tensor) -> Tensor:
    return affine(x, *params)


def data(seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Inputs and targets, to train and to validate: 3 features, 2 targets, 47 and 19 rows."""
    g = seeded(seed)
    x, noise = torch.randn(66, 3, generator=g, dtype=torch.float64), torch.randn(66, 2, generator=g).double()
    y = x @ torch.tensor([[1.0, -2.0], [0.5, 0.0], [0.0, 3.0]], dtype=torch.float64) + 0.1 * noise
    return x[:47], y[:47], x[47:], y[47:]


@pytest.mark.parametrize(
    ("rule", "optimiser", "lr"), [(sgd, torch.optim.SGD, 0.05), (adam, torch.optim.Adam, 0.02)], ids=["sgd", "adam"]
)
def test_largest_difference_to_torch_after_ten_epochs(
    rule: Rule,
    optimiser: type[torch.optim.Optimizer],
    lr: float,
    record_differences: Callable[[float, float], None],
) -> None:
    """P01: DataLoader, Linear, MSELoss and SGD walk exactly the same path, parameter by parameter and loss by loss."""
    x, y, x_val, y_val = data()
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).double()
    start = [p.detach().clone() for p in model.parameters()]
    ours = train(linear, start, Batches(x, y, 8, seeded(5)), (x_val, y_val), lr, rule)
    loader = DataLoader(TensorDataset(x, y), batch_size=8, sampler=Shuffled(len(x), seeded(5)))
    optimizer = optimiser(model.parameters(), lr=lr)  # type: ignore[call-arg]
    loss_function = torch.nn.MSELoss()
    gaps, steps = [], []
    for epoch in islice(ours, 10):
        total = 0.0
        for a, b in loader:
            optimizer.zero_grad()
            loss = loss_function(model(a), b)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(a)
        with torch.no_grad():
            gaps += [abs(epoch.validation_loss - loss_function(model(x_val), y_val).item())]
        gaps += [abs(epoch.train_loss - total / len(x))]
        steps += [float((p - q.detach()).abs().max()) for p, q in zip(epoch.params, model.parameters(), strict=True)]
    record_differences(max(gaps), max(steps))
    assert len(gaps + steps) == 40 and max(gaps + steps) <= 1e-12
    assert epoch.number == 10 and epoch.validation_loss < 0.5 * mean_squared_error(linear(start, x_val), y_val)


def test_a_data_loader_of_torch_does_as_well() -> None:
    x, y, x_val, y_val = data()
    start = [torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    loader = DataLoader(TensorDataset(x, y), batch_size=8, sampler=Shuffled(len(x), seeded(5)))
    ends = [
        next(islice(train(linear, start, batches, (x_val, y_val), 0.05), 3, None)).params
        for batches in (loader, Batches(x, y, 8, seeded(5)))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))
    assert not start[0].any()


def test_one_step_follows_the_measured_gradient() -> None:
    """A truth without autograd: a step of sgd is minus lr times the central difference."""
    x, y, x_val, y_val = data()
    start = [torch.ones(2, 3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    first = next(train(linear, start, [(x, y)], (x_val, y_val), 0.1))
    slope = central_difference(lambda W: mean_squared_error(affine(x, W, start[1]), y), start[0])
    torch.testing.assert_close(first.params[0], start[0] - 0.1 * slope, rtol=0, atol=1e-9)
    assert first.train_loss == pytest.approx(mean_squared_error(affine(x, *start), y).item())


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 10**6))
def test_batches_hold_every_row_once_an_epoch_with_its_own_target(n: int, size: int, seed: int) -> None:
    x = torch.arange(float(n))[:, None]
    batches = Batches(x, 3 * x, min(size, n), seeded(seed))
    for _ in range(2):
        pairs = list(batches)
        assert sorted(torch.cat([a for a, _ in pairs]).flatten().tolist()) == x.flatten().tolist()
        assert all(torch.equal(b, 3 * a) for a, b in pairs)
        assert all(len(a) == min(size, n) for a, _ in pairs[:-1])


@settings(deadline=None, max_examples=40)
@given(st.integers(10, 200), st.integers(0, 10**6))
def test_parts_are_disjoint_complete_and_repeatable(n: int, seed: int) -> None:
    parts = split(n, (0.6, 0.2, 0.2), seeded(seed))
    assert sorted(torch.cat(parts).tolist()) == list(range(n))
    assert all(abs(len(part) - n * share) <= 1 for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(parts, split(n, (0.6, 0.2, 0.2), seeded(seed)), strict=True))


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 30), st.integers(1, 5), st.integers(0, 10**6))
def test_training_rows_get_mean_0_and_spread_1_and_come_back(n: int, f: int, seed: int) -> None:
    rows = 50 + 7 * torch.randn(n, f, generator=seeded(seed), dtype=torch.float64)
    scale = Scale.of(rows)
    normal = scale.normalise(rows)
    torch.testing.assert_close(normal.mean(0), torch.zeros(f).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(normal.std(0, correction=0), torch.ones(f).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(scale.restore(normal), rows)


def test_a_column_that_never_changes_is_not_divided_by_zero() -> None:
    rows = torch.tensor([[3.0, 1.0], [3.0, 2.0]])
    assert Scale.of(rows).normalise(rows)[:, 0].tolist() == [0, 0]


def test_the_log_has_the_dirt_it_promises_and_cleaning_removes_all_of_it() -> None:
    log = braking_log(600, seeded(0))
    torch.testing.assert_close(log, braking_log(600, seeded(0)), rtol=0, atol=0, equal_nan=True)
    assert log.shape == (630, 3) and int(log.isnan().any(1).sum()) == 30 and int((log[:, 2] > 400).sum()) == 20
    rows = clean(log, LOW.double(), HIGH.double())
    assert len(rows) == 550 == len(torch.unique(rows, dim=0))
    assert rows.isfinite().all() and (rows >= LOW).all() and (rows <= HIGH).all()
    known = {tuple(row) for row in log.tolist()}
    assert all(tuple(row) in known for row in rows.tolist())
    assert torch.equal(clean(rows, LOW.double(), HIGH.double()), rows)  # nothing left to clean; the order is kept


def test_the_log_follows_the_law_of_braking() -> None:
    rows = clean(braking_log(3000, seeded(1)), LOW.double(), HIGH.double())
    v = rows[:, 0] / 3.6
    ratio = (rows[:, 2] / (v + v**2 / (2 * 9.81 * (0.8 - 0.4 * rows[:, 1])))).log()
    assert abs(float(ratio.mean())) < 0.01 and float(ratio.std()) == pytest.approx(0.08, abs=0.005)


def test_stop_early_stops_and_the_best_epoch_is_not_the_last() -> None:
    losses = [5.0, 3.0, math.nan, 3.0, 2.9, 3.0, 3.0, 3.0, 1.0]
    run = list(stop_early((Epoch(i, 0.0, loss, []) for i, loss in enumerate(losses, 1)), patience=3))
    assert [epoch.number for epoch in run] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert min(run, key=lambda epoch: epoch.validation_loss).number == 5


def net(params: list[Tensor], x: Tensor) -> Tensor:
    return two_layer_forward(TwoLayer(*params), x)[1]


def wiggly(n: int, seed: int) -> tuple[Tensor, Tensor]:
    g = seeded(seed)
    x = torch.rand(n, 1, generator=g, dtype=torch.float64) * 2 - 1
    return x, torch.sin(math.pi * x) + 0.3 * torch.randn(n, 1, generator=g, dtype=torch.float64)


def overfitted(points: int) -> list[Epoch]:
    g, width = seeded(1), 100
    shapes = [(width, 1), (width,), (1, width), (1,)]
    start = [torch.randn(s, generator=g, dtype=torch.float64) * f for s, f in zip(shapes, (5, 3, 0.05, 0), strict=True)]
    return list(islice(train(net, start, [wiggly(points, 2)], wiggly(100, 3), 0.03, adam), 300))


def test_a_model_too_big_for_its_few_points_overfits_and_more_points_cure_it() -> None:
    few, many = overfitted(12), overfitted(150)
    for history, rises in ((few, True), (many, False)):
        best = min(epoch.validation_loss for epoch in history)
        assert (history[-1].validation_loss > 1.3 * best) == rises
    assert few[-1].train_loss < 0.03 < 0.06 < many[-1].train_loss
    stopped = list(stop_early(few, patience=30))
    assert len(stopped) < len(few)


def test_statistics_of_all_rows_let_the_test_rows_into_training() -> None:
    """Pitfall: change one test row, and the normalised training rows change with it; with training statistics, not."""
    rows = torch.randn(20, 3, generator=seeded(0))
    changed = rows.clone()
    changed[-1] += 100
    leaky, clean_way = ([Scale.of(t[:part]).normalise(t[:15]) for t in (rows, changed)] for part in (20, 15))
    assert not torch.allclose(*leaky)
    assert torch.equal(*clean_way)


def test_choosing_columns_on_all_rows_predicts_coin_flips() -> None:
    """The page's second leak: noise columns, chosen with a look at the test rows, seem to know the answer."""
    g = seeded(0)
    x, y = torch.randn(60, 2000, generator=g), torch.randn(60, 1, generator=g).sign()
    correct = {}
    for name, seen in (("all", slice(None)), ("training", slice(0, 40))):
        columns = (x[seen] * y[seen]).mean(0).abs().topk(20).indices
        W = (x[:40, columns] * y[:40]).mean(0)
        correct[name] = float(((x[40:, columns] @ W).sign() == y[40:, 0]).double().mean())
    assert correct["all"] >= 0.8 and 0.25 <= correct["training"] <= 0.75


def test_without_eval_dropout_keeps_dropping() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 50), torch.nn.Dropout(0.5), torch.nn.Linear(50, 1))
    x = torch.ones(1, 3)
    assert len({model(x).item() for _ in range(5)}) == 5
    model.eval()
    assert len({model(x).item() for _ in range(5)}) == 1


def test_without_zero_grad_the_loop_does_not_come_to_rest() -> None:
    x, y, x_val, y_val = data()
    ends = {}
    for clear in (True, False):
        model = torch.nn.Linear(3, 2).double()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
        for _ in range(60):
            if clear:
                optimizer.zero_grad()
            torch.nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
        ends[clear] = torch.nn.functional.mse_loss(model(x_val), y_val).item()
    assert ends[True] < 0.1 < ends[False]


SCRAP = """
for epoch in range(10):
    for x, y in train_loader:
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
"""


def test_m17_the_program_of_the_page_runs_alone_and_the_usual_scrap_does_not() -> None:
    """P01 in a process of its own: nothing imported or defined but what the program itself says."""
    with pytest.raises(NameError, match="name 'train_loader' is not defined"):
        exec(compile(SCRAP, "scrap", "exec"), {})  # noqa: S102 - the scrap is four lines up
    fences = read(ROOT / "docs" / "zh" / "foundations" / "training_loop.md").fences
    program = next(fence for fence in fences if "DataLoader(" in fence.code)
    run = subprocess.run([sys.executable, "-c", program.code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert run.returncode == 0, run.stderr
    shown = fences[fences.index(program) + 1]
    assert shown.is_output and run.stdout.rstrip() == shown.body.rstrip()
    assert re.search(r"epoch +10", run.stdout)


def test_errors_say_what_must_hold() -> None:
    with pytest.raises(ValueError, match="a row must lie between low and high to stay, got none of 2"):
        clean(torch.full((2, 3), math.nan), LOW, HIGH)
    with pytest.raises(ValueError, match="shares must sum to 1, got 0.9"):
        split(10, (0.6, 0.3), seeded(0))
    with pytest.raises(ValueError, match=r"every part must get at least one row, got \[2, 0\] of 2"):
        split(2, (0.9, 0.1), seeded(0))
    with pytest.raises(ValueError, match="x and y must have as many rows, got 3 and 2"):
        Batches(torch.zeros(3, 1), torch.zeros(2, 1), 2)
    with pytest.raises(ValueError, match="batch_size must be between 1 and n = 3, got 4"):
        next(iter(Batches(torch.zeros(3, 1), torch.zeros(3, 1), 4)))
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        next(stop_early([], patience=0))
