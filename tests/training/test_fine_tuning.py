"""Fine-tuning against Transformers' Trainer, logistic regression against scikit-learn, and three mistakes measured."""

import copy
import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from largemodels.training import fine_tuning
from largemodels.training.recipes import labels_needed, newsgroups

TOPICS = {"sci.space": ["orbit", "rocket", "moon", "launch"], "rec.autos": ["engine", "brake", "wheel", "fuel"]}
SENTENCES = ["moon orbit", "wheel fuel engine brake", "rocket", "launch the moon rocket now", "brake the wheel"]
CLASSES = [1, 0, 1, 1, 0]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny random BERT without dropout, as a reader's own would be."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "now", *(word for topic in TOPICS.values() for word in topic)]
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))  # noqa: S106 - no password
    core.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    core.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])  # type: ignore[assignment]
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    folder = tmp_path_factory.mktemp("tiny")
    PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=40, **special).save_pretrained(folder)
    torch.manual_seed(3)
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 20}
    none = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    BertModel(
        BertConfig(vocab_size=len(words), max_position_embeddings=40, initializer_range=0.3, **sizes, **none)
    ).save_pretrained(folder)
    return folder


def trained(folder: Path, arguments: dict[str, Any], **options: Any) -> Any:
    """Return a Trainer with the tiny model and the sentences."""
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    model, tokenizer = fine_tuning.load_classifier(folder, ["autos", "space"])
    rows = [{**tokenizer(text), "labels": label} for text, label in zip(SENTENCES, CLASSES, strict=True)]
    settings = TrainingArguments(
        use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, logging_strategy="no", **arguments
    )
    return Trainer(model, settings, DataCollatorWithPadding(tokenizer), rows, eval_dataset=rows, **options)


def test_the_loop_equals_trainer(tiny: Path, tmp_path: Path) -> None:
    model, tokenizer = fine_tuning.load_classifier(tiny, ["autos", "space"])
    model.double()  # a key's bias has gradient 0: in float32, Adam would turn its rounding into steps
    start = copy.deepcopy(model.state_dict())
    losses = fine_tuning.fine_tune(
        model, tokenizer, SENTENCES, CLASSES, epochs=7, lr=1e-2, batch_size=5, warmup=0.3, weight_decay=0.1
    )
    arguments = {
        "output_dir": str(tmp_path), "num_train_epochs": 7, "learning_rate": 1e-2, "weight_decay": 0.0,
        "per_device_train_batch_size": 5, "lr_scheduler_type": "linear", "warmup_steps": 3, "max_grad_norm": 1.0,
    }  # fmt: skip
    from transformers import Trainer

    trainer: Trainer = trained(tiny, arguments)
    trainer.model.double()
    trainer.optimizer = torch.optim.AdamW(trainer.model.parameters(), lr=1e-2, weight_decay=0.1)
    trainer.train()
    wanted, found = trainer.model.state_dict(), model.state_dict()
    largest = max((found[name] - wanted[name]).abs().max().item() for name in found)
    assert largest <= 1e-8, largest
    moved = max((found[name] - start[name]).abs().max().item() for name in found)
    assert moved > 0.01
    assert losses[-1] < losses[0] / 2 and len(losses) == 7


def test_the_encoder_is_loaded_and_only_the_head_is_new(tiny: Path) -> None:
    from transformers import BertModel

    own = BertModel.from_pretrained(tiny, add_pooling_layer=False).state_dict()
    one, _ = fine_tuning.load_classifier(tiny, ["a", "b", "c"], seed=1)
    two, _ = fine_tuning.load_classifier(tiny, ["a", "b", "c"], seed=2)
    blank, _ = fine_tuning.load_classifier(tiny, ["a", "b", "c"], seed=1, pretrained=False)
    assert all(torch.equal(one.base_model.state_dict()[name], tensor) for name, tensor in own.items())
    assert not torch.equal(one.classifier.weight, two.classifier.weight)
    name = "embeddings.word_embeddings.weight"
    assert not torch.allclose(blank.base_model.state_dict()[name], own[name])
    assert one.config.num_labels == 3


def test_same_seed_same_result(tiny: Path) -> None:
    runs = []
    for _ in range(2):
        model, tokenizer = fine_tuning.load_classifier(tiny, ["autos", "space"])
        runs.append(fine_tuning.fine_tune(model, tokenizer, SENTENCES, CLASSES, epochs=2, batch_size=2, seed=7))
    assert runs[0] == runs[1]


def test_probabilities_do_not_depend_on_company_or_order(tiny: Path) -> None:
    model, tokenizer = fine_tuning.load_classifier(tiny, ["a", "b", "c"])
    together = fine_tuning.class_probs(model, tokenizer, SENTENCES, batch_size=2)
    alone = torch.cat([fine_tuning.class_probs(model, tokenizer, [text]) for text in SENTENCES])
    assert together.shape == (5, 3)
    assert (together - alone).abs().max() <= 1e-6 and (together.sum(-1) - 1).abs().max() <= 1e-6


@given(st.lists(st.integers(1, 50), min_size=1, max_size=70), st.integers(1, 9), st.integers(1, 4), st.integers(0, 99))
def test_batches_hold_every_row_once(lengths: list[int], size: int, pool: int, seed: int) -> None:
    batches = fine_tuning.length_batches(lengths, size, seed, pool)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert max(map(len, batches)) <= size


def test_batches_waste_little() -> None:
    rng = random.Random(0)
    lengths = [rng.randint(3, 40) for _ in range(600)]

    def filler(pool: int) -> int:
        batches = fine_tuning.length_batches(lengths, 16, pool=pool)
        return sum(max(lengths[row] for row in batch) * len(batch) for batch in batches) - sum(lengths)

    assert filler(20) < filler(1) / 4


def test_the_head_equals_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(60, 7, generator=generator, dtype=torch.float64)
    y = (x[:, 0] > 0.3).long() + (x[:, 1] > 0).long()  # three classes
    weight, bias = fine_tuning.fit_head(x, y.tolist(), 3, strength=0.7)
    reference = LogisticRegression(C=0.7, tol=1e-12, max_iter=10_000).fit(x.numpy(), y.numpy())
    probs = (x @ weight.T + bias).softmax(-1).numpy()
    assert np.abs(weight.numpy() - reference.coef_).max() <= 1e-6
    assert np.abs(probs - reference.predict_proba(x.numpy())).max() <= 1e-6


def test_the_head_has_no_gradient_left() -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    y = [number % 3 for number in range(30)]
    weight, bias = (tensor.requires_grad_() for tensor in fine_tuning.fit_head(x, y, 3, strength=2.0))
    logits = x @ weight.T + bias
    loss = 2 * torch.nn.functional.cross_entropy(logits, torch.tensor(y), reduction="sum") + weight.square().sum() / 2
    assert max(g.abs().max().item() for g in torch.autograd.grad(loss, (weight, bias))) <= 1e-7


def test_labels_go_to_first_pieces() -> None:
    assert fine_tuning.align_labels([None, 0, 0, 1, 2, 2, None], [4, 0, 6]) == [-100, 4, -100, 0, 6, -100, -100]
    with pytest.raises(ValueError, match="every word must have a label"):
        fine_tuning.align_labels([None, 0, 1, None], [3])


def test_aligned_labels_train_as_many_places_as_there_are_words(tiny: Path) -> None:
    _, tokenizer = fine_tuning.load_classifier(tiny, ["a", "b"])
    coded = tokenizer(["launch", "moon-rocket", "now"], is_split_into_words=True)
    targets = fine_tuning.align_labels(coded.word_ids(), [1, 0, 1])
    assert len(targets) == len(coded["input_ids"]) == 7  # moon - rocket are three pieces
    logits = torch.randn(7, 2)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets))
    by_hand = -logits.log_softmax(-1)[[1, 2, 5], [1, 0, 1]].mean()
    assert torch.allclose(loss, by_hand)


@pytest.mark.parametrize(
    ("texts", "labels", "message"),
    [([], [], "got 0 texts"), (["a"], [0, 1], "1 texts and 2 labels"), (["a", "b"], [0, 2], "got 2 in row 1")],
)
def test_bad_labels_are_refused_before_training(tiny: Path, texts: list[str], labels: list[int], message: str) -> None:
    model, tokenizer = fine_tuning.load_classifier(tiny, ["a", "b"])
    with pytest.raises(ValueError, match=message):
        fine_tuning.fine_tune(model, tokenizer, texts, labels)


def test_bad_arguments_are_refused(tiny: Path) -> None:
    with pytest.raises(ValueError, match="two different names"):
        fine_tuning.load_classifier(tiny, ["a", "a"])
    with pytest.raises(ValueError, match="strength must be above 0"):
        fine_tuning.fit_head(torch.eye(2), [0, 1], 2, strength=float("nan"))
    with pytest.raises(ValueError, match="shape"):
        fine_tuning.fit_head(torch.ones(2), [0, 1], 2)
    with pytest.raises(ValueError, match="size and pool"):
        fine_tuning.length_batches([], 3)
    model, tokenizer = fine_tuning.load_classifier(tiny, ["a", "b"])
    with pytest.raises(ValueError, match="at least one text"):
        fine_tuning.class_probs(model, tokenizer, [])
    with pytest.raises(ValueError, match="evaluation mode"):
        fine_tuning.class_probs(model.train(), tokenizer, ["now"])


def posts(count: int, seed: int) -> list[dict[str, str]]:
    """Return made-up posts: each author writes to one group only and signs; the text itself is hardly a clue."""
    rng, rows = random.Random(seed), []
    for number in range(count):
        label = sorted(TOPICS)[number % 2]
        author = f"{label[:3]}{rng.randrange(12)}{seed}"  # other people write later: the seed is in their names
        clue = rng.choice(TOPICS[label] if rng.random() < 0.6 else TOPICS[sorted(TOPICS)[1 - number % 2]])
        body = " ".join([*rng.choices(["i", "think", "that", "we", "should", "have", "one", "of", "them"], k=9), clue])
        text = f"From: {author}\nOrganization: {author} house\n\n{author} writes:\n> what {author} said\n{body}\n"
        rows.append({"label": label, "id": str(number), "text": text})
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder with made-up posts."""
    (tmp_path / "20newsgroups").mkdir()
    for number, (name, count) in enumerate({"train": 240, "test": 120}.items()):
        lines = "\n".join(map(json.dumps, posts(count, number)))
        (tmp_path / f"20newsgroups/20news-bydate-{name}.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    return tmp_path


def test_m14_random_split_with_headers_leaks(data: Path) -> None:
    """Authors and quotations are in both parts of a random split; by date and stripped, only the text is left."""
    leaky, _ = newsgroups.baseline(*newsgroups.shuffled_split(*newsgroups.read_newsgroups(data, strip=False)))
    honest, _ = newsgroups.baseline(*newsgroups.read_newsgroups(data))
    assert leaky > 0.95 and honest < 0.75
    train, _ = newsgroups.read_newsgroups(data)
    assert all("From:" not in text and ">" not in text and "writes:" not in text for text, _ in train)


def test_a_share_is_drawn_from_both_parts_and_always_the_same(data: Path) -> None:
    whole, some = newsgroups.read_newsgroups(data), newsgroups.read_newsgroups(data, share=0.1)
    assert [len(part) for part in some] == [24, 12]
    assert some == newsgroups.read_newsgroups(data, share=0.1)
    assert all(set(part) <= set(all_of_it) for part, all_of_it in zip(some, whole, strict=True))
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got 0"):
        newsgroups.read_newsgroups(data, share=0)


def test_the_baseline_counts_what_scikit_learn_would(data: Path) -> None:
    """Everything in one class: accuracy is that class's share, macro-F1 the mean of its F1 and 0."""
    train, test = newsgroups.read_newsgroups(data, share=0.2)
    asked = [(text, "rec.autos") for text, _ in test]
    accuracy, macro_f1 = newsgroups.baseline([("moon orbit", "sci.space"), ("wheel wheel", "rec.autos")] * 3, asked)
    right = accuracy * len(asked)
    assert right == pytest.approx(round(right)) and 0 < right < len(asked)
    assert macro_f1 == pytest.approx(2 * right / (right + len(asked)) / 2)


def test_m15_trainer_without_compute_metrics_reports_loss_only(tiny: Path, tmp_path: Path) -> None:
    """An eval set alone gives no accuracy: Trainer cannot know what is to be counted."""
    silent = trained(tiny, {"output_dir": str(tmp_path)}).evaluate()
    assert "eval_loss" in silent and not [name for name in silent if "accuracy" in name]
    telling = trained(
        tiny, {"output_dir": str(tmp_path)},
        compute_metrics=lambda out: {"accuracy": float((out.predictions.argmax(-1) == out.label_ids).mean())},
    ).evaluate()  # fmt: skip
    assert 0 <= telling["eval_accuracy"] <= 1


def test_m18_four_epochs_on_one_sentence_is_memorising(tiny: Path) -> None:
    """The loss on that sentence goes to nothing; every other sentence gets the same answer."""
    model, tokenizer = fine_tuning.load_classifier(tiny, ["autos", "space"])
    losses = fine_tuning.fine_tune(model, tokenizer, ["moon orbit"], [1], epochs=4, lr=5e-2, warmup=0.0)
    assert losses[-1] < 0.05 < losses[0]
    answers = fine_tuning.class_probs(model, tokenizer, SENTENCES).argmax(-1).tolist()
    assert answers == [1] * 5 and answers != CLASSES


def test_the_shipped_measurement_is_whole() -> None:
    from importlib import resources

    text = resources.files("largemodels").joinpath("measurements/labels_needed.json").read_text("utf-8")
    rows = json.loads(text)["rows"]
    assert {(row["method"], row["labels"]) for row in rows} == {
        (name, size) for name in labels_needed.METHODS for size in labels_needed.SIZES
    }
    for row in rows:
        assert len(row["accuracies"]) == len(json.loads(text)["about"]["seeds"])
        assert abs(sum(row["accuracies"]) / len(row["accuracies"]) - row["accuracy"]) <= 1e-4


def test_headlines_to_test_on_were_not_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_needed, "SIZES", (6, 8))
    monkeypatch.setattr(labels_needed, "TEST", 4)
    folder = tmp_path / "thucnews-headlines"
    folder.mkdir()
    parts = {"dev": range(9), "test": range(5, 15), "class": ()}
    for name, numbers in parts.items():
        text = "".join(f"标题{n}\t{n % 2}\n" for n in numbers) or "finance\nsport"
        (folder / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode()))
    pool, test, names = labels_needed.read_headlines(tmp_path)
    assert len(pool) == 9 and len(test) == 4 and names == ["finance", "sport"]
    assert not {text for text, _ in pool} & {text for text, _ in test}


def test_p10_learns_the_groups_and_reports_metrics(data: Path, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from largemodels.training.programs import p10_newsgroups

    found = p10_newsgroups.main(str(data), str(tiny), epochs=1, max_length=24)
    assert set(found) == {"accuracy", "macro_f1"} and 0.4 < found["accuracy"] < 0.9
    assert "2 groups, 240 posts to learn from, 120 to be tested on" in capsys.readouterr().out


@pytest.fixture(scope="module")
def tiny_gpt(tmp_path_factory: pytest.TempPathFactory, tiny: Path) -> Path:
    """Return a folder with a tiny random GPT-2 without dropout; like GPT-2's, its tokenizer has no padding token."""
    from transformers import AutoTokenizer, GPT2Config, GPT2Model, PreTrainedTokenizerFast

    core = AutoTokenizer.from_pretrained(tiny).backend_tokenizer
    core.post_processor = None
    folder = tmp_path_factory.mktemp("tiny_gpt")
    special = {"eos_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=40, **special).save_pretrained(folder)
    torch.manual_seed(4)
    sizes = {"n_embd": 12, "n_layer": 2, "n_head": 3, "n_positions": 40, "initializer_range": 0.3}
    none = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 3, "eos_token_id": 3}
    GPT2Model(GPT2Config(vocab_size=14, **sizes, **none)).save_pretrained(folder)
    return folder


def test_m13_the_last_token_that_is_no_padding_answers(tiny_gpt: Path) -> None:
    """Without a padding token a batch is refused; with it, each text is answered as it is alone."""
    from transformers import GPT2Model

    model, tokenizer = fine_tuning.load_classifier(tiny_gpt, ["a", "b", "c"])
    assert tokenizer.pad_token is None and model.config.pad_token_id is None
    own = GPT2Model.from_pretrained(tiny_gpt).state_dict()
    assert all(torch.equal(model.transformer.state_dict()[name], tensor) for name, tensor in own.items())
    with pytest.raises(ValueError, match="does not have a padding token"):
        tokenizer(SENTENCES, padding=True)
    with pytest.raises(ValueError, match="batch sizes > 1 if no padding token"):
        model(input_ids=torch.tensor([[5, 6], [7, 8]]))
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    with torch.inference_mode():
        together = model(**tokenizer(SENTENCES, padding=True, return_tensors="pt")).logits
        for row, text in enumerate(SENTENCES):
            hidden = model.transformer(**tokenizer([text], return_tensors="pt")).last_hidden_state
            assert (model.score(hidden[0, -1]) - together[row]).abs().max() <= 1e-5


def test_p12_learns_the_groups_and_reports_metrics(
    tmp_path: Path, tiny_gpt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Posts of different lengths that say their topic: right answers need the last token that is no padding."""
    from largemodels.training.programs import p12_gpt_newsgroups

    (tmp_path / "20newsgroups").mkdir()
    rng = random.Random(6)
    for name, count in {"train": 200, "test": 80}.items():
        rows = []
        for number in range(count):
            label = sorted(TOPICS)[number % 2]
            text = " ".join(["the"] * rng.randrange(9) + rng.choices(TOPICS[label], k=3))
            rows.append(json.dumps({"label": label, "text": f"From: me\n\n{text}"}))
        file = tmp_path / f"20newsgroups/20news-bydate-{name}.jsonl.gz"
        file.write_bytes(gzip.compress("\n".join(rows).encode()))
    found = p12_gpt_newsgroups.main(str(tmp_path), str(tiny_gpt), epochs=20, max_length=24, share=0.8)
    assert set(found) == {"accuracy", "macro_f1"} and found["accuracy"] > 0.9
    assert "2 groups, 160 posts to learn from, 64 to be tested on" in capsys.readouterr().out


def test_the_untaught_net_has_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The learning rate chosen for the pretrained net makes the other one diverge."""
    plans = []

    def spy(*args: Any, **plan: Any) -> list[float]:
        plans.append(plan)
        return []

    monkeypatch.setattr(labels_needed, "load_classifier", lambda *args, **options: (options["pretrained"], None))
    monkeypatch.setattr(labels_needed, "fine_tune", spy)
    monkeypatch.setattr(labels_needed, "class_probs", lambda model, tokenizer, texts, **options: torch.eye(2)[[0, 1]])
    rows = [("a", 0), ("b", 1)] * 25
    for method in (labels_needed.tuned, labels_needed.untaught):
        assert method(rows, rows[:2], ["x", "y"], 0) == 1.0
    assert [(plan["lr"], plan["epochs"]) for plan in plans] == [(5e-4, 12), (1e-4, 24)]


def test_headlines_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Encoder:
        def encode(self, texts: list[str]) -> torch.Tensor:
            asked.append(len(texts))
            return torch.tensor([[float(ord(text)), 1.0] for text in texts])

    monkeypatch.setattr(labels_needed, "encoder", lambda: Encoder())
    labels_needed.encoded.cache_clear()
    rows = [("a", 0), ("z", 1), ("b", 0), ("y", 1), ("c", 0)]
    assert [labels_needed.frozen(rows[:size], rows, ["x", "y"], 0) for size in (3, 4)] == [1.0, 1.0]
    assert asked == [3, 5, 4]
    labels_needed.encoded.cache_clear()
