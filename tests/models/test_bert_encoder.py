"""The encoder from its parts against Transformers' BertModel: every layer, the pooler, gradients, filler, and M16."""

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
from demos.models import bert_encoder as demo
from largemodels._checkpoints import SHIPPED, ModelError
from largemodels.models import _bert_files
from largemodels.models.bert_encoder import BertBlock, BertEncoder, BertEncoderConfig, join, parameter_count

B, T, V, L, C, H, LAYERS, HIDDEN, KINDS = 2, 7, 31, 19, 12, 3, 5, 20, 4
MODELS = ("bilingual-bert", "sentiment-bert-zh-en")
KEY_BIAS = "attention.self.key.bias"


@functools.cache
def theirs(**changed: Any) -> Any:
    """A tiny BERT of Transformers in float64 with random biases and norms too: zeros and ones would hide a swap."""
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=V, max_position_embeddings=L, type_vocab_size=KINDS, hidden_size=C, num_attention_heads=H,
        num_hidden_layers=LAYERS, intermediate_size=HIDDEN, layer_norm_eps=1e-4, pad_token_id=None, **changed,
    )  # fmt: skip
    model = BertModel(config).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.4 * torch.randn_like(p))
    return model


@functools.cache
def ours(**changed: Any) -> BertEncoder:
    return BertEncoder.from_bert(theirs(**changed).config.to_dict(), theirs(**changed).state_dict())


def some_ids(*shape: int, top: int = V, seed: int = 0) -> Tensor:
    return torch.randint(top, shape, generator=torch.Generator().manual_seed(seed))


def batch(width: int = T, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, segments and a mask of rows of different lengths."""
    lengths = torch.tensor([[width], [max(1, width - 3)]])
    return some_ids(B, width, seed=seed), some_ids(B, width, top=KINDS, seed=seed + 1), torch.arange(width) < lengths


def close(a: Tensor, b: Tensor, bound: float = 1e-10) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=bound)


def both(model: BertEncoder, reference: Any, ids: Tensor, segments: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    """Return the vectors of real tokens after every layer and the pooled ones: ours, theirs, ours, theirs."""
    states = model(ids, segments, mask)
    out = reference(ids, token_type_ids=segments, attention_mask=mask.long(), output_hidden_states=True)
    return states[:, mask], torch.stack(out.hidden_states)[:, mask], model.pool(states[-1]), out.pooler_output


def test_states_and_gradients_equal_transformers(record_differences: Callable[[float, float], None]) -> None:
    model, reference = ours(), theirs()
    value, wanted, pooled, wanted_pooled = both(model, reference, *batch())
    weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mine = torch.autograd.grad((value * weights).sum() + pooled.sum(), list(model.parameters()))
    names = [name for name, _ in reference.named_parameters()]
    found = torch.autograd.grad((wanted * weights).sum() + wanted_pooled.sum(), list(reference.parameters()))
    shapes = {name: p.shape for name, p in model.named_parameters()}
    arranged = _bert_files.ours(dict(zip(names, found, strict=True)), shapes)
    in_value = max((value - wanted).abs().max().item(), (pooled - wanted_pooled).abs().max().item())
    in_gradient = max((a - arranged[name]).abs().max().item() for a, name in zip(mine, shapes, strict=True))
    record_differences(in_value, in_gradient)
    assert value.shape == (LAYERS + 1, 2 * T - 3, C) and pooled.shape == (B, C)
    assert in_value < 1e-10 and in_gradient < 1e-10


@pytest.mark.parametrize("name", MODELS)
def test_shipped_weights_give_the_vectors_of_transformers(name: str) -> None:
    from transformers import AutoTokenizer, BertModel

    tokenizer, model = AutoTokenizer.from_pretrained(SHIPPED / name), BertEncoder.from_pretrained(name)
    reference = BertModel.from_pretrained(SHIPPED / name, dtype=torch.float32).eval()
    pairs = ["这家店的面很好吃。", "Great!"], ["可是送得太慢。", "We will come again."]
    inputs = tokenizer(*pairs, padding=True, return_tensors="pt")
    ids, mask = inputs["input_ids"], inputs["attention_mask"].bool()
    assert not mask.all()
    for dtype, bound in ((torch.float32, 1e-5), (torch.float64, 1e-10)):
        with torch.no_grad():
            for segments in (torch.zeros_like(ids), (ids == ids[0, -1]).cumsum(1).clamp(max=1)):
                value, wanted, pooled, wanted_pooled = both(model.to(dtype), reference.to(dtype), ids, segments, mask)
                close(value, wanted, bound)
                close(pooled, wanted_pooled, bound)


@pytest.mark.parametrize("name", ["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"])
def test_every_activation_equals_transformers(name: str) -> None:
    with torch.no_grad():
        value, wanted, _, _ = both(ours(hidden_act=name), theirs(hidden_act=name), *batch())
    close(value, wanted)


def test_the_two_forms_of_gelu_are_told_apart() -> None:
    """A swap of the exact and the tanh form is no rounding error."""
    exact, rough = ours(hidden_act="gelu"), ours(hidden_act="gelu_new")
    with torch.no_grad():
        assert (exact(*batch()) - rough(*batch())).abs().max() > 1e-5


@settings(max_examples=25)
@given(st.lists(st.integers(1, L), min_size=1, max_size=4), st.integers(0, 99))
def test_a_row_in_a_batch_equals_the_row_alone(lengths: list[int], seed: int) -> None:
    """Whatever the filler is, it changes nothing."""
    width = max(lengths)
    ids, segments = some_ids(len(lengths), width, seed=seed), some_ids(len(lengths), width, top=KINDS, seed=seed + 1)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        states = ours()(ids, segments, mask)
        for i, n in enumerate(lengths):
            close(states[:, i, :n], ours()(ids[i : i + 1, :n], segments[i : i + 1, :n])[:, 0])


def test_without_the_mask_filler_changes_the_vectors() -> None:
    ids, segments, mask = batch()
    with torch.no_grad():
        kept, lost = ours()(ids, segments, mask)[-1], ours()(ids, segments)[-1]
    close(kept[0], lost[0])
    assert (kept - lost)[1][mask[1]].abs().max() > 0.01


@settings(max_examples=25)
@given(st.permutations(range(T)), st.integers(0, 99))
def test_only_the_position_embeddings_tell_the_order(order: list[int], seed: int) -> None:
    """A permuted text gives permuted vectors once all positions have one vector, and not before."""
    ids, segments = some_ids(1, T, seed=seed), some_ids(1, T, top=KINDS, seed=seed + 1)
    blind = BertEncoder.from_bert(theirs().config.to_dict(), theirs().state_dict())
    with torch.no_grad():
        blind.positions.zero_()
        close(blind(ids, segments)[:, :, order], blind(ids[:, order], segments[:, order]))
        if len({(int(ids[0, i]), int(segments[0, i])) for i in range(T)}) == T and order != sorted(order):
            gap = ours()(ids, segments)[:, :, order] - ours()(ids[:, order], segments[:, order])
            assert gap.abs().max() > 1e-3


def test_every_token_sees_both_sides() -> None:
    ids = some_ids(1, T)
    with torch.no_grad():
        for place in range(T):
            other = ids.clone()
            other[0, place] = (ids[0, place] + 1) % V
            gap = (ours()(other) - ours()(ids))[:, 0].abs().amax(-1)  # (LAYERS + 1, T)
            assert (gap[0] > 0).nonzero().flatten().tolist() == [place], "the embedding is the token's own"
            assert (gap[1:] > 1e-9).all()


def test_segments_count_and_none_is_the_first() -> None:
    ids = some_ids(B, T)
    with torch.no_grad():
        assert torch.equal(ours()(ids), ours()(ids, torch.zeros_like(ids)))
        assert (ours()(ids)[-1] - ours()(ids, torch.ones_like(ids))[-1]).abs().max() > 0.01


NAMES = sorted(theirs().state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_every_tensor_is_used_or_named(name: str) -> None:
    """Leave one out, and the error names it; misshape one, and it is named; change one, and the output changes."""
    config, tensors = theirs().config.to_dict(), dict(theirs().state_dict())
    value = tensors.pop(name)
    with pytest.raises(ValueError, match=f"lacks {name}"):
        BertEncoder.from_bert(config, tensors)
    with pytest.raises(ValueError, match=rf"{name} must have the shape of the configuration, .*, got \(3,\)"):
        BertEncoder.from_bert(config, tensors | {name: torch.zeros(3, dtype=torch.float64)})
    changed = value + torch.randn(value.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ids, segments = torch.arange(L)[None], torch.arange(L)[None] % KINDS
    with torch.no_grad():
        model = BertEncoder.from_bert(config, tensors | {name: changed})
        states, before = model(ids, segments)[-1], ours()(ids, segments)[-1]
        difference = (states - before).abs().max() + (model.pool(states) - ours().pool(before)).abs().max()
    if name.endswith(KEY_BIAS):  # adds the same to every energy of a query, which softmax takes out again
        assert difference < 1e-12
        assert torch.equal(model.get_parameter(f"blocks.{name.split('.')[2]}.attention.b_k"), changed)
    else:
        assert difference > 1e-3


def test_heads_prefixes_and_old_names_are_read() -> None:
    """A model for pretraining, Google's first names of the norms, and stored positions give the same encoder."""
    from transformers import BertForPreTraining

    full = BertForPreTraining(theirs().config).double()
    full.bert.load_state_dict(theirs().state_dict())
    tensors = dict(full.state_dict()) | {"bert.embeddings.position_ids": torch.arange(L)[None]}
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    renamed = {}
    for name, value in tensors.items():
        for new, first in old.items():
            name = name.replace(new, first)
        renamed[name] = value
    with torch.no_grad():
        for given_tensors in (tensors, renamed):
            model = BertEncoder.from_bert(theirs().config.to_dict(), given_tensors)
            assert torch.equal(model(*batch()), ours()(*batch()))
    assert tensors["bert.pooler.dense.bias"].data_ptr() != model.b_p.data_ptr()


def test_a_tensor_without_a_place_is_named() -> None:
    extra = {f"encoder.layer.{LAYERS}.output.dense.bias": torch.zeros(C)}
    with pytest.raises(ValueError, match="tensor must have its place, encoder.layer.5.output.dense.bias has none"):
        BertEncoder.from_bert(theirs().config.to_dict(), theirs().state_dict() | extra)


def test_without_a_pooler_it_encodes_but_does_not_pool() -> None:
    tensors = {name: value for name, value in theirs().state_dict().items() if not name.startswith("pooler")}
    model = BertEncoder.from_bert(theirs().config.to_dict(), tensors)
    assert torch.equal(model(*batch()), ours()(*batch()))
    assert parameter_count(model.config)["pooler"] == 0
    with pytest.raises(ValueError, match="must have a pooler"):
        model.pool(model(*batch())[-1])


@pytest.mark.parametrize(
    ("setting", "value", "told"),
    [
        ("model_type", "roberta", "model_type must be 'bert', got 'roberta'"),
        ("is_decoder", True, "is_decoder must be False"),
        ("position_embedding_type", "relative_key", "position_embedding_type must be 'absolute'"),
        ("hidden_act", "silu", "activation must be one of gelu, .*, got 'silu'"),
        ("num_attention_heads", 5, "n_embd must be a multiple of n_head = 5, got 12"),
        ("num_hidden_layers", 0, "every size must be at least 1"),
    ],
)
def test_another_architecture_is_refused(setting: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        BertEncoder.from_bert(theirs().config.to_dict() | {setting: value}, theirs().state_dict())


def test_folders_of_transformers_are_read_and_others_refused(tmp_path: Path, bert_folder: Path) -> None:
    from transformers import BertModel

    model = BertEncoder.from_pretrained(bert_folder)  # a classifier with a tokenizer of its own
    reference = BertModel.from_pretrained(bert_folder).eval()
    ids = some_ids(B, T, top=model.config.vocab_size)
    with torch.no_grad():
        close(model(ids)[-1], reference(ids).last_hidden_state, 1e-5)
    with pytest.raises(ModelError, match="model_type must be 'bert', got 'gpt2'"):
        BertEncoder.from_pretrained("poem-gpt-zh")
    with pytest.raises(ModelError, match="config.json"):
        BertEncoder.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "model.safetensors").write_bytes((bert_folder / "model.safetensors").read_bytes())
    config = json.loads((bert_folder / "config.json").read_text("utf-8")) | {"num_hidden_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(ModelError, match="every tensor must have its place, encoder.layer.1"):
        BertEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("pooler", [True, False])
def test_parameters_are_counted_as_they_are(pooler: bool) -> None:
    config = BertEncoderConfig(V, L, KINDS, C, H, LAYERS, HIDDEN, pooler=pooler)
    assert sum(parameter_count(config).values()) == sum(p.numel() for p in BertEncoder(config).parameters())


def test_bert_base_has_as_many_as_in_transformers() -> None:
    from transformers import BertConfig, BertModel

    with torch.device("meta"):
        base = BertModel(BertConfig())
    assert sum(parameter_count(BertEncoderConfig()).values()) == base.num_parameters() == 109_482_240
    large = BertEncoderConfig(n_embd=1024, n_head=16, n_layer=24, n_hidden=4096)
    assert sum(parameter_count(large).values()) == 335_141_888


def test_two_texts_are_joined_as_the_tokenizer_does() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "bilingual-bert")
    for first, second in (("今天天气很好。", "Let us go for a walk."), ("unbelievable", None)):
        inputs = tokenizer(first, second, return_tensors="pt")
        plain = [tokenizer(text, add_special_tokens=False)["input_ids"] if text else [] for text in (first, second)]
        ids, segments = join(*plain, tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert torch.equal(ids, inputs["input_ids"]) and torch.equal(segments, inputs["token_type_ids"])


def test_drawn_weights_are_small_and_blocks_keep_the_shape() -> None:
    torch.manual_seed(0)
    model = BertEncoder(BertEncoderConfig(3_000, L, n_embd=C, n_head=H, n_layer=1, n_hidden=8))
    assert model.words.abs().max() <= 0.04
    cut = torch.nn.init.trunc_normal_(torch.empty(100_000), std=0.02, a=-0.04, b=0.04)
    assert model.words.std().item() == pytest.approx(cut.std().item(), rel=0.02)
    assert model.blocks[0].attention.w_q.abs().max() <= 0.04, "Glorot's weights are drawn anew"  # type: ignore[union-attr]
    x = torch.randn(B, T, C)
    assert BertBlock(model.config)(x).shape == x.shape


def test_m16_a_tokenizers_output_must_be_unpacked_and_be_where_the_model_is() -> None:
    from transformers import AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(SHIPPED / "bilingual-bert")("hi", return_tensors="pt")
    with pytest.raises(AttributeError) as told:
        theirs()(inputs)
    assert str(told.value) == "", "Transformers says nothing at all"
    with pytest.raises(TypeError, match="ids must be a tensor, got BatchEncoding; unpack a tokenizer's output"):
        ours()(inputs)
    for given_inputs in ((some_ids(B, T, seed=3).to("meta"),), (some_ids(B, T), some_ids(B, T).to("meta"))):
        with pytest.raises(ValueError, match="must be where the weights are, on cpu, got meta; use .to"):
            ours()(*given_inputs)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="two devices are needed to disagree")
def test_m16_what_pytorch_says_about_two_devices() -> None:
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        theirs()(some_ids(B, T).cuda())
    with pytest.raises(ValueError, match="on cpu, got cuda:0"):
        ours()(some_ids(B, T).cuda())


def test_errors_say_what_must_hold() -> None:
    model, ids = ours(), some_ids(B, T)
    for told, call in (
        (r"ids must be \(B, T\), not empty, got shape \(7,\)", lambda: model(ids[0])),
        (r"not empty, got shape \(2, 0\)", lambda: model(ids[:, :0])),
        ("ids must lie between 0 and 30, got 31 to 31", lambda: model(torch.tensor([[V]]))),
        ("segments must lie between 0 and 3, got -1 to -1", lambda: model(ids, torch.full_like(ids, -1))),
        ("into the 19 positions that were trained, got 20 tokens", lambda: model(some_ids(1, L + 1))),
        (r"segments must have the shape of ids, \(2, 7\), got \(7,\)", lambda: model(ids, ids[0])),
        (r"mask must have the shape of ids, \(2, 7\), got \(1, 7\)", lambda: model(ids, None, ids[:1] >= 0)),
        ("at least one key", lambda: model(ids, None, torch.zeros_like(ids, dtype=torch.bool))),
    ):
        with pytest.raises(ValueError, match=told):
            call()
    with pytest.raises(TypeError, match=r"boolean, True on real tokens, got torch.int64; use mask.bool\(\)"):
        model(ids, None, torch.ones_like(ids))
    with pytest.raises(RuntimeError, match=r"size of the tensor \(20\) must match the existing size \(19\)"):
        theirs()(some_ids(1, L + 1))


def told(page: str) -> list[list[float]]:
    """Return the numbers in the cells of a demo's heat map."""
    body = page.split("<tbody>")[1].split("</tbody>")[0]
    rows = [row.split("</tr>")[0] for row in body.split("<tr>")[1:]]
    return [[float(cell.split("</td>")[0].split(">")[1]) for cell in row.split("<td")[1:]] for row in rows]


@pytest.mark.parametrize("texts", [demo.ZH, demo.EN])
def test_the_demo_tells_the_angles_of_transformers(texts: tuple[str, str]) -> None:
    """The demo may not import Transformers, so its numbers are compared here."""
    from transformers import AutoTokenizer, BertModel

    inputs = AutoTokenizer.from_pretrained(SHIPPED / demo.MODEL)(*texts, return_tensors="pt")
    reference = BertModel.from_pretrained(SHIPPED / demo.MODEL, dtype=torch.float32).eval()
    with torch.no_grad():
        states = torch.stack(reference(**inputs, output_hidden_states=True).hidden_states)[:, 0].double()
    unit = states / states.norm(dim=-1, keepdim=True)
    turns = (unit[1:] * unit[:-1]).sum(-1).acos().rad2deg().T  # (T, n_layer)
    close(torch.tensor(told(demo.predict(*texts, "turn"))), turns.float(), 0.51)
    ids = inputs["input_ids"][0].tolist()
    places = [(i, ids.index(n, i + 1)) for i, n in enumerate(ids) if n in ids[i + 1 :]]
    angles = torch.stack([(unit[:, i] * unit[:, j]).sum(-1).acos().rad2deg() for i, j in places])
    close(torch.tensor(told(demo.predict(*texts, "pair"))), angles.float(), 0.51)
    table = reference.embeddings
    parts = table.word_embeddings(inputs["input_ids"][0]), table.position_embeddings.weight[: len(ids)]
    parts += (table.token_type_embeddings(inputs["token_type_ids"][0]),)
    lengths = torch.stack([part.norm(dim=-1) for part in parts], dim=1).detach()
    close(torch.tensor(told(demo.predict(*texts, "input"))), lengths, 0.0051)
    assert "import transformers" not in Path(str(demo.__file__)).read_text("utf-8")


def test_the_demo_refuses_what_it_cannot_show() -> None:
    for values, said in (
        (("\u200b", "", "turn"), "must hold characters that the model can read"),
        (("好", "\u200b", "turn"), "“Second text"),
        (("好" * 70, "坏" * 70, "turn"), "at most 128 tokens, special ones included, got 143"),
        (("好 坏", "", "pair"), "A token must occur twice"),
        (("好", None, "turn"), "must be text"),
        (("好", "", "depth"), "must be one of turn, pair, input"),
        (("a\ud800", "", "turn"), "half of a surrogate pair"),
        (("好" * 81, "", "turn"), "at most 80 characters"),
    ):
        with pytest.raises(_ui.InputError, match=said):
            demo.predict(*values)
    assert len(told(demo.predict("مرحبا 🐼", "", "turn"))) >= 3
