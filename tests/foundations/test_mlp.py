"""The multi-layer perceptron against torch.nn, against arithmetic by hand, and against the usual telling's mistakes."""

import copy
import importlib.resources
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from demos import _draw
from largemodels._checkpoints import SHIPPED, ModelError
from largemodels.foundations.losses import cross_entropy
from largemodels.foundations.mlp import SIZES, Mlp, centre, layer_outputs, parameter_count

WIDTHS, B = (6, 5, 4, 3), 7


def twins() -> tuple[Mlp, nn.Sequential]:
    """Return our net and PyTorch's, with the same parameters in double precision."""
    ours = Mlp(WIDTHS, seed=1).double()
    theirs = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)).double()
    g = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for b in ours.biases:
            b.copy_(torch.randn(b.shape, generator=g))
        for layer, (W, b) in zip([m for m in theirs if isinstance(m, nn.Linear)], ours.params, strict=True):
            layer.weight.copy_(W)
            layer.bias.copy_(b)
    return ours, theirs


def batch(seed: int = 3) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(B, 6, generator=g, dtype=torch.float64), torch.randint(0, 3, (B,), generator=g)


def drawn(digit: str) -> Tensor:
    return torch.tensor(_draw.pixels(_draw.sample(digit), "digit")).view(28, 28)


def test_value_and_gradients_equal_pytorch(record_differences: Callable[[float, float], None]) -> None:
    """Logits, loss and the gradient of every parameter and of the input; largest difference at most 1e-8."""
    ours, theirs = twins()
    (x, y), gaps = batch(), []
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    logits, reference = ours(one), theirs(other)
    loss, wanted = cross_entropy(logits, y), F.cross_entropy(reference, y)
    loss.backward()
    wanted.backward()
    value_gap = max((logits - reference).abs().max().item(), (loss - wanted).abs().item())
    slopes = [W for pair in ours.params for W in pair]
    for mine, its in zip([*slopes, one], [*theirs.parameters(), other], strict=True):
        gaps.append((mine.grad - its.grad).abs().max().item())
    record_differences(value_gap, max(gaps))
    assert value_gap <= 1e-8 and max(gaps) <= 1e-8


def test_gradients_equal_finite_differences() -> None:
    ours, _ = twins()
    (x, y), params = batch(), [t.detach().clone().requires_grad_() for pair in twins()[0].params for t in pair]
    pairs = list(zip(params[::2], params[1::2], strict=True))
    assert ours(x).shape == (B, 3)
    assert torch.autograd.gradcheck(lambda *_: cross_entropy(layer_outputs(x, pairs)[-1], y), params, atol=1e-8)


def test_by_hand() -> None:
    """The page's numbers: pixels (1, 2) give (1, 0), then (3, 1), then the logits (ln 3, 0): shares 3/4 and 1/4."""
    ln3 = math.log(3)
    params = [
        (torch.tensor([[-1.0, 1.0], [1.0, -1.0]]), torch.zeros(2)),
        (torch.tensor([[2.0, 5.0], [-1.0, 1.0]]), torch.tensor([1.0, 2.0])),
        (torch.tensor([[ln3, 0.0], [1.0, -3.0]]), torch.tensor([-2 * ln3, 0.0])),
    ]
    first, second, logits = layer_outputs(torch.tensor([[1.0, 2.0]]), params)
    assert (first.tolist(), second.tolist()) == ([[1, 0]], [[3, 1]])
    torch.testing.assert_close(logits, torch.tensor([[ln3, 0.0]]))
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([0])), torch.tensor(math.log(4 / 3)))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(1, 4))
def test_every_net_gives_probabilities_and_has_the_counted_parameters(sizes: list[int], rows: int) -> None:
    model = Mlp(sizes, seed=len(sizes))
    p = model.classify(torch.rand(rows, sizes[0]))
    assert p.shape == (rows, sizes[-1]) and (p >= 0).all()
    torch.testing.assert_close(p.sum(-1), torch.ones(rows))
    assert parameter_count(sizes) == sum(t.numel() for t in model.parameters())


def test_the_seed_decides_the_weights() -> None:
    one, same, other = (Mlp(WIDTHS, seed=s) for s in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(one.weights[0], other.weights[0])


def test_neurons_that_begin_equal_stay_equal() -> None:
    """Why the weights are drawn at random: equal weights get equal gradients, so a layer is one neuron."""
    model, (x, y) = Mlp((6, 5, 4, 3)).double(), batch()
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(0.1)
    cross_entropy(model(x), y).backward()
    for W in model.weights[:2]:
        torch.testing.assert_close(W.grad, W.grad[:1].expand_as(W), rtol=0, atol=1e-15)
    assert (model.weights[2].grad[0] - model.weights[2].grad[1]).abs().max() > 1e-3


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(6)))
def test_order_of_the_pixels_does_not_matter(order: list[int]) -> None:
    """The page's first exercise: the columns of the first matrix go with the pixels."""
    model, (x, _) = twins()[0], batch()
    (W, b), *rest = model.params
    torch.testing.assert_close(layer_outputs(x[:, order], [(W[:, order], b), *rest])[-1], model(x), rtol=0, atol=1e-12)


def test_m04_two_hidden_layers_and_one_output_layer() -> None:
    """784-128-128-10 has three weight matrices: two end in ReLU, one gives the logits."""
    model = Mlp(SIZES)
    assert [tuple(W.shape) for W in model.weights] == [(128, 784), (128, 128), (10, 128)]
    assert len(model.hidden(torch.rand(2, 28, 28))) == 2
    assert parameter_count(SIZES) == 100_480 + 16_512 + 1_290 == 118_282
    assert parameter_count((784, 128, 128, 128, 10)) == 118_282 + 16_512  # a third hidden layer would show


def test_m21_who_wins_depends_on_the_number_of_images() -> None:
    """What the page says of the measurement."""
    path = importlib.resources.files("largemodels") / "measurements" / "digits_by_size.json"
    rows = json.loads(path.read_text("utf-8"))["rows"]
    assert all(row["accuracy"] == pytest.approx(sum(row["accuracies"]) / 3, abs=1e-4) for row in rows)
    table = {(row["model"], row["images"]): row for row in rows}
    few = {name: table[name, 100] for name in ("logistic", "svm", "mlp")}
    wins = [ours > net for ours, net in zip(few["logistic"]["accuracies"], few["mlp"]["accuracies"], strict=True)]
    assert sum(wins) == 1 and few["svm"]["accuracy"] == min(row["accuracy"] for row in few.values())
    assert few["logistic"]["parameters"] == 7850 and few["mlp"]["parameters"] == 118_282
    for n in (1000, 3000, 8000):
        assert table["svm", n]["accuracy"] > table["mlp", n]["accuracy"] > table["logistic", n]["accuracy"]
    assert table["svm", 8000]["accuracy"] - table["mlp", 8000]["accuracy"] == pytest.approx(0.012, abs=5e-4)
    assert table["svm", 8000]["parameters"] == pytest.approx(2.56e6, rel=2e-3)


def test_trained_net_reads_the_digits_that_we_drew() -> None:
    model = Mlp.from_checkpoint("digits-mlp")
    images = torch.stack([centre(drawn(digit)) for digit in "0123456789"])
    p = model.classify(images)
    assert p.argmax(-1).tolist() == list(range(10))
    assert p.max(-1).values.min() > 0.8
    assert all(h.shape == (10, 128) and (h >= 0).all() for h in model.hidden(images))


def test_model_card_states_the_accuracy_that_was_asked_for() -> None:
    card = (SHIPPED / "digits-mlp" / "README.md").read_text("utf-8")
    line = next(line for line in card.splitlines() if line.startswith("test: "))
    right, count = (int(word) for word in line.split() if word.isdigit())
    assert count == 2000 and right / count >= 0.96
    table = [[int(n) for n in line.split()[1:]] for line in card.splitlines() if line[:5].strip().isdigit()]
    assert sum(table[i][i] for i in range(10)) == right and sum(map(sum, table)) == count


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 19), st.integers(0, 29))
def test_place_of_a_drawing_does_not_matter(down: int, right: int) -> None:
    digit, field = drawn("7"), torch.zeros(48, 58)
    field[down : down + 28, right : right + 28] = digit
    torch.testing.assert_close(centre(field), centre(digit), rtol=0, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from("0123456789"), st.integers(2, 5))
def test_size_of_a_drawing_hardly_matters(digit: str, times: int) -> None:
    large = drawn(digit).repeat_interleave(times, 0).repeat_interleave(times, 1)
    assert (centre(large) - centre(drawn(digit))).abs().mean() < 0.03


def test_centred_drawings_fill_20_pixels_and_balance_on_pixel_14() -> None:
    """As in MNIST, whose digits all measure 20 pixels and balance between 13.5 and 14.5."""
    for digit in "0123456789":
        field = centre(drawn(digit))
        ink = field.nonzero()
        assert (ink.amax(0) - ink.amin(0) + 1).max() == 20
        for axis in (0, 1):
            middle = (field.sum(1 - axis) @ torch.arange(28.0)) / field.sum()
            assert 13.5 <= middle <= 14.5


def test_extreme_drawings_stay_in_the_field() -> None:
    dot, line = torch.zeros(9, 11), torch.zeros(300, 5)
    dot[8, 10] = 1
    line[:, 2] = 1
    assert centre(dot).sum() == 400  # one pixel becomes the whole box
    assert 0 < centre(line).sum() <= 20 and centre(torch.ones(3, 4)).shape == (28, 28)


def test_an_uncentred_drawing_is_misread() -> None:
    """The page's pitfall: pushed into a corner, most of our ten digits are read wrongly; centred, none."""
    model = Mlp.from_checkpoint("digits-mlp")
    digits = torch.stack([drawn(digit) for digit in "0123456789"])
    shifted = digits.roll((-2, -5), (1, 2))  # no ink leaves the field
    answers = torch.arange(10)
    assert (model.classify(shifted).argmax(-1) == answers).sum() <= 5
    assert (model.classify(torch.stack([centre(d) for d in shifted])).argmax(-1) == answers).all()


def test_a_cross_gets_an_answer_too() -> None:
    """The page's second exercise: no digit at all, and yet more than half of the probability on one class."""
    cross = torch.eye(28).maximum(torch.eye(28).flip(0))
    assert Mlp.from_checkpoint("digits-mlp").classify(centre(cross)[None]).max() > 0.5


def test_errors_say_what_must_hold(tmp_path: Path) -> None:
    model = Mlp((6, 5, 3))
    with pytest.raises(ValueError, match=r"6 pixels each, got \(2, 7\); put a single image"):
        model.classify(torch.rand(2, 7))
    with pytest.raises(ValueError, match=r"got \(6,\); put a single image into a batch"):
        model.hidden(torch.rand(6))
    with pytest.raises(ValueError, match="at least one layer, got none"):
        layer_outputs(torch.rand(2, 7), [])
    for sizes in ((784,), (784, 0, 10)):
        with pytest.raises(ValueError, match="input and output, each at least 1"):
            Mlp(sizes)
        with pytest.raises(ValueError, match="input and output, each at least 1"):
            parameter_count(sizes)
    with pytest.raises(ValueError, match="some ink, got a blank one; draw a digit first"):
        centre(torch.zeros(28, 28))
    for bad in (torch.full((5, 4), 255.0), torch.full((5, 4), math.nan), torch.full((5, 4), -0.1)):
        with pytest.raises(ValueError, match=r"0 \(paper\) to 1 \(ink\), got others; divide bytes by 255"):
            centre(bad)
    for wrong in (torch.zeros(3, 28, 28), torch.zeros(28, 28, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"floating-point picture of shape \(H, W\)"):
            centre(wrong)
    with pytest.raises(ModelError, match="config.json"):
        Mlp.from_checkpoint(tmp_path)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    from largemodels.training.recipes.checkpoint_folder import write_weights

    write_weights(tmp_path, copy.deepcopy(Mlp((6, 5, 3))), {"sizes": [6, 4, 3]}, "")
    with pytest.raises(ModelError, match="must hold the sizes of the layers"):
        Mlp.from_checkpoint(tmp_path)
    write_weights(tmp_path, Mlp((6, 5, 3)), {"sizes": [6, 5, 3]}, "")
    assert Mlp.from_checkpoint(tmp_path).sizes == (6, 5, 3)
