"""Gpt against Transformers' own generate and logits processors on a tiny random model, and the mistakes."""

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from largemodels.models import _decoding, decoding
from largemodels.models.gpt import Gpt

PROMPTS = ["the byte", "中文", "🐼 é"]
SLOW = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20, deadline=None)


@pytest.fixture(scope="module")
def gpt(gpt_folder: Path) -> Gpt:
    return Gpt.from_pretrained(gpt_folder)


@pytest.fixture(scope="module")
def plain(gpt_folder: Path):  # noqa: ANN201
    """Model and tokenizer as Transformers gives them, without our class."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(gpt_folder).eval(), AutoTokenizer.from_pretrained(gpt_folder)


def their_texts(plain, prompt: str, **how) -> list[str]:  # noqa: ANN001, ANN003
    model, tokenizer = plain
    inputs = tokenizer(prompt, return_tensors="pt")
    rows = model.generate(**inputs, pad_token_id=0, **how)
    skip = inputs["input_ids"].shape[1]
    # Decoded as a whole, and the prompt cut off afterwards.
    return [tokenizer.decode(row, skip_special_tokens=True)[len(prompt) :] for row in rows] if skip else []


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("penalty", [1.0, 1.7])
def test_greedy_equals_transformers_token_for_token(gpt: Gpt, plain, prompt: str, penalty: float) -> None:  # noqa: ANN001
    theirs = their_texts(plain, prompt, max_new_tokens=30, do_sample=False, repetition_penalty=penalty)
    assert gpt.generate(prompt, max_new_tokens=30, repetition_penalty=penalty) == theirs


@pytest.mark.parametrize("prompt", PROMPTS)
def test_beam_search_equals_transformers(gpt: Gpt, plain, prompt: str) -> None:  # noqa: ANN001
    how = {"num_beams": 4, "num_return_sequences": 3, "max_new_tokens": 12}
    theirs = their_texts(plain, prompt, do_sample=False, early_stopping=True, **how)
    assert gpt.generate(prompt, **how) == theirs  # type: ignore[arg-type]


logit_rows = st.lists(st.floats(-20, 20), min_size=2, max_size=17, unique=True)


@SLOW
@given(logit_rows, st.floats(0.05, 5), st.integers(1, 17), st.floats(0.01, 1))
def test_filters_equal_transformers_processors(row: list[float], temperature: float, k: int, p: float) -> None:
    from transformers.generation import logits_process

    logits, ids = torch.tensor([row], dtype=torch.float64), torch.tensor([[0, 1, 1]])
    k = min(k, len(row))
    theirs = logits_process.TemperatureLogitsWarper(temperature)(ids, logits)
    torch.testing.assert_close(decoding.apply_temperature(logits, temperature), theirs)
    theirs = logits_process.TopKLogitsWarper(k)(ids, logits.clone())
    torch.testing.assert_close(decoding.top_k_filter(logits, k), theirs)
    theirs = logits_process.RepetitionPenaltyLogitsProcessor(temperature)(ids, logits.clone())
    torch.testing.assert_close(decoding.penalise_repetition(logits[0], ids[0], temperature), theirs[0])
    sums = logits.softmax(-1).sort(descending=True).values.cumsum(-1)
    if (sums - p).abs().min() > 1e-9:  # on the edge, rounding decides
        theirs = logits_process.TopPLogitsWarper(p)(ids, logits.clone())
        torch.testing.assert_close(decoding.top_p_filter(logits, p), theirs)


@SLOW
@given(logit_rows, st.floats(0.01, 1))
def test_top_p_keeps_the_smallest_sufficient_set(row: list[float], p: float) -> None:
    """By definition: what is kept reaches p; without its least probable token it does not."""
    probs = torch.tensor(row, dtype=torch.float64).softmax(-1)
    kept = decoding.top_p_filter(probs.log(), p).isfinite()
    assert probs[kept].sum() >= p - 1e-9
    if kept.sum() > 1 and p < 1:
        assert probs[kept].sum() - probs[kept].min() < p + 1e-9


@SLOW
@given(st.text("the byte中文🐼é ", min_size=1, max_size=6), st.integers(0, 99), st.floats(0.3, 3))
def test_the_stream_joins_to_what_generate_returns(gpt: Gpt, prompt: str, seed: int, temperature: float) -> None:
    how = {"max_new_tokens": 20, "do_sample": True, "temperature": temperature, "seed": seed}
    parts = list(gpt.stream(prompt, **how))  # type: ignore[arg-type]
    assert all(parts)
    assert ["".join(parts)] == gpt.generate(prompt, **how)  # type: ignore[arg-type]


@SLOW
@given(st.text(min_size=1, max_size=30), st.integers(0, 29))
def test_pieces_never_break_a_character(gpt: Gpt, text: str, cut: int) -> None:
    """Any text, cut anywhere between characters: the pieces of the rest join to the rest, whole characters each."""
    tokenizer = gpt.tokenizer
    prompt, rest = text[:cut], text[cut:]
    new = tokenizer(rest)["input_ids"] if rest else []
    parts = list(_decoding.pieces(tokenizer, tokenizer(prompt)["input_ids"] if prompt else [], new))
    assert "".join(parts) == rest
    assert "\ufffd" not in "".join(parts) or "\ufffd" in rest


@SLOW
@given(st.lists(st.text("ab!", max_size=4), max_size=8), st.lists(st.text("ab!", min_size=1, max_size=3), max_size=3))
def test_a_stop_string_is_found_however_the_pieces_fall(parts: list[str], stop: list[str]) -> None:
    text = "".join(parts)
    _, end = min(((text.index(s) + len(s), text.index(s)) for s in stop if s in text), default=(0, len(text)))
    assert "".join(_decoding.until_stop(parts, stop)) == text[:end]


def test_stop_cuts_the_text(gpt: Gpt) -> None:
    whole = gpt.generate("the", max_new_tokens=20)[0]
    stop = whole[4:7]
    assert gpt.generate("the", max_new_tokens=20, stop=["never to be found", stop])[0] == whole[: whole.index(stop)]
    assert gpt.generate("the", max_new_tokens=20, num_beams=1, stop=[whole[0]]) == [""]


def test_a_closed_stream_computes_nothing_more(gpt: Gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, forward = [], gpt._forward
    monkeypatch.setattr(gpt, "_forward", lambda *a: (calls.append(1), forward(*a))[1])
    stream = gpt.stream("the", max_new_tokens=40)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    done = len(calls)
    assert done < 10
    assert list(stream) == []
    assert len(calls) == done


def test_the_cache_changes_nothing_but_the_time(gpt: Gpt) -> None:
    ids = gpt.tokenizer("the byte-level 中")["input_ids"]
    whole, _ = gpt._forward(ids)
    first, cache = gpt._forward(ids[:5])
    second, _ = gpt._forward(ids[5:], cache)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=0, atol=1e-4)


def test_a_seed_gives_the_same_text_and_leaves_the_global_state_alone(gpt: Gpt) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    how = {"max_new_tokens": 15, "do_sample": True, "num_return_sequences": 3}
    one, other = gpt.generate("the", seed=7, **how), gpt.generate("the", seed=8, **how)  # type: ignore[arg-type]
    assert torch.equal(before, torch.get_rng_state())
    assert one[1:] == other[:2]
    assert len(set(one + other)) == 4
    assert one == gpt.generate("the", seed=7, **how)  # type: ignore[arg-type]


def test_draws_follow_the_probabilities(gpt: Gpt) -> None:
    """2,000 first tokens: the frequency of the likeliest lies within five standard errors of its probability."""
    logits, _ = gpt._forward(gpt.tokenizer("the")["input_ids"])
    how = _decoding.Decoding(True, 2.0, 5, 0.9, 1.0, gpt.vocab_size)
    generator, ids = torch.Generator().manual_seed(0), torch.tensor([0])
    drawn = Counter(how.choose(logits[-1], ids, generator) for _ in range(2000))
    probs = how.bend(logits[-1], ids).softmax(-1)
    assert set(drawn) == set(probs.nonzero().flatten().tolist())
    for token, count in drawn.items():
        p = float(probs[token])
        assert abs(count / 2000 - p) < 5 * math.sqrt(p * (1 - p) / 2000) + 1e-9


@pytest.mark.parametrize("text", ["the byte", "中文🐼"])
def test_probabilities_and_perplexity_equal_transformers(gpt: Gpt, plain, text: str) -> None:  # noqa: ANN001
    model, tokenizer = plain
    ids = tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        loss = model(input_ids=ids, labels=ids).loss.item()
        probs = (model(input_ids=ids).logits[0, -1] / 0.7).softmax(-1)
    assert gpt.nats_per_token(text) == pytest.approx(loss, abs=1e-5)
    assert gpt.perplexity(text) == pytest.approx(math.exp(loss), rel=1e-5)
    assert len(gpt.token_nats(text)) == ids.shape[1] - 1
    top = gpt.next_token_probabilities(text, k=4, temperature=0.7)
    assert [p for _, p in top] == pytest.approx(probs.sort(descending=True).values[:4].tolist())
    assert sum(p for _, p in gpt.next_token_probabilities(text, k=gpt.vocab_size)) == pytest.approx(1, abs=1e-5)


def test_perplexity_by_hand(gpt: Gpt, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's numbers: probabilities 1/2, 1/4, 1/8 give 2 ln 2 nats per token and perplexity 4."""
    bits = [1 / 2, 1 / 4, 1 / 8]
    monkeypatch.setattr(gpt, "token_nats", lambda text: [("x", -math.log(p)) for p in bits])
    assert gpt.nats_per_token("x") == pytest.approx(2 * math.log(2))
    assert gpt.perplexity("x") == pytest.approx(4)


def test_unknown_characters_are_found(tmp_path: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    from largemodels.training.recipes.character_gpt import build_tokenizer

    build_tokenizer(list("春风ab"), ["<五绝>"]).save_pretrained(tmp_path)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=8, n_embd=8, n_layer=1, n_head=2, n_positions=9, bos_token_id=1, eos_token_id=1)
    ).save_pretrained(tmp_path)
    gpt = Gpt.from_pretrained(tmp_path)
    assert gpt.tokens("<五绝>春x") == ["<五绝>", "春", "<unk>"]
    assert gpt.unknown("<五绝>春xy风") == ["x", "y"]
    assert gpt.unknown("ab") == []


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"do_sample": True, "temperature": 0}, "temperature must be above 0 and finite, got 0; for greedy"),
        ({"do_sample": True, "temperature": math.nan}, "temperature must be above 0"),
        ({"do_sample": True, "temperature": math.inf}, "temperature must be above 0"),
        ({"do_sample": True, "top_k": 10_000}, "top_k must be a whole number from 1 to V = 270, got 10000"),
        ({"do_sample": True, "top_k": 0}, "top_k must be a whole number"),
        ({"do_sample": True, "top_k": 2.5}, "top_k must be a whole number"),
        ({"do_sample": True, "top_p": 0}, "top_p must be above 0 and at most 1"),
        ({"do_sample": True, "top_p": math.nan}, "top_p must be above 0 and at most 1"),
        ({"repetition_penalty": 0}, "repetition_penalty must be above 0"),
        ({"repetition_penalty": math.nan}, "repetition_penalty must be above 0"),
        ({"max_new_tokens": 5, "temperature": 0.5}, "only matter when drawing at random; set do_sample=True"),
        ({"max_new_tokens": 1.5}, "max_new_tokens must be a whole number"),
        ({"max_new_tokens": -1}, "max_new_tokens must be a whole number"),
        ({"max_new_tokens": 46}, r"must fit into 48 positions, got 3 \+ 46 = 49; shorten the prompt or ask for fewer"),
        ({"max_new_tokens": 5, "stop": [""]}, "stop must not hold the empty string"),
    ],
)
def test_settings_are_checked_before_anything_is_computed(gpt: Gpt, how: dict[str, float], message: str) -> None:
    prompt = "xqz"
    with pytest.raises(ValueError, match=message):
        gpt.generate(prompt, **how)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        gpt.stream(prompt, **how)  # type: ignore[arg-type]


def test_more_errors_say_what_must_hold(gpt: Gpt) -> None:
    with pytest.raises(ValueError, match="num_beams must be a whole number"):
        gpt.generate("the", num_beams=0)
    with pytest.raises(ValueError, match="beam search draws nothing"):
        gpt.generate("the", num_beams=2, do_sample=True)
    with pytest.raises(ValueError, match="at most num_beams = 1 texts"):
        gpt.generate("the", num_return_sequences=2)
    with pytest.raises(TypeError, match="stop must be a list of strings"):
        gpt.generate("the", max_new_tokens=5, stop="\n\n")
    with pytest.raises(ValueError, match=r"prompt must have at least 1 token\(s\), got 0"):
        gpt.generate("")
    with pytest.raises(ValueError, match=r"text must have at least 2 token\(s\), got 1"):
        gpt.perplexity("t")
    with pytest.raises(TypeError, match="prompt must be a string, got NoneType"):
        gpt.generate(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        gpt.generate("\ud800")
    with pytest.raises(ValueError, match="k must be a whole number from 1 to 270"):
        gpt.next_token_probabilities("the", k=271)


def test_exactly_at_the_limit_works(gpt: Gpt) -> None:
    assert gpt.generate("xqz", max_new_tokens=45, repetition_penalty=3.0)
    assert len(gpt.token_nats("xqz" * 16)) == 47


@given(cut=st.integers(1, 13))
@SLOW
def test_m01_a_causal_model_does_not_see_what_follows(gpt: Gpt, cut: int) -> None:
    """The prefix's logits do not depend on the rest: there is nothing to mask, and nothing masked to predict."""
    ids = gpt.tokenizer("the byte-level 中文")["input_ids"]
    whole, _ = gpt._forward(ids)
    prefix, _ = gpt._forward(ids[:cut])
    torch.testing.assert_close(whole[:cut], prefix, rtol=0, atol=1e-4)


def test_m11_a_forward_pass_of_a_random_gpt_is_no_pretraining(plain) -> None:  # noqa: ANN001
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=11, n_embd=12, n_layer=1, n_head=2, n_positions=8))
    ids = torch.tensor([[3, 1, 4, 1, 5, 9]])
    before = [p.clone() for p in model.parameters()]
    assert model(input_ids=ids).loss is None
    assert all(p.grad is None and torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))
    start = model(input_ids=ids, labels=ids).loss
    assert start.item() == pytest.approx(math.log(11), abs=0.3)  # as unsure as a fair die with V sides


def test_m13_padding_needs_a_pad_token(plain) -> None:  # noqa: ANN001
    _, tokenizer = plain
    assert tokenizer.pad_token is None
    with pytest.raises(ValueError, match="does not have a padding token"):
        tokenizer(["a", "the byte"], padding=True)


def test_m19_max_length_counts_the_prompt(plain) -> None:  # noqa: ANN001
    model, tokenizer = plain
    inputs = tokenizer("the byte-level", return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    how = {"pad_token_id": 0, "eos_token_id": None, "do_sample": False}
    assert model.generate(**inputs, max_length=length + 3, **how).shape[1] == length + 3
    assert model.generate(**inputs, max_new_tokens=length + 3, **how).shape[1] == 2 * length + 3


def test_m20_beam_search_repeats_itself_and_sampling_does_not() -> None:
    """Share of eight-character pieces that have been there before, in three texts of our own model."""
    bard = Gpt.from_pretrained("shakespeare-gpt-en")

    def repeated(**how: float) -> float:
        prompts = ("ROMEO:\n", "JULIET:\n", "KING RICHARD II:\n")
        texts = [bard.generate(prompt, max_new_tokens=150, **how)[0] for prompt in prompts]  # type: ignore[arg-type]
        pieces = [[text[i : i + 8] for i in range(len(text) - 7)] for text in texts]
        return 1 - sum(len(set(p)) for p in pieces) / sum(len(p) for p in pieces)

    sampled = [repeated(do_sample=True, temperature=0.8, seed=seed) for seed in range(2)]
    assert repeated(num_beams=5) > max(sampled) + 0.1
