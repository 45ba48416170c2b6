r"""The training loop: from a dirty table to a model that answers, in six steps.

Clean, normalise and split the data; build the model; initialise it; train it; validate it; infer with it.

Source: Goodfellow, Bengio, Courville, "Deep Learning", 2016, https://www.deeplearningbook.org, sections 5.3, 7.8
and 8.1.3.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import NamedTuple

import torch
from torch import Tensor

from largemodels.foundations.gradient_descent import Rule, minibatches, sgd
from largemodels.foundations.losses import mean_squared_error

Predict = Callable[[Sequence[Tensor], Tensor], Tensor]  # (params, x) -> predictions


def braking_log(n: int, generator: torch.Generator) -> Tensor:
    r"""Make up a log of braking tests with the dirt of real ones: gaps, copies, slips.

    Made by a formula, not measured: $d = v\,t + v^2/(2 \mu g)$ with a reaction time $t$ of 1 s and a friction $\mu$
    from 0.8 (dry) to 0.4 (wet), times a random factor of about ±8 %. 1 row in 20 lacks a number, 1 in 20 is written
    twice, and 1 in 30 has its distance in centimetres.

    Args:
        n: number of tests, at least 1.
        generator: source of the random numbers.

    Returns:
        The log, shape `(N, 3)`, where N is n + n // 20. The columns are speed in km/h, wetness from 0 to 1 and
            distance in metres, NaN where a number is missing.

    Examples:
        >>> rows = braking_log(100, torch.Generator().manual_seed(0))
        >>> rows.shape, int(rows.isnan().sum()), int((rows[:, 2] > 400).sum())
        (torch.Size([105, 3]), 5, 3)
    """
    draw = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    speed, wetness = 20 + 110 * draw[:, 0], draw[:, 1]
    v = speed / 3.6  # metres per second
    factor = torch.exp(0.08 * torch.randn(n, generator=generator, dtype=torch.float64))
    distance = (v * 1.0 + v**2 / (2 * 9.81 * (0.8 - 0.4 * wetness))) * factor
    rows = torch.stack([speed, wetness, distance], dim=1)  # (n, 3)
    dirty = torch.randperm(n, generator=generator)
    gaps, copies, slips = dirty[: n // 20], dirty[n // 20 : n // 20 * 2], dirty[n // 20 * 2 :][: n // 30]
    rows[gaps, torch.randint(3, (len(gaps),), generator=generator)] = math.nan
    rows[slips, 2] *= 100
    rows = torch.cat([rows, rows[copies]])  # (n + n // 20, 3)
    return rows[torch.randperm(len(rows), generator=generator)]


def clean(rows: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Drop rows with a missing or impossible number, and every copy after the first.

    Args:
        rows: shape `(N, F)`; NaN where a number is missing.
        low: the smallest possible number of each column, shape `(F,)`.
        high: the largest, shape `(F,)`.

    Returns:
        The rows that stay, in their order, shape `(M, F)`.

    Raises:
        ValueError: if no row stays.

    Examples:
        >>> rows = torch.tensor([[5.0, 1.0], [5.0, 1.0], [math.nan, 2.0], [4.0, 99.0], [3.0, 2.0]])
        >>> clean(rows, torch.tensor([0.0, 0.0]), torch.tensor([9.0, 9.0]))
        tensor([[5., 1.],
                [3., 2.]])
    """
    possible = ((rows >= low) & (rows <= high)).all(dim=1)  # NaN compares as False
    rows = rows[possible]
    if not len(rows):
        raise ValueError(f"a row must lie between low and high to stay, got none of {len(possible)}; check the units")
    group = torch.unique(rows, dim=0, return_inverse=True)[1]  # (M',): equal rows, equal numbers
    first = torch.full((int(group.max()) + 1,), len(rows)).scatter_reduce(0, group, torch.arange(len(rows)), "amin")
    return rows[first.sort().values]


def split(n: int, shares: Sequence[float], generator: torch.Generator) -> list[Tensor]:
    """Deal the row numbers out at random into parts that share none.

    Source: Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/ml.html, section 5.3: train on one part,
    choose on a second, report on a third.

    Args:
        n: number of rows.
        shares: the size of each part as a fraction; together 1.
        generator: source of the shuffling.

    Returns:
        The row numbers of each part, each of shape `(N,)` with its own `N`.

    Raises:
        ValueError: if the shares do not sum to 1, or a part would be empty.

    Examples:
        >>> parts = split(10, (0.6, 0.3, 0.1), torch.Generator().manual_seed(0))
        >>> [len(part) for part in parts], sorted(torch.cat(parts).tolist()) == list(range(10))
        ([6, 3, 1], True)
    """
    if not math.isclose(sum(shares), 1):
        raise ValueError(f"shares must sum to 1, got {sum(shares):g}; the last part may take the rest")
    ends = [round(n * sum(shares[:i])) for i in range(len(shares) + 1)]
    sizes = [end - start for start, end in zip(ends, ends[1:], strict=False)]
    if min(sizes) < 1:
        raise ValueError(f"every part must get at least one row, got {sizes} of {n}; use more rows or fewer parts")
    return list(torch.randperm(n, generator=generator).split(sizes))


class Scale(NamedTuple):
    """Mean and spread of each column, taken from the training rows and used for all.

    Source: LeCun, Bottou, Orr, Müller, "Efficient BackProp", 1998, https://doi.org/10.1007/3-540-49430-8_2,
    section 4.3.

    Attributes:
        mean: shape `(F,)`.
        spread: standard deviation, shape `(F,)`; 1 for a column that never changes.

    Examples:
        >>> train, test = torch.tensor([[1.0, 5.0], [3.0, 5.0]]), torch.tensor([[7.0, 5.0]])
        >>> scale = Scale.of(train)
        >>> scale.normalise(train), scale.normalise(test)
        (tensor([[-1.,  0.],
                [ 1.,  0.]]), tensor([[5., 0.]]))
    """

    mean: Tensor
    spread: Tensor

    @classmethod
    def of(cls, rows: Tensor) -> "Scale":
        """Measure the columns of the training rows.

        Args:
            rows: shape `(N, F)`.

        Returns:
            Mean and standard deviation (over N, not N − 1), each of shape `(F,)`.
        """
        spread = rows.std(dim=0, correction=0)
        return cls(rows.mean(dim=0), torch.where(spread > 0, spread, 1.0))

    def normalise(self, rows: Tensor) -> Tensor:
        """Give every column mean 0 and spread 1, as far as it is like the training rows.

        Args:
            rows: shape `(..., F)`.

        Returns:
            The same rows without unit, shape `(..., F)`.
        """
        return (rows - self.mean) / self.spread

    def restore(self, rows: Tensor) -> Tensor:
        """Undo `normalise`.

        Args:
            rows: shape `(..., F)`.

        Returns:
            The same rows in the units of the training rows, shape `(..., F)`.
        """
        return rows * self.spread + self.mean


class Batches:
    """Inputs and targets in small batches, shuffled anew for each epoch.

    Whatever yields pairs `(x, y)` will do for `train`; a `torch.utils.data.DataLoader` too.

    Args:
        x: inputs, shape `(N, ...)`.
        y: targets, shape `(N, ...)`.
        batch_size: rows in one batch, from 1 to N; the last batch of an epoch may be smaller.
        generator: source of the shuffling.

    Examples:
        >>> x, y = torch.arange(5.0)[:, None], torch.arange(5.0)[:, None] * 10
        >>> batches = Batches(x, y, 2, torch.Generator().manual_seed(0))
        >>> [(len(a), torch.equal(b, 10 * a)) for a, b in batches]
        [(2, True), (2, True), (1, True)]
    """

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, generator: torch.Generator | None = None) -> None:
        if len(x) != len(y):
            raise ValueError(f"x and y must have as many rows, got {len(x)} and {len(y)}; pair them before shuffling")
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        n = len(self.x)
        for rows in islice(minibatches(n, self.batch_size, self.generator), math.ceil(n / self.batch_size)):
            yield self.x[rows], self.y[rows]


class Epoch(NamedTuple):
    """What one pass over the training rows left behind.

    Attributes:
        number: from 1.
        train_loss: mean over the pass, measured while the parameters were still moving.
        validation_loss: measured at the end of the pass, on rows that are never trained on.
        params: the parameters at the end of the pass.

    Examples:
        >>> Epoch(1, 0.25, 0.5, []).validation_loss
        0.5
    """

    number: int
    train_loss: float
    validation_loss: float
    params: list[Tensor]


def train(
    predict: Predict, params: Sequence[Tensor], batches: Iterable[tuple[Tensor, Tensor]],
    validation: tuple[Tensor, Tensor], lr: float, rule: Rule = sgd,
) -> Iterator[Epoch]:  # fmt: skip
    """Train on batches and validate after each epoch; the caller decides when to stop.

    For each batch: predict, compare (mean squared error), walk back for the gradients, take a step.

    Source: Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/optimization.html, algorithm 8.1.

    Args:
        predict: `predict(params, x)` returns the predictions in the shape of the targets.
        params: the parameters to start from, of any shapes; they are not changed.
        batches: gives pairs `(x, y)`, and again at every epoch.
        validation: inputs and targets to measure with, never to train on, of the same shapes as the training rows.
        lr: learning rate.
        rule: an update rule such as `sgd` or `adam`; each tensor keeps a state of its own.

    Yields:
        One `Epoch` after another.

    Examples:
        >>> x = torch.tensor([[1.0], [2.0], [3.0]])
        >>> double = train(lambda p, x: x * p[0], [torch.zeros(1)], [(x, 2 * x)], (x, 2 * x), lr=0.1)
        >>> [round(epoch.validation_loss, 4) for epoch in islice(double, 3)]
        [0.083, 0.0004, 0.0]
    """
    now, states = [p.detach() for p in params], [None for _ in params]
    for number in count(1):
        total, seen = 0.0, 0
        for x, y in batches:
            leaves = [p.clone().requires_grad_() for p in now]
            loss = mean_squared_error(predict(leaves, x), y)
            grads = torch.autograd.grad(loss, leaves)
            steps = [rule(p, grad, state, lr) for p, grad, state in zip(now, grads, states, strict=True)]
            now, states = [p for p, _ in steps], [state for _, state in steps]
            total, seen = total + loss.item() * len(x), seen + len(x)
        x, y = validation
        yield Epoch(number, total / seen, mean_squared_error(predict(now, x), y).item(), now)


def stop_early(epochs: Iterable[Epoch], patience: int) -> Iterator[Epoch]:
    """Let training run until the validation loss has not improved for `patience` epochs.

    The last epoch is not the best one: take `min(history, key=lambda epoch: epoch.validation_loss)`.

    Source: Goodfellow et al., 2016, https://www.deeplearningbook.org/contents/regularization.html, algorithm 7.1.

    Args:
        epochs: as from `train`.
        patience: how many epochs without a new best are endured, at least 1.

    Yields:
        The epochs, up to and with the one at which patience ran out.

    Raises:
        ValueError: if `patience` is below 1.

    Examples:
        >>> losses = [5.0, 3.0, 4.0, 2.0, 2.5, 2.5, 1.0]
        >>> run = stop_early((Epoch(i, 0.0, loss, []) for i, loss in enumerate(losses, 1)), patience=2)
        >>> [epoch.validation_loss for epoch in run]
        [5.0, 3.0, 4.0, 2.0, 2.5, 2.5]
    """
    if patience < 1:
        raise ValueError(f"patience must be at least 1, got {patience}; 0 would stop before training begins")
    best, waited = math.inf, 0
    for epoch in epochs:
        yield epoch
        best, waited = (epoch.validation_loss, 0) if epoch.validation_loss < best else (best, waited + 1)
        if waited >= patience:
            return
