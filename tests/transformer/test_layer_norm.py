"""Layer and RMS normalisation against PyTorch in value and gradient, their invariances, and what placement does."""

import json
import math
from collections.abc import Callable
from importlib import resources

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from demos.transformer.layer_norm import predict
from largemodels.training.recipes import norm_placement
from largemodels.transformer.layer_norm import layer_norm, layer_norm_backward, post_norm, pre_norm, rms_norm
from largemodels.transformer.residual import layer_weights

B, T, C = 2, 3, 7


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaps(ours: Callable[..., torch.Tensor], theirs: Callable[..., torch.Tensor], count: int) -> tuple[float, float]:
    """Largest difference in value, and in the gradients of the input and of every parameter."""
    inputs = [t.requires_grad_() for t in (5 * draw(B, T, C) + 3, draw(C, seed=1), draw(C, seed=2))[:count]]
    upstream = draw(B, T, C, seed=3)
    found, wanted = ours(*inputs), theirs(*inputs)
    pairs = zip(
        torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(wanted, inputs, upstream), strict=True
    )
    return (found - wanted).abs().max().item(), max((a - b).abs().max().item() for a, b in pairs)


NORMS = {
    "layer_norm": (layer_norm, lambda x, g, b: F.layer_norm(x, (C,), g, b), 3),
    "layer_norm, eps 0.1": (lambda *a: layer_norm(*a, eps=0.1), lambda x, g, b: F.layer_norm(x, (C,), g, b, 0.1), 3),
    "layer_norm, no parameters": (layer_norm, lambda x: F.layer_norm(x, (C,)), 1),
    "rms_norm": (rms_norm, lambda x, g: F.rms_norm(x, (C,), g, 1e-6), 2),
    "rms_norm, no parameters": (rms_norm, lambda x: F.rms_norm(x, (C,), eps=1e-6), 1),
}


@pytest.mark.parametrize("name", NORMS)
def test_value_and_gradient_equal_pytorch(name: str, record_differences: Callable[[float, float], None]) -> None:
    value, gradient = gaps(*NORMS[name])
    record_differences(value, gradient)
    assert value <= 1e-8
    assert gradient <= 1e-8


def test_gradients_equal_finite_differences() -> None:
    x, gamma, beta = (t.requires_grad_() for t in (draw(B, C), draw(C, seed=1), draw(C, seed=2)))
    assert torch.autograd.gradcheck(layer_norm, (x, gamma, beta))
    assert torch.autograd.gradcheck(rms_norm, (x, gamma))


@pytest.mark.parametrize("shape", [(C,), (B, C), (B, T, C)])
def test_the_backward_pass_equals_autograd(shape: tuple[int, ...]) -> None:
    x, gamma, beta = (t.requires_grad_() for t in (3 * draw(*shape), draw(C, seed=1), draw(C, seed=2)))
    upstream = draw(*shape, seed=3)
    wanted = torch.autograd.grad(F.layer_norm(x, (C,), gamma, beta), (x, gamma, beta), upstream)
    for ours, theirs in zip(layer_norm_backward(x, upstream, gamma), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


VECTORS = st.lists(st.floats(-50, 50), min_size=2, max_size=9).filter(lambda v: max(v) - min(v) > 0.1)


@settings(deadline=None)
@given(VECTORS, st.floats(-100, 100), st.floats(0.01, 100))
def test_shift_and_scale_leave_no_trace(values: list[float], shift: float, scale: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    normal = layer_norm(x, eps=0)
    torch.testing.assert_close(layer_norm(scale * x + shift, eps=0), normal, rtol=0, atol=1e-6)
    torch.testing.assert_close(layer_norm(-x, eps=0), -normal, rtol=0, atol=1e-9)
    assert normal.mean().item() == pytest.approx(0, abs=1e-9)
    assert normal.square().mean().item() == pytest.approx(1, abs=1e-9)
    assert normal.norm().item() == pytest.approx(math.sqrt(len(values)))


@settings(deadline=None)
@given(VECTORS, st.floats(0.01, 100))
def test_rms_norm_keeps_scale_invariance_and_gives_up_shift_invariance(values: list[float], scale: float) -> None:
    x = torch.tensor(values, dtype=torch.float64)
    normal = rms_norm(x, eps=0)
    torch.testing.assert_close(rms_norm(scale * x, eps=0), normal, rtol=0, atol=1e-9)
    assert normal.square().mean().item() == pytest.approx(1, abs=1e-9)
    torch.testing.assert_close(rms_norm(x - x.mean(), eps=0), layer_norm(x, eps=0), rtol=0, atol=1e-7)
    assert not torch.allclose(rms_norm(x + 100, eps=0), normal)


def test_each_position_is_normalised_by_itself() -> None:
    x = draw(B, T, C)
    alone = torch.stack([torch.stack([layer_norm(x[b, t]) for t in range(T)]) for b in range(B)])
    torch.testing.assert_close(layer_norm(x), alone, rtol=0, atol=1e-12)


def test_the_gradient_has_no_part_along_ones_and_along_the_vector() -> None:
    x, upstream = draw(B, C), draw(B, C, seed=3)
    by_x, _, _ = layer_norm_backward(x, upstream, draw(C, seed=1), eps=0)
    assert by_x.sum(-1).abs().max() < 1e-12
    assert (by_x * layer_norm(x, eps=0)).sum(-1).abs().max() < 1e-12
    doubled, _, _ = layer_norm_backward(2 * x, upstream, draw(C, seed=1), eps=0)
    torch.testing.assert_close(doubled, by_x / 2)  # larger states receive smaller gradients


def test_by_hand() -> None:
    """The page's numbers: (1, 2, 3, 6) has mean 3 and variance 3.5; the root mean square of (1, 1, 1, 5) is √7."""
    x = torch.tensor([1.0, 2.0, 3.0, 6.0], dtype=torch.float64)
    want = torch.tensor([-2.0, -1.0, 0.0, 3.0], dtype=torch.float64) / math.sqrt(3.5)
    torch.testing.assert_close(layer_norm(x, eps=0), want)
    y = torch.tensor([1.0, 1.0, 1.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(rms_norm(y, eps=0), y / math.sqrt(7))


def test_constant_vectors_need_eps() -> None:
    same = torch.full((C,), 4.0)
    assert torch.equal(layer_norm(same), torch.zeros(C))
    assert layer_norm(same, eps=0).isnan().all()
    assert rms_norm(torch.zeros(C), eps=0).isnan().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_wide_and_rounded_last(dtype: torch.dtype) -> None:
    """Squares above 65504 overflow in float16; the written-out formula then gives zeros without a word."""
    x, gamma, beta = (300 * draw(B, C)).to(dtype), draw(C, seed=1).to(dtype), draw(C, seed=2).to(dtype)
    ours = layer_norm(x, gamma, beta)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, F.layer_norm(x, (C,), gamma, beta), rtol=0.01, atol=0.01)
    torch.testing.assert_close(rms_norm(x, gamma), F.rms_norm(x, (C,), gamma, 1e-6), rtol=0.01, atol=0.01)


def test_pre_and_post_norm_equal_the_encoder_layer_of_torch() -> None:
    """torch.nn.TransformerEncoderLayer is two branches, joined by post-norm, or by pre-norm with norm_first."""
    for norm_first in (False, True):
        torch.manual_seed(4)
        layer = torch.nn.TransformerEncoderLayer(
            8, 2, 12, dropout=0.0, batch_first=True, norm_first=norm_first, dtype=torch.float64
        )
        join = pre_norm if norm_first else post_norm
        with torch.no_grad():
            for norm in (layer.norm1, layer.norm2):
                norm.weight.copy_(draw(8, seed=5))
                norm.bias.copy_(draw(8, seed=6))
            norms = [lambda t, n=n: layer_norm(t, n.weight, n.bias) for n in (layer.norm1, layer.norm2)]
            x = draw(B, T, 8)
            state = join(x, lambda s, layer=layer: layer.self_attn(s, s, s, need_weights=False)[0], norms[0])
            state = join(state, lambda s, layer=layer: layer.linear2(torch.relu(layer.linear1(s))), norms[1])
            torch.testing.assert_close(state, layer.train()(x), rtol=0, atol=1e-10)


def test_batch_norm_takes_its_statistics_from_the_other_examples() -> None:
    """The page's exercise: the same vector, other company, another result; layer norm does not care."""
    x, company = draw(1, C), draw(4, C, seed=1)
    for norm, same in ((lambda t: F.batch_norm(t, None, None, training=True), False), (layer_norm, True)):
        first, second = norm(torch.cat([x, company]))[0], norm(torch.cat([x, 3 * company]))[0]
        assert torch.allclose(first, second) is same
    columns = F.batch_norm(company, None, None, training=True)
    torch.testing.assert_close(columns, layer_norm(company.T).T, rtol=0, atol=1e-10)


def gradients_by_layer(join: Callable[..., torch.Tensor], scale: float, depth: int = 32) -> list[float]:
    """Gradient norm of each weight of a deep stack of tanh branches, before training."""
    x, upstream = draw(2, 64, 16)
    weights = layer_weights(depth, 16, scale).requires_grad_()
    for weight in weights:
        x = join(x, lambda state, weight=weight: torch.tanh(state @ weight.T))
    (found,) = torch.autograd.grad(layer_norm(x) if join is pre_norm else x, weights, upstream)
    return found.norm(dim=(1, 2)).tolist()


def test_m31_layer_norm_holds_what_the_residual_connection_lets_grow() -> None:
    """Residual connections alone: gradients differ a thousandfold by depth. Normalised, they come closer together."""
    for scale, bound in ((1.0, 6), (2.5, 20)):
        spread = {}
        for join in (lambda x, branch: x + branch(x), post_norm, pre_norm):
            norms = gradients_by_layer(join, scale)
            spread[getattr(join, "__name__", "")] = max(norms) / min(norms)
        assert spread["pre_norm"] < bound
        assert spread["pre_norm"] < spread["<lambda>"]
        assert spread["post_norm"] < spread["<lambda>"]


def test_m31_measured_with_and_without_in_a_small_transformer() -> None:
    """The claims on the page about `norm_placement.json`, and that its gradients come out again."""
    found = json.loads(resources.files("largemodels").joinpath("measurements/norm_placement.json").read_text("utf-8"))
    for name in norm_placement.JOINS:
        assert norm_placement.gradient_norms(name) == pytest.approx(found["gradients"][name], rel=0.05)
    last = {name: {rate: [run[-1] for run in runs] for rate, runs in found["losses"][name].items()}
            for name in found["losses"]}  # fmt: skip
    without = [name for name in last if name not in ("post-norm", "pre-norm")]
    assert min(min(runs) for name in without for runs in last[name].values()) > 1.6  # of 2.08 for guessing
    assert max(min(runs) for runs in zip(*last["pre-norm"].values(), strict=True)) < 1.0
    assert min(last["post-norm"]["0.01/0"]) > 2.0 > 1.7 > max(last["post-norm"]["0.01/50"])
    assert max(found["gradients"]["residual only"]) > 100 * max(found["gradients"]["pre-norm"])


@pytest.mark.parametrize("function", [layer_norm, rms_norm])
def test_errors_say_what_must_hold(function: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"gamma must have one number for each .* got \(2,\) for C = 7"):
        function(draw(B, C), draw(2))
    with pytest.raises(ValueError, match=r"at least one number per vector, got shape \(3, 0\)"):
        function(torch.zeros(T, 0))
    for eps in (-1e-5, math.nan):
        with pytest.raises(ValueError, match="eps must not be negative"):
            function(draw(B, C), eps=eps)
    with pytest.raises(ValueError, match="beta must have one number"):
        layer_norm(draw(B, C), beta=draw(1))


@pytest.mark.parametrize(
    "values",
    [("1, two", "1", "0", "1e-5"), ("", "1", "0", "1e-5"), ("1 2 3", "1 2", "0", "1e-5"), ("1", "1", "0", "1e-5"),
     ("1 2", "1", "1 2 3", "1e-5"), ("1 2", "1", "0", "-1"), ("1 2", "1", "0", math.nan)],
)  # fmt: skip
def test_the_demo_refuses_what_it_cannot_draw(values: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="must|may"):
        predict(*values, 1.0, 0.0)


def test_the_demo_shows_a_constant_vector() -> None:
    answer = predict("4 4 4", "1", "0", "0", 1.0, 0.0, lang="en")
    assert "undefined" in answer
