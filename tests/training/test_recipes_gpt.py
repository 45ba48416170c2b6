"""The GPT recipes in small, and the two checkpoints they made."""

import copy
import hashlib
import json
import math
import random
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

import largemodels
from largemodels.training._muon import orthogonalize
from largemodels.training.recipes import poem_gpt, shakespeare_gpt
from largemodels.training.recipes.character_gpt import (
    build_model,
    build_tokenizer,
    count_vocabulary,
    load_checkpoint,
    next_token_loss,
    token_losses,
)
from largemodels.training.recipes.checkpoint_folder import fill_card, write_checkpoint
from largemodels.training.recipes.corpora import SPLITS, poem_form, poem_lines, split_of
from largemodels.training.recipes.timed_training import ThreadChoice, make_optimizers, train, train_step

CHECKPOINTS = Path(largemodels.__file__).parent / "checkpoints"
FAMOUS = (
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。",
    "朝辞白帝彩云间，千里江陵一日还。两岸猿声啼不住，轻舟已过万重山。",
    "国破山河在，城春草木深。感时花溅泪，恨别鸟惊心。烽火连三月，家书抵万金。白头搔更短，浑欲不胜簪。",
)


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads on a busy machine wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def tiny():
    """Tokenizer and untrained 2-layer model over a dozen characters."""
    torch.manual_seed(3)
    tokenizer = build_tokenizer(count_vocabulary(["春风吹又生，", "秋月照人来。"]), ["<五绝>"])
    return build_model(tokenizer, n_layer=2, n_head=3, n_embd=24, context_length=11, dropout=0.0), tokenizer


@pytest.fixture(scope="module")
def poems():
    """The shipped poem model and its tokenizer."""
    return load_checkpoint(CHECKPOINTS / "poem-gpt-zh")


def test_tokenizer_gives_text_back(tiny):
    _, tokenizer = tiny
    ids = tokenizer("<五绝>春风 月，").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["<五绝>", "春", "风", "<unk>", "月", "，"]
    assert tokenizer.decode(tokenizer("春风吹又生，").input_ids) == "春风吹又生，"
    assert tokenizer.decode(tokenizer("<五绝>秋月。<end><pad>").input_ids, skip_special_tokens=True) == "秋月。"


def test_english_tokenizer_keeps_spaces_and_line_breaks():
    text = "ROMEO:\n\n  Shall I, sir ? 'Tis so .\n"
    tokenizer = build_tokenizer(count_vocabulary([text]))
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert len(tokenizer(text).input_ids) == len(text)


def test_vocabulary_is_ordered_by_count_and_cut():
    assert count_vocabulary(["bab", "ac"], min_count=2) == ["a", "b"]


def test_loss_is_cross_entropy_and_skips_the_ignored_token(tiny):
    model, tokenizer = tiny
    ids = torch.tensor([[3, 5, 7, tokenizer.unk_token_id, 9], [3, 6, 5, 8, 4]])
    logits = model(ids).logits[:, :-1].reshape(8, -1)
    targets = ids[:, 1:].reshape(8)
    kept = targets != tokenizer.unk_token_id
    expected = cross_entropy(logits[kept], targets[kept])
    torch.testing.assert_close(next_token_loss(model, ids, tokenizer.unk_token_id), expected)
    assert token_losses(model, ids, tokenizer.unk_token_id)[0, 2] == 0


def test_orthogonalize_moves_singular_values_near_one():
    torch.manual_seed(5)
    for shape in ((7, 19), (19, 7)):
        values = torch.linalg.svdvals(orthogonalize(torch.randn(shape) * 30, iterations=6))
        assert values.min() > 0.6 and values.max() < 1.3


def test_training_lowers_the_loss(tiny):
    model, tokenizer = copy.deepcopy(tiny[0]).train(), tiny[1]
    rows = torch.randint(4, len(tokenizer), (5, 11), generator=torch.Generator().manual_seed(1))
    optimizers = make_optimizers(model, lr=0.0)
    losses = [train_step(model, rows, -1, optimizers, lr=0.01) for _ in range(20)]
    assert losses[0] == pytest.approx(math.log(len(tokenizer)), rel=0.1)
    assert losses[-1] < 0.7 * losses[0]


def test_training_lasts_its_time_and_can_go_on(tiny, tmp_path):
    model, state = copy.deepcopy(tiny[0]), tmp_path / "state.pt"
    rows = torch.full((5, 11), 4)
    run = train(model, iter(lambda: rows, None), seconds=0.2, ignored_id=-1, state=state)
    assert run.tokens == 55 * run.steps > 0
    assert run.seconds >= 0.2
    torch.save({"model": model.state_dict(), "done": vars(run)}, state)
    assert train(model, iter(lambda: rows, None), seconds=0.1, ignored_id=-1, state=state) == run


def test_thread_choice_takes_the_faster_count():
    choice = ThreadChoice(period=20)
    choice.counts, choice.took = [1, 2], {1: 0.0, 2: 0.0}
    for step in range(10):
        choice.record(step, count := choice.apply(step), 0.5 if count == 2 else 0.1)
    assert choice.apply(11) == 1


def test_poem_form_and_split():
    assert [poem_form(text) for text in FAMOUS] == ["五绝", "七绝", "五律"]
    assert poem_form("白日依山尽，黄河入海。") is None and poem_lines("白日 依山尽。") == []
    counts = {split: sum(split_of(f"poem {i}") == split for i in range(5000)) for split in SPLITS}
    assert 4850 < counts["train"] < 4950 and counts["validation"] > 20 and counts["test"] > 20


def test_batches_show_every_poem_once_per_epoch():
    rows = {"五绝": torch.arange(90 * 26).view(90, 26), "七绝": torch.arange(50 * 34).view(50, 34)}
    batches = poem_gpt.shuffled_batches(rows, seed=2)
    size = {26: poem_gpt.TOKENS_PER_STEP // 26, 34: poem_gpt.TOKENS_PER_STEP // 34}
    epoch = [next(batches) for _ in range(math.ceil(90 / size[26]) + math.ceil(50 / size[34]))]
    for ids in rows.values():
        seen = torch.cat([batch for batch in epoch if batch.shape[1] == ids.shape[1]])
        assert sorted(seen[:, 0].tolist()) == ids[:, 0].tolist()


def test_written_folder_has_true_hashes_and_loads(tiny, tmp_path):
    model, tokenizer = tiny
    manifest = write_checkpoint(tmp_path, model, tokenizer, card="first")
    template = tmp_path.parent / "template.md"
    template.write_text("score {{metrics}}")
    fill_card(tmp_path, template, metrics="4.5")
    assert (tmp_path / "README.md").read_text() == "score 4.5"
    with pytest.raises(ValueError, match="must contain {{samples}}"):
        fill_card(tmp_path, template, samples="-")
    assert manifest["files"].keys() == check_manifest(tmp_path).keys()
    loaded, _ = load_checkpoint(tmp_path)
    assert loaded.dtype == torch.float32
    for one, other in zip(loaded.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def check_manifest(folder: Path) -> dict:
    """Compare `manifest.json` with the files; returns its entries."""
    entries = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(entries) | {"manifest.json"} == {path.name for path in folder.iterdir()}
    for name, entry in entries.items():
        content = (folder / name).read_bytes()
        assert entry == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    return entries


@pytest.mark.parametrize("name", ["poem-gpt-zh", "shakespeare-gpt-en"])
def test_shipped_folder_is_whole(name):
    check_manifest(CHECKPOINTS / name)
    model, tokenizer = load_checkpoint(CHECKPOINTS / name)
    assert model.config.vocab_size == len(tokenizer)
    assert tokenizer.unk_token_id == 2
    ends = (tokenizer.pad_token_id, tokenizer.eos_token_id)
    assert ends == (model.generation_config.pad_token_id, model.generation_config.eos_token_id) == (0, 1)


@pytest.mark.parametrize("form", ["五绝", "七绝", "五律", "七律"])
def test_shipped_model_keeps_the_form(poems, form):
    samples = poem_gpt.sample_poems(*poems, form, 20, seed=11)
    assert sum(poem_form(sample) == form for sample in samples) >= 19


def test_shipped_model_goes_on_from_a_prefix(poems):
    samples = poem_gpt.sample_poems(*poems, "五绝", 4, seed=12, prefix="秋夜")
    assert all(sample.startswith("秋夜") for sample in samples)


def test_shipped_model_prefers_poems_to_shuffled_characters(poems):
    for text in FAMOUS:
        characters = [char for line in poem_lines(text) for char in line]
        random.Random(4).shuffle(characters)
        shuffled = "".join(char if char in poem_gpt.PUNCTUATION else characters.pop() for char in text)
        real, mixed = (poem_gpt.measure_loss(*poems, [version])["Han characters"] for version in (text, shuffled))
        assert real < 0.5 * mixed


def test_shipped_shakespeare_prefers_english():
    model, tokenizer = load_checkpoint(CHECKPOINTS / "shakespeare-gpt-en")
    text = "The king hath sent for thee, and thou must go before the sun be set."
    rows = torch.tensor([tokenizer(line).input_ids for line in (text, text[::-1])])
    forward, backward = token_losses(model, rows, ignored_id=-1).mean(dim=1)
    assert forward < 2.6 < backward - 1
    sample = shakespeare_gpt.sample_text(model, tokenizer, "ROMEO:\nShall I", seed=2)
    assert sample.startswith("ROMEO:\nShall I") and len(sample) > 200
