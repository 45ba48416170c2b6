"""Tags and entities: there and back, against seqeval's rules written out, and through the wrapper."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from largemodels._checkpoints import SHIPPED
from largemodels.models._tagging import Entity, entities_of, entity_scores, tag_names, tags_of
from largemodels.models.bert import Bert

TEXT = "李白住在碎叶城。"
NAMES = [Entity(0, 2, "name"), Entity(4, 7, "address")]


def characters(text: str) -> list[tuple[int, int]]:
    """One token for each character, and the special ones at both ends."""
    return [(0, 0), *((at, at + 1) for at in range(len(text))), (0, 0)]


def test_entities_become_tags_and_come_back() -> None:
    tags = tags_of(characters(TEXT), NAMES)
    assert tags == ["O", "B-name", "I-name", "O", "O", "B-address", "I-address", "I-address", "O", "O"]
    assert entities_of(characters(TEXT), tags) == NAMES
    assert tag_names(["name", "city"]) == ["O", "B-name", "I-name", "B-city", "I-city"]


def test_two_names_side_by_side_stay_two_and_a_lost_inside_begins_one() -> None:
    offsets = [(at, at + 1) for at in range(5)]
    assert entities_of(offsets, ["B-a", "B-a", "I-a", "I-b", "I-b"]) == [
        Entity(0, 1, "a"), Entity(1, 3, "a"), Entity(3, 5, "b"),
    ]  # fmt: skip
    assert entities_of(offsets, ["O", "I-a", "O", "I-a", "O"]) == [Entity(1, 2, "a"), Entity(3, 4, "a")]


def test_the_probability_is_the_mean_over_the_tokens() -> None:
    found = entities_of([(0, 3), (3, 4), (5, 9)], ["B-a", "I-a", "O"], [0.9, 0.5, 0.99])
    assert found == [Entity(0, 4, "a", pytest.approx(0.7))]


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["", "a", "b"])), min_size=1, max_size=9))
def test_every_partition_comes_back(pieces) -> None:
    spans, at = [], 0
    for length, kind in pieces:
        if kind:
            spans.append(Entity(at, at + length, kind))
        at += length
    offsets = [(i, i + 1) for i in range(at)]
    assert entities_of(offsets, tags_of(offsets, spans)) == spans


def test_scores_count_whole_entities() -> None:
    wanted = [[Entity(0, 2, "a"), Entity(3, 5, "b")], [Entity(1, 2, "a")], []]
    got = [[Entity(0, 2, "a", 0.4), Entity(3, 4, "b")], [], [Entity(0, 1, "a")]]
    scores = entity_scores(wanted, got)
    assert scores == {"precision": 1 / 3, "recall": 1 / 3, "f1": 1 / 3}
    assert entity_scores(wanted, [[], [], []]) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert entity_scores([[]], [[]])["f1"] == 0.0
    same = [[e._replace(prob=0.5) for e in row] for row in wanted]
    assert entity_scores(wanted, same) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}


def test_the_wrapper_says_what_the_model_s_own_tags_say(tmp_path) -> None:
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    torch.manual_seed(4)
    names = tag_names(["name", "address"])
    tokenizer = AutoTokenizer.from_pretrained(SHIPPED / "bilingual-bert")
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48,
        max_position_embeddings=40, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)},
        initializer_range=0.3,
    )  # fmt: skip
    model = BertForTokenClassification(config).eval()
    torch.nn.init.constant_(model.classifier.bias[:1], 1.0)  # some tokens are outside
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    bert = Bert.from_pretrained(tmp_path)
    assert bert.heads == ("tags",) and bert.labels == ()
    text = "李白 lived in 碎叶城, far away."
    inputs = tokenizer(text, return_offsets_mapping=True, return_tensors="pt")
    offsets = inputs.pop("offset_mapping")[0].tolist()
    with torch.inference_mode():
        probs = model(**inputs).logits[0].softmax(-1)
    tags = [names[n] for n in probs.argmax(-1).tolist()]
    wanted = entities_of(offsets, tags, probs.max(-1).values.tolist())
    assert wanted and any(tag == "O" for tag in tags)
    for got, entity in zip(bert.tag(text), wanted, strict=True):
        assert got[:3] == entity[:3] and got.prob == pytest.approx(entity.prob, abs=1e-6)
    with pytest.raises(ValueError, match="at most 40 tokens, got 52"):
        bert.tag("山" * 50)


def test_a_model_without_the_head_says_which_has_it() -> None:
    with pytest.raises(ValueError, match="no tagging head, so it cannot find entities; load one trained for it"):
        Bert.from_pretrained("sentiment-bert-zh-en").tag("李白")
