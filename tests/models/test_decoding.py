"""Decoding against Transformers' own `generate`, its logits processors, and probabilities worked out by hand."""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from demos import _tree, _walk
from demos.models import decoding as demo
from largemodels.models import _decoding, _steps, decoding
from largemodels.models.gpt import Gpt

SHIPPED = {"poem-gpt-zh": "<五绝>床前明月", "shakespeare-gpt-en": "ROMEO:\nI wou"}
V = 23  # tokens of the tiny model
ENDS = [17, 18, 19, 22]  # with these its texts end at many lengths
PROMPT = [5, 7, 2]


@functools.cache
def tiny(seed: int) -> Any:
    """A random GPT-2 whose probabilities differ enough for texts to end at different lengths."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=V, n_embd=12, n_layer=2, n_head=3, n_positions=40, initializer_range=0.6, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


@functools.cache
def shipped(name: str) -> Gpt:
    return Gpt.from_pretrained(name)


def plain(model: Any) -> decoding.NextLogits:
    """The logits function of the page: the whole row each time, nothing kept."""
    return lambda ids: model(ids).logits[:, -1]


def theirs(model: Any, prompt: list[int], count: int, ends: list[int], seed: int = 0, **how: Any) -> list[list[int]]:
    """Return what Transformers writes after the prompt, up to and with the end token."""
    batch = torch.tensor([prompt])
    torch.manual_seed(seed)
    out = model.generate(
        batch, attention_mask=torch.ones_like(batch), max_new_tokens=count, eos_token_id=ends or None,
        pad_token_id=ends[0] if ends else 0, **how,
    )  # fmt: skip
    return [_steps.until(row[len(prompt) :].tolist(), ends) for row in out]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("ends", [ENDS, []], ids=["ends", "endless"])
def test_greedy_equals_generate(seed: int, penalty: float, ends: list[int]) -> None:
    want = theirs(tiny(seed), PROMPT, 17, ends, do_sample=False, repetition_penalty=penalty)
    assert [decoding.greedy(plain(tiny(seed)), PROMPT, 17, ends=ends, repetition_penalty=penalty)] == want


def test_beam_search_equals_generate_in_tokens_and_scores() -> None:
    """Every way to stop, long and short texts favoured, two and five beams; texts of every length must occur."""
    lengths, worst = Counter[int](), 0.0
    ways = itertools.product(range(2), (2, 5), (True, False, "never"), (1.0, -0.7), (ENDS, []))
    for seed, beams, early, alpha, ends in ways:
        how = {"num_beams": beams, "early_stopping": early, "length_penalty": alpha, "num_return_sequences": beams}
        torch.manual_seed(0)
        batch = torch.tensor([PROMPT])
        out = tiny(seed).generate(
            batch, attention_mask=torch.ones_like(batch), max_new_tokens=7, eos_token_id=ends or None, pad_token_id=0,
            do_sample=False, return_dict_in_generate=True, output_scores=True, **how,
        )  # fmt: skip
        want = [_steps.until(row[3:].tolist(), ends) for row in out.sequences]
        ours = decoding.beam_search(plain(tiny(seed)), PROMPT, 7, ends=ends, **how)  # type: ignore[arg-type]
        assert [row for row, _ in ours] == want, (seed, how, ends)
        differences = [abs(a / b - 1) for (_, a), b in zip(ours, out.sequences_scores.tolist(), strict=True)]
        worst = max(worst, *differences)
        lengths.update(map(len, want))
    assert worst <= 1e-5  # relative, in float32
    assert set(lengths) == set(range(1, 8))


@pytest.mark.parametrize("penalty", [1.2, 0.8])
def test_beam_search_with_a_repetition_penalty_equals_generate(penalty: float) -> None:
    how = {"num_beams": 5, "repetition_penalty": penalty, "num_return_sequences": 3}
    want = theirs(tiny(1), PROMPT, 11, ENDS, do_sample=False, **how)
    assert [row for row, _ in decoding.beam_search(plain(tiny(1)), PROMPT, 11, ends=ENDS, **how)] == want  # type: ignore[arg-type]


FILTERS = [
    {}, {"temperature": 0.6}, {"top_k": 4}, {"top_p": 0.7}, {"repetition_penalty": 1.5},
    {"temperature": 1.4, "top_k": 9, "top_p": 0.85, "repetition_penalty": 1.2},
]  # fmt: skip


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("rows", [1, 3])
def test_sampling_draws_the_same_tokens_as_generate(filters: dict[str, Any], rows: int) -> None:
    """Not only the same distribution: from the same state of the generator, the same tokens."""
    for seed in range(2):
        how = {"top_k": 0, **filters, "num_return_sequences": rows}
        want = theirs(tiny(seed), PROMPT, 10, ENDS, seed, do_sample=True, **how)
        ours = decoding.sample(
            plain(tiny(seed)), PROMPT, 10, ends=ENDS, seed=seed, num_return_sequences=rows, **filters
        )
        assert ours == want


@pytest.mark.parametrize("name", SHIPPED)
def test_all_strategies_equal_generate_on_the_shipped_models(name: str) -> None:
    gpt = shipped(name)
    ids, ends, count = gpt.tokenizer(SHIPPED[name])["input_ids"], sorted(gpt._ends), 20
    model, logits = gpt._model, gpt.next_logits()
    assert [decoding.greedy(logits, ids, count, ends=ends)] == theirs(model, ids, count, ends, do_sample=False)
    for early in (True, False):
        how = {"num_beams": 5, "early_stopping": early, "num_return_sequences": 3}
        ours = decoding.beam_search(logits, ids, count, ends=ends, **how)  # type: ignore[arg-type]
        assert [row for row, _ in ours] == theirs(model, ids, count, ends, do_sample=False, **how)
    filters = {"temperature": 0.8, "top_k": 20, "top_p": 0.9}
    want = theirs(model, ids, count, ends, 3, do_sample=True, num_return_sequences=2, **filters)
    assert decoding.sample(logits, ids, count, ends=ends, seed=3, num_return_sequences=2, **filters) == want


def their_probabilities(logits: torch.Tensor, ids: torch.Tensor, **filters: Any) -> torch.Tensor:
    """Return the probabilities after Transformers' own processors, in its order."""
    from transformers.generation import logits_process as processes

    chain = [processes.RepetitionPenaltyLogitsProcessor(filters["repetition_penalty"])]
    chain += [processes.TemperatureLogitsWarper(filters["temperature"])]
    chain += [processes.TopKLogitsWarper(filters["top_k"]), processes.TopPLogitsWarper(filters["top_p"])]
    return processes.LogitsProcessorList(chain)(ids, logits.clone()).softmax(-1)


@pytest.mark.parametrize("name", SHIPPED)
def test_filtered_probabilities_equal_transformers_exactly(
    name: str, record_differences: Callable[[float, float], None]
) -> None:
    gpt = shipped(name)
    worst = 0.0
    ids = torch.tensor([gpt.tokenizer(SHIPPED[name])["input_ids"]])
    logits = gpt.next_logits()(ids)
    for t, k, p in itertools.product((0.5, 1.0, 1.7), (3, 12), (0.4, 0.9)):
        filters = {"temperature": t, "top_k": k, "top_p": p, "repetition_penalty": 1.2}
        ours = decoding.bend(logits, ids, **filters).softmax(-1)  # type: ignore[arg-type]
        worst = max(worst, float((ours - their_probabilities(logits, ids, **filters)).abs().max()))
    assert worst == 0
    record_differences(worst, 0)


def test_draws_pass_a_chi_square_test() -> None:
    """10,000 draws against the probabilities: the statistic stays below the 99.9 % point of its distribution."""
    from scipy.stats import chi2

    filters, rows, prompt = {"temperature": 1.5, "top_k": 15, "top_p": 0.95}, 10_000, torch.tensor([PROMPT])
    one = tiny(0)(prompt).logits[:, -1].detach()  # (1, V)
    logits = one.repeat(rows, 1)
    drawn = decoding.sample(lambda ids: logits, PROMPT, 1, num_return_sequences=rows, seed=6, **filters)
    counts = torch.bincount(torch.tensor(drawn).flatten(), minlength=V).double()
    expected = rows * their_probabilities(one, prompt, **filters, repetition_penalty=1.0)[0].double()
    assert counts[expected == 0].sum() == 0
    kept = expected > 0
    statistic = float(((counts - expected)[kept] ** 2 / expected[kept]).sum())
    assert kept.sum() >= 5
    assert statistic < chi2.ppf(0.999, int(kept.sum()) - 1)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(1, 4))
def test_enough_beams_find_the_most_probable_text_of_all(seed: int, size: int, length: int) -> None:
    """By brute force over every text: as many beams as there are texts never lose the best one."""
    table = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(-1)

    def total(text: tuple[int, ...]) -> float:
        return sum(float(table[a, b]) for a, b in itertools.pairwise((0, *text)))

    best = max(itertools.product(range(size), repeat=length), key=total)
    steps = list(
        _steps.beam_steps(
            lambda ids: table[ids[:, -1]], torch.tensor([[0]]), length, num_beams=size**length, ends=(),
            length_penalty=0.0, early_stopping=False,
        )  # fmt: skip
    )
    assert tuple(steps[-1].finished[0][0]) == best
    assert steps[-1].finished[0][1] == pytest.approx(total(best), abs=1e-5)
    narrow = decoding.beam_search(lambda ids: table[ids[:, -1]], [0], length, num_beams=1, length_penalty=0.0)
    assert narrow[0][0] == decoding.greedy(lambda ids: table[ids[:, -1]], [0], length)
    assert narrow[0][1] <= total(best) + 1e-5


TABLE = torch.tensor([[0.0, 0.6, 0.4], [0.5, 0.3, 0.2], [0.0, 0.1, 0.9]]).log()


def by_hand(ids: torch.Tensor) -> torch.Tensor:
    """The page's three tokens: what follows depends on the last one only."""
    return TABLE[ids[:, -1]]


def test_by_hand() -> None:
    """Greedy takes 0.6 and ends at 0.30; two beams keep 0.4 and end at 0.36."""
    assert decoding.greedy(by_hand, [0], 2) == [1, 0]
    found = decoding.beam_search(by_hand, [0], 2, num_beams=2, num_return_sequences=2, length_penalty=0.0)
    assert [(row, round(math.exp(score), 4)) for row, score in found] == [([2, 2], 0.36), ([1, 0], 0.3)]


def test_length_penalty_by_hand() -> None:
    """ln 0.55 = -0.598 after 2 tokens, ln 0.45 + 3 ln 0.97 = -0.890 after 4; divided by the lengths -0.299, -0.222."""
    table = torch.full((4, 4), -40.0)
    table[1, 2], table[1, 3], table[2, 0] = math.log(0.55), math.log(0.45), 0  # 1, 2 ends at once; 1, 3 goes on
    table[3, 3], table[3, 0] = math.log(0.97), math.log(0.03)
    for alpha, tokens, score in ((0.0, [2, 0], -0.598), (1.0, [3, 3, 3, 3], -0.222)):
        found = decoding.beam_search(lambda ids: table[ids[:, -1]], [1], 4, num_beams=2, ends=[0], length_penalty=alpha)
        assert found[0][0] == tokens
        assert found[0][1] == pytest.approx(score, abs=1e-3)


def test_fates_of_candidates() -> None:
    """Two beams: of an end at rank 0, a life, an end at rank 2 and two lives, the late end and the late life die."""
    assert _steps._fates([True, False, True, False, False], 2) == ["ends", "lives", "dies", "lives", "dies"]


def test_steps_are_not_changed_by_later_ones() -> None:
    how = {"num_beams": 3, "ends": ENDS, "length_penalty": 1.0, "early_stopping": False}
    log_probs = lambda ids: plain(tiny(2))(ids).detach().log_softmax(-1)  # noqa: E731
    seen, walk = [], _steps.beam_steps(log_probs, torch.tensor([PROMPT]), 7, **how)  # type: ignore[arg-type]
    for step in walk:
        seen.append((step, list(step.finished)))
    assert all(step.finished == then for step, then in seen)
    for earlier, later in itertools.pairwise(step for step, _ in seen):
        alive = {beam.tokens for beam in earlier.candidates if beam.fate == "lives"}
        assert len(alive) == 3
        assert {beam.tokens[:-1] for beam in later.candidates} <= alive


def test_the_cache_answers_as_the_whole_row_does() -> None:
    """Rows that grow, fork, die, and rows that have nothing to do with the last ones."""
    ours, truth = _decoding.next_logits(tiny(0)), plain(tiny(0))
    for rows in ([[3, 4]], [[3, 4, 5], [3, 4, 6]], [[3, 4, 6, 1], [3, 4, 6, 2], [3, 4, 5, 2]], [[3, 4, 5, 2, 2]],
                 [[9, 9, 9, 9, 9, 9]], [[9, 9]], [[9, 9, 1]]):  # fmt: skip
        ids = torch.tensor(rows)
        torch.testing.assert_close(ours(ids), truth(ids), rtol=0, atol=1e-5)


def test_the_cache_reads_each_token_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = tiny(3), []
    forward = model.forward
    monkeypatch.setattr(model, "forward", lambda **what: (read.append(what["input_ids"].numel()), forward(**what))[1])
    decoding.beam_search(_decoding.next_logits(model), PROMPT, 6, num_beams=4)
    assert read == [3, 4, 4, 4, 4, 4]


def test_repetition_penalty_takes_many_rows() -> None:
    logits = torch.tensor([[3.0, -3.0, 1.0], [4.0, 2.0, -2.0]])
    bent = decoding.penalise_repetition(logits, torch.tensor([[0, 1], [2, 2]]), 2.0)
    assert bent.tolist() == [[1.5, -6.0, 1.0], [4.0, 2.0, -4.0]]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"prompt": []}, "prompt must have at least 1 token, got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be a whole number from 1"),
        ({"max_new_tokens": 2.5}, "max_new_tokens must be a whole number"),
        ({"num_beams": 0}, "num_beams must be a whole number from 1"),
        ({"num_beams": 3, "ends": [0]}, "num_beams must be a whole number from 1 to 2, got 3"),
        ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences must be a whole number from 1 to 2, got 3"),
        ({"repetition_penalty": 0}, "repetition_penalty must be above 0"),
        ({"next_logits": lambda ids: torch.zeros(1, 2, 3)}, r"must return shape \(N, V\) with N = 1, got \(1, 2, 3\)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_errors_say_what_must_hold(how: dict[str, Any], message: str) -> None:
    given_ = {"next_logits": by_hand, "prompt": [0], "max_new_tokens": 2, "num_beams": 2, **how}
    with pytest.raises(ValueError, match=message):
        decoding.beam_search(**given_)


def test_sampling_refuses_what_the_filters_refuse() -> None:
    for wrong, message in (({"top_k": 4}, "V = 3, got 4"), ({"top_p": 0}, "top_p"), ({"temperature": 0}, "above 0")):
        with pytest.raises(ValueError, match=message):
            decoding.sample(by_hand, [0], 2, **wrong)
    with pytest.raises(ValueError, match="num_return_sequences"):
        decoding.sample(by_hand, [0], 2, num_return_sequences=0)


def test_sampling_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    decoding.sample(by_hand, [0], 4, seed=9)
    assert torch.equal(before, torch.get_rng_state())


def test_m19_max_length_counts_the_prompt() -> None:
    """`max_length=50` after 47 tokens writes 3; our functions and `max_new_tokens` count what is new."""
    prompt = list(range(3, 20)) + list(range(3, 15))  # 29 tokens
    batch, how = torch.tensor([prompt]), {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    model = tiny(0)
    assert model.generate(batch, max_length=32, **how).shape[1] - 29 == 3
    assert model.generate(batch, max_new_tokens=8, **how).shape[1] - 29 == 8
    assert len(decoding.greedy(plain(model), prompt, 8)) == 8


def repeated(texts: list[list[int]], n: int = 4) -> float:
    """Share of the n-grams of tokens that have been there before (seq-rep-n of Welleck et al., 2020)."""
    grams = [list(zip(*(text[i:] for i in range(n)), strict=False)) for text in texts]
    return 1 - sum(len(set(each)) for each in grams) / sum(map(len, grams))


def test_m20_beam_search_and_greedy_repeat_themselves_and_sampling_does_not() -> None:
    bard = shipped("shakespeare-gpt-en")
    prompts = [bard.tokenizer(text)["input_ids"] for text in ("JULIET:\n", "KING RICHARD II:\n")]

    def share(choose: Callable[..., list[int]], **how: Any) -> float:
        return repeated([choose(bard.next_logits(), prompt, 100, **how) for prompt in prompts])

    def beams(*given_: Any) -> list[int]:
        return decoding.beam_search(*given_, num_beams=5)[0][0]

    drawn = share(lambda *given_: decoding.sample(*given_, seed=1)[0])
    assert drawn < 0.1
    assert share(decoding.greedy) > drawn + 0.15
    assert share(beams) > drawn + 0.15


def tree_of(row: tuple[Any, ...]) -> _walk.Walk:
    """Return the walk that the demo draws for one of its examples."""
    model, text, way, step, width, p, temperature, seed = row
    gpt = demo.load(demo.MODELS[model])
    return _walk.Walk(gpt, text, way, step, width=width, p=p, temperature=temperature, seed=seed)


ROWS = sorted({row for rows in demo.EXAMPLES.values() for row in rows})


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_tree_shows_what_the_library_does(row: tuple[Any, ...]) -> None:
    walk, (_, text, way, step, width, *_) = tree_of(row), row
    how = {"num_beams": width, "ends": walk.ends}
    best = decoding.beam_search(walk.gpt.next_logits(), walk.ids, step, **how)[0][0]  # type: ignore[arg-type]
    assert list(walk.best["beam"]) == best
    assert [walk.gpt.tokenizer.decode(walk.best["greedy"])] == walk.gpt.generate(text, max_new_tokens=step)
    if walk.draws:
        seeds = decoding.sample(walk.gpt.next_logits(), walk.ids, step, ends=walk.ends, seed=row[-1], **walk.filters)
        assert list(walk.best[way]) == seeds[0]
    real = dict(walk.gpt.next_token_probabilities(text, k=walk.gpt.vocab_size))
    first, rest = walk.candidates(())
    assert {walk.gpt._spell(one.path[0]): one.share for one in first} == pytest.approx(
        {token: real[token] for token in (walk.gpt._spell(one.path[0]) for one in first)}, abs=1e-6
    )
    assert sum(one.share for one in first) + sum(share for _, share in rest) == pytest.approx(1, abs=1e-5)
    assert len(first) + sum(count for count, _ in rest) == walk.gpt.vocab_size
    assert [one.share for one in first] == sorted((one.share for one in first), reverse=True)
    assert sum(one.chance for one in first if one.fate != "cut") <= 1 + 1e-5
    if way == "top_k":
        assert sum(one.fate != "cut" for one in first) == width + sum(one.path[0] == best[0] for one in first[width:])


def test_the_first_example_shows_a_path_that_greedy_misses_and_another_one_that_beams_lose() -> None:
    for rows in demo.EXAMPLES.values():
        walk = tree_of(rows[0])
        assert walk.total(walk.best["beam"]) > 2 * walk.total(walk.best["greedy"])
    lost = tree_of(demo.LOST)
    assert lost.total(lost.best["beam"]) < lost.total(lost.best["greedy"]) / 2


def test_beams_of_the_tree_live_and_die_as_in_the_search() -> None:
    walk = tree_of(demo.EXAMPLES["en"][0])
    for n, step in enumerate(walk.steps, 1):
        kept = {beam.tokens for beam in step.candidates if beam.fate != "dies"}
        assert {path for path in walk.kept if len(path) == n} == kept
    for path in walk.kept:
        assert (walk.fate(path, True) == "dead") == all(other[: len(path)] != path for other in kept)
        exact = sum(float(walk.probs(path[:n])[token].log()) for n, token in enumerate(path))
        assert walk.total(path) == pytest.approx(math.exp(exact), rel=1e-5)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_no_two_boxes_of_the_tree_overlap(row: tuple[Any, ...]) -> None:
    walk = tree_of(row)
    root = demo.grow(walk, demo.LABELS["en"], (), _tree.Branch("root"))
    _tree.draw(root, 1, "tree")
    for level in _tree._levels(root):
        ys = [branch.y for branch in level]
        assert all(low - high >= _tree.ROW for high, low in itertools.pairwise(ys))
        assert all(branch.children[0].y >= branch.y for branch in level if branch.children)
        assert all(sum(child.weight for child in branch.children) <= 1 + 1e-5 for branch in level)
