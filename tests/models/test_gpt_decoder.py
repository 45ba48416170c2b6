"""The decoder from its parts against GPT2LMHeadModel of Transformers: logits, gradients, cache, batches, loss; M01."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from demos import _ui
from demos.models import gpt_decoder as demo
from largemodels._checkpoints import SHIPPED, ModelError
from largemodels.models import _gpt2
from largemodels.models.gpt_decoder import (
    Cache,
    GptConfig,
    GptDecoder,
    greedy_continuation,
    next_token_loss,
    token_nats,
)

B, T, V, L, C, H, LAYERS, HIDDEN = 2, 7, 31, 19, 12, 3, 5, 20
TEXTS = {
    "poem-gpt-zh": ["<五绝>白日依山尽，黄河入海流。欲穷千里目，更上一层楼。", "<七律>秋风秋雨"],
    "shakespeare-gpt-en": ["To be, or not to be, that is the question:\nWhether 'tis nobler", "ROMEO:\n"],
}


@functools.cache
def theirs() -> Any:
    """A tiny GPT-2 of Transformers in float64, biases and norms random too: zeros and ones would hide a swap."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=V, n_positions=L, n_embd=C, n_head=H, n_layer=LAYERS, n_inner=HIDDEN, bos_token_id=0,
        eos_token_id=None, layer_norm_epsilon=1e-4,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return model


@functools.cache
def ours() -> GptDecoder:
    return GptDecoder.from_gpt2(theirs().config.to_dict(), theirs().state_dict())


def some_ids(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


def close(a: Tensor, b: Tensor, bound: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=bound)


def test_logits_and_gradients_equal_transformers(record_differences: Callable[[float, float], None]) -> None:
    model, reference, ids = ours(), theirs(), some_ids(B, T)
    value, wanted = model(ids)[0], reference(ids).logits
    weight = torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    mine = torch.autograd.grad((value * weight).sum(), list(model.parameters()))
    names = [name for name, _ in reference.named_parameters()]
    found = torch.autograd.grad((wanted * weight).sum(), list(reference.parameters()))
    shapes = {name: p.shape for name, p in model.named_parameters()}
    arranged = _gpt2.ours(dict(zip(names, found, strict=True)), shapes)
    in_value = (value - wanted).abs().max().item()
    in_gradient = max((a - arranged[name]).abs().max().item() for a, name in zip(mine, shapes, strict=True))
    record_differences(in_value, in_gradient)
    assert value.shape == (B, T, V)
    assert in_value < 1e-10 and in_gradient < 1e-10


@pytest.mark.parametrize("name", list(TEXTS))
def test_shipped_weights_give_the_logits_of_transformers(name: str) -> None:
    from transformers import AutoTokenizer, GPT2LMHeadModel

    tokenizer, model = AutoTokenizer.from_pretrained(SHIPPED / name), GptDecoder.from_checkpoint(name)
    reference = GPT2LMHeadModel.from_pretrained(SHIPPED / name, dtype=torch.float32).eval()
    for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        model, reference = model.to(dtype), reference.to(dtype)
        for text in TEXTS[name]:
            ids = torch.tensor([tokenizer(text)["input_ids"]])
            with torch.no_grad():
                wanted = reference(ids).logits
                close(model(ids)[0], wanted, bound)
                close(in_chunks(model, ids, [3, 4])[0], wanted, bound)


def in_chunks(model: GptDecoder, ids: Tensor, cuts: list[int], mask: Tensor | None = None) -> tuple[Tensor, Cache]:
    """Send ids through in pieces that begin at `cuts`, with the cache."""
    parts, cache = [], None
    for start, end in zip([0, *cuts], [*cuts, ids.shape[1]], strict=True):
        logits, cache = model(ids[:, start:end], cache, None if mask is None else mask[:, :end])
        parts.append(logits)
    assert cache
    return torch.cat(parts, dim=1), cache


@settings(max_examples=25)
@given(st.sets(st.integers(1, L - 1)), st.integers(0, 99))
def test_any_chunks_with_the_cache_equal_the_whole(cuts: set[int], seed: int) -> None:
    """Token by token is one of the cases; the caches are equal too."""
    ids = some_ids(B, L, seed=seed)
    with torch.no_grad():
        whole, cache = ours()(ids)
        logits, grown = in_chunks(ours(), ids, sorted(cuts))
    close(logits, whole)
    for a, b in zip(cache, grown, strict=True):
        close(torch.stack(a), torch.stack(b))


def test_the_cache_is_that_of_transformers() -> None:
    ids = some_ids(B, T)
    with torch.no_grad():
        _, cache = ours()(ids)
        kept = theirs()(ids, use_cache=True).past_key_values
        for pair, layer in zip(cache, kept.layers, strict=True):
            close(pair[0], layer.keys)
            close(pair[1], layer.values)
        more = some_ids(B, 2, seed=1)
        close(ours()(more, cache)[0], theirs()(more, past_key_values=kept).logits)
        assert cache[0][0].shape == (B, H, T, C // H), "the cache given is not changed"


@settings(max_examples=25)
@given(st.integers(1, T - 1), st.integers(0, 99))
def test_left_context_invariance(cut: int, seed: int) -> None:
    """What stands behind position `cut` changes nothing before it, and does change what comes after."""
    ids, other = some_ids(B, T, seed=seed), some_ids(B, T, seed=seed + 1)
    other = torch.cat([ids[:, :cut], (ids[:, cut:] + 1 + other[:, cut:] % (V - 1)) % V], dim=1)  # all tokens differ
    with torch.no_grad():
        a, b = ours()(ids)[0], ours()(other)[0]
    close(a[:, :cut], b[:, :cut], 1e-12)
    assert ((a[:, cut:] - b[:, cut:]).abs().amax(-1) > 1e-6).all()


def padded(rows: list[Tensor], side: str) -> tuple[Tensor, Tensor]:
    """Return a batch filled up with token 0, and True on the real tokens."""
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.bool)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, place], mask[i, place] = row, True
    return ids, mask


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, T), min_size=1, max_size=4), st.sampled_from(["left", "right"]),
    st.sets(st.integers(1, T)), st.integers(0, 99),
)  # fmt: skip
def test_a_row_in_a_batch_equals_the_row_alone(lengths: list[int], side: str, cuts: set[int], seed: int) -> None:
    """Fillers on either side change nothing, at once or in chunks."""
    rows = [some_ids(n, seed=seed + n) for n in lengths]
    ids, mask = padded(rows, side)
    with torch.no_grad():
        logits, _ = in_chunks(ours(), ids, sorted(cut for cut in cuts if cut < ids.shape[1]), mask)
        for i, row in enumerate(rows):
            close(logits[i][mask[i]], ours()(row[None])[0][0])


def test_a_batch_with_fillers_equals_transformers() -> None:
    ids, mask = padded([some_ids(3), some_ids(T, seed=1)], "left")
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    with torch.no_grad():
        wanted = theirs()(ids, attention_mask=mask.long(), position_ids=positions).logits
        close(ours()(ids, mask=mask)[0][mask], wanted[mask])


def test_greedy_equals_transformers_with_and_without_cache() -> None:
    ids = some_ids(B, 3)
    wanted = theirs().generate(ids, max_new_tokens=11, do_sample=False, pad_token_id=0)
    for use_cache in (True, False):
        assert greedy_continuation(ours(), ids, 11, use_cache=use_cache).tolist() == wanted.tolist()
    ids, mask = padded([some_ids(3), some_ids(5, seed=1)], "left")
    how = {"max_new_tokens": 11, "do_sample": False, "pad_token_id": 0}
    wanted = theirs().generate(ids, attention_mask=mask.long(), **how)
    for use_cache in (True, False):
        assert greedy_continuation(ours(), ids, 11, mask=mask, use_cache=use_cache).tolist() == wanted.tolist()


@pytest.mark.parametrize(("prompt", "new"), [(1, 9), (4, 6), (5, 1)])
def test_the_positions_that_pass_are_those_of_the_formulas(prompt: int, new: int) -> None:
    """With the cache p + n - 1; without, n p + n (n - 1) / 2."""
    passed: list[int] = []
    handle = ours().register_forward_pre_hook(lambda _, arguments: passed.append(arguments[0].shape[1]))
    for use_cache, wanted in ((True, prompt + new - 1), (False, new * prompt + new * (new - 1) // 2)):
        passed.clear()
        greedy_continuation(ours(), some_ids(1, prompt), new, use_cache=use_cache)
        assert sum(passed) == wanted == demo.passed(prompt, new, use_cache)
    handle.remove()


@pytest.mark.parametrize(("dtype", "size"), [(torch.float32, 4), (torch.bfloat16, 2), (torch.float64, 8)])
def test_the_cache_has_the_bytes_of_the_formula(dtype: torch.dtype, size: int) -> None:
    config = GptConfig(V, L, n_embd=C, n_head=H, n_layer=LAYERS, n_hidden=HIDDEN)
    logits, cache = GptDecoder(config).to(dtype)(some_ids(B, T))
    assert logits.dtype == dtype
    assert sum(x.nbytes for pair in cache for x in pair) == B * 2 * LAYERS * H * (C // H) * T * size


NAMES = sorted(name for name in theirs().state_dict() if name != "lm_head.weight")


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_used_or_named(name: str) -> None:
    """Leave one out, and the error names it; change one, and the logits change; misshape one, and it is named."""
    config, tensors = theirs().config.to_dict(), dict(theirs().state_dict())
    del tensors["lm_head.weight"]
    value, short = tensors.pop(name), name.removeprefix("transformer.")
    with pytest.raises(ValueError, match=f"lacks {short}"):
        GptDecoder.from_gpt2(config, tensors)
    with pytest.raises(ValueError, match=rf"{short} must have the shape of the configuration, .*, got \(3,\)"):
        GptDecoder.from_gpt2(config, tensors | {name: torch.zeros(3, dtype=torch.float64)})
    ids = torch.arange(L)[None]
    generator = torch.Generator().manual_seed(2)
    changed = value + torch.randn(value.shape, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        difference = GptDecoder.from_gpt2(config, tensors | {name: changed})(ids)[0] - ours()(ids)[0]
    assert difference.abs().max() > 1e-3


def test_a_tensor_without_a_place_is_named() -> None:
    config, tensors = theirs().config.to_dict(), dict(theirs().state_dict())
    with pytest.raises(ValueError, match="every tensor must have its place, h.5.ln_1.weight has none"):
        GptDecoder.from_gpt2(config, tensors | {"transformer.h.5.ln_1.weight": torch.zeros(C)})
    with pytest.raises(ValueError, match="lm_head.weight must equal wte.weight"):
        GptDecoder.from_gpt2(config, tensors | {"lm_head.weight": torch.zeros(V, C, dtype=torch.float64)})


def test_old_names_and_stored_masks_are_read() -> None:
    """OpenAI's own file has no prefix, no head, and carries each layer's causal mask."""
    tensors = {name.removeprefix("transformer."): x for name, x in theirs().state_dict().items()}
    del tensors["lm_head.weight"]
    for i in range(LAYERS):
        tensors |= {f"h.{i}.attn.bias": torch.ones(1, 1, L, L).tril(), f"h.{i}.attn.masked_bias": torch.tensor(-1e4)}
    model = GptDecoder.from_gpt2(theirs().config.to_dict(), tensors)
    assert torch.equal(model(some_ids(B, T))[0], ours()(some_ids(B, T))[0])
    assert tensors["wte.weight"].data_ptr() != model.wte.data_ptr()


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("model_type", "bert", "model_type must be 'gpt2', got 'bert'"),
        ("activation_function", "relu", "activation_function must be gelu_new or gelu_pytorch_tanh, got 'relu'"),
        ("scale_attn_by_inverse_layer_idx", True, "scale_attn_by_inverse_layer_idx must be False"),
        ("tie_word_embeddings", False, "tie_word_embeddings must be True"),
        ("n_head", 5, "n_embd must be a multiple of n_head = 5, got 12"),
        ("n_layer", 0, "every size must be at least 1"),
    ],
)
def test_another_architecture_is_refused(setting: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        GptDecoder.from_gpt2(theirs().config.to_dict() | {setting: value}, theirs().state_dict())


def test_a_wrong_folder_is_a_model_error(tmp_path: Path, gpt_folder: Path) -> None:
    with pytest.raises(ModelError, match="sentiment-bert-zh-en.*model_type must be 'gpt2', got '"):
        GptDecoder.from_checkpoint("sentiment-bert-zh-en")
    with pytest.raises(ModelError, match="config.json"):
        GptDecoder.from_checkpoint(tmp_path / "nowhere")
    assert GptDecoder.from_checkpoint(gpt_folder).config.n_layer == 2
    (tmp_path / "model.safetensors").write_bytes((gpt_folder / "model.safetensors").read_bytes())
    config = json.loads((gpt_folder / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({key: config[key] for key in config if key != "n_head"}), "utf-8")
    with pytest.raises(ModelError, match="lacks n_head"):
        GptDecoder.from_checkpoint(tmp_path)


def shuffled_text() -> Tensor:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "poem-gpt-zh")
    return torch.tensor(tokenizer(TEXTS["poem-gpt-zh"][0])["input_ids"])


def test_a_square_matrix_not_transposed_fits_and_is_wrong() -> None:
    """The trap of Conv1D: no shape complains, but the text surprises the model far more."""
    model, ids = GptDecoder.from_checkpoint("poem-gpt-zh"), shuffled_text()
    right = token_nats(model, ids, 1).mean()
    with torch.no_grad():
        for block in model.blocks:
            block.w_o.copy_(block.w_o.T.clone())
    assert token_nats(model, ids, 1).mean() > right + 1


def test_loss_equals_transformers_in_value_and_gradient() -> None:
    ids = some_ids(B, T)
    logits = ours()(ids)[0].detach().requires_grad_()
    loss = next_token_loss(logits, ids)
    close(loss, theirs()(ids, labels=ids).loss.double(), 1e-6)  # Transformers computes it in float32
    copy = logits.detach().requires_grad_()
    reference = torch.nn.functional.cross_entropy(copy[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    close(loss, reference, 1e-12)
    close(torch.autograd.grad(loss, logits)[0], torch.autograd.grad(reference, copy)[0], 1e-12)


@pytest.mark.parametrize("side", ["left", "right"])
def test_fillers_do_not_count_in_the_loss(side: str) -> None:
    rows = [some_ids(3), some_ids(T, seed=1)]
    ids, mask = padded(rows, side)
    with torch.no_grad():
        loss = next_token_loss(ours()(ids, mask=mask)[0], ids, mask)
        sums = [next_token_loss(ours()(row[None])[0], row[None]) * (len(row) - 1) for row in rows]
    close(loss, sum(sums) / (3 - 1 + T - 1))


def test_m01_gpt_predicts_the_next_token_and_fills_no_mask() -> None:
    """The loss is shifted by one; a later token changes nothing earlier. In BERT, which fills gaps, it does."""
    from transformers import BertConfig, BertForMaskedLM

    ids = some_ids(1, T)
    with torch.no_grad():
        logits = ours()(ids)[0]
        by_hand = -torch.stack([logits[0, t].log_softmax(-1)[ids[0, t + 1]] for t in range(T - 1)]).mean()
        close(next_token_loss(logits, ids), by_hand)
        unshifted = torch.nn.functional.cross_entropy(logits[0], ids[0])
        assert (unshifted - by_hand).abs() > 0.1, "guessing the token that it has just read is another task"
        torch.manual_seed(0)
        sizes = {"hidden_size": C, "num_hidden_layers": 2, "num_attention_heads": H, "intermediate_size": HIDDEN}
        bert = BertForMaskedLM(BertConfig(vocab_size=V, initializer_range=0.5, **sizes)).double().eval()
        other = ids.clone()
        other[0, -1] = (ids[0, -1] + 1) % V
        close(ours()(other)[0][:, :-1], logits[:, :-1], 1e-12)
        gap = (bert(other).logits - bert(ids).logits)[0].abs().amax(-1)  # (T,)
    assert (gap > 1e-6).all()


@settings(max_examples=20)
@given(st.integers(2, 3 * L), st.integers(1, L - 1))
def test_each_token_is_measured_once_in_the_first_window_that_holds_it(length: int, step: int) -> None:
    ids = some_ids(length, seed=length)
    with torch.no_grad():
        nats = token_nats(ours(), ids, step)
        for t in {1, length // 2, length - 1}:
            start = max(0, -((L - 1 - t) // step)) * step  # the first multiple of step with start + L > t
            assert t < start + L and (start == 0 or t >= start - step + L)
            wanted = -theirs()(ids[None, start:t]).logits[0, -1].log_softmax(-1)[ids[t]]
            close(nats[t - 1], wanted)
    assert nats.shape == (length - 1,)


def test_more_context_for_every_token_makes_a_text_less_surprising() -> None:
    """The page's claim, on the shipped model: small steps give a lower perplexity than big ones."""
    model = GptDecoder.from_checkpoint("poem-gpt-zh")
    ids = shuffled_text().repeat(6)
    assert token_nats(model, ids, 1).mean() < token_nats(model, ids, 65).mean()


def test_drawn_weights_know_nothing_yet() -> None:
    """A new model is about as unsure as a blind guess, at any depth."""
    torch.manual_seed(0)
    model = GptDecoder(GptConfig(V, L, n_embd=C, n_head=H, n_layer=LAYERS, n_hidden=HIDDEN))
    ids = some_ids(B, L)
    assert next_token_loss(model(ids)[0], ids).item() == pytest.approx(torch.tensor(float(V)).log().item(), abs=0.05)


def test_the_demo_stops_where_the_model_stops() -> None:
    """A poem that is nearly full ends before the last step; the twin says so, and counts only what was done."""
    answer = demo.predict("poem", "<五绝>白日依山尽，黄河入海流。欲穷千里目", 16, lang="en")
    assert "the model stopped by itself" in answer
    assert "Step 7:" in answer and "18 + 7 = 25" in answer


@pytest.mark.parametrize(("text", "told"), [("🐼", "unknown “🐼”"), ("春" * 21, "got 21"), ("عربي", "unknown “عربي”")])
def test_the_demo_says_what_it_cannot_read(text: str, told: str) -> None:
    with pytest.raises(_ui.InputError, match=told):
        demo.predict("poem", text, 3)


def test_errors_say_what_must_hold() -> None:
    model, ids = ours(), some_ids(B, T)
    with pytest.raises(IndexError, match="index out of range in self"):  # all that Transformers says, as on the page
        theirs()(some_ids(1, L + 1))
    _, cache = model(ids)
    mask = torch.ones(B, T, dtype=torch.bool)
    for told, call in (
        (r"ids must be \(B, T\), not empty, got shape \(7,\)", lambda: model(ids[0])),
        (r"not empty, got shape \(2, 0\)", lambda: model(ids[:, :0])),
        ("ids must lie between 0 and 30, got 31 to 31", lambda: model(torch.tensor([[V]]))),
        ("got -100 to -100", lambda: model(torch.tensor([[-100]]))),
        ("into the 19 positions that were trained, got 20 tokens", lambda: model(some_ids(1, L + 1))),
        ("got 21 tokens", lambda: model(some_ids(B, 14), cache)),
        ("got 20 tokens", lambda: model(some_ids(1, L + 1), mask=torch.ones(1, L + 1, dtype=torch.bool))),
        ("cache must have 5 layers and B = 1 rows, got 5 and 2", lambda: model(ids[:1], cache)),
        ("got 3 and 2", lambda: model(ids, cache[:3])),
        (r"shape \(B, P \+ T\) = \(2, 14\), got torch.bool \(2, 7\)", lambda: model(ids, cache, mask)),
        ("mask must be boolean", lambda: model(ids, mask=mask.long())),
        ("every row must end with a real token", lambda: greedy_continuation(model, ids, 1, mask=~mask)),
        ("T must be at least 2 and step from 1 to 18, got 1 and 1", lambda: token_nats(model, ids[0, :1], 1)),
        ("got 7 and 19", lambda: token_nats(model, ids[0], L)),
    ):
        with pytest.raises(ValueError, match=told):
            call()
