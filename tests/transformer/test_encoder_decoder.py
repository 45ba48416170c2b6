"""The whole Transformer against torch.nn.Transformer, against autograd, and against the usual telling's mistakes."""

import dataclasses
import functools
import inspect
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from largemodels.transformer import encoder_decoder
from largemodels.transformer.attention import padding_mask
from largemodels.transformer.encoder_decoder import (
    AddNorm,
    DecoderBlock,
    EncoderBlock,
    EncoderDecoder,
    EncoderDecoderConfig,
)
from largemodels.transformer.multi_head_attention import MultiHeadAttention
from largemodels.transformer.positional_encoding import positional_encoding

B, TS, TT, C, H, L, F, VS, VT = 2, 7, 5, 12, 3, 4, 20, 17, 13
CONFIG = EncoderDecoderConfig(VS, VT, n_embd=C, n_head=H, n_layer=L, n_hidden=F, dropout=0.0)
LENGTHS = torch.tensor([4, 7])
MASK = padding_mask(LENGTHS, TS)


@functools.cache
def a_model(norm_first: bool = False, seed: int = 0) -> EncoderDecoder:
    """A model in float64 whose biases and norms are random too: zeros and ones would hide a swap."""
    torch.manual_seed(seed)
    model = EncoderDecoder(dataclasses.replace(CONFIG, norm_first=norm_first)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return model.eval()  # with a dropout of 0 nothing here changes it


def some_ids(seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(VS, (B, TS), generator=g), torch.randint(VT, (B, TT), generator=g)


class Reference(nn.Module):
    """The same model from torch.nn.Transformer; its own parameters are those of ours, rearranged."""

    def __init__(self, ours: EncoderDecoder) -> None:
        super().__init__()
        self.ours = ours
        self.theirs = nn.Transformer(  # left in training mode, where it takes no fused shortcut
            C, H, L, L, F, dropout=0.0, batch_first=True, norm_first=ours.config.norm_first, dtype=torch.float64
        )
        if not ours.config.norm_first:  # PyTorch adds a norm behind each stack, the paper does not
            self.theirs.encoder.norm = self.theirs.decoder.norm = None

    def arranged(self) -> dict[str, Tensor]:
        """Our parameters under PyTorch's names."""
        found: dict[str, Tensor] = {}
        for stack in ("encoder", "decoder"):
            for i, block in enumerate(getattr(self.ours, stack)):
                found |= self.block(f"{stack}.layers.{i}", block)
            if self.ours.config.norm_first:
                norm = getattr(self.ours, f"{stack}_norm")
                found |= {f"{stack}.norm.weight": norm.gamma, f"{stack}.norm.bias": norm.beta}
        return found

    def block(self, name: str, block: EncoderBlock | DecoderBlock) -> dict[str, Tensor]:
        found = self.attention(f"{name}.self_attn", block.attention)
        if isinstance(block, DecoderBlock):
            found |= self.attention(f"{name}.multihead_attn", block.cross_attention)
        ff = block.feed_forward
        found |= {f"{name}.linear1.weight": ff.w_1, f"{name}.linear1.bias": ff.b_1}
        found |= {f"{name}.linear2.weight": ff.w_2, f"{name}.linear2.bias": ff.b_2}
        norms = (m for m in block.children() if isinstance(m, AddNorm))
        for i, norm in enumerate(norms, 1):
            found |= {f"{name}.norm{i}.weight": norm.norm.gamma, f"{name}.norm{i}.bias": norm.norm.beta}
        return found

    @staticmethod
    def attention(name: str, a: MultiHeadAttention) -> dict[str, Tensor]:
        return {
            f"{name}.in_proj_weight": torch.cat((a.w_q, a.w_k, a.w_v)),
            f"{name}.in_proj_bias": torch.cat((a.b_q, a.b_k, a.b_v)),
            f"{name}.out_proj.weight": a.w_o,
            f"{name}.out_proj.bias": a.b_o,
        }

    def forward(self, source: Tensor, target: Tensor, hidden: Tensor | None) -> Tensor:
        x, y = (
            nn.functional.embedding(ids, table) * C**0.5 + positional_encoding(ids.shape[1], C, dtype=torch.float64)
            for ids, table in ((source, self.ours.source_embedding), (target, self.ours.target_embedding))
        )
        masks = {
            "tgt_mask": nn.Transformer.generate_square_subsequent_mask(TT, dtype=torch.float64),
            "src_key_padding_mask": hidden,
            "memory_key_padding_mask": hidden,
        }
        out = torch.func.functional_call(self.theirs, self.arranged(), (x, y), masks)
        return nn.functional.linear(out, self.ours.target_embedding)


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "padding"])
def test_logits_and_gradients_equal_pytorch(
    norm_first: bool, mask: Tensor | None, record_differences: Callable[[float, float], None]
) -> None:
    ours = a_model(norm_first)
    source, target = some_ids()
    hidden = None if mask is None else ~mask[:, 0]
    value = ours(source, target, mask)
    reference = Reference(ours)(source, target, hidden)
    weight = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    params = list(ours.parameters())
    mine = torch.autograd.grad((value * weight).sum(), params)
    theirs = torch.autograd.grad((reference * weight).sum(), params)
    in_value = (value - reference).abs().max().item()
    in_gradient = max((a - b).abs().max().item() for a, b in zip(mine, theirs, strict=True))
    record_differences(in_value, in_gradient)
    assert value.shape == (B, TT, VT)
    assert in_value < 1e-12 and in_gradient < 1e-12


def test_gradients_equal_finite_differences() -> None:
    model = a_model()
    source, target = some_ids()
    names = ("encoder.0.attention.w_q", "decoder.1.cross_attention.w_k", "decoder.1.add_norm_2.norm.beta")
    params = dict(model.named_parameters())

    def run(*values: Tensor) -> Tensor:
        changed = dict(zip(names, values, strict=True))
        return torch.func.functional_call(model, changed, (source, target, MASK))[:, -1, :3]

    values = tuple(params[name].detach().clone().requires_grad_() for name in names)
    assert torch.autograd.gradcheck(run, values, atol=1e-6, fast_mode=True)


@settings(max_examples=12)
@given(st.integers(1, TT - 1), st.integers(0, 100))
def test_causal_prefix_does_not_see_the_rest(cut: int, seed: int) -> None:
    model = a_model()
    source, target = some_ids(seed)
    with torch.no_grad():
        whole, prefix = model(source, target, MASK), model(source, target[:, :cut], MASK)
    torch.testing.assert_close(whole[:, :cut], prefix, rtol=0, atol=1e-12)


def test_the_encoder_looks_both_ways() -> None:
    model = a_model()
    source, _ = some_ids()
    changed = source.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VS
    with torch.no_grad():
        difference = (model.encode(source) - model.encode(changed)).abs().amax(-1)  # (B, Ts)
    assert (difference > 1e-6).all()


def test_padding_changes_nothing() -> None:
    """A sentence alone and the same sentence beside a longer one give the same memory and the same logits."""
    model = a_model()
    source, target = some_ids()
    alone = source[:1, : LENGTHS[0]]
    with torch.no_grad():
        together, single = model.encode(source, MASK)[:1, : LENGTHS[0]], model.encode(alone)
        torch.testing.assert_close(together, single, rtol=0, atol=1e-12)
        torch.testing.assert_close(model(source, target, MASK)[:1], model(alone, target[:1]), rtol=0, atol=1e-12)


def test_all_positions_in_one_pass_equal_one_after_the_other() -> None:
    """One call scores what TT calls on growing beginnings score."""
    model = a_model()
    source, target = some_ids()
    with torch.no_grad():
        memory = model.encode(source, MASK)
        at_once, _ = model.decode(target, memory, MASK)
        steps = [model.decode(target[:, : t + 1], memory, MASK)[0][:, -1] for t in range(TT)]
    torch.testing.assert_close(at_once, torch.stack(steps, dim=1), rtol=0, atol=1e-12)


def test_one_pass_costs_a_fraction_of_one_after_the_other() -> None:
    """Operations counted, not timed: 60 calls on growing beginnings do over twenty times the work of one call."""
    from torch.utils.flop_counter import FlopCounterMode

    model = a_model()
    source, target = torch.randint(VS, (1, 60)), torch.randint(VT, (1, 60))
    counted = []
    with torch.no_grad():
        memory = model.encode(source)
        for ends in ([60], range(1, 61)):
            with FlopCounterMode(display=False) as counter:
                for end in ends:
                    model.decode(target[:, :end], memory)
            counted.append(counter.get_total_flops())
    once, in_turn = counted
    assert in_turn > 20 * once


def test_cross_attention_weights() -> None:
    model = a_model()
    source, target = some_ids()
    _, weights = model.decode(target, model.encode(source, MASK), MASK)
    assert weights.shape == (L, B, H, TT, TS)
    torch.testing.assert_close(weights.sum(-1), torch.ones(L, B, H, TT, dtype=torch.float64))
    assert (weights[:, 0, :, :, LENGTHS[0] :] == 0).all()


@pytest.mark.parametrize("length", [1, 3, TS])
def test_m03_the_encoder_gives_one_vector_per_token(length: int) -> None:
    """Not one for the whole text: longer source, more vectors, and the decoder reads each of them."""
    model = a_model()
    source, target = some_ids()
    memory = model.encode(source[:, :length])
    assert memory.shape == (B, length, C)
    memory = memory.detach().requires_grad_()
    logits, _ = model.decode(target, memory)
    (slope,) = torch.autograd.grad(logits.square().sum(), memory)
    assert (slope.abs().amax(-1) > 0).all()


def test_p05_attention_and_positions_from_the_formulas() -> None:
    """The model is made of the chapter's own functions, no layer of torch.nn."""
    source = inspect.getsource(encoder_decoder)
    assert "nn.Transformer" not in source and "nn.MultiheadAttention" not in source and "nn.Linear" not in source
    model = a_model()
    ids = torch.tensor([[3, 3]])
    x = model.embed(ids, model.source_embedding)
    torch.testing.assert_close(x[0, 1] - x[0, 0], (lambda p: p[1] - p[0])(positional_encoding(2, C, dtype=x.dtype)))


def test_dropout_only_in_training() -> None:
    torch.manual_seed(0)
    model = EncoderDecoder(dataclasses.replace(CONFIG, dropout=0.5)).double()
    source, target = some_ids()
    with torch.no_grad():
        assert not torch.equal(model.train()(source, target), model(source, target))
        assert torch.equal(model.eval()(source, target), model(source, target))


def test_the_paper_model_has_the_paper_size() -> None:
    """Table 3 gives 65 million parameters for the base model, with one shared vocabulary of about 37,000."""
    model = EncoderDecoder(EncoderDecoderConfig(1, 1, n_layer=1))
    one_of_each = sum(p.numel() for p in (*model.encoder.parameters(), *model.decoder.parameters()))
    assert (37000 * 512 + 6 * one_of_each) / 1e6 == pytest.approx(65, abs=2)


def test_errors_say_what_must_hold() -> None:
    with pytest.raises(ValueError, match="every size must be at least 1, got .*n_layer=0"):
        EncoderDecoderConfig(5, 6, n_layer=0)
    with pytest.raises(ValueError, match="a multiple of n_head = 5, got 12"):
        EncoderDecoderConfig(5, 6, n_embd=12, n_head=5)
    with pytest.raises(ValueError, match="dropout must be a fraction"):
        EncoderDecoderConfig(5, 6, dropout=1.0)
    model = a_model()
    with pytest.raises(ValueError, match="ids must lie between 0 and 16, got 3 to 17"):
        model.encode(torch.tensor([[3, 17]]))
