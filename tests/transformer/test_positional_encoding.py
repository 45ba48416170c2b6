"""Positional encoding against a double loop of math.sin and math.cos, and against its own laws."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from largemodels.transformer.attention import scaled_dot_product_attention
from largemodels.transformer.positional_encoding import add_positions, frequencies, positional_encoding, shift_matrix

B, T, D = 2, 7, 6
WIDTHS = st.integers(1, 20).map(lambda half: 2 * half)


def by_loop(T: int, D: int, base: float = 10000.0) -> torch.Tensor:
    """The two equations of the paper, entry by entry."""
    table = torch.empty(T, D, dtype=torch.float64)
    for pos in range(T):
        for i in range(D // 2):
            table[pos, 2 * i] = math.sin(pos / base ** (2 * i / D))
            table[pos, 2 * i + 1] = math.cos(pos / base ** (2 * i / D))
    return table


@pytest.mark.parametrize(("length", "width", "base"), [(1, 2, 1e4), (7, 6, 1e4), (513, 64, 1e4), (50, 10, 5e5)])
def test_table_equals_the_double_loop(length: int, width: int, base: float) -> None:
    ours = positional_encoding(length, width, base=base, dtype=torch.float64)
    torch.testing.assert_close(ours, by_loop(length, width, base), rtol=0, atol=1e-12)


def test_rounded_only_at_the_end() -> None:
    """In bfloat16 the table is the exact one rounded, also where bfloat16 cannot tell two positions apart."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        torch.testing.assert_close(
            positional_encoding(600, 8, dtype=dtype), by_loop(600, 8).to(dtype), rtol=0, atol=0, check_dtype=True
        )
    assert torch.tensor(257, dtype=torch.bfloat16) == torch.tensor(256, dtype=torch.bfloat16)
    table = positional_encoding(300, 8, dtype=torch.bfloat16)
    assert not torch.equal(table[256], table[257])


def test_by_hand() -> None:
    """The page's numbers: width 4, so the frequencies are 1 and 1/100."""
    torch.testing.assert_close(frequencies(4), torch.tensor([1.0, 0.01], dtype=torch.float64))
    row = positional_encoding(2, 4, dtype=torch.float64)[1]
    want = [math.sin(1), math.cos(1), math.sin(0.01), math.cos(0.01)]
    torch.testing.assert_close(row, torch.tensor(want, dtype=torch.float64))
    assert int(2 * math.pi / frequencies(512)[-1]) == 60611  # the page's exercise: the slowest hand of width 512


@settings(deadline=None)  # the double loop is slow on a busy machine
@given(WIDTHS, st.integers(-50, 50))
def test_a_shift_is_one_rotation_for_all_positions(width: int, offset: int) -> None:
    """PE(pos + k) = M_k PE(pos), with M_k orthogonal, without looking at pos."""
    table, M = by_loop(120, width), shift_matrix(offset, width, dtype=torch.float64)
    torch.testing.assert_close(M @ M.T, torch.eye(width, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.linalg.det(M).item() == pytest.approx(1)
    for pos in (50, 53, 69):
        torch.testing.assert_close(M @ table[pos], table[pos + offset], rtol=0, atol=1e-11)


@settings(deadline=None)
@given(st.integers(-30, 30), st.integers(-30, 30))
def test_shifts_add_up(a: int, b: int) -> None:
    both = shift_matrix(a, D, dtype=torch.float64) @ shift_matrix(b, D, dtype=torch.float64)
    torch.testing.assert_close(both, shift_matrix(a + b, D, dtype=torch.float64), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(WIDTHS, st.integers(0, 60), st.integers(0, 60), st.integers(0, 39))
def test_dot_product_depends_only_on_the_distance(width: int, p: int, q: int, moved: int) -> None:
    table = positional_encoding(100, width, dtype=torch.float64)
    dot = (table[p] @ table[q]).item()
    assert dot == pytest.approx((table[p + moved] @ table[q + moved]).item(), abs=1e-9)
    assert dot == pytest.approx(sum(math.cos((p - q) / 10000 ** (2 * i / width)) for i in range(width // 2)), abs=1e-9)
    assert dot <= width / 2 + 1e-9


def test_every_row_has_the_same_length_and_no_two_are_equal() -> None:
    table = positional_encoding(1000, 8, dtype=torch.float64)
    torch.testing.assert_close(table.norm(dim=-1), torch.full((1000,), 2.0, dtype=torch.float64))
    distances = torch.cdist(table, table) + torch.eye(1000)
    assert distances.min() > 0.1


def test_without_positions_attention_cannot_see_order() -> None:
    """Shuffled in, shuffled out; with positions added the same shuffle changes the vectors themselves."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(B, T, D, generator=g, dtype=torch.float64)
    order = torch.randperm(T, generator=g)
    plain, shuffled = (scaled_dot_product_attention(t, t, t)[0] for t in (x, x[:, order]))
    torch.testing.assert_close(shuffled, plain[:, order], rtol=0, atol=1e-12)
    table = positional_encoding(T, D, dtype=torch.float64)
    a, b = add_positions(x, table), add_positions(x[:, order], table)
    plain, shuffled = (scaled_dot_product_attention(t, t, t)[0] for t in (a, b))
    assert (shuffled - plain[:, order]).abs().max() > 0.1


def test_rotating_queries_and_keys_leaves_only_their_distance() -> None:
    """The comparison with RoPE on the page: (M_m q)·(M_n k) = q·(M_(n−m) k)."""
    g = torch.Generator().manual_seed(1)
    q, k = torch.randn(2, D, generator=g, dtype=torch.float64)
    for m, n in ((0, 4), (3, 7), (50, 54)):
        score = (shift_matrix(m, D, dtype=torch.float64) @ q) @ (shift_matrix(n, D, dtype=torch.float64) @ k)
        assert score.item() == pytest.approx((q @ shift_matrix(4, D, dtype=torch.float64) @ k).item(), abs=1e-12)


def usual_telling(T: int, D: int) -> torch.Tensor:
    """M02: one wavelength, sine for some positions, cosine for others, else 0; the dimension plays no part."""
    angle = [pos / 10000 ** (2 / 3) for pos in range(T)]
    column = [math.sin(a) if pos % 3 == 0 else math.cos(a) if pos % 3 == 1 else 0.0 for pos, a in enumerate(angle)]
    return torch.tensor(column, dtype=torch.float64)[:, None].expand(T, D)


def test_m02_alternating_over_positions_confuses_them() -> None:
    """The wrong table has one vector for positions 0, 2, 5, 8 … 29, and rank 1; the right one tells all apart."""
    wrong, right = usual_telling(30, 16), positional_encoding(30, 16, dtype=torch.float64)
    assert len(wrong.unique(dim=0)) == 20
    assert torch.equal(wrong[2], wrong[5])
    assert torch.linalg.matrix_rank(wrong) == 1
    assert len(right.unique(dim=0)) == 30
    assert torch.linalg.matrix_rank(right) > 10
    assert torch.linalg.norm(wrong[1]) > 3.9  # no rotation moves 1 on to 2: the lengths differ
    assert torch.linalg.norm(wrong[2]) == 0


def test_add_positions_keeps_the_type_and_takes_only_what_is_there() -> None:
    x = torch.randn(B, T, D, dtype=torch.float16)
    table = positional_encoding(T + 4, D)
    out = add_positions(x, table)
    assert out.dtype == torch.float16
    assert out.shape == (B, T, D)
    torch.testing.assert_close(out[1, 3], x[1, 3] + table[3].half())


def test_errors_say_what_must_hold() -> None:
    for call in (lambda: frequencies(5), lambda: positional_encoding(3, 5), lambda: shift_matrix(1, 5)):
        with pytest.raises(ValueError, match="D must be even and at least 2, got 5"):
            call()
    with pytest.raises(ValueError, match="at least 2, got 0"):
        frequencies(0)
    with pytest.raises(ValueError, match="base must be above 1, got 1"):
        frequencies(4, base=1)
    with pytest.raises(ValueError, match="T must be at least 1, got 0"):
        positional_encoding(0, 4)
    with pytest.raises(ValueError, match=r"same width \(D\), got 6 and 8"):
        add_positions(torch.zeros(B, T, D), positional_encoding(T, 8))
    with pytest.raises(ValueError, match="got 5 rows for T = 7"):
        add_positions(torch.zeros(B, T, D), positional_encoding(5, D))
