"""Old lines that run on today's Transformers and do something else: each effect that the page tells of."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "##s", "猫"]
SIZE = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 12, "intermediate_size": 20, "vocab_size": 10}


@pytest.fixture
def tok():  # noqa: ANN201 - Transformers has no types
    from transformers import BertTokenizer

    return BertTokenizer({word: number for number, word in enumerate(WORDS)})


@pytest.fixture
def bert():  # noqa: ANN201
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    return BertModel(BertConfig(**SIZE, initializer_range=0.5)).eval()


@pytest.fixture
def gpt():  # noqa: ANN201
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=10, n_embd=12, n_layer=2, n_head=3, n_positions=16, bos_token_id=0, eos_token_id=0,
        initializer_range=0.5,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


@pytest.fixture
def warnings_said() -> Iterator[list[str]]:
    """What Transformers' logger says meanwhile."""
    from transformers.utils import logging as theirs

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    for cached in ("warning_once", "info_once"):
        getattr(theirs, cached).cache_clear()
    theirs.add_handler(handler)
    yield said
    theirs.remove_handler(handler)


def test_unpacking_an_output_gives_its_keys(tok, bert, gpt) -> None:
    x = tok("the cats", return_tensors="pt")
    first, second = bert(**x)
    assert (first, second) == ("last_hidden_state", "pooler_output")
    out = bert(**x)
    assert out.last_hidden_state.shape == (1, 5, 12) and out.pooler_output.shape == (1, 12)
    first, second, *_ = gpt(x["input_ids"], labels=x["input_ids"])
    assert (first, second) == ("loss", "logits")


def test_default_attention_returns_no_weights(tok, bert, gpt, warnings_said: list[str]) -> None:
    x = tok("the cats", return_tensors="pt")
    assert bert(**x, output_attentions=True).attentions == ()
    assert any("does not support `output_attentions=True`" in text for text in warnings_said)
    assert gpt(x["input_ids"], output_attentions=True).attentions == ()
    for model in (bert, gpt):
        model.set_attn_implementation("eager")
    assert [w.shape for w in bert(**x, output_attentions=True).attentions] == [(1, 2, 5, 5)] * 3
    assert torch.allclose(gpt(x["input_ids"], output_attentions=True).attentions[0].sum(-1), torch.ones(1, 3, 5))


def test_head_mask_is_ignored_and_a_hook_is_not(tok, bert, gpt) -> None:
    x = tok("the cats", return_tensors="pt")
    plain = bert(**x).last_hidden_state
    assert torch.equal(bert(**x, head_mask=torch.zeros(3, 2)).last_hidden_state, plain)
    logits = gpt(x["input_ids"]).logits
    assert torch.equal(gpt(x["input_ids"], head_mask=torch.zeros(2, 3)).logits, logits)
    mixing = bert.encoder.layer[0].attention.output.dense
    keep = torch.tensor([0.0] * 6 + [1.0] * 6)
    hook = mixing.register_forward_pre_hook(lambda module, given: given[0] * keep)
    hooked = bert(**x).last_hidden_state
    hook.remove()
    assert not torch.allclose(hooked, plain, atol=1e-3)
    with torch.no_grad():  # the truth: a head whose columns of the mixing matrix are zero adds nothing
        mixing.weight[:, :6] = 0
    assert torch.allclose(hooked, bert(**x).last_hidden_state, atol=1e-6)


def test_relative_positions_have_no_effect(tok, bert) -> None:
    from transformers import BertConfig, BertModel

    relative = BertModel(BertConfig(**SIZE, initializer_range=0.5, position_embedding_type="relative_key")).eval()
    assert relative.state_dict().keys() == bert.state_dict().keys()  # no table of distances
    relative.load_state_dict(bert.state_dict())
    x = tok("the cats", return_tensors="pt")
    assert torch.equal(relative(**x).last_hidden_state, bert(**x).last_hidden_state)


def test_pad_to_max_length_is_ignored(tok) -> None:
    assert tok("the cats", pad_to_max_length=True, max_length=8)["input_ids"] == [2, 5, 6, 8, 3]
    assert tok("the cats", padding="max_length", max_length=8)["input_ids"] == [2, 5, 6, 8, 3, 0, 0, 0]


def test_past_is_ignored(gpt) -> None:
    ids = torch.tensor([[2, 5, 6, 8, 3]])
    whole, alone = gpt(ids).logits[:, -1:], gpt(ids[:, -1:]).logits
    assert not torch.allclose(whole, alone, atol=1e-2)
    past = gpt(ids[:, :-1]).past_key_values
    assert torch.equal(gpt(ids[:, -1:], past=past).logits, alone)
    assert torch.allclose(gpt(ids[:, -1:], past_key_values=past).logits, whole, atol=1e-5)


def test_vocab_file_is_ignored(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(WORDS), "utf-8")
    old, today = BertTokenizer(vocab_file=str(path)), BertTokenizer(vocab=str(path))
    assert len(old) == 5 and old.tokenize("the cats") == ["[UNK]", "[UNK]"]
    assert len(today) == 10 and today.tokenize("the cats") == ["the", "cat", "##s"]


def test_save_vocabulary_writes_another_file(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), "utf-8")
    tok = BertTokenizer.from_pretrained(tmp_path)
    (old := tmp_path / "old").mkdir()
    tok.save_vocabulary(str(old))
    assert [path.name for path in old.iterdir()] == ["tokenizer.model"]
    tok.save_pretrained(tmp_path / "today")
    vocab = json.loads((tmp_path / "today" / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    assert vocab == {word: number for number, word in enumerate(WORDS)}
    assert BertTokenizer.from_pretrained(tmp_path / "today").tokenize("the cats") == ["the", "cat", "##s"]


def test_a_chat_template_gives_a_dictionary(tok, gpt) -> None:
    tok.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    chat = tok.apply_chat_template([{"role": "user", "content": "the cat"}], return_tensors="pt")
    assert type(chat).__name__ == "BatchEncoding" and chat["input_ids"].tolist() == [[5, 6]]
    with pytest.raises(AttributeError):
        gpt.generate(chat, max_new_tokens=2)
    assert gpt.generate(chat["input_ids"], max_new_tokens=2, eos_token_id=None).shape == (1, 4)


@pytest.mark.parametrize("ignored", [{"temperature": 9.0}, {"early_stopping": True}, {"top_p": 0.5}])
def test_sampling_options_without_sampling_are_ignored(gpt, ignored: dict, warnings_said: list[str]) -> None:
    ids = torch.tensor([[2, 5, 6]])
    greedy = gpt.generate(ids, max_new_tokens=5, eos_token_id=None)
    assert torch.equal(gpt.generate(ids, max_new_tokens=5, eos_token_id=None, **ignored), greedy)
    assert any(f"may be ignored: ['{next(iter(ignored))}']" in text for text in warnings_said)
    torch.manual_seed(0)
    sampling = {"do_sample": True, "temperature": 9.0, "num_return_sequences": 8}
    drawn = gpt.generate(ids, max_new_tokens=5, eos_token_id=None, **sampling)
    assert len(set(map(tuple, drawn.tolist()))) > 1


@pytest.mark.parametrize("kept", [torch.bfloat16, torch.float16, torch.float32])
def test_the_default_type_is_the_files(bert, tmp_path: Path, kept: torch.dtype) -> None:
    from transformers import BertModel

    bert.to(kept).save_pretrained(tmp_path)
    assert BertModel.from_pretrained(tmp_path).dtype == kept
    assert BertModel.from_pretrained(tmp_path, dtype=torch.float32).dtype == torch.float32


def test_safe_serialization_and_from_tf_are_ignored(bert, tmp_path: Path) -> None:
    from transformers import BertModel

    bert.save_pretrained(tmp_path, safe_serialization=False)
    assert [path.name for path in tmp_path.glob("*model*")] == ["model.safetensors"]
    loaded = BertModel.from_pretrained(tmp_path, from_tf=True)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), bert.parameters(), strict=True))
    (tmp_path / "model.safetensors").rename(tmp_path / "tf_model.h5")
    with pytest.raises(OSError, match="no file named model.safetensors, or pytorch_model.bin"):
        BertModel.from_pretrained(tmp_path, from_tf=True)


def test_return_all_scores_is_ignored(tok) -> None:
    from transformers import BertConfig, BertForSequenceClassification, pipeline

    model = BertForSequenceClassification(BertConfig(**SIZE, num_labels=4))
    judge = pipeline("text-classification", model=model, tokenizer=tok)
    assert len(judge("the cat", return_all_scores=True)) == 1
    scores = judge("the cat", top_k=None)
    assert len(scores) == 4 and sum(score["score"] for score in scores) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("name", "read"), [("TRANSFORMERS_CACHE", False), ("HF_HOME", True)])
def test_only_the_new_variable_moves_the_cache(name: str, read: bool, tmp_path: Path) -> None:
    ask = [sys.executable, "-c", "from huggingface_hub.constants import HF_HUB_CACHE as cache; print(cache)"]
    bare = {key: value for key, value in os.environ.items() if key not in ("HF_HOME", "HF_HUB_CACHE")}
    done = subprocess.run(ask, env=bare | {name: str(tmp_path)}, capture_output=True, text=True, check=True)
    assert (str(tmp_path) in done.stdout) == read


def test_the_hubs_errors_are_no_longer_those_of_requests() -> None:
    requests = pytest.importorskip("requests")
    from huggingface_hub.errors import HfHubHTTPError

    assert not issubclass(HfHubHTTPError, requests.HTTPError)
    assert issubclass(HfHubHTTPError, OSError)
