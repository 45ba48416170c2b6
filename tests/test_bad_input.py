"""Whatever a visitor types or pastes: every demo that takes text answers, or says in both languages what to do.

Nothing is cut in silence: a text that is too long for a model is refused with how many tokens it has and may have.
"""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch

from concepts import LANGUAGES, report
from demos import _models, _ui
from largemodels._checkpoints import SHIPPED
from largemodels.models import _loading
from largemodels.models.bert import Bert
from largemodels.models.gpt import Gpt
from offline import offline
from test_demos import HAN, NAMES, load

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

ZALGO = "Z" + "".join(map(chr, range(0x300, 0x330))) + "a" + "".join(map(chr, range(0x330, 0x340)))
TEXTS = {
    "nothing": "", "only spaces": "   ", "only a new line": "\n", "a no-break space": "\u00a0",
    "10,000 Chinese characters": "好" * 10_000, "10,000 characters of two scripts": "我是x y" * 2_000,
    "a word of 299 letters": ("internationalisation" * 15)[:299],
    "one emoji": "😀", "a family emoji": "👨\u200d👩\u200d👧\u200d👦", "mixed scripts": "我 love кофе, قهوة और 커피",
    "right to left": "مرحبا بالعالم שלום", "rare characters": "𠀀𪚥 ᚠᛇ", "a pile of accents": ZALGO,
    "a lone high surrogate": "好\ud83d", "a lone low surrogate": "\udc00 a",
    "an override": "abc \u202edef", "only an override": "\u202e", "only what has no width": "\u200b\ufeff",
    "NUL": "a\0b", "only NUL": "\0", "escape codes and line ends": "a\x1b[31mb\x07\r\nc\u2028d",
    "unassigned": "\u0378", "never assigned": "\uffff\ue000",
    "much that is hidden": "a\0b\u202e" * 60,
    "markup": "<script>alert('1')</script>&amp;", "special tokens": "[MASK] [SEP] [CLS] <unk> <end> </s> <s>",
}  # fmt: skip
LOST = re.compile(r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffd\ud800-\udfff]|Traceback")
MUST = {"zh": r"必须|只能|不能|最多|至少|必须有", "en": r"\bmust\b|may have|may hold"}
CAME = {"zh": r"收到|是半个代理对|一次都没有", "en": r"\bgot\b|is half of a surrogate pair"}
VERBS = "change|choose|cut|delete|draw|make|paste|remove|repeat|shorten|split|type|write"
DO = {"zh": r"[；。，]请[^；]+。$", "en": rf"[;:.] (?:{VERBS})\b[^;]+\.$"}
UNITS = ("好", "a", "的。", " a", " cat", ",")  # one of them is one token to any of the models
BRIEF = 40  # tokens: the context of a model that is made shorter here
READERS = ("Bert", "Gpt", "BertEncoder", "GptDecoder", "Translator")  # models that read text


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    with offline():
        yield


def ask(demo: ModuleType, row: tuple[object, ...], place: int, text: str, lang: str) -> str:
    """Return what a demo answers when one argument is replaced; of a stream the first state, so nothing is trained."""
    answer = demo.predict(*row[:place], text, *row[place + 1 :], lang=lang)
    if isinstance(answer, str):
        return answer
    first: str = next(answer)
    answer.close()
    return first


def refusal(
    demo: ModuleType, row: tuple[object, ...], place: int, text: str, lang: str = "en"
) -> _ui.InputError | None:
    """Return how a demo refuses a text, or None if it answers."""
    try:
        ask(demo, row, place, text, lang)
    except _ui.InputError as error:
        return error
    return None


def is_choice(demo: ModuleType, place: int) -> bool:
    """Whether an argument can only be one of a few fixed words."""
    error = refusal(demo, demo.EXAMPLES["en"][-1], place, "none of the choices")
    return error is not None and "must be one of" in error.en


@functools.cache
def text_arguments(demo: ModuleType) -> list[int]:
    """Return the places of the arguments of `predict` that are free text."""
    row = demo.EXAMPLES["en"][-1]
    return [place for place, value in enumerate(row) if isinstance(value, str) and not is_choice(demo, place)]


@functools.cache
def text_demos() -> list[str]:
    """Return the names of the demos that take text."""
    return [name for name in NAMES if text_arguments(load(name))]


def answer_problems(html: str) -> list[str]:
    """Check that an answer is a picture in which no character is lost or turns the others round."""
    found = [f"shows {lost.encode('unicode_escape').decode()}" for lost in set(LOST.findall(html))]
    return found + ["no figure"] * ('<figure class="lm-figure"' not in html) + ["markup"] * ("<script" in html)


def message_problems(error: _ui.InputError, text: str) -> list[str]:
    """Check that a refusal says in both languages what must hold, what came, what to do, with the same numbers."""
    found, told = [], {"zh": error.zh, "en": error.en}
    for lang, message in told.items():
        wanted = (("what must hold", MUST), ("what came", CAME), ("what to do", DO))
        found += [
            f"{lang} does not say {what}: {message}" for what, words in wanted if not re.search(words[lang], message)
        ]
        found += [f"{lang} is too long or holds {LOST.findall(message)}"] * bool(
            len(message) > 300 or LOST.search(message)
        )
    if not HAN.search(error.zh) or set(HAN.findall(error.en)) - set(text):
        found.append(f"not bilingual: {error.zh} {error.en}")
    numbers = {lang: sorted(re.findall(r"\d+", message)) for lang, message in told.items()}
    if numbers["zh"] != numbers["en"]:
        found.append(f"the numbers differ: {error.zh} {error.en}")
    if re.search(r"at most \d+ (?:characters|tokens)", error.en) and not re.search(r"got \d+", error.en):
        found.append(f"does not say how many came: {error.en}")
    return found + [f"no 10000: {error.en}"] * (len(text) == 10_000 and "10000" not in numbers["en"])


def problems(demo: ModuleType) -> list[str]:
    """Send every text to every text argument of a demo, in both languages; the last example is the quickest."""
    found = []
    for place in text_arguments(demo):
        for name, text in TEXTS.items():
            for lang in LANGUAGES:
                try:
                    wrong = answer_problems(ask(demo, demo.EXAMPLES[lang][-1], place, text, lang))
                except _ui.InputError as error:
                    wrong = message_problems(error, text)
                except Exception as error:  # anything else would reach the visitor as a failure
                    wrong = [f"{type(error).__name__}: {error}"[:300]]
                found += [f"argument {place + 1}, {lang}, {name}: {problem}" for problem in wrong]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_any_text_gets_an_answer_or_a_clear_message(name: str) -> None:
    report(problems(load(name)))


def test_every_text_box_belongs_to_a_demo_that_is_covered() -> None:
    boxes = {name for name in NAMES if "gr.Textbox(" in Path(str(load(name).__file__)).read_text("utf-8")}
    assert boxes <= set(text_demos())
    assert len(boxes) >= 20  # else they are written in another way by now


def counts(error: _ui.InputError | None) -> tuple[int, int]:
    """Return how many tokens may be and came, as a refusal says; zeros if it is about something else."""
    told = re.search(r"(\d+) tokens\D*got (\d+)", error.en) if error else None
    return (int(told[1]), int(told[2])) if told else (0, 0)


def overflow(demo: ModuleType, row: tuple[Any, ...], place: int) -> tuple[str, int] | None:
    """Find a text that is refused for one token too many and answered without its last part, which is one token.

    Return the text and how many tokens it has.
    """
    for base in (row[place], ""):
        for unit in UNITS:
            for n in (5, 10, 20, 30, 45, 60, 75, 110):
                most, came = counts(refusal(demo, row, place, base + unit * n))
                enough = n - (came - most)
                if came and enough >= 0 and refusal(demo, row, place, base + unit * enough) is None:
                    least = base + unit * (enough + 1)
                    if counts(refusal(demo, row, place, least)) == (most, most + 1):
                        return least, most + 1
    return None


def kind_of_model(demo: ModuleType) -> str:
    """Return the class of the model that a demo loads, or "" if it loads none."""
    kind = inspect.unwrap(demo.load).__annotations__["return"] if hasattr(demo, "load") else ""
    return str(getattr(kind, "__name__", kind))


def make_brief(demo: ModuleType, patch: pytest.MonkeyPatch) -> None:
    """Make the context of the demo's model short, so that a text can be too long for it without being long."""
    shared = (_models.bert(), _models.pretrained_bert("masked"), _models.gpt("gpt-zh"), _models.gpt("gpt-en"))
    for model in shared:
        patch.setattr(model, "context_length", BRIEF)
    if kind_of_model(demo) == "BertEncoder":
        model = demo.load()
        patch.setattr(model, "config", dataclasses.replace(model.config, context_length=BRIEF))


@pytest.mark.parametrize("name", NAMES)
def test_no_token_is_cut_in_silence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal names the tokens that came: when as many as are too many are taken away, and no fewer, it answers."""
    demo = load(name)
    if not text_arguments(demo) or kind_of_model(demo) not in READERS:
        return
    make_brief(demo, monkeypatch)
    for lang in LANGUAGES:
        row = demo.EXAMPLES[lang][-1]
        for place in text_arguments(demo):
            found = overflow(demo, row, place)
            assert found, f"argument {place + 1}, {lang}: no text is refused for as many tokens as must go"
            text, count = found
            assert count <= max(BRIEF, 24) + 1
            error = refusal(demo, row, place, text, lang)
            assert error and not message_problems(error, text)


@pytest.mark.parametrize("name", NAMES)
def test_a_text_of_which_a_bert_reads_nothing_is_refused(name: str) -> None:
    """Its tokenizer drops what has no width; the answer would be about an empty text."""
    demo = load(name)
    if kind_of_model(demo) in ("Bert", "BertEncoder"):
        for place in text_arguments(demo):
            error = refusal(demo, demo.EXAMPLES["zh"][-1], place, "\u200b\ufeff")
            assert error and re.search(r"got (?:none|0)", error.en)


SMALL = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
CONTEXT = 16
LONG = "好" * 20
BERT_CALLS: dict[str, tuple[str, Callable[[Bert, str], object]]] = {
    "encode": ("BertModel", lambda bert, text: bert.encode(["a", text])),
    "hidden_states": ("BertModel", lambda bert, text: bert.hidden_states([text])),
    "attention_maps": ("BertModel", lambda bert, text: bert.attention_maps(text)),
    "classify": ("BertForSequenceClassification", lambda bert, text: bert.classify([text])),
    "occlusion": ("BertForSequenceClassification", lambda bert, text: bert.occlusion(text, bert.labels[0])),
    "fill_mask": ("BertForMaskedLM", lambda bert, text: bert.fill_mask("[MASK]" + text[1:])),
    "next_sentence": ("BertForPreTraining", lambda bert, text: bert.next_sentence("好", text[2:])),
    "tag": ("BertForTokenClassification", lambda bert, text: bert.tag(text)),
}
GPT_CALLS: dict[str, Callable[[Gpt, str], object]] = {
    "generate": lambda gpt, text: gpt.generate(text[3:], max_new_tokens=3),
    "generate by beams": lambda gpt, text: gpt.generate(text[3:], max_new_tokens=3, num_beams=2),
    "stream": lambda gpt, text: list(gpt.stream(text[3:], max_new_tokens=3)),
    "perplexity": lambda gpt, text: gpt.perplexity(text),
    "nats_per_token": lambda gpt, text: gpt.nats_per_token(text),
    "token_nats": lambda gpt, text: gpt.token_nats(text),
    "next_token_probabilities": lambda gpt, text: gpt.next_token_probabilities(text),
}


@functools.cache
def tokenizer(name: str) -> "PreTrainedTokenizerFast":
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(SHIPPED / name)


@functools.cache
def small_bert(kind: str) -> Bert:
    """Return an untaught BERT with one of the heads and a short context."""
    import transformers

    config = transformers.BertConfig(
        vocab_size=len(tokenizer("bilingual-bert")),
        max_position_embeddings=CONTEXT,
        attn_implementation="eager",
        **SMALL,
    )
    return Bert(getattr(transformers, kind)(config).eval(), tokenizer("bilingual-bert"))


@functools.cache
def small_gpt() -> Gpt:
    """Return an untaught GPT with a short context."""
    from transformers import GPT2Config, GPT2LMHeadModel

    size = len(tokenizer("poem-gpt-zh"))
    config = GPT2Config(vocab_size=size, n_positions=CONTEXT, n_embd=12, n_layer=1, n_head=2, eos_token_id=None)
    return Gpt(GPT2LMHeadModel(config).eval(), tokenizer("poem-gpt-zh"))


@pytest.mark.parametrize("name", BERT_CALLS)
def test_bert_counts_the_tokens_that_are_too_many(name: str) -> None:
    kind, call = BERT_CALLS[name]
    bert = small_bert(kind)
    call(bert, LONG[: CONTEXT - 2])  # two tokens are special; a pair has three, and its other text has one
    for extra in (1, 4):
        with pytest.raises(ValueError, match=rf"at most {CONTEXT} tokens, got {CONTEXT + extra}\b.*; .*shorten"):
            call(bert, LONG[: CONTEXT - 2 + extra])


@pytest.mark.parametrize("name", GPT_CALLS)
def test_gpt_counts_the_tokens_that_are_too_many(name: str) -> None:
    call, text = GPT_CALLS[name], "春" * 20
    call(small_gpt(), text[:CONTEXT])
    for extra in (1, 4):
        with pytest.raises(ValueError, match=rf"fit into {CONTEXT} positions, got .*= {CONTEXT + extra}; shorten"):
            call(small_gpt(), text[: CONTEXT + extra])


def said(call: Callable[[str], object], text: str) -> str:
    """Return what a wrapper says against a text, or "" if it answers."""
    try:
        call(text)
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("text", TEXTS)
def test_the_wrappers_answer_or_say_what_must_hold(text: str) -> None:
    calls: list[Callable[[str], object]] = [functools.partial(call, small_gpt()) for call in GPT_CALLS.values()]
    calls += [functools.partial(call, small_bert(kind)) for kind, call in BERT_CALLS.values()]
    for call in calls:
        told = said(call, TEXTS[text])
        assert not told or re.search(r"\b(must|may)\b.*\bgot\b.*; ", told), told
        assert len(told) < 300 and not LOST.search(told)


def test_a_prefix_counts_as_a_part_of_the_text() -> None:
    """e5 wants "query: " before each text: three tokens here, and only where a text becomes one vector."""
    plain = small_bert("BertModel")
    bert = Bert(plain._model, tokenizer("bilingual-bert"), prefix="的是")
    torch.testing.assert_close(bert.encode(["好", "天气"]), plain.encode(["的是好", "的是天气"]))
    torch.testing.assert_close(bert.encode(["好"], "cls"), plain.encode(["的是好"], "cls"))
    torch.testing.assert_close(bert.hidden_states(["好"])[0], plain.hidden_states(["好"])[0])
    bert.encode([LONG[: CONTEXT - 4]])
    with pytest.raises(ValueError, match=f"at most {CONTEXT} tokens, got {CONTEXT + 1} in"):
        bert.encode([LONG[: CONTEXT - 3]])
    assert plain.prefix == ""


def test_e5_brings_its_prefix_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LARGEMODELS_CACHE", str(tmp_path))
    folder = tmp_path / "models" / "e5"
    small_bert("BertModel")._model.save_pretrained(folder)
    tokenizer("bilingual-bert").save_pretrained(folder)
    copy = tmp_path / "mine"
    folder.rename(copy)
    assert Bert.from_pretrained(copy).prefix == ""
    assert Bert.from_pretrained(copy, prefix="query: ").prefix == "query: "
    copy.rename(folder)
    for source in ("e5", str(folder), folder):
        assert Bert.from_pretrained(source).prefix == "query: "
    assert Bert.from_pretrained("e5", prefix="").prefix == ""
    assert _loading.own_prefix("intfloat/multilingual-e5-small") == "query: "
    assert _loading.own_prefix("minilm") == _loading.own_prefix("bilingual-bert") == ""
    monkeypatch.setenv("LARGEMODELS_BERT", "e5")
    monkeypatch.setattr(_models, "_OPEN", {})
    similarity = load("demos.models.bert_similarity")
    assert _models.bert().prefix == "query: "
    error = refusal(similarity, ("好", "好"), 0, LONG)
    assert counts(error)[1] == 22  # and no failure deeper down
    with pytest.raises(_ui.InputError, match="must have a classification head, got e5.*unset it") as caught:
        load("demos.models.bert").predict("好", lang="zh")
    assert "没有" in caught.value.zh and "LARGEMODELS_BERT" in caught.value.zh
