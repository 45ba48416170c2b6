"""Metrics against scikit-learn, sacrebleu and PyTorch, their laws, and what each of them hides."""

import math
from collections.abc import Callable

import pytest
import sacrebleu
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from largemodels.evaluation.metrics import (
    accuracy,
    bits_per_character,
    bleu,
    brevity_penalty,
    clipped_matches,
    confusion_matrix,
    ngrams,
    perplexity,
    precision_recall_f1,
)
from largemodels.models.gpt import Gpt

CLASSES = 4
FEW = settings(max_examples=15, deadline=None)  # scikit-learn checks its arguments for milliseconds
labels, two_labels = (
    st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), min_size=1, max_size=30) for n in (CLASSES, 2)
)
sentences = st.lists(st.sampled_from("abcde"), min_size=1, max_size=9)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[list[str]], list[list[list[str]]]]:
    """Return translations, some of them empty, and as many references for each."""
    size, versions = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    translations = [draw(st.lists(st.sampled_from("abcde"), max_size=9)) for _ in range(size)]
    return translations, [[draw(sentences) for _ in range(versions)] for _ in range(size)]


def their_bleu(
    translations: list[list[str]], references: list[list[list[str]]], smooth: bool = True
) -> sacrebleu.metrics.bleu.BLEUScore:
    texts = [" ".join(tokens) for tokens in translations]
    streams = [[" ".join(reference) for reference in version] for version in zip(*references, strict=True)]
    return sacrebleu.corpus_bleu(
        texts, streams, tokenize="none", force=True, smooth_method="exp" if smooth else "none"
    )


@FEW
@given(labels)
def test_classification_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    targets, predictions = (list(column) for column in zip(*pairs, strict=True))
    every = list(range(CLASSES))
    matrix = confusion_matrix(torch.tensor(targets), torch.tensor(predictions), CLASSES)
    assert matrix.tolist() == sk.confusion_matrix(targets, predictions, labels=every).tolist()
    assert accuracy(matrix).item() == sk.accuracy_score(targets, predictions)
    for average in ("none", "macro", "micro"):
        theirs = sk.precision_recall_fscore_support(
            targets, predictions, labels=every, average=None if average == "none" else average, zero_division=0
        )[:3]
        for mine, reference in zip(precision_recall_f1(matrix, average), theirs, strict=True):
            torch.testing.assert_close(mine, torch.tensor(reference, dtype=torch.float64), rtol=0, atol=1e-12)


@FEW
@given(two_labels)
def test_the_second_of_two_classes_is_scikit_learns_binary_average(pairs: list[tuple[int, int]]) -> None:
    targets, predictions = (list(column) for column in zip(*pairs, strict=True))
    matrix = confusion_matrix(torch.tensor(targets), torch.tensor(predictions), n_classes=2)
    theirs = sk.precision_recall_fscore_support(targets, predictions, average="binary", zero_division=0)[:3]
    for mine, reference in zip(precision_recall_f1(matrix), theirs, strict=True):
        assert mine[1].item() == pytest.approx(reference, abs=1e-12)


@given(labels)
def test_laws_of_averages(pairs: list[tuple[int, int]]) -> None:
    """With one class to each example: micro precision, recall and F1 are accuracy; F1 lies between the two."""
    matrix = confusion_matrix(*torch.tensor(pairs).T, CLASSES)
    assert {value.item() for value in precision_recall_f1(matrix, "micro")} == {accuracy(matrix).item()}
    said_right, found, harmonic = precision_recall_f1(matrix)
    assert (harmonic <= torch.maximum(said_right, found) + 1e-12).all()
    assert (harmonic >= torch.minimum(said_right, found) - 1e-12).all()


def test_classification_by_hand() -> None:
    """The page's numbers: 10 yes, of which 6 are found, and 2 false alarms among 90 no."""
    matrix = torch.tensor([[88, 2], [4, 6]])
    assert accuracy(matrix).item() == pytest.approx(0.94)
    assert [value[1].item() for value in precision_recall_f1(matrix)] == pytest.approx([3 / 4, 3 / 5, 2 / 3])
    no = 2 * 88 / (2 * 88 + 2 + 4)
    assert precision_recall_f1(matrix, "macro")[2].item() == pytest.approx((no + 2 / 3) / 2)


@settings(max_examples=60, deadline=None)
@given(corpora(), st.booleans())
def test_bleu_equals_sacrebleu(corpus: tuple[list[list[str]], list[list[list[str]]]], smooth: bool) -> None:
    ours, theirs = bleu(*corpus, smooth=smooth), their_bleu(*corpus, smooth)
    assert ours.score == pytest.approx(theirs.score, abs=1e-12)
    assert [100 * p for p in ours.precisions] == pytest.approx(theirs.precisions, abs=1e-12)
    assert ours.brevity_penalty == pytest.approx(theirs.bp, abs=1e-12)


@pytest.mark.parametrize("cut", ["char", "none"])
def test_chinese_by_character_and_by_word_as_sacrebleu_cuts_it(cut: str) -> None:
    translation, reference = "我 昨天 在 图书馆 借 了 书 。", "我 昨天 从 图书馆 借来 一本 书 。"
    split = str.split if cut == "none" else lambda text: list(text.replace(" ", ""))
    theirs = sacrebleu.corpus_bleu([translation], [[reference]], tokenize=cut, force=True)
    assert bleu([split(translation)], [[split(reference)]]).score == pytest.approx(theirs.score, abs=1e-12)


def test_largest_differences(record_differences: Callable[[float, float], None]) -> None:
    """In value: BLEU, 0–100, and macro F1, on random corpora and labels. In gradient: perplexity, to the logits."""
    g = torch.Generator().manual_seed(0)
    worst = {"bleu": 0.0, "f1": 0.0}
    for _ in range(60):
        sizes = torch.randint(1, 10, (8,), generator=g).tolist()
        made = [["abcde"[i] for i in torch.randint(0, 5, (n,), generator=g)] for n in sizes]
        corpus = made[:4], [[tokens] for tokens in made[4:]]
        worst["bleu"] = max(worst["bleu"], abs(bleu(*corpus).score - their_bleu(*corpus).score))
        targets, predictions = torch.randint(0, CLASSES, (2, 37), generator=g)
        theirs = sk.f1_score(targets, predictions, average="macro", zero_division=0)
        ours = precision_recall_f1(confusion_matrix(targets, predictions, CLASSES), "macro")[2]
        worst["f1"] = max(worst["f1"], abs(ours.item() - theirs))
    logits = torch.randn(9, 17, generator=g, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(0, 17, (9,), generator=g)
    nats = -logits.log_softmax(-1)[torch.arange(9), targets]  # (T,)
    (mine,) = torch.autograd.grad(perplexity(nats), logits)
    (reference,) = torch.autograd.grad(F.cross_entropy(logits, targets).exp(), logits)
    in_gradient = (mine - reference).abs().max().item()
    record_differences(max(worst.values()), in_gradient)
    assert worst["bleu"] <= 1e-12 and worst["f1"] <= 1e-15 and in_gradient <= 1e-12


def test_bleu_by_hand() -> None:
    """Precisions 5/5, 4/4, 3/3, 1/2 and no brevity: the fourth root of a half."""
    score = bleu([list("我爱你们。")], [[list("我爱你。"), list("我很爱你们。")]])
    assert score.precisions == (1, 1, 1, 0.5) and score.score == pytest.approx(100 * 0.5**0.25)
    # Precisions 5/5, 3/4, 2/3, 1/2 and six tokens wanted where five are: the root of a half, times e to the -1/5.
    pair = [["我", "明天", "去", "图书馆", "。"]], [[["我", "明天", "去", "图书馆", "还书", "。"]]]
    assert bleu(*pair).score == pytest.approx(100 * math.sqrt(1 / 2) * math.exp(-1 / 5))
    # Four 的 in a row are clipped to the one of the reference.
    assert clipped_matches(list("的的的的"), [list("我的书在")], n=1) == 1
    assert bleu([list("的的的的")], [[list("我的书在")]], max_order=1).score == pytest.approx(25)
    # Half the length of the reference: e to the power of 1 - 2.
    assert brevity_penalty(2, 4) == pytest.approx(math.exp(-1))
    assert bleu([list("我爱")], [[list("我爱你。")]], max_order=2).score == pytest.approx(100 * math.exp(-1))
    # Without smoothing one length without a match is enough for 0; with it, 1/2 and 1/4 stand in.
    pair = [list("你好吗我")], [[list("我爱你。")]]
    assert bleu(*pair, smooth=False).score == 0
    assert bleu(*pair).precisions == (2 / 4, 0.5 / 3, 0.25 / 2, 0.125)


@given(sentences, st.integers(1, 5))
def test_runs_are_counted_once_for_each_place(tokens: list[str], n: int) -> None:
    assert ngrams(tokens, n).total() == max(len(tokens) - n + 1, 0)


@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=4, max_size=9), min_size=1, max_size=4), st.randoms())
def test_a_perfect_translation_has_100_and_order_of_sentences_does_not_count(corpus: list[list[str]], random) -> None:  # noqa: ANN001
    references = [[tokens] for tokens in corpus]
    assert bleu(corpus, references).score == pytest.approx(100)
    pairs = list(zip([tokens[::-1] for tokens in corpus], references, strict=True))
    before = bleu(*zip(*pairs, strict=True)).score  # type: ignore[arg-type]
    random.shuffle(pairs)
    assert bleu(*zip(*pairs, strict=True)).score == pytest.approx(before)  # type: ignore[arg-type]


def test_the_score_of_a_corpus_is_not_the_mean_of_its_sentences() -> None:
    corpus = [list("abcdefgh"), list("abxd")], [[list("abcdefgh")], [list("abcd")]]
    singles = [bleu([tokens], [known]).score for tokens, known in zip(*corpus, strict=True)]
    assert abs(bleu(*corpus).score - sum(singles) / 2) > 10


def test_perplexity_equals_pytorch() -> None:
    g = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(9, 17, generator=g, dtype=torch.float64), torch.randint(0, 17, (9,), generator=g)
    nats = F.cross_entropy(logits, targets, reduction="none")  # (T,)
    assert perplexity(nats).item() == pytest.approx(F.cross_entropy(logits, targets).exp().item(), abs=1e-12)
    fair = torch.distributions.Categorical(torch.ones(5, dtype=torch.float64))
    assert perplexity(-fair.log_prob(torch.arange(5))).item() == pytest.approx(fair.perplexity().item(), abs=1e-12)


def test_perplexity_equals_scikit_learns_log_loss() -> None:
    probs = torch.rand(7, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    targets = torch.tensor([0, 1, 2, 3, 4, 1, 3])
    nats = -probs.log()[torch.arange(7), targets]
    assert perplexity(nats).item() == pytest.approx(math.exp(sk.log_loss(targets, probs)), abs=1e-12)


@given(st.lists(st.floats(0.01, 9), min_size=1, max_size=20), st.data())
def test_bits_per_character_do_not_depend_on_the_cut(values: list[float], data: st.DataObject) -> None:
    """Tokens of several characters have the product of their characters' probabilities: the nats add up."""
    nats = torch.tensor(values, dtype=torch.float64)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(values) - 1)))) if len(values) > 1 else []
    merged = torch.stack([part.sum() for part in nats.tensor_split(cuts)])
    ours = [bits_per_character(some, len(values)).item() for some in (nats, merged)]
    assert ours[0] == pytest.approx(ours[1], abs=1e-12)
    assert ours[0] == pytest.approx(math.log2(perplexity(nats).item()), abs=1e-12)  # one token is one character
    assert perplexity(merged) >= perplexity(nats) - 1e-9


def test_two_tokenizers_one_language_model() -> None:
    """The shipped model reads characters; read in pairs it is another tokenizer, the same model and the same bits."""
    bard, text = Gpt.from_pretrained("shakespeare-gpt-en"), "\nThe king is dead; long live the king"
    nats = torch.tensor([value for _, value in bard.token_nats(text)], dtype=torch.float64)  # (36,)
    pairs = nats.reshape(-1, 2).sum(-1)  # (18,)
    assert perplexity(nats).item() == pytest.approx(bard.perplexity(text), rel=1e-9)
    assert perplexity(pairs).item() == pytest.approx(perplexity(nats).item() ** 2)
    assert bits_per_character(pairs, 36).item() == pytest.approx(bits_per_character(nats, 36).item())


def test_a_model_that_knows_nothing_has_its_vocabulary_as_perplexity() -> None:
    for size, tokens in ((68, 42), (4000, 13)):
        nats = torch.full((tokens,), math.log(size), dtype=torch.float64)
        assert perplexity(nats).item() == pytest.approx(size)
        assert bits_per_character(nats, 42).item() == pytest.approx(tokens * math.log2(size) / 42)


def test_m26_accuracy_misleads_on_unbalanced_classes() -> None:
    """Always “no” is right in 95 of 100 and finds nothing; a classifier that finds 4 of 5 has less accuracy."""
    targets = torch.tensor([1] * 5 + [0] * 95)
    never, seeks = torch.zeros(100, dtype=torch.long), torch.tensor([1] * 4 + [0] * 1 + [1] * 8 + [0] * 87)
    lazy, useful = (confusion_matrix(targets, said, n_classes=2) for said in (never, seeks))
    assert accuracy(lazy).item() == 0.95 > accuracy(useful).item()
    found = [precision_recall_f1(matrix)[1][1].item() for matrix in (lazy, useful)]
    assert found == [0, 0.8]
    harmonic = [precision_recall_f1(matrix, "macro")[2].item() for matrix in (lazy, useful)]
    assert harmonic[0] < 0.5 < harmonic[1]


def test_m26_bleu_says_nothing_of_text_without_a_reference_translation() -> None:
    """Two famous poems share but a comma and a stop; a sentence turned into its opposite shares nearly all."""
    li_bai, meng_haoran = "床前明月光，疑是地上霜。", "春眠不觉晓，处处闻啼鸟。"
    assert bleu([list(meng_haoran)], [[list(li_bai)]], smooth=False).score == 0
    reference = "the medicine is safe for children under the age of three and should be given twice a day"
    paraphrase = "toddlers may take this drug without danger and ought to get two doses daily"
    texts = (reference.replace("safe", "unsafe"), paraphrase)
    scores = [bleu([text.split()], [[reference.split()]]).score for text in texts]
    assert scores[0] > 80 and scores[1] < 5


def test_two_macro_f1_rank_two_classifiers_differently() -> None:
    """The F1 of the mean precision and recall is not the mean F1: Opitz and Burst, 2019."""
    even, skewed = torch.tensor([[6, 4], [4, 6]]), torch.tensor([[1, 9], [0, 10]])

    def f1_of_means(matrix: torch.Tensor) -> float:
        said_right, found, _ = (value.item() for value in precision_recall_f1(matrix, "macro"))
        return 2 * said_right * found / (said_right + found)

    means = [precision_recall_f1(matrix, "macro")[2].item() for matrix in (even, skewed)]
    assert means[0] > means[1] and f1_of_means(even) < f1_of_means(skewed)


@pytest.mark.parametrize(
    ("targets", "predictions", "error", "message"),
    [
        ([0, 1], [0], ValueError, "both have the shape"),
        ([], [], ValueError, "B above 0"),
        ([0, 2], [0, 1], ValueError, "between 0 and n_classes - 1 = 1, got 0 to 2"),
        ([0, 1], [0, -1], ValueError, "got -1 to 1"),
        ([0.0, 1.0], [0, 1], TypeError, "classes must be integers"),
    ],
)
def test_bad_classes(targets: list, predictions: list, error: type[Exception], message: str) -> None:
    as_classes = [torch.tensor(row, dtype=None if row else torch.long) for row in (targets, predictions)]
    with pytest.raises(error, match=message):
        confusion_matrix(*as_classes, n_classes=2)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="average must be"):
        precision_recall_f1(torch.ones(2, 2, dtype=torch.long), "weighted")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 1 token"):
        perplexity(torch.tensor([]))
    with pytest.raises(ValueError, match="characters must be at least 1, got 0"):
        bits_per_character(torch.tensor([1.0]), 0)
    with pytest.raises(TypeError, match="got a string"):
        bleu(["我爱你"], [["我爱你"]])
    with pytest.raises(TypeError, match="got a string"):
        bleu([["我"]], [["我爱你"]])
    for references in ([[["a"]], [["b"]]], [[]]):
        with pytest.raises(ValueError, match="at least 1 reference"):
            bleu([["a"]], references)


def test_every_order_of_arguments_of_the_matrix() -> None:
    """Rows are the truth: taking it for the columns swaps precision and recall, and leaves F1."""
    assume_right = confusion_matrix(torch.tensor([1, 1, 1, 0, 0]), torch.tensor([1, 0, 0, 1, 0]), n_classes=2)
    (p, r, f), (q, s, g) = precision_recall_f1(assume_right), precision_recall_f1(assume_right.T)
    assert torch.equal(p, s) and torch.equal(r, q) and torch.equal(f, g)
