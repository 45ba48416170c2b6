"""Attention against PyTorch's own, against autograd, and against the usual telling's mistakes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from largemodels.transformer.attention import (
    attention_energies,
    attention_weights,
    causal_mask,
    padding_mask,
    scaled_dot_product_attention,
)

B, H, TQ, TK, D, DV = 2, 3, 5, 7, 4, 6


def random_qkv(seed: int = 0, tq: int = TQ, tk: int = TK) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    shapes = ((B, H, tq, D), (B, H, tk, D), (B, H, tk, DV))
    q, k, v = (torch.randn(s, generator=g, dtype=torch.float64, requires_grad=True) for s in shapes)
    return q, k, v


def masks() -> list[torch.Tensor | None]:
    lengths = padding_mask(torch.tensor([4, 7]), TK)[:, None]  # (B, 1, 1, Tk)
    random = torch.rand(B, 1, TQ, TK, generator=torch.Generator().manual_seed(1)) < 0.5
    random[..., 2] = True
    return [None, lengths, random]


@pytest.mark.parametrize("mask", masks(), ids=["no mask", "padding", "random"])
def test_output_and_gradients_equal_pytorch(mask: torch.Tensor | None) -> None:
    q, k, v = random_qkv()
    ours, _ = scaled_dot_product_attention(q, k, v, mask)
    theirs = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    weight = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for mine, reference in zip(
        torch.autograd.grad((ours * weight).sum(), (q, k, v)),
        torch.autograd.grad((theirs * weight).sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12)


def test_causal_equals_pytorch() -> None:
    q, k, v = random_qkv(tq=TK)
    ours, _ = scaled_dot_product_attention(q, k, v, causal_mask(TK))
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(q, k, v, is_causal=True), rtol=0, atol=1e-12)


def test_gradients_equal_finite_differences() -> None:
    q, k, v = random_qkv()
    mask = padding_mask(torch.tensor([4, 7]), TK)[:, None]
    assert torch.autograd.gradcheck(lambda *x: scaled_dot_product_attention(*x, mask)[0], (q, k, v), atol=1e-8)


def test_by_hand() -> None:
    """The page's numbers: e = (ln 3, 0), so the weights are 3/4 and 1/4 and the output 3/4·4 + 1/4·8 = 5."""
    ln3 = torch.log(torch.tensor(3.0, dtype=torch.float64))
    q = torch.tensor([[2.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    k = torch.stack([torch.tensor([1.0, 0, 0, 0], dtype=torch.float64) * ln3, torch.zeros(4, dtype=torch.float64)])
    output, weights = scaled_dot_product_attention(q, k, torch.tensor([[4.0], [8.0]], dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([[0.75, 0.25]], dtype=torch.float64))
    torch.testing.assert_close(output, torch.tensor([[5.0]], dtype=torch.float64))


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9), st.floats(0.01, 1000))
def test_rows_sum_to_one_and_stay_finite(tq: int, tk: int, d: int, size: float) -> None:
    g = torch.Generator().manual_seed(tq * 100 + tk * 10 + d)
    q, k = torch.randn(tq, d, generator=g) * size, torch.randn(tk, d, generator=g) * size
    weights = attention_weights(attention_energies(q, k))
    assert torch.isfinite(weights).all() and (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(tq))


@given(st.permutations(range(TK)))
def test_order_of_keys_does_not_matter(order: list[int]) -> None:
    q, k, v = random_qkv()
    plain, _ = scaled_dot_product_attention(q, k, v)
    shuffled, _ = scaled_dot_product_attention(q, k[..., order, :], v[..., order, :])
    torch.testing.assert_close(plain, shuffled, rtol=0, atol=1e-12)


@given(st.integers(1, TK - 1))
def test_causal_prefix_does_not_see_the_rest(cut: int) -> None:
    q, k, v = random_qkv(tq=TK)
    whole, _ = scaled_dot_product_attention(q, k, v, causal_mask(TK))
    prefix, _ = scaled_dot_product_attention(q[..., :cut, :], k[..., :cut, :], v[..., :cut, :], causal_mask(cut))
    torch.testing.assert_close(whole[..., :cut, :], prefix, rtol=0, atol=1e-12)


def test_division_keeps_the_variance_at_one() -> None:
    """Variance of q·k is D; after the division it is 1. Standard error of the estimate is below 1 %."""
    g = torch.Generator().manual_seed(3)
    for width in (16, 256):
        q, k = torch.randn(400, width, generator=g), torch.randn(401, width, generator=g)
        assert (q @ k.T).var().item() == pytest.approx(width, rel=0.05)
        assert attention_energies(q, k).var().item() == pytest.approx(1, rel=0.05)


def test_without_division_the_softmax_saturates() -> None:
    """At width 512 the largest raw weight is near 1 and its gradient near 0; scaled, neither holds."""
    g = torch.Generator().manual_seed(4)
    q, k = torch.randn(64, 512, generator=g), torch.randn(32, 512, generator=g)
    raw, scaled = attention_weights(q @ k.T), attention_weights(attention_energies(q, k))
    assert raw.max(-1).values.mean() > 0.9 > 0.4 > scaled.max(-1).values.mean()

    def slope(w: torch.Tensor) -> float:  # mean diagonal of the softmax Jacobian, a(1 - a)
        return (w * (1 - w)).mean().item()

    assert slope(scaled) > 5 * slope(raw)


def test_m06_weights_sum_to_one_but_the_output_does_not() -> None:
    q, k, v = random_qkv()
    output, weights = scaled_dot_product_attention(q, k, v)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, TQ, dtype=torch.float64))
    assert ((output.sum(-1) - 1).abs() > 0.1).any()


def test_m08_attention_sums_values_not_inputs() -> None:
    """With the same inputs as queries and keys but other values, the output follows the values."""
    q, k, v = random_qkv()
    output, weights = scaled_dot_product_attention(q, k, v)
    doubled, same = scaled_dot_product_attention(q, k, 2 * v)
    torch.testing.assert_close(same, weights)
    torch.testing.assert_close(doubled, 2 * output)
    assert output.shape[-1] == DV != D


def test_m09_energies_are_dot_products_over_the_root_of_the_width() -> None:
    q, k, _ = random_qkv()
    energies = attention_energies(q, k)
    by_hand = sum(q[1, 2, 3, d].item() * k[1, 2, 6, d].item() for d in range(D)) / 2.0
    assert energies[1, 2, 3, 6].item() == pytest.approx(by_hand, abs=1e-12)


def test_heads_that_the_page_names() -> None:
    """Head 3 of layer 1 looks to the left, head 8 of layer 2 to the right, in both languages."""
    from largemodels.models.bert import Bert

    bert = Bert.from_pretrained("sentiment-bert-zh-en")
    for sentence in ("这家店的面很好吃，可是送得太慢。", "The food was great but it came late."):
        _, maps = bert.attention_maps(sentence)  # (n_layer, H, T, T)
        left, right = maps[0, 2].diagonal(-1).mean(), maps[1, 7].diagonal(1).mean()
        assert left > 0.5, f"left {left:.2f}"
        assert right > 0.7, f"right {right:.2f}"


def test_errors_say_what_must_hold() -> None:
    q, k, v = random_qkv()
    with pytest.raises(ValueError, match=r"same last axis \(D\), got 4 and 6"):
        scaled_dot_product_attention(q, v, v)
    with pytest.raises(ValueError, match=r"same length \(Tk\), got 7 and 5"):
        scaled_dot_product_attention(q, k, q)
    with pytest.raises(TypeError, match="mask must be boolean"):
        attention_weights(attention_energies(q, k), torch.ones(TQ, TK))
    with pytest.raises(ValueError, match="at least one key"):
        attention_weights(attention_energies(q, k), torch.zeros(TQ, TK, dtype=torch.bool))
    with pytest.raises(ValueError, match="T must be at least 1"):
        causal_mask(0)
    with pytest.raises(ValueError, match="between 1 and T = 4"):
        padding_mask(torch.tensor([2, 5]), T=4)
