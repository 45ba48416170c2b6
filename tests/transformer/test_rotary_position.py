"""Rotary positions against Transformers' Llama and GPT-J, against complex numbers, and against their own laws."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.gptj import modeling_gptj
from transformers.models.llama import LlamaConfig, modeling_llama

from largemodels.transformer.attention import attention_energies
from largemodels.transformer.positional_encoding import shift_matrix
from largemodels.transformer.rotary_position import half_order, rotary_angles, rotate

B, H, T, D = 2, 3, 5, 8
BOUND = 1e-12


def vectors(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    q, k = (torch.randn(B, H, T, D, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    return q, k


def angles_by_loop(positions: torch.Tensor, width: int = D, base: float = 10000.0) -> torch.Tensor:
    """m θ_i, entry by entry."""
    return torch.tensor(
        [[m / base ** (2 * i / width) for i in range(width // 2)] for m in positions.tolist()], dtype=torch.float64
    )


def reference(layout: str, q: torch.Tensor, k: torch.Tensor, positions: torch.Tensor) -> list[torch.Tensor]:
    """Return what Transformers makes of queries and keys, with sines and cosines in float64."""
    angles = angles_by_loop(positions)
    if layout == "half":  # Llama
        cos, sin = (wave.repeat(1, 2)[None] for wave in (angles.cos(), angles.sin()))  # (1, T, D)
        return list(modeling_llama.apply_rotary_pos_emb(q, k, cos, sin))
    sin, cos = angles.sin()[None], angles.cos()[None]  # GPT-J: (1, T, D/2), tensors as (B, T, H, D)
    return [modeling_gptj.apply_rotary_pos_emb(x.transpose(1, 2), sin, cos).transpose(1, 2) for x in (q, k)]


def differences(layout: str) -> tuple[float, float]:
    """Return the largest difference to Transformers in values and in gradients."""
    positions = torch.tensor([0, 1, 7, 300, 5000])
    q, k = vectors()
    ours = [rotate(x, positions, layout=layout) for x in (q, k)]
    theirs = reference(layout, q, k, positions)
    probes = vectors(1)

    def gradients(found: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        return torch.autograd.grad(sum((f * p.detach()).sum() for f, p in zip(found, probes, strict=True)), (q, k))

    value = max((a - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    pairs = zip(gradients(ours), gradients(theirs), strict=True)
    return value, max((a - b).abs().max().item() for a, b in pairs)


@pytest.mark.parametrize("layout", ["interleaved", "half"])
def test_equals_transformers(layout: str, record_differences: Callable[[float, float], None]) -> None:
    value, gradient = differences(layout)
    record_differences(value, gradient)
    assert max(value, gradient) < BOUND


def test_equals_llamas_own_table_as_far_as_float32_goes() -> None:
    """Llama makes its angles in float32, so at position 300 they are off by about 300 · 2⁻²⁴."""
    config = LlamaConfig(hidden_size=H * D, num_attention_heads=H, max_position_embeddings=512)
    q, k = (x.detach().float() for x in vectors())
    positions = torch.tensor([0, 1, 7, 40, 300])
    cos, sin = modeling_llama.LlamaRotaryEmbedding(config)(q, positions[None])
    theirs = modeling_llama.apply_rotary_pos_emb(q, k, cos, sin)
    for x, want in zip((q, k), theirs, strict=True):
        torch.testing.assert_close(rotate(x, positions, layout="half"), want, rtol=0, atol=2e-4)


def test_equals_complex_multiplication() -> None:
    """A pair is a complex number, turning it is multiplying by exp(i m θ): section 3.2.1 of the paper."""
    q, _ = vectors()
    positions = torch.arange(T)
    factors = torch.polar(torch.ones(T, D // 2, dtype=torch.float64), angles_by_loop(positions))
    want = torch.view_as_real(torch.view_as_complex(q.unflatten(-1, (-1, 2))) * factors).flatten(-2)
    torch.testing.assert_close(rotate(q, positions), want, rtol=0, atol=BOUND)


def test_equals_the_block_diagonal_matrix() -> None:
    """Equation (15): one big rotation matrix, the transpose of `shift_matrix`, whose pairs are (sin, cos)."""
    q, _ = vectors()
    for m in range(T):
        matrix = shift_matrix(m, D, dtype=torch.float64).T
        torch.testing.assert_close(
            rotate(q[..., m : m + 1, :], torch.tensor([m])), q[..., m : m + 1, :] @ matrix.T, rtol=0, atol=BOUND
        )


def test_gradients_equal_finite_differences() -> None:
    x = torch.randn(3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    for layout in ("interleaved", "half"):
        assert torch.autograd.gradcheck(lambda t, a=layout: rotate(t, torch.arange(3) * 9, layout=a), x, atol=1e-8)


@settings(deadline=None)
@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(-300, 300), st.sampled_from(["interleaved", "half"]))
def test_a_score_depends_on_the_distance_only(m: int, n: int, moved: int, layout: str) -> None:
    q, k = (x[0, 0, :1].detach() for x in vectors())

    def score(a: int, b: int) -> float:
        return (rotate(q, torch.tensor([a]), layout=layout) @ rotate(k, torch.tensor([b]), layout=layout).T).item()

    assert score(m, n) == pytest.approx(score(m + moved, n + moved), abs=1e-11)
    assert score(m, n) == pytest.approx(score(0, n - m), abs=1e-11)


@settings(deadline=None)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_turns_add_up_and_keep_lengths(a: float, b: float) -> None:
    x = vectors()[0][0, 0, :1].detach()
    one, two = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    torch.testing.assert_close(rotate(rotate(x, one), two), rotate(x, one + two), rtol=0, atol=1e-10)
    torch.testing.assert_close(rotate(x, one).norm(), x.norm())
    torch.testing.assert_close(rotate(x, one * 0), x, rtol=0, atol=0)


def test_the_layouts_are_one_up_to_a_permutation() -> None:
    """Reordering queries and keys alike changes no score; mixing the two layouts does, from position 1 on."""
    q, k = (x.detach() for x in vectors())
    order, positions = half_order(D), torch.arange(T)
    paper = [rotate(x, positions) for x in (q, k)]
    llama = [rotate(x[..., order], positions, layout="half") for x in (q, k)]
    torch.testing.assert_close(paper[0][..., order], llama[0], rtol=0, atol=BOUND)
    torch.testing.assert_close(attention_energies(*paper), attention_energies(*llama), rtol=0, atol=BOUND)
    mixed = [rotate(x, positions, layout="half") for x in (q, k)]  # the trap: weights of one layout, code of the other
    wrong = (attention_energies(*mixed) - attention_energies(*paper)).abs()
    assert wrong.diagonal(0, -2, -1).max() < BOUND  # distance 0 is right, so a single token gives nothing away
    assert wrong.max() > 0.5


def test_half_order_converts_weights_as_transformers_does() -> None:
    """The permutation of convert_llama_weights_to_hf.py, for H heads: view, transpose, reshape."""
    C = H * D
    w = torch.randn(C, C, generator=torch.Generator().manual_seed(3))
    theirs = w.view(H, C // H // 2, 2, C).transpose(1, 2).reshape(C, C)
    assert torch.equal(w.view(H, D, C)[:, half_order(D)].reshape(C, C), theirs)


def test_by_hand() -> None:
    """The page's numbers: the vector (1, 0, 1, 0) at positions 1 and 3 scores cos 2 + cos 0.02."""
    x = torch.tensor([[1.0, 0, 1, 0]]).double().expand(2, 4)
    one, three = rotate(x, torch.tensor([1, 3]))
    want = [math.cos(1), math.sin(1), math.cos(0.01), math.sin(0.01)]
    torch.testing.assert_close(one, torch.tensor(want).double())
    assert (one @ three).item() == pytest.approx(0.5837, abs=5e-5)
    far, farther = rotate(x, torch.tensor([501, 503]))
    assert (far @ farther).item() == pytest.approx(math.cos(2) + math.cos(0.02), abs=1e-12)


def test_beyond_the_trained_length_slow_pairs_reach_new_angles() -> None:
    """The page: after 512 positions 16 of the 32 pairs of width 64 have not turned once."""
    trained, longer = rotary_angles(torch.tensor([511, 4095]), 64)  # (32,) each
    unfinished = trained < 2 * math.pi
    assert unfinished.sum() == 16
    assert (longer[unfinished] > 8 * trained[unfinished]).all()
    assert (rotary_angles(torch.tensor([4095 * 512 / 4096]), 64)[0, unfinished] < 1.01 * trained[unfinished]).all()


def test_types_and_broadcasting() -> None:
    x = torch.randn(B, H, T, D, dtype=torch.bfloat16)
    out = rotate(x, torch.arange(1000, 1000 + T))
    assert out.dtype == torch.bfloat16 and out.shape == x.shape
    want = rotate(x.double(), torch.arange(1000, 1000 + T))
    assert (out.double() - want).abs().max() < 0.05
    per_text = torch.stack([torch.arange(T), torch.arange(T) + 9])[:, None]  # (B, 1, T)
    torch.testing.assert_close(rotate(x.double(), per_text)[1], rotate(x[1].double(), torch.arange(T) + 9))


def test_errors_say_what_must_hold() -> None:
    x = torch.zeros(T, D)
    for call in (lambda: rotate(x[:, :5], torch.arange(T)), lambda: half_order(5), lambda: rotary_angles(x[0], 5)):
        with pytest.raises(ValueError, match="D must be even and at least 2, got 5"):
            call()
    with pytest.raises(ValueError, match=r"each of the T = 5 tokens, got shape \(4,\)"):
        rotate(x, torch.arange(4))
    with pytest.raises(ValueError, match="layout must be one of interleaved, half, got 'neox'"):
        rotate(x, torch.arange(T), layout="neox")
    with pytest.raises(ValueError, match="base must be above 1"):
        rotate(x, torch.arange(T), base=1.0)
