"""Search against brute force, the shipped translator against sentences of our own."""

import itertools
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from largemodels._checkpoints import SHIPPED, ModelError
from largemodels.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from largemodels.transformer.translation import (
    NextToken,
    Translator,
    beam_search,
    greedy_search,
    length_penalty,
)

V, T, START, END = 5, 4, 3, 0


def a_searcher(seed: int = 0, sharpness: float = 2.0) -> NextToken:
    """Log-probabilities of a tiny random model, given a random source of six tokens."""
    torch.manual_seed(seed)
    config = EncoderDecoderConfig(7, V, n_embd=8, n_head=2, n_layer=2, n_hidden=12, dropout=0.0)
    model = EncoderDecoder(config).double().eval()
    memory = model.encode(torch.randint(7, (1, 6)))

    @torch.no_grad()
    def ask(prefixes: Tensor) -> Tensor:
        logits, _ = model.decode(prefixes, memory.expand(len(prefixes), -1, -1))
        return torch.log_softmax(sharpness * logits[:, -1], dim=-1).float()

    return ask


def log_probability(ask: NextToken, ids: tuple[int, ...]) -> float:
    """Sum of the log-probabilities of the tokens, one question each."""
    rows = [ask(torch.tensor([[START, *ids[:t]]]))[0, ids[t]].item() for t in range(len(ids))]
    return sum(rows)


def every_sequence() -> list[tuple[int, ...]]:
    """All finished sequences of at most T tokens."""
    others = [token for token in range(V) if token != END]
    return [(*body, END) for n in range(T) for body in itertools.product(others, repeat=n)]


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_argmax_again_and_again(seed: int) -> None:
    ask = a_searcher(seed)
    ids: list[int] = []
    while len(ids) < T and END not in ids:
        row = ask(torch.tensor([[START, *ids]]))[0].tolist()
        ids.append(max(range(V), key=row.__getitem__))
    found = greedy_search(ask, START, END, T)
    assert found.ids == tuple(ids)
    assert found.log_probability == pytest.approx(log_probability(ask, found.ids), abs=1e-5)
    if ids[-1] == END:
        assert beam_search(ask, START, END, T, beams=1, alpha=0.0)[0].ids == found.ids


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(2))
def test_a_beam_as_wide_as_all_beginnings_finds_the_best_of_all(seed: int, alpha: float) -> None:
    ask = a_searcher(seed)
    scored = {ids: log_probability(ask, ids) / length_penalty(len(ids), alpha) for ids in every_sequence()}
    found = beam_search(ask, START, END, T, beams=V**T, alpha=alpha)
    best = max(scored, key=scored.__getitem__)
    assert found[0].ids == best
    assert found[0].score == pytest.approx(scored[best], abs=1e-5)
    assert len(found) == len(scored)  # everything is found, in order
    assert [h.score for h in found] == sorted((h.score for h in found), reverse=True)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 7))
def test_every_hypothesis_carries_its_own_log_probability(seed: int, beams: int) -> None:
    """Whatever next-token table: each found sequence is finished, unlike the others, and scored right."""
    table = torch.randn(V, V, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    found = beam_search(lambda prefix: table[prefix[:, -1]], START, END, T, beams=beams)
    assert 1 <= len(found) <= beams and len({h.ids for h in found}) == len(found)
    for h in found:
        steps = zip((START, *h.ids), h.ids, strict=False)
        assert h.log_probability == pytest.approx(sum(table[a, b].item() for a, b in steps), abs=1e-4)
        assert len(h.ids) <= T and END not in h.ids[:-1]


def test_by_hand() -> None:
    """The page's numbers: greedy takes the larger first step, 0.6 · 0.4; two beams find 0.4 · 0.9."""
    table = torch.tensor([[0, 0, 0, 0], [0.4, 0.3, 0.3, 0], [0.9, 0.1, 0, 0], [0, 0.6, 0.4, 0]]).log()
    greedy = greedy_search(lambda p: table[p[:, -1]], START, END, 5)
    beam = beam_search(lambda p: table[p[:, -1]], START, END, 5, beams=2, alpha=0.0)
    assert greedy.ids == (1, 0) and beam[0].ids == (2, 0)
    assert greedy.log_probability == pytest.approx(torch.tensor(0.24).log().item(), abs=1e-6)
    assert beam[0].log_probability == pytest.approx(torch.tensor(0.36).log().item(), abs=1e-6)


def test_length_penalty_lets_longer_sequences_win() -> None:
    """0.5 · 1 in two tokens against 0.45 in six: the plain sum prefers the first, the corrected one the second."""
    table = torch.zeros(8, 8)
    table[7, 0], table[7, 1] = 0.5, 0.45
    for token in range(1, 6):
        table[token, token + 1 if token < 5 else 0] = 1.0
    ask: NextToken = lambda p: table.log()[p[:, -1]]  # noqa: E731
    assert beam_search(ask, 7, 0, 9, beams=3, alpha=0.0)[0].ids == (0,)
    assert beam_search(ask, 7, 0, 9, beams=3, alpha=1.0)[0].ids == (1, 2, 3, 4, 5, 0)


@pytest.fixture(scope="module")
def translator() -> Translator:
    return Translator.from_checkpoint("translator-en-zh")


@pytest.mark.parametrize(
    ("english", "wanted"),
    [
        ("I love you.", "爱"),
        ("Where is my book?", "书"),
        ("He is a teacher.", "师"),
        ("I went to school yesterday.", "昨天"),
        ("I do not like cats.", "猫"),
        ("What time is it now?", "几点"),
        ("Can you help me?", "帮"),
    ],
)
def test_the_shipped_translator_makes_sense(translator: Translator, english: str, wanted: str) -> None:
    found = translator.translate(english)
    assert wanted in found.text and 3 <= len(found.text) <= 12
    assert found.text[-1] == ("？" if english[-1] == "?" else "。")
    assert found.alternatives[0][0] == found.text and len(found.alternatives) == 5


def test_cross_attention_finds_the_word(translator: Translator) -> None:
    """Just before it writes 猫 the last block looks more at cats than at any other word."""
    found = translator.translate("I do not like cats.")
    row = found.weights[-1].mean(0)[found.tokens.index("猫")]  # (Ts,)
    assert found.source_tokens[int(row.argmax())] == "cats"
    assert found.weights.shape == (3, 6, len(found.tokens), len(found.source_tokens))


def test_a_hypothesis_is_scored_as_in_training(translator: Translator) -> None:
    """The sum over the steps of the search equals one pass over the whole sentence."""
    ids = translator.source_ids("He is a teacher.")
    memory = translator.model.encode(ids)
    found = beam_search(translator.next_token(memory), translator.start, translator.end, 20)[0]
    logits, _ = translator.model.decode(torch.tensor([[translator.start, *found.ids[:-1]]]), memory)
    rows = torch.log_softmax(logits[0], dim=-1)
    assert rows[range(len(found.ids)), found.ids].sum().item() == pytest.approx(found.log_probability, abs=1e-2)


def test_unknown_words_fall_apart_into_known_pieces(translator: Translator) -> None:
    pieces = translator.source_tokens("Tom said Zugzwang, 你 café")
    assert "".join(pieces[:-1]).replace("␣", "") == "TomsaidZugzwang,你你你caféé" and pieces[-1] == "<end>"
    assert "<unk>" not in translator.translate("Zugzwang 你").text


def test_case_and_quotes_do_not_matter(translator: Translator) -> None:
    assert torch.equal(translator.source_ids("DON’T GO."), translator.source_ids("don't go."))


def test_errors_say_what_must_hold(translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at most 60 tokens, got 201; shorten it"):
        translator.translate("go" + " go" * 199)
    with pytest.raises(ValueError, match="at most 60 tokens"):
        translator.translate("  ")
    ask = a_searcher()
    with pytest.raises(ValueError, match="max_length must be at least 1, got 0"):
        greedy_search(ask, START, END, 0)
    with pytest.raises(ValueError, match="at least 1, got 4 and 0"):
        beam_search(ask, START, END, 4, beams=0)
    folder = tmp_path / "broken"
    shutil.copytree(SHIPPED / "translator-en-zh", folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="tokenizer.json"):
        Translator.from_checkpoint(folder)
