"""Bert against a tiny random model used directly through Transformers, and the mistakes M10, M16 and M30."""

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from largemodels.models.bert import Bert

LETTERS = "abcdefghij 好坏吃看"
TEXTS = ["ab", "好吃 cab", "j", "bad 坏 face"]


@pytest.fixture(scope="module")
def bert(bert_folder: Path) -> Bert:
    return Bert.from_pretrained(bert_folder)


def straight(folder: Path, text: str):  # noqa: ANN201
    """What Transformers says about one text, eager attention, no wrapper of ours."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()
    inputs = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt")
    with torch.no_grad():
        return model(**inputs, output_hidden_states=True, output_attentions=True)


def test_sizes_come_from_the_configuration(bert: Bert) -> None:
    assert (bert.n_layer, bert.n_head, bert.n_embd, bert.context_length) == (2, 5, 20, 24)
    assert bert.labels == ("class0", "class1", "class2")
    assert bert.tokens("好 a") == ["<s>", "好", " ", "a", "</s>"]


@pytest.mark.parametrize("text", TEXTS)
def test_everything_equals_transformers(bert: Bert, bert_folder: Path, text: str) -> None:
    theirs = straight(bert_folder, text)
    hidden, mask = bert.hidden_states([text])
    last = theirs.hidden_states[-1]
    torch.testing.assert_close(hidden, last)
    assert mask.all()
    torch.testing.assert_close(bert.encode([text]), last.mean(1))
    torch.testing.assert_close(bert.encode([text], "cls"), last[:, 0])
    probs = torch.tensor(list(bert.classify([text])[0].values()))
    torch.testing.assert_close(probs, theirs.logits.softmax(-1)[0])
    tokens, maps = bert.attention_maps(text)
    assert maps.shape == (2, 5, len(tokens), len(tokens))
    torch.testing.assert_close(maps, torch.stack(theirs.attentions)[:, 0])
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(st.lists(st.text(LETTERS, max_size=20), min_size=1, max_size=40))
def test_a_batch_gives_what_single_texts_give(bert: Bert, texts: list[str]) -> None:
    singles = torch.cat([bert.encode([text]) for text in texts])
    assert (bert.encode(texts) - singles).abs().max() <= 1e-5
    first = torch.cat([bert.encode([text], "cls") for text in texts])
    assert (bert.encode(texts, "cls") - first).abs().max() <= 1e-5
    for together, text in zip(bert.classify(texts), texts, strict=True):
        assert together == pytest.approx(bert.classify([text])[0], abs=1e-5)
        assert sum(together.values()) == pytest.approx(1, abs=1e-6)


def test_a_hidden_token_has_no_influence_left(bert_folder: Path) -> None:
    """Two texts that differ only in the hidden token must give the same probability without it."""
    bert, label = Bert.from_pretrained(bert_folder, dtype=torch.float64), "class1"
    for one, other in (("ab好c", "aj好c"), ("坏 b", "坏看b")):
        place = next(i for i, (x, y) in enumerate(zip(one, other, strict=True)) if x != y)
        without = [bert.classify([text])[0][label] - bert.occlusion(text, label)[place][1] for text in (one, other)]
        assert without[0] == pytest.approx(without[1], abs=1e-6)
        assert bert.classify([one])[0][label] != pytest.approx(bert.classify([other])[0][label], abs=1e-6)
    tokens = [token for token, _ in bert.occlusion("ab好c", label)]
    assert tokens == list("ab好c")


def test_occlusion_equals_an_attention_mask_written_by_hand(bert: Bert, bert_folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(bert_folder, attn_implementation="eager").eval()
    inputs = AutoTokenizer.from_pretrained(bert_folder)("ab好c", return_tensors="pt")
    with torch.no_grad():
        whole = model(**inputs).logits.softmax(-1)[0, 2]
        inputs["attention_mask"][0, 3] = 0
        part = model(**inputs).logits.softmax(-1)[0, 2]
    assert bert.occlusion("ab好c", "class2")[2] == ("好", pytest.approx(float(whole - part), abs=1e-6))


def test_a_text_that_is_too_long_is_an_error_and_the_longest_works(bert: Bert) -> None:
    assert bert.encode(["a" * 22]).shape == (1, 20)
    with pytest.raises(ValueError, match=r"at most 24 tokens, got 25 in texts\[1\]; shorten or split"):
        bert.encode(["a", "a" * 23])


def test_errors_say_what_must_hold(bert: Bert, bert_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="got one str; write \\[text\\]"):
        bert.classify("a")
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, got int"):
        bert.classify(["a", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="half of a surrogate pair at index 1"):
        bert.encode(["a\ud800"])
    with pytest.raises(ValueError, match="at least one text"):
        bert.encode([])
    with pytest.raises(ValueError, match="pooling must be one of mean, cls, got 'max'"):
        bert.encode(["a"], "max")
    with pytest.raises(ValueError, match="label must be one of class0, class1, class2, got 'happy'"):
        bert.occlusion("a", "happy")


def test_without_a_head_it_encodes_but_does_not_classify(bert_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    AutoModelForSequenceClassification.from_pretrained(bert_folder).base_model.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path)
    encoder = Bert.from_pretrained(tmp_path)
    torch.testing.assert_close(encoder.encode(TEXTS), Bert.from_pretrained(bert_folder).encode(TEXTS))
    assert encoder.labels == ()
    with pytest.raises(ValueError, match="no classification head"):
        encoder.classify(["a"])


@pytest.fixture(scope="module")
def pretrained_folder(bert_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with both heads of pretraining, and a tokenizer that writes pairs."""
    from tokenizers import processors
    from transformers import AutoTokenizer, BertConfig, BertForPreTraining

    folder = tmp_path_factory.mktemp("pretrained")
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=28,
        max_position_embeddings=24, initializer_range=0.7, pad_token_id=1,
    )  # fmt: skip
    BertForPreTraining(config).save_pretrained(folder)
    return folder


def straight_pretrained(folder: Path):  # noqa: ANN201
    """Tokenizer and model as Transformers loads them."""
    from transformers import AutoTokenizer, BertForPreTraining

    return AutoTokenizer.from_pretrained(folder), BertForPreTraining.from_pretrained(folder).eval()


def test_masks_are_filled_as_transformers_fills_them(pretrained_folder: Path) -> None:
    text, bert = "ab<mask>吃 <mask>", Bert.from_pretrained(pretrained_folder)
    tokenizer, model = straight_pretrained(pretrained_folder)
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        probs = model(**inputs).prediction_logits[0].softmax(-1)  # (T, V)
    found = bert.fill_mask(text, 7)
    for place, guesses in zip((3, 6), found, strict=True):
        values, ids = probs[place].topk(7)
        assert [token for token, _ in guesses] == tokenizer.convert_ids_to_tokens(ids.tolist())
        assert [p for _, p in guesses] == pytest.approx(values.tolist(), abs=1e-6)
    assert len(bert.fill_mask(text)[0]) == 5
    assert sum(p for _, p in bert.fill_mask("<mask>", len(tokenizer))[0]) == pytest.approx(1, abs=1e-6)


def test_the_next_sentence_is_judged_as_transformers_judges_it(pretrained_folder: Path) -> None:
    bert = Bert.from_pretrained(pretrained_folder)
    tokenizer, model = straight_pretrained(pretrained_folder)
    inputs = tokenizer("ab好", "吃 c", return_tensors="pt", return_token_type_ids=True)
    assert inputs["token_type_ids"].tolist() == [[0] * 5 + [1] * 4]
    with torch.no_grad():
        theirs = model(**inputs).seq_relationship_logits.softmax(-1)[0, 0]  # class 0: it follows
    assert bert.next_sentence("ab好", "吃 c") == pytest.approx(float(theirs), abs=1e-6)
    assert bert.next_sentence("吃 c", "ab好") != pytest.approx(float(theirs), abs=1e-3)


def test_the_heads_leave_the_encoder_as_it_is(pretrained_folder: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(pretrained_folder), AutoModel.from_pretrained(pretrained_folder)
    with torch.no_grad():
        theirs = model.eval()(**tokenizer("ab好", return_tensors="pt")).last_hidden_state
    torch.testing.assert_close(Bert.from_pretrained(pretrained_folder).hidden_states(["ab好"])[0], theirs)


def test_a_masked_language_head_alone_fills_masks_but_judges_no_pairs(pretrained_folder: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer, BertForMaskedLM

    BertForMaskedLM.from_pretrained(pretrained_folder).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(pretrained_folder).save_pretrained(tmp_path)
    masked = Bert.from_pretrained(tmp_path)
    both = Bert.from_pretrained(pretrained_folder)
    assert (masked.heads, both.heads) == (("masked",), ("masked", "next"))
    assert masked.fill_mask("a<mask>b") == [
        [(token, pytest.approx(p, abs=1e-6)) for token, p in both.fill_mask("a<mask>b")[0]]
    ]
    with pytest.raises(ValueError, match="no next-sentence head, so it cannot judge two sentences; load one"):
        masked.next_sentence("a", "b")


def test_errors_of_the_pretraining_heads(bert: Bert, pretrained_folder: Path) -> None:
    with pytest.raises(ValueError, match="no masked-language head, so it cannot fill a mask; load one trained"):
        bert.fill_mask("a<mask>")
    with pytest.raises(ValueError, match="no next-sentence head"):
        bert.next_sentence("a", "b")
    pretrained = Bert.from_pretrained(pretrained_folder)
    with pytest.raises(ValueError, match="no classification head"):
        pretrained.classify(["a"])
    with pytest.raises(ValueError, match="at least one <mask>, got none"):
        pretrained.fill_mask("abc")
    for k in (0, 21, True, 2.0):
        with pytest.raises(ValueError, match="k must be a whole number from 1 to 20"):
            pretrained.fill_mask("<mask>", k)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"at most 24 tokens, got 25 in texts\[0\]"):
        pretrained.fill_mask("<mask>" + "a" * 22)
    with pytest.raises(TypeError, match="second must be a string, got NoneType"):
        pretrained.next_sentence("a", None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="first must be valid Unicode"):
        pretrained.next_sentence("\ud800", "a")
    with pytest.raises(ValueError, match="second must hold at least one token, got ''; write a sentence"):
        pretrained.next_sentence("a", "")
    assert 0 < pretrained.next_sentence("a" * 11, "b" * 10) < 1
    with pytest.raises(ValueError, match="both texts together may have at most 24 tokens, got 25 with the special"):
        pretrained.next_sentence("a" * 11, "b" * 11)


def test_m03_an_encoder_gives_one_vector_per_token(bert: Bert) -> None:
    hidden, mask = bert.hidden_states(["ab", "好吃 cab"])
    assert hidden.shape == (2, 8, 20)
    assert mask.sum(1).tolist() == [4, 8]


def test_m10_a_forward_pass_of_a_random_model_is_no_pretraining() -> None:
    """No loss comes out, no gradient is made, no weight moves; with labels and a step, they do."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(0)
    model = BertForPreTraining(
        BertConfig(vocab_size=13, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12)
    )
    ids = torch.tensor([[3, 5, 7, 11, 2]])
    before = [p.clone() for p in model.parameters()]
    output = model(input_ids=ids)
    assert output.loss is None
    assert all(p.grad is None and torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    labels = torch.tensor([[-100, 5, -100, -100, -100]])
    losses = []
    for _ in range(20):
        loss = model(input_ids=ids, labels=labels, next_sentence_label=torch.tensor([1])).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] / 2


def test_m12_adamw_is_pytorchs() -> None:
    with pytest.raises(ImportError, match="AdamW"):
        from transformers import AdamW  # type: ignore[attr-defined]  # noqa: F401
    assert torch.optim.AdamW


def test_m16_a_tokenizers_output_must_be_unpacked(bert: Bert) -> None:
    inputs = bert._tokenizer("ab", return_tensors="pt")
    with pytest.raises(AttributeError):
        bert._model(inputs)
    assert bert._model(**inputs).logits.shape == (1, 3)


def test_m30_other_attention_the_same_decision(bert: Bert) -> None:
    """Weights change and no output does: where two tokens carry the same value vector, who gets the weight is moot.

    And the reverse of the usual reading: the heads of one layer disagree about which token matters most.
    """
    from largemodels.transformer.attention import attention_weights

    v = torch.tensor([[1.0, 2.0], [1.0, 2.0], [5.0, -1.0]])
    left, right = torch.tensor([[0.7, 0.1, 0.2]]), torch.tensor([[0.1, 0.7, 0.2]])
    torch.testing.assert_close(left @ v, right @ v)
    assert attention_weights(left.log()).argmax() != attention_weights(right.log()).argmax()
    _, maps = bert.attention_maps("ab好c吃d")
    tops = maps[-1, :, 0].argmax(-1)  # what each head's first token looks at most
    assert len(set(tops.tolist())) > 1
