"""The recipe of bilingual-bert in small, and the checkpoint it made."""

import json
from pathlib import Path

import pytest
import torch

import largemodels
from demos.__main__ import main
from largemodels.models.bert_pretraining import IGNORED, SentencePair, sentence_pairs
from largemodels.training import recipes
from largemodels.training.pretraining import Batches, Settings, pretrain
from largemodels.training.recipes.bilingual_bert import join
from largemodels.training.recipes.bilingual_bert_report import build_model, load_weights, measure
from largemodels.training.recipes.checkpoint_folder import write_checkpoint
from largemodels.training.recipes.documents import plain_wikitext, read_documents, split_documents, split_sentences
from largemodels.training.recipes.pair_rows import (
    CONTEXT_LENGTH,
    SPECIALS,
    build_rows,
    build_tokenizer,
    encode_documents,
    length_groups,
    make_batch,
)

SHIPPED = Path(largemodels.__file__).parent / "checkpoints" / "bilingual-bert"
CHINESE = ["我们明天去公园。", "公园里有很多花。", "他喜欢喝茶。", "茶香，也热。", "今天天气很好。", "天气好就出门走。"]
ENGLISH = ["We walk to the park.", "The park has flowers.", "He likes hot tea.", "Tea is good.", "It rains today."]


@pytest.fixture(scope="module")
def documents():
    """Made-up documents of both languages, often enough for a vocabulary."""
    zh = [[a, b] for a in CHINESE for b in CHINESE if a != b]
    en = [[a, b, "And so on."] for a in ENGLISH for b in ENGLISH if a != b]
    return {"zh text": ("zh", zh), "en text": ("en", en)}


@pytest.fixture(scope="module")
def tokenizer(documents):
    """A vocabulary of those documents."""
    return build_tokenizer(documents, 120)


@pytest.fixture(scope="module")
def rows(documents, tokenizer):
    """All rows of both languages."""
    return {
        language: build_rows(sentence_pairs(encode_documents(texts, tokenizer), 20, seed=3), tokenizer)
        for language, texts in documents.values()
    }


def test_sentences_are_cut_at_their_ends() -> None:
    assert split_sentences("他来了。你呢？好！", "zh") == ["他来了。", "你呢？", "好！"]
    assert split_sentences("味道好，送得快", "zh") == ["味道好，", "送得快"]
    assert split_sentences('He left at 3.15 p.m. today. "Why?" I asked.', "en") == [
        "He left at 3.15 p.m. today.",
        '"Why?" I asked.',
    ]
    assert plain_wikitext("a 12 @,@ 000 m @-@ long wall ( old ) .") == "a 12,000 m-long wall (old)."


def test_a_document_is_in_one_split_always() -> None:
    texts = [[f"句子{number}。", "又一句。"] for number in range(2000)]
    splits, again = split_documents(texts), split_documents(texts[::-1])
    assert sum(map(len, splits.values())) == len(texts)
    assert {split: sorted(rows) for split, rows in splits.items()} == {s: sorted(r) for s, r in again.items()}
    assert 5 < len(splits["validation"]) < 40 and 5 < len(splits["test"]) < 40


def test_han_characters_stand_alone_and_english_falls_into_pieces(tokenizer) -> None:
    assert tokenizer.tokenize("公园 Park!") == ["公", "园", "park", "[UNK]"]
    ids = tokenizer("茶很香。", "Tea is hot.")
    assert tokenizer.convert_ids_to_tokens(ids["input_ids"])[:6] == ["[CLS]", "茶", "很", "香", "。", "[SEP]"]
    assert ids["token_type_ids"] == [0] * 6 + [1] * (len(ids["input_ids"]) - 6)
    assert tuple(tokenizer.convert_ids_to_tokens(range(5))) == SPECIALS


def test_rows_are_what_the_tokenizer_writes(tokenizer) -> None:
    texts = "他喜欢喝茶。", "Tea is good."
    first, second = (tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
    rows = build_rows([SentencePair(first, second, False), SentencePair(first, (), None)], tokenizer)
    wanted = tokenizer(*texts, padding="max_length", max_length=CONTEXT_LENGTH)
    assert rows["ids"][0].tolist() == wanted["input_ids"]
    assert rows["segments"][0].tolist() == wanted["token_type_ids"]
    assert rows["follows"].tolist() == [1, IGNORED]


def test_a_batch_has_no_filler_that_no_row_needs(rows, tokenizer) -> None:
    batch = make_batch(rows["en"], [0, 3, 4], torch.Generator().manual_seed(1), tokenizer)
    assert set(batch) == {"input_ids", "attention_mask", "token_type_ids", "labels", "next_sentence_label"}
    used = batch["attention_mask"].bool()
    assert used.any(0).all() and batch["input_ids"][~used].eq(tokenizer.pad_token_id).all()
    asked = batch["labels"] != IGNORED
    assert not (asked & ~used).any() and not torch.isin(batch["labels"][asked], torch.tensor(range(5))).any()
    everything = join(rows)
    assert len(everything["ids"]) == 2 * len(rows["zh"]["ids"]) + len(rows["en"]["ids"])
    numbers = [number for group, _ in length_groups(everything, tokenizer.pad_token_id) for number in group]
    assert sorted(numbers) == list(range(len(everything["ids"])))


def test_the_loss_is_that_of_transformers(rows, tokenizer) -> None:
    from transformers import BertForPreTraining

    torch.manual_seed(2)
    model = build_model(tokenizer, n_layer=2, n_head=2, n_embd=12).double()
    reference = BertForPreTraining(model.config).double()
    reference.load_state_dict(model.state_dict())
    batch = make_batch(rows["zh"], range(7), torch.Generator().manual_seed(4), tokenizer)
    ours, theirs = model(**batch)["loss"], reference(**batch).loss
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)
    ours.backward()
    theirs.backward()
    for (name, one), other in zip(model.named_parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-8, msg=name)


def test_both_losses_fall_and_the_folder_gives_the_same_figures(rows, tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(6)
    everything = join(rows)
    model = build_model(tokenizer, n_layer=1, n_head=2, n_embd=16)
    with torch.no_grad():
        before = measure(model, rows["zh"], tokenizer)
    groups = length_groups(everything, tokenizer.pad_token_id)
    batches = Batches(groups, lambda numbers, g: make_batch(everything, numbers, g, tokenizer), 0)
    settings = Settings(steps=30, lr=1e-2, warmup=3, optimizer="muon", precision="float32", log_every=10)
    report = pretrain(model, batches, settings, tmp_path / "state", lambda: measure(model, rows["zh"], tokenizer))
    after = report.validation[-1]
    assert after["masked loss"] < before["masked loss"] - 0.5
    assert after["masked accuracy"] > before["masked accuracy"]
    write_checkpoint(tmp_path / "out", model, tokenizer, card="", dtype=torch.float32)
    assert json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))["architectures"] == ["BertForPreTraining"]
    again = build_model(tokenizer, n_layer=1, n_head=2, n_embd=16)
    load_weights(again, tmp_path / "out")
    with torch.no_grad():
        assert measure(again, rows["zh"], tokenizer)["masked loss"] == pytest.approx(after["masked loss"], abs=1e-5)


def test_a_folder_without_the_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError, match="must hold zh-sentiment/.*imdb/train.jsonl.xz"):
        read_documents(tmp_path)
    assert main(["train", "bilingual-bert", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "missing or empty" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_recipe_prints_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "gpt-5"]) == 1
    told = capsys.readouterr().err
    assert "got 'gpt-5'" in told and all(name in told for name in recipes.names())


def test_the_card_tells_what_the_report_says() -> None:
    report = json.loads((SHIPPED / "training_report.json").read_text("utf-8"))
    card = (SHIPPED / "README.md").read_text("utf-8")
    assert f"{report['tokens']:,} tokens read" in card
    assert f"{report['parameters']:,} parameters" in card
    last = report["validation"][-1]
    assert f"| {last['step']} | {last['zh masked loss']} |" in card


def test_the_shipped_model_beats_chance_at_both_tasks() -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(SHIPPED)
    sizes = json.loads((SHIPPED / "config.json").read_text("utf-8"))
    model = build_model(tokenizer, sizes["num_hidden_layers"], sizes["num_attention_heads"], sizes["hidden_size"])
    load_weights(model, SHIPPED)
    texts = [["我昨天去了一家新开的饭店。", "服务员的态度很好，菜也好吃。"]]
    texts += [["这本书我很喜欢。", "故事写得好，人物也很有意思。"]]
    texts += [["I went to see this movie last night.", "The story was good, but the actors were bad."]]
    pairs = sentence_pairs(encode_documents(texts * 9, tokenizer), CONTEXT_LENGTH - 3, seed=1)
    with torch.inference_mode():
        figures = measure(model, build_rows(pairs, tokenizer), tokenizer)
    assert figures["masked loss"] < 6.5 < torch.tensor(float(len(tokenizer))).log()
    assert figures["masked accuracy"] > 0.1
