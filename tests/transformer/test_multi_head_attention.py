"""Multi-head attention against PyTorch's layer with copied parameters, against a loop over heads, and M07."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from largemodels.models.bert import Bert
from largemodels.transformer.attention import causal_mask, padding_mask, scaled_dot_product_attention
from largemodels.transformer.multi_head_attention import (
    MultiHeadAttention,
    Projections,
    attention_heads,
    merge_heads,
    multi_head_attention,
    split_heads,
)

B, H, TQ, TK, D = 2, 3, 5, 7, 4
C = H * D
BOUND = 1e-12


def layers(seed: int = 0) -> tuple[MultiHeadAttention, torch.nn.MultiheadAttention]:
    """Return our layer and PyTorch's with the same random parameters, biases too, in float64."""
    g = torch.Generator().manual_seed(seed)
    ours = MultiHeadAttention(C, H, g).double()
    with torch.no_grad():
        for p in ours.params:
            p.copy_(torch.randn(p.shape, generator=g, dtype=torch.float64) / C**0.5)
    theirs = torch.nn.MultiheadAttention(C, H, batch_first=True, dtype=torch.float64)
    p = ours.params
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat((p.w_q, p.w_k, p.w_v)))
        theirs.in_proj_bias.copy_(torch.cat((p.b_q, p.b_k, p.b_v)))
        theirs.out_proj.weight.copy_(p.w_o)
        theirs.out_proj.bias.copy_(p.b_o)
    return ours, theirs


def inputs(tq: int = TQ, tk: int = TK, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    query, memory = (torch.randn(B, t, C, generator=g, dtype=torch.float64, requires_grad=True) for t in (tq, tk))
    return query, memory


def per_head_mask() -> torch.Tensor:
    """Return a random mask that differs for each text and each head, shape (B, H, Tq, Tk)."""
    allowed = torch.rand(B, H, TQ, TK, generator=torch.Generator().manual_seed(2)) < 0.6
    allowed[..., 3] = True
    return allowed


def differences(case: str) -> tuple[float, float]:
    """Return the largest difference to PyTorch in values (output and weights) and in gradients."""
    ours, theirs = layers()
    query, memory = inputs()
    if case in ("self", "causal"):
        memory = query
    lengths = torch.tensor([4, 7])
    mask, options = {
        "self": (None, {}),
        "cross": (None, {}),
        "causal": (causal_mask(TQ), {"attn_mask": ~causal_mask(TQ)}),
        "padding": (padding_mask(lengths, TK)[:, None], {"key_padding_mask": ~padding_mask(lengths, TK)[:, 0]}),
        "per head": (per_head_mask(), {"attn_mask": ~per_head_mask().flatten(0, 1)}),
    }[case]
    got, want = ours(query, memory, mask), theirs(query, memory, memory, average_attn_weights=False, **options)
    assert got[1].shape == want[1].shape == (B, H, query.shape[1], memory.shape[1])
    g = torch.Generator().manual_seed(3)
    probes = [torch.randn(t.shape, generator=g, dtype=torch.float64) for t in got]
    w_in, b_in = theirs.in_proj_weight, theirs.in_proj_bias
    mine = torch.autograd.grad(
        sum((t * p).sum() for t, p in zip(got, probes, strict=True)), [query, memory, *ours.params]
    )
    reference = torch.autograd.grad(
        sum((t * p).sum() for t, p in zip(want, probes, strict=True)),
        [query, memory, w_in, b_in, theirs.out_proj.weight, theirs.out_proj.bias],
    )
    w, b = reference[2].chunk(3), reference[3].chunk(3)
    reference = (*reference[:2], w[0], b[0], w[1], b[1], w[2], b[2], *reference[4:])
    value = max((a - b).abs().max().item() for a, b in zip(got, want, strict=True))
    return value, max((a - b).abs().max().item() for a, b in zip(mine, reference, strict=True))


@pytest.mark.parametrize("case", ["self", "cross", "causal", "padding", "per head"])
def test_output_weights_and_gradients_equal_pytorch(case: str) -> None:
    assert max(differences(case)) < BOUND


def test_largest_difference_to_pytorch(record_differences: Callable[[float, float], None]) -> None:
    value, gradient = map(max, zip(*(differences(c) for c in ("self", "cross", "causal", "padding")), strict=True))
    record_differences(value, gradient)
    assert max(value, gradient) < BOUND


def test_gradients_equal_finite_differences() -> None:
    ours, _ = layers()
    query, memory = inputs(2, 3)
    params = [p.detach().clone().requires_grad_() for p in ours.params]
    assert torch.autograd.gradcheck(
        lambda q, m, *p: multi_head_attention(q, m, Projections(*p), H)[0],
        (query, memory, *params),
        fast_mode=True,
        atol=1e-8,
    )


def test_equals_a_loop_over_heads_with_the_papers_small_matrices() -> None:
    """head_i = Attention(Q W_i^Q, K W_i^K, V W_i^V), with W_i^Q of shape (C, D), then Concat and W^O."""
    ours, _ = layers()
    query, memory = inputs()
    p, found = ours.params, []
    for i in range(H):
        rows = slice(i * D, (i + 1) * D)
        q = query @ p.w_q[rows].T + p.b_q[rows]
        k, v = memory @ p.w_k[rows].T + p.b_k[rows], memory @ p.w_v[rows].T + p.b_v[rows]
        found.append(scaled_dot_product_attention(q, k, v)[0])
    output, _ = ours(query, memory)
    torch.testing.assert_close(output, torch.cat(found, dim=-1) @ p.w_o.T + p.b_o, rtol=0, atol=BOUND)
    by_sum = sum(head @ p.w_o[:, i * D : (i + 1) * D].T for i, head in enumerate(found)) + p.b_o  # the exercise
    torch.testing.assert_close(output, by_sum, rtol=0, atol=BOUND)


def test_m07_zeroing_a_head_changes_exactly_its_slice() -> None:
    """Silence a head's values: before W^O its slice becomes 0, and nothing else moves by a single bit."""
    ours, _ = layers()
    query, memory = inputs()
    before, weights = attention_heads(query, memory, ours.params, H)
    for i in range(H):
        w_v, b_v = ours.w_v.detach().clone(), ours.b_v.detach().clone()
        w_v[i * D : (i + 1) * D], b_v[i * D : (i + 1) * D] = 0, 0
        after, same = attention_heads(query, memory, ours.params._replace(w_v=w_v, b_v=b_v), H)
        changed = (merge_heads(before) != merge_heads(after)).flatten(0, 1).any(0)  # (C,)
        assert changed.nonzero().flatten().tolist() == list(range(i * D, (i + 1) * D))
        assert torch.equal(weights, same)


def test_m07_the_jacobian_has_no_term_between_heads() -> None:
    """The derivative of head i after the queries, keys and values of head j is exactly 0 unless i = j."""
    ours, _ = layers()
    query, memory = inputs()
    heads, weights = attention_heads(query, memory, ours.params, H)
    for kind, result in (("heads", heads), ("weights", weights)):
        for name in ("w_q", "b_q", "w_k", "w_v", "b_v"):  # b_k: the softmax does not see it at all
            for i in range(H):
                probe = (result[:, i] ** 2).sum()
                (slope,) = torch.autograd.grad(probe, getattr(ours, name), retain_graph=True, allow_unused=True)
                if slope is None:
                    assert kind == "weights" and name in ("w_v", "b_v")
                    continue
                felt = slope.unflatten(0, (H, D)).flatten(1).ne(0).any(1).tolist()  # (H,)
                assert felt == [j == i for j in range(H)]


def test_m07_heads_meet_in_the_output_projection() -> None:
    """After W^O every number of the output depends on every head."""
    ours, _ = layers()
    heads = torch.randn(H, D, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda h: h.flatten() @ ours.w_o.detach().T, heads)  # (C, H, D)
    assert (jacobian.abs().amax(-1) > 0).all()


def test_self_attention_is_cross_attention_with_oneself() -> None:
    """Cross-attention has one row for each query; permuting the memory changes nothing."""
    ours, _ = layers()
    query, memory = inputs()
    output, weights = ours(query, memory)
    assert output.shape == (B, TQ, C) and weights.shape == (B, H, TQ, TK)
    torch.testing.assert_close(ours(query, memory.flip(1))[0], output, rtol=0, atol=BOUND)
    torch.testing.assert_close(ours(query, memory.flip(1))[1], weights.flip(-1), rtol=0, atol=BOUND)
    both = ours(query, query)[0]
    assert not torch.allclose(both, output)
    torch.testing.assert_close(ours(query[:, 1:2], query)[0], both[:, 1:2], rtol=0, atol=BOUND)


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 6, 12])
def test_cost_does_not_depend_on_the_number_of_heads(heads: int) -> None:
    assert sum(p.numel() for p in MultiHeadAttention(C, heads).parameters()) == 4 * C**2 + 4 * C
    assert sum(p.numel() for p in MultiHeadAttention(512, 8).parameters()) == 1_050_624
    theirs = torch.nn.MultiheadAttention(C, heads)
    assert sum(p.numel() for p in theirs.parameters()) == 4 * C**2 + 4 * C


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(1, 4), st.integers(1, 4))
def test_splitting_and_merging_undo_each_other(b: int, t: int, h: int, d: int) -> None:
    x = torch.arange(b * t * h * d).view(b, t, h * d)
    heads = split_heads(x, h)
    assert heads.shape == (b, h, t, d)
    assert torch.equal(merge_heads(heads), x)
    assert torch.equal(heads[:, h - 1], x[..., (h - 1) * d :])


def test_view_instead_of_split_mixes_tokens() -> None:
    """The page's trap: view(B, H, T, D) has the right shape and the wrong numbers."""
    x = torch.arange(B * TQ * C).view(B, TQ, C)
    wrong = x.view(B, H, TQ, D)
    assert wrong.shape == split_heads(x, H).shape
    assert not torch.equal(wrong, split_heads(x, H))
    assert (wrong[0, 0].flatten() // C).tolist() != [0] * TQ * D  # head 0 holds numbers of several tokens
    assert set((wrong[0, 0].flatten() // C).tolist()) == {0, 1}


def test_by_hand() -> None:
    """The page's numbers: two heads of width 1 look at different tokens, one head of width 2 cannot."""
    ln3 = torch.log(torch.tensor(3.0, dtype=torch.float64))
    one, none, query = torch.eye(2).double(), torch.zeros(2).double(), torch.ones(1, 2).double()
    w_v, w_o = torch.tensor([[4.0, 0], [0, 8]]).double() / ln3, torch.tensor([[1.0, 1], [1, -1]]).double()
    params = Projections(one, none, one, none, w_v, none, w_o, none)
    for heads, shares, want in ((2, [[3 / 4, 1 / 4], [1 / 4, 3 / 4]], [9, -3]), (1, [[1 / 2, 1 / 2]], [6, -2])):
        output, weights = multi_head_attention(query, one * ln3, params, heads)
        torch.testing.assert_close(weights[:, 0], torch.tensor(shares).double())
        torch.testing.assert_close(output, torch.tensor([want]).double())


def test_the_heads_of_a_real_layer_differ() -> None:
    """The page: in layer 2 of sentiment-bert-zh-en head 8 looks right, and most others at the first token."""
    bert = Bert.from_pretrained("sentiment-bert-zh-en")
    for sentence in ("这家店的面很好吃，可是送得太慢。", "The food was great but it came late."):
        _, maps = bert.attention_maps(sentence)
        assert maps.shape[1] == bert.n_head == 12
        assert maps[1, 7].diagonal(1).mean() > 0.8
        assert int((maps[1, ..., 0].mean(-1) > 0.4).sum()) >= 7


def test_errors_say_what_must_hold() -> None:
    ours, _ = layers()
    query, memory = inputs()
    for call in (lambda: MultiHeadAttention(10, 4), lambda: split_heads(torch.zeros(5, 10), 4)):
        with pytest.raises(ValueError, match="H must be at least 1 and divide the width, got H = 4 for C = 10"):
            call()
    with pytest.raises(ValueError, match="got H = 0 for C = 12"):
        attention_heads(query, memory, ours.params, 0)
    with pytest.raises(ValueError, match=r"mask must have an axis for the heads, .* got shape \(2, 1, 7\)"):
        ours(query, memory, padding_mask(torch.tensor([4, 7]), TK))
    with pytest.raises(TypeError, match="mask must be boolean"):
        ours(query, memory, torch.zeros(TQ, TK))
    with pytest.raises(ValueError, match="width of the projections, C = 12, got 9 and 12"):
        ours(query[..., :9], memory)
