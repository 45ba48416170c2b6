r"""Fine-tuning: a pretrained encoder, a new head, and a few labelled texts.

Two ways to use the same encoder: move all of its parameters a little (`fine_tune`), or leave them as they are and fit
a linear head on its sentence vectors (`fit_head`), which costs seconds.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers", 2018, https://arxiv.org/abs/1810.04805,
section 3.2 and appendix A.3.
"""

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from largemodels.models import _loading
from largemodels.training.pretraining import Settings, learning_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100  # the target that PyTorch's cross-entropy skips


def load_classifier(
    source: str | Path, labels: Sequence[str], *, pretrained: bool = True, seed: int = 0
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Put a new head on a pretrained encoder; whatever head the checkpoint has is dropped.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 3.2.

    Args:
        source: local folder, name of a shipped model, or hub id of a BERT or a GPT.
        labels: names of the `K` classes, at least two.
        pretrained: False leaves the encoder's parameters random too: the same net without pretraining.
        seed: of everything that starts random.

    Returns:
        The model, a `BertForSequenceClassification` or `GPT2ForSequenceClassification`, in float32; its tokenizer.

    Raises:
        ModelError: an OSError that names the file which is missing or damaged.
        ValueError: if there are fewer than two labels, or two are the same.

    Examples:
        >>> model, tokenizer = load_classifier("sentiment-bert-zh-en", ["sport", "game", "stocks"])
        >>> model.config.num_labels, model.config.id2label[2]
        (3, 'stocks')
    """
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise ValueError(f"labels must be two different names or more, got {list(labels)}; name every class once")
    encoder, tokenizer = _loading.load(source, "AutoModel", device="cpu", dtype=torch.float32)
    from transformers import AutoModelForSequenceClassification

    config = encoder.config
    config.id2label = dict(enumerate(labels))
    config.label2id = {name: number for number, name in enumerate(labels)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
    if pretrained:
        model.base_model.load_state_dict(encoder.state_dict(), strict=False)  # the pooler stays new
    return model.eval(), tokenizer


def length_batches(lengths: Sequence[int], size: int, seed: int = 0, pool: int = 20) -> list[list[int]]:
    """Cut one epoch into batches of texts about equally long, so that little is filled up.

    Source: as `Trainer` groups by length, https://huggingface.co/docs/transformers/main_classes/trainer.

    Args:
        lengths: tokens of each of `N` texts.
        size: texts in a batch; one batch may be smaller.
        seed: of the order.
        pool: batches that are sorted together; 1 sorts nothing across batches.

    Returns:
        Lists of row numbers in random order; every number in `range(N)` once.

    Raises:
        ValueError: if there is no text, or `size` or `pool` is below 1.

    Examples:
        >>> sorted(map(sorted, length_batches([3, 9, 4, 8, 5], size=2, pool=9)))
        [[0, 2], [1], [3, 4]]
    """
    if not lengths or size < 1 or pool < 1:
        raise ValueError(f"need a text, size and pool of at least 1, got {len(lengths)}, {size} and {pool}")
    rng = random.Random(seed)
    order = rng.sample(range(len(lengths)), len(lengths))
    batches = []
    for start in range(0, len(order), pool * size):
        rows = sorted(order[start : start + pool * size], key=lambda row: lengths[row])
        batches += [rows[at : at + size] for at in range(0, len(rows), size)]
    return rng.sample(batches, len(batches))


def fine_tune(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    epochs: int = 3,
    lr: float = 2e-4,
    batch_size: int = 16,
    warmup: float = 0.1,
    weight_decay: float = 0.01,
    clip: float = 1.0,
    max_length: int = 128,
    seed: int = 0,
) -> list[float]:
    r"""Train every parameter on labelled texts: AdamW, warm-up, gradient clipping.

    The loss of a batch is $-\frac1B \sum_i \ln \mathrm{softmax}(W h_i + b)_{y_i}$, $h_i$ coming from the encoder.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, appendix A.3.
    Differs from the paper: a higher default learning rate, because the shipped encoders are small, and one that
    falls to 0 over a run of a few dozen steps.

    Args:
        model: of class `…ForSequenceClassification`; changed in place, left in evaluation mode.
        tokenizer: the model's own.
        texts: `N` texts.
        labels: `N` classes, from 0 to `K - 1`.
        epochs: how often each text is seen.
        lr: peak learning rate.
        batch_size: texts in one step.
        warmup: fraction of the steps in which the learning rate rises.
        weight_decay: decoupled, per unit of learning rate.
        clip: largest norm of the gradient.
        max_length: tokens of a text that are kept; the rest is cut off.
        seed: of order and dropout.

    Returns:
        The loss of each step, in nats.

    Raises:
        ValueError: if there is no text, the numbers of texts and labels differ, or a label is out of range.

    Examples:
        >>> model, tokenizer = load_classifier("sentiment-bert-zh-en", ["cars", "space", "music"])
        >>> len(fine_tune(model, tokenizer, ["fast", "far"], [0, 1], epochs=1, batch_size=1))
        2
    """
    _check_labels(labels, len(texts), model.config.num_labels)
    rows = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    order = [b for e in range(epochs) for b in length_batches(list(map(len, rows)), batch_size, seed * 1000 + e)]
    settings = Settings(steps=len(order), lr=lr, warmup=math.ceil(warmup * len(order)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay, fused=True)
    targets, losses = torch.tensor(labels, device=model.device), []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()  # dropout on
        for step, batch in enumerate(order):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, settings)
            inputs = tokenizer.pad({"input_ids": [rows[row] for row in batch]}, return_tensors="pt").to(model.device)
            loss = F.cross_entropy(model(**inputs).logits, targets[batch])  # logits (B, K)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            losses.append(loss.item())
        model.eval()
    return losses


@torch.inference_mode()
def class_probs(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    *,
    batch_size: int = 64,
    max_length: int = 128,
) -> Tensor:
    r"""Give each text a probability for each class: the softmax of its logits.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 4.1.

    Args:
        model: of class `…ForSequenceClassification`, in evaluation mode.
        tokenizer: the model's own.
        texts: `N` texts.
        batch_size: texts in one forward pass; they are sorted by length for it.
        max_length: tokens of a text that are kept; the rest is cut off.

    Returns:
        Probabilities, shape `(N, K)`, float32 on the CPU, in the order of the texts; rows sum to 1.

    Raises:
        ValueError: if there is no text, or the model is in training mode.

    Examples:
        >>> model, tokenizer = load_classifier("sentiment-bert-zh-en", ["cars", "space", "music"])
        >>> class_probs(model, tokenizer, ["a fast car", "the moon"]).shape
        torch.Size([2, 3])
    """
    if model.training:
        raise ValueError("the model must be in evaluation mode, or dropout answers at random; call model.eval()")
    if not texts:
        raise ValueError("texts must hold at least one text, got none; give a list of texts")
    rows = tokenizer(list(texts), truncation=True, max_length=max_length)["input_ids"]
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    probs = torch.empty(len(rows), model.config.num_labels)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = tokenizer.pad({"input_ids": [rows[row] for row in batch]}, return_tensors="pt").to(model.device)
        probs[batch] = model(**inputs).logits.float().softmax(-1).cpu()  # (B, K)
    return probs


def fit_head(vectors: Tensor, labels: Sequence[int], n_labels: int, strength: float = 1.0) -> tuple[Tensor, Tensor]:
    r"""Fit a linear head on a frozen encoder's vectors: logistic regression.

    There is one best solution and no learning rate. L-BFGS minimises, in float64,
    $s \sum_n -\ln \mathrm{softmax}(W x_n + b)_{y_n} + \frac12 \lVert W \rVert^2$.

    Source: the objective is that of scikit-learn's `LogisticRegression`,
    https://scikit-learn.org/stable/modules/linear_model.html#logistic-regression.

    Args:
        vectors: one for each text, shape `(N, C)`, as `Bert.encode` gives them.
        labels: `N` classes, from 0 to `K - 1`.
        n_labels: `K`.
        strength: $s$, in scikit-learn `C`: how much the labels count against small weights.

    Returns:
        Weights `(K, C)` and biases `(K,)`, in the type of the vectors.

    Raises:
        ValueError: if shapes do not fit, a label is out of range, or `strength` is not above 0.

    Examples:
        >>> weight, bias = fit_head(torch.eye(4)[:, :3], [0, 1, 1, 0], n_labels=2)
        >>> (torch.eye(4)[:, :3] @ weight.T + bias).argmax(-1).tolist()
        [0, 1, 1, 0]
    """
    if vectors.ndim != 2:
        raise ValueError(f"vectors must have shape (N, C), got {tuple(vectors.shape)}; give one vector for each text")
    if not 0 < strength < math.inf:
        raise ValueError(f"strength must be above 0 and finite, got {strength}; 1.0 is a usual one")
    _check_labels(labels, len(vectors), n_labels)
    x, y = vectors.double(), torch.tensor(labels)
    weight = torch.zeros(n_labels, x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(n_labels, dtype=torch.float64, requires_grad=True)
    stop = {"max_iter": 2_000, "tolerance_grad": 1e-9, "tolerance_change": 0.0}
    optimizer = torch.optim.LBFGS([weight, bias], line_search_fn="strong_wolfe", **stop)  # type: ignore[arg-type]

    def objective() -> Tensor:
        optimizer.zero_grad()
        loss = strength * F.cross_entropy(x @ weight.T + bias, y, reduction="sum") + weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(objective)
    return weight.detach().to(vectors.dtype), bias.detach().to(vectors.dtype)


def align_labels(word_ids: Sequence[int | None], labels: Sequence[int]) -> list[int]:
    """Carry labels of words over to their pieces: the first piece gets the label.

    Source: Devlin et al., 2018, https://arxiv.org/abs/1810.04805, section 5.3: "the representation of the first
    sub-token".

    Args:
        word_ids: for each of `T` pieces the number of its word, None for special tokens, as `BatchEncoding.word_ids`
            gives them.
        labels: one class for each word.

    Returns:
        `T` classes; -100, which the loss skips, where a piece has none.

    Raises:
        ValueError: if a piece belongs to a word without a label.

    Examples:
        >>> align_labels([None, 0, 1, 1, 1, 2, None], [3, 0, 7])
        [-100, 3, 0, -100, -100, 7, -100]
    """
    last = max((word for word in word_ids if word is not None), default=-1)
    if last >= len(labels):
        raise ValueError(f"every word must have a label, got {len(labels)} labels and a word number {last}; add them")
    pairs = zip([None, *word_ids], word_ids, strict=False)  # each piece's word, and the one before it
    return [IGNORED if word is None or word == before else labels[word] for before, word in pairs]


def _check_labels(labels: Sequence[int], count: int, n_labels: int) -> None:
    """Refuse labels that do not fit the texts or the head: the error of the loss would name no row."""
    if not count or len(labels) != count:
        raise ValueError(f"need a text and one label for each, got {count} texts and {len(labels)} labels")
    wrong = [row for row, label in enumerate(labels) if not 0 <= label < n_labels]
    if wrong:
        got = f"{labels[wrong[0]]} in row {wrong[0]}"
        raise ValueError(f"labels must lie between 0 and {n_labels - 1}, got {got}; give the model more classes")
