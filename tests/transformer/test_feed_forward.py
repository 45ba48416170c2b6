"""The feed-forward network against torch.nn.TransformerEncoderLayer, a 1 × 1 convolution, autograd and hand numbers."""

import re
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from demos.transformer import feed_forward as demo
from largemodels.foundations.activations import gelu, relu
from largemodels.transformer.attention import scaled_dot_product_attention
from largemodels.transformer.feed_forward import block_parameters, feed_forward, swiglu, swish

B, T, C, HIDDEN = 2, 5, 4, 7
LIMIT = 1e-12


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


def parameters(C: int = C, hidden: int = HIDDEN, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    shapes = (hidden, C), (hidden,), (C, hidden), (C,)
    W1, b1, W2, b2 = (randn(*shape, seed=seed + i) for i, shape in enumerate(shapes))
    return W1, b1, W2, b2


def gates(seed: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    return randn(HIDDEN, C, seed=seed), randn(HIDDEN, C, seed=seed + 1), randn(C, HIDDEN, seed=seed + 2)


def largest(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> float:
    return max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("f", "name"), [(relu, "relu"), (gelu, "gelu")])
def test_largest_difference_to_pytorch(
    f: Callable[[Tensor], Tensor], name: str, record_differences: Callable[[float, float], None]
) -> None:
    """The closing table's two numbers: the network inside torch.nn.TransformerEncoderLayer, parameters copied."""
    layer = nn.TransformerEncoderLayer(C, 2, HIDDEN, dropout=0.0, activation=name, batch_first=True).double()
    x, params, weight = randn(B, T, C), parameters(), randn(B, T, C, seed=9)
    theirs_params = [layer.linear1.weight, layer.linear1.bias, layer.linear2.weight, layer.linear2.bias]
    with torch.no_grad():
        for theirs, ours in zip(theirs_params, params, strict=True):
            theirs.copy_(ours)
    y, reference = feed_forward(x, *params, f), layer._ff_block(x)
    value = largest((y,), (reference,))
    mine = torch.autograd.grad((y * weight).sum(), (x, *params))
    theirs_gradients = torch.autograd.grad((reference * weight).sum(), (x, *theirs_params))
    gradient = largest(mine, theirs_gradients)
    record_differences(value, gradient)
    assert value <= 1e-8
    assert gradient <= 1e-8


def test_swish_and_swiglu_equal_pytorch() -> None:
    x, (W, V, W2), weight = randn(B, T, C), gates(), randn(B, T, C, seed=9)
    wide = 30 * x
    assert largest((swish(wide),), (F.silu(wide),)) <= LIMIT
    y, reference = swiglu(x, W, V, W2), F.linear(F.silu(F.linear(x, W)) * F.linear(x, V), W2)
    assert largest((y,), (reference,)) <= LIMIT
    slopes = (torch.autograd.grad((out * weight).sum(), (x, W, V, W2)) for out in (y, reference))
    assert largest(*slopes) <= LIMIT


def test_swish_at_the_ends_and_at_its_lowest() -> None:
    x = torch.linspace(-20, 20, 40001, dtype=torch.float64)
    assert swish(x).min().item() == pytest.approx(-0.2785, abs=1e-4)
    assert swish(torch.tensor([-1e4, 1e4])).tolist() == [0, 1e4]


def test_gradients_equal_finite_differences() -> None:
    x = randn(B, T, C)
    for f in (gelu, torch.tanh):
        assert torch.autograd.gradcheck(lambda *v, f=f: feed_forward(*v, f), (x, *parameters()), atol=1e-8)
    assert torch.autograd.gradcheck(swiglu, (x, *gates()), atol=1e-8)


def test_it_is_two_convolutions_of_width_one() -> None:
    """What section 3.3 of the paper says."""
    x, (W1, b1, W2, b2) = randn(B, T, C), parameters()
    hidden = F.relu(F.conv1d(x.mT, W1[:, :, None], b1))  # (B, hidden, T)
    y = F.conv1d(hidden, W2[:, :, None], b2).mT  # (B, T, C)
    ours = feed_forward(x, W1, b1, W2, b2)
    assert largest((ours,), (y,)) <= LIMIT
    pairs = (torch.autograd.grad((out**2).sum(), (x, W1, b1, W2, b2)) for out in (ours, y))
    assert largest(*pairs) <= LIMIT


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(T)))
def test_shuffled_positions_give_shuffled_outputs(order: list[int]) -> None:
    x = randn(B, T, C)
    for network in (lambda v: feed_forward(v, *parameters()), lambda v: swiglu(v, *gates())):
        assert largest((network(x)[:, order],), (network(x[:, order]),)) <= LIMIT


@settings(deadline=None, max_examples=30)
@given(st.integers(0, T - 1), st.integers(0, 10**6))
def test_a_changed_position_changes_only_its_own_output(position: int, seed: int) -> None:
    x, new = randn(B, T, C).detach(), randn(C, seed=seed).detach()
    changed = x.clone()
    changed[:, position] = new
    for network in (lambda v: feed_forward(v, *parameters()), lambda v: swiglu(v, *gates())):
        moved = (network(changed) - network(x)).abs().amax((0, 2)) > LIMIT
        assert moved.nonzero().flatten().tolist() in ([position], [])


def test_shuffling_does_not_tell_it_from_attention_but_a_single_change_does() -> None:
    """The page's exercise: attention without positions passes the first test and fails the second."""
    x, order = randn(T, C).detach(), [3, 0, 4, 1, 2]
    attended = scaled_dot_product_attention(x, x, x)[0]
    shuffled = scaled_dot_product_attention(x[order], x[order], x[order])[0]
    assert largest((attended[order],), (shuffled,)) <= LIMIT
    changed = x.clone()
    changed[2] += 1
    moved = (scaled_dot_product_attention(changed, changed, changed)[0] - attended).abs().amax(1) > 1e-6
    assert moved.all()


def test_by_hand() -> None:
    """The page's numbers."""
    x = torch.tensor([[1.0, -2.0]])
    W1, b1 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0.0, 1.0, 2.0])
    W2, b2 = torch.tensor([[2.0, 1.0, 0.0], [-1.0, 0.0, 3.0]]), torch.tensor([0.0, -1.0])
    assert feed_forward(x, W1, b1, W2, b2).tolist() == [[2, 1]]


@pytest.mark.parametrize(("C", "H", "hidden"), [(4, 2, 7), (64, 8, 256), (512, 8, 2048)])
def test_parameters_are_those_of_torch(C: int, H: int, hidden: int) -> None:
    layer = nn.TransformerEncoderLayer(C, H, hidden, device="meta")
    parts = {"attention": "self_attn", "feed_forward": "linear", "layer_norm": "norm"}
    counts = block_parameters(C, hidden)
    for part, prefix in parts.items():
        assert counts[part] == sum(p.numel() for name, p in layer.named_parameters() if name.startswith(prefix))
    assert sum(counts.values()) == sum(p.numel() for p in layer.parameters())


def test_gated_networks_need_two_thirds_of_the_hidden_width() -> None:
    W, V, W2 = gates()
    assert block_parameters(C, HIDDEN, gated=True)["feed_forward"] == W.numel() + V.numel() + W2.numel()
    plain = block_parameters(768, 3072)["feed_forward"]
    assert block_parameters(768, 2048, gated=True)["feed_forward"] == pytest.approx(plain, rel=0.001)
    assert block_parameters(768, 3072, gated=True)["feed_forward"] == pytest.approx(1.5 * plain, rel=0.001)


@given(st.integers(64, 4096))
def test_two_thirds_of_a_block_with_the_usual_hidden_width(width: int) -> None:
    counts = block_parameters(width, 4 * width)
    assert counts["feed_forward"] == 8 * width**2 + 5 * width
    assert counts["feed_forward"] / sum(counts.values()) == pytest.approx(2 / 3, abs=0.02)


def test_errors_say_what_must_hold() -> None:
    x, (W1, b1, W2, b2) = torch.zeros(B, T, C), (p.detach().float() for p in parameters())
    with pytest.raises(ValueError, match=r"got \(4, 7\) and \(2, 5, 4\); .* pass W\.T"):
        feed_forward(x, W2, b2, W1, b1)
    with pytest.raises(ValueError, match=r"got \(7, 4\) and \(2, 4, 5\)"):
        feed_forward(x.mT, W1, b1, W2, b2)
    with pytest.raises(ValueError, match=r"same shape \(n_hidden, C\), got \(7, 4\) and \(6, 4\)"):
        swiglu(x, W1, W1[:6], W2)
    with pytest.raises(ValueError, match="at least 1, got 0 and 8"):
        block_parameters(0, 8)


def test_the_demo_shows_that_only_the_replaced_token_changes() -> None:
    rows = {}
    for changed in (0, 3):
        html = demo.predict(64, 4, "relu", "1 2 3 4 5", changed, lang="en")
        table = html.split("</table>")[0]
        rows[changed] = [re.findall(r">(-?\d+\.\d+)<", row) for row in table.split("<tr>")[2:]]
    assert [a == b for a, b in zip(rows[0], rows[3], strict=True)] == [True, True, False, True, True]
