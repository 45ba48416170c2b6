"""Convolution and pooling against PyTorch, NumPy and finite differences; LeNet against the same net in PyTorch."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from concepts import ROOT
from largemodels._checkpoints import SHIPPED, ModelError
from largemodels.foundations.mlp import centre
from largemodels.sequence.convolution import (
    LeNet,
    avg_pool2d,
    conv2d,
    conv2d_loops,
    max_pool2d,
    output_size,
    windows,
)

B, C, CO, H, W, KH, KW = 2, 3, 5, 9, 11, 4, 6


def random_layer(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = ((B, C, H, W), (CO, C, KH, KW), (CO,))
    x, weights, b = (torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in shapes)
    return x, weights, b


def gaps(ours: torch.Tensor, theirs: torch.Tensor, leaves: tuple[torch.Tensor, ...]) -> tuple[float, float]:
    """Largest difference of two results, and of the gradients of a random weighing of them."""
    assert ours.shape == theirs.shape
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(9), dtype=ours.dtype)
    a, b = (torch.autograd.grad((y * weight).sum(), leaves, retain_graph=True) for y in (ours, theirs))
    slopes = max((mine - reference).abs().max().item() for mine, reference in zip(a, b, strict=True))
    return (ours - theirs).abs().max().item(), slopes


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 0), (1, 3), (3, 2), (2, 1)])
def test_values_and_gradients_equal_pytorch(
    stride: int, padding: int, record_differences: Callable[[float, float], None]
) -> None:
    x, weights, b = random_layer()
    reference = F.conv2d(x, weights, b, stride, padding)
    value, gradient = gaps(conv2d(x, weights, b, stride, padding), reference, (x, weights, b))
    record_differences(value, gradient)
    assert max(value, gradient) < 1e-12
    bare = F.conv2d(x, weights, None, stride, padding)
    assert max(gaps(conv2d(x, weights, None, stride, padding), bare, (x, weights))) < 1e-12
    assert max(gaps(conv2d_loops(x, weights, stride, padding), bare, (x, weights))) < 1e-12


@pytest.mark.parametrize(("size", "stride"), [(2, None), (3, None), (3, 2), (2, 1), (4, 3)])
def test_pooling_equals_pytorch(size: int, stride: int | None) -> None:
    x, _, _ = random_layer()
    assert max(gaps(max_pool2d(x, size, stride), F.max_pool2d(x, size, stride), (x,))) < 1e-12
    assert max(gaps(avg_pool2d(x, size, stride), F.avg_pool2d(x, size, stride), (x,))) < 1e-12


def test_the_first_of_several_equal_numbers_gets_the_slope() -> None:
    x = torch.zeros(1, 2, 6, 4, dtype=torch.float64, requires_grad=True)  # what ReLU leaves of a blank corner
    assert max(gaps(max_pool2d(x, 2), F.max_pool2d(x, 2), (x,))) == 0


def test_gradients_equal_finite_differences() -> None:
    x, weights, b = random_layer()
    leaves = tuple(t.detach().requires_grad_() for t in (x[:1, :2, :4, :5], weights[:3, :2, :2, :3], b[:3]))
    assert torch.autograd.gradcheck(lambda *t: conv2d(*t, stride=2, padding=1), leaves, atol=1e-8)
    assert torch.autograd.gradcheck(lambda t: max_pool2d(t, 2), leaves[:1], atol=1e-8)
    assert torch.autograd.gradcheck(lambda t: avg_pool2d(t, 3, 2), leaves[:1], atol=1e-8)


@given(st.integers(1, 12), st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_size_equals_pytorch_or_both_refuse(n: int, k: int, stride: int, padding: int) -> None:
    x, weights = torch.zeros(1, 1, n, 14), torch.zeros(1, 1, k, 1)
    try:
        expected = F.conv2d(x, weights, None, stride, padding).shape[2]
    except RuntimeError:
        with pytest.raises(ValueError, match="window must fit"):
            output_size(n, k, stride, padding)
    else:
        assert output_size(n, k, stride, padding) == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3))
def test_a_shifted_input_gives_a_shifted_map(down: int, right: int) -> None:
    g = torch.Generator().manual_seed(3)
    x = torch.zeros(1, 2, 20, 22)
    x[:, :, 8:12, 9:13] = torch.randn(1, 2, 4, 4, generator=g)  # far enough from the edge
    weights = torch.randn(3, 2, 5, 4, generator=g)
    moved = conv2d(x.roll((down, right), (2, 3)), weights)
    torch.testing.assert_close(moved, conv2d(x, weights).roll((down, right), (2, 3)), rtol=0, atol=1e-6)


def test_windows_share_memory() -> None:
    x = torch.arange(99.0).view(1, 1, H, W)
    assert windows(x, (KH, KW), 2).untyped_storage().data_ptr() == x.untyped_storage().data_ptr()


def test_flipping_the_kernel_gives_the_convolution_of_mathematics() -> None:
    """NumPy convolves: it flips one of the two; so does polynomial multiplication."""
    a, b = np.array([1.0, 2.0, 4.0, 7.0, 3.0]), np.array([1.0, 0.0, -1.0])
    x, kernel = torch.tensor(a).view(1, 1, 1, 5), torch.tensor(b).view(1, 1, 1, 3)
    np.testing.assert_allclose(conv2d(x, kernel.flip(-1)).flatten(), np.convolve(a, b, "valid"))
    np.testing.assert_allclose(conv2d(x, kernel).flatten(), np.correlate(a, b, "valid"))


def test_by_hand() -> None:
    """The page's numbers."""
    x = torch.tensor([[[[1.0, 2.0, 0.0], [0.0, 1.0, 3.0], [2.0, 0.0, 1.0]]]])
    y = conv2d(x, torch.tensor([[[[1.0, -1.0], [0.0, 2.0]]]]), torch.tensor([1.0]))
    assert y.tolist() == [[[[2.0, 9.0], [0.0, 1.0]]]]
    assert max_pool2d(y, 2).item() == 9.0
    assert avg_pool2d(y, 2).item() == 3.0


def test_two_kernels_in_a_row_are_one_larger_kernel() -> None:
    """Exercise 2: without something that bends between them, 3×3 after 3×3 is a single 5×5."""
    g = torch.Generator().manual_seed(5)
    x = torch.randn(1, 1, 9, 8, generator=g, dtype=torch.float64)
    first, second = torch.randn(2, 1, 1, 3, 3, generator=g, dtype=torch.float64)
    merged = conv2d(first, second.flip(-2, -1), padding=2)
    assert merged.shape[2:] == (5, 5)
    torch.testing.assert_close(conv2d(conv2d(x, first), second), conv2d(x, merged), rtol=0, atol=1e-12)


def reference_logits(net: LeNet, images: torch.Tensor) -> torch.Tensor:
    """The same net from PyTorch's own functions."""
    (c1, c2, *dense), (b1, b2, *biases) = net.weights, net.biases
    h = F.max_pool2d(F.relu(F.conv2d(images[:, None], c1, b1, padding=2)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, c2, b2)), 2).flatten(1)
    for weight, bias in zip(dense[:-1], biases[:-1], strict=True):
        h = F.relu(F.linear(h, weight, bias))
    return F.linear(h, dense[-1], biases[-1])


def test_lenet_equals_the_same_net_in_pytorch() -> None:
    net = LeNet(seed=1).double()
    images = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    assert max(gaps(net(images), reference_logits(net, images), tuple(net.parameters()))) < 1e-12
    maps = net.feature_maps(images)
    assert [tuple(m.shape) for m in maps] == [(3, 6, 28, 28), (3, 16, 10, 10)]
    assert all(bool((m >= 0).all()) for m in maps)
    assert sum(p.numel() for p in net.parameters()) == 156 + 2416 + 48120 + 10164 + 850 == 61706


def test_the_shipped_net_reads_our_own_digits() -> None:
    """Digits drawn for the demos, which no training set holds."""
    from demos import _draw

    net = LeNet.from_checkpoint()
    drawn = torch.tensor([_draw.pixels(_draw.sample(d), "digit") for d in "0123456789"]).view(10, 28, 28)
    probs = net.classify(torch.stack([centre(image) for image in drawn]))
    torch.testing.assert_close(probs.sum(-1), torch.ones(10))
    assert (probs.argmax(-1) == torch.arange(10)).sum() >= 9, probs.argmax(-1).tolist()


def test_the_maps_shift_but_the_answer_may_not_hold() -> None:
    """The page's 0, read as a 1 six pixels to the right, although nothing is cut and the first maps only move."""
    from demos import _draw

    net = LeNet.from_checkpoint()
    image = centre(torch.tensor(_draw.pixels(_draw.sample("0"), "digit")).view(28, 28))[None]
    moved = F.pad(image, (6, 0))[:, :, :28]
    assert moved.sum().item() == pytest.approx(image.sum().item())
    assert net.classify(torch.cat([image, moved])).argmax(-1).tolist() == [0, 1]
    before, after = (net.feature_maps(x)[0] for x in (image, moved))
    torch.testing.assert_close(after[..., 8:26], before[..., 2:20], rtol=0, atol=1e-6)


def test_the_card_states_at_least_98_percent() -> None:
    card = (SHIPPED / "digits-lenet" / "README.md").read_text("utf-8")
    right, total = map(int, re.search(r"^test: (\d+) of (\d+) right", card, re.M).groups())  # type: ignore[union-attr]
    assert total == 2000
    assert right >= 0.98 * total
    assert sum(f.stat().st_size for f in (SHIPPED / "digits-lenet").iterdir()) < 1_000_000


def dated_rows(language: str) -> list[tuple[int, str]]:
    """Year and link of each row of the page's table of dates."""
    page = (ROOT / "docs" / language / "sequence" / "convolution.md").read_text("utf-8")
    part = page.split("{ #m23 }")[1].split("\n## ")[0]
    return [(int(year), link) for year, link in re.findall(r"^\| (\d{4}) \|.*?\((https://[^)]+)\)", part, re.M)]


def test_m23_lstm_came_before_lenet_5_and_alexnet() -> None:
    """The dates of the papers: convolutional and recurrent nets grew up side by side."""
    rows = dated_rows("zh")
    assert rows == dated_rows("en")
    years = {link: year for year, link in rows}
    assert [year for year, _ in rows] == sorted(year for year, _ in rows)
    for link, year in years.items():  # some addresses carry the year of the paper themselves
        named = re.search(r"neco\.(\d{4})|/paper/(\d{4})/", link)
        assert not named or year == int(named[1] or named[2]), link
    neocognitron, zip_codes = years["https://doi.org/10.1007/BF00344251"], years["https://doi.org/10.1162/neco.1989.1.4.541"]
    elman, lstm = years["https://doi.org/10.1207/s15516709cog1402_1"], years["https://doi.org/10.1162/neco.1997.9.8.1735"]
    lenet_5 = years["https://doi.org/10.1109/5.726791"]
    alexnet = next(year for link, year in years.items() if "c399862d3b9d6b76c8436e924a68c45b" in link)
    assert neocognitron < zip_codes < elman < lstm < lenet_5 < alexnet < years["https://arxiv.org/abs/1706.03762"]


def test_errors_say_what_must_hold(tmp_path: object) -> None:
    x, weights, b = random_layer()
    with pytest.raises(ValueError, match=r"3 channels that W expects on axis 1, got 9; .*permute\(0, 3, 1, 2\)"):
        conv2d(x.permute(0, 2, 3, 1), weights)
    with pytest.raises(ValueError, match=r"x must be \(B, C, H, W\).*got \(3, 9, 11\)"):
        conv2d_loops(x[0], weights)
    with pytest.raises(ValueError, match=r"shape \(5,\), got \(5, 1\)"):
        conv2d(x, weights, b[:, None])
    with pytest.raises(ValueError, match="window must fit into the image, got 10 in 9"):
        max_pool2d(x, 10)
    with pytest.raises(ValueError, match=r"\(B, C, H, W\), got \(9, 11\)"):
        windows(x[0, 0], (2, 2))
    for wrong in ((0, 3, 1, 0), (5, 3, 0, 0), (5, 3, 1, -1)):
        with pytest.raises(ValueError, match="stride must be at least 1 and padding at least 0"):
            output_size(*wrong)
    with pytest.raises(ValueError, match="stride must be at least 1"):
        avg_pool2d(x, 2, 0)
    with pytest.raises(ValueError, match=r"images must be \(B, 28, 28\), got \(28, 28\)"):
        LeNet()(torch.zeros(28, 28))
    with pytest.raises(ModelError, match="must hold the weights of a LeNet"):
        LeNet.from_checkpoint("digits-mlp")
    with pytest.raises(ModelError, match="is missing"):
        LeNet.from_checkpoint(str(tmp_path))
