"""Recipe of `poem-gpt-zh`: a character GPT that writes Chinese poems in four regular forms.

Train and evaluate:

    largemodels train poem-gpt --data DATA --seconds 2400 --out FOLDER
    largemodels train poem-gpt --data DATA --evaluate FOLDER
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from largemodels.training.recipes.character_gpt import (
    END,
    build_model,
    build_tokenizer,
    count_vocabulary,
    load_checkpoint,
    parse_arguments,
    token_losses,
)
from largemodels.training.recipes.checkpoint_folder import fill_card, write_checkpoint
from largemodels.training.recipes.corpora import POEM_FORMS, SPLITS, poem_form, poem_lines, read_poems
from largemodels.training.recipes.ngram import NGram, row_windows
from largemodels.training.recipes.timed_training import train

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

CARD = Path(__file__).with_name("poem_gpt_card.md")
TAGS = {form: f"<{form}>" for form in POEM_FORMS.values()}
CONTEXT_LENGTH = 66  # 七律: the tag, 8 lines of 7 characters and a mark, the end
TOKENS_PER_STEP = 1200
MIN_COUNT = 60
PUNCTUATION = "，。！？；：、"


def encode_poem(text: str, form: str, vocabulary: dict[str, int], unknown: int) -> list[int]:
    """Token ids of one training row: form tag, characters, end.

    Args:
        text: A poem with punctuation.
        form: One of 五绝, 七绝, 五律, 七律.
        vocabulary: Token to id.
        unknown: Id of characters outside the vocabulary.

    Returns:
        As many ids as the poem has characters, plus two.
    """
    return [vocabulary[TAGS[form]], *(vocabulary.get(char, unknown) for char in text), vocabulary[END]]


def encode_poems(texts: list[str], tokenizer: "PreTrainedTokenizerFast") -> dict[str, Tensor]:
    """Rows of each form; within a form all have one length, so nothing is padded.

    Args:
        texts: Poems in the four forms.
        tokenizer: The poem tokenizer.

    Returns:
        Form to `(N, T)` token ids.
    """
    vocabulary, unknown = tokenizer.get_vocab(), tokenizer.unk_token_id
    rows: dict[str, list[list[int]]] = {form: [] for form in TAGS}
    for text in texts:
        if form := poem_form(text):
            rows[form].append(encode_poem(text, form, vocabulary, unknown))
    return {form: torch.tensor(ids) for form, ids in rows.items() if ids}


def shuffled_batches(rows: dict[str, Tensor], seed: int) -> Iterator[Tensor]:
    """Endless batches of one form each, about `TOKENS_PER_STEP` tokens, every poem once per epoch.

    Args:
        rows: Form to `(N, T)` token ids.
        seed: Decides the order.

    Yields:
        `(B, T)` token ids.
    """
    generator = torch.Generator().manual_seed(seed)
    while True:
        batches = []
        for ids in rows.values():
            shuffled = ids[torch.randperm(len(ids), generator=generator)]
            batches += shuffled.split(TOKENS_PER_STEP // ids.shape[1])
        for i in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[i]


def measure_loss(model: "GPT2LMHeadModel", tokenizer: "PreTrainedTokenizerFast", texts: list[str]) -> dict[str, float]:
    """Perplexity of poems given their form tag.

    Args:
        model: The poem model.
        tokenizer: Its tokenizer.
        texts: Poems in the four forms.

    Returns:
        Perplexity over all characters with punctuation, over the same and the end token, over Han characters only, and
        the fraction of characters outside the vocabulary, which are read by the model but never count as targets.
    """
    marks = torch.tensor(tokenizer.convert_tokens_to_ids(list(PUNCTUATION)))
    nats, counts, unknown, total = torch.zeros(3, dtype=torch.float64), torch.zeros(3), 0, 0
    for ids in encode_poems(texts, tokenizer).values():
        losses, targets = token_losses(model, ids, tokenizer.unk_token_id).double(), ids[:, 1:]  # (N, T - 1)
        known, ends = targets != tokenizer.unk_token_id, targets == tokenizer.eos_token_id
        masks = (known & ~ends, known, known & ~ends & ~torch.isin(targets, marks))
        nats += torch.stack([losses[mask].sum() for mask in masks])
        counts += torch.stack([mask.sum() for mask in masks])
        unknown, total = unknown + int((~known).sum()), total + int((~ends).sum())
    names = ("all characters", "with the end token", "Han characters")
    return dict(zip(names, (nats / counts).exp().tolist(), strict=True)) | {"unknown fraction": unknown / total}


def count_loss(tokenizer: "PreTrainedTokenizerFast", train: list[str], texts: list[str], order: int = 4) -> float:
    """Perplexity of an interpolated Kneser–Ney model that has counted all training poems.

    Args:
        tokenizer: The poem tokenizer.
        train: Poems to count.
        texts: Poems to measure on.
        order: Characters of an n-gram.

    Returns:
        Perplexity over all characters with punctuation, as `measure_loss` counts them.
    """
    seen, asked = (
        torch.cat([row_windows(ids, order, tokenizer.unk_token_id) for ids in encode_poems(part, tokenizer).values()])
        for part in (train, texts)
    )
    asked = asked[asked[:, -1] != tokenizer.eos_token_id]
    return NGram(seen, len(tokenizer)).probs(asked).log().mean().neg().exp().item()


def repeated_pairs(poems: list[str]) -> float:
    """How many neighbouring characters of a line have already stood together in the same poem.

    Args:
        poems: Poems with punctuation.

    Returns:
        Fraction 0-1 of all pairs of neighbours.
    """
    pairs = [[line[i : i + 2] for line in poem_lines(poem) for i in range(len(line) - 1)] for poem in poems]
    return 1 - sum(len(set(found)) for found in pairs) / sum(map(len, pairs))


@torch.no_grad()
def sample_poems(
    model: "GPT2LMHeadModel", tokenizer: "PreTrainedTokenizerFast", form: str, n: int, seed: int, prefix: str = ""
) -> list[str]:
    """Write poems with temperature 0.9 and top-p 0.95.

    Args:
        model: The poem model.
        tokenizer: Its tokenizer.
        form: One of 五绝, 七绝, 五律, 七律.
        n: Number of poems.
        seed: Of PyTorch's global generator.
        prefix: Characters the poem begins with.

    Returns:
        `n` poems without tag and end token.
    """
    prompt = tokenizer([TAGS[form] + prefix] * n, return_tensors="pt")
    torch.manual_seed(seed)
    ids = model.eval().generate(
        **prompt, do_sample=True, temperature=0.9, top_p=0.95, top_k=0, max_length=CONTEXT_LENGTH
    )
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def evaluate(model: "GPT2LMHeadModel", tokenizer: "PreTrainedTokenizerFast", splits: dict[str, list[str]]) -> str:
    """Everything the model card states about quality.

    Args:
        model: The stored poem model.
        tokenizer: Its tokenizer.
        splits: Poems by split.

    Returns:
        Printable lines.
    """
    report = []
    for split in SPLITS[1:]:
        texts = splits[split]
        measured = measure_loss(model, tokenizer, texts)
        report.append(f"{split}: {len(texts)} poems, {sum(map(len, texts))} characters")
        report += [f"{split}: perplexity, {name}: {measured[name]:.2f}" for name in list(measured)[:3]]
        report.append(f"{split}: characters outside the vocabulary: {measured['unknown fraction']:.2%}")
    counted = count_loss(tokenizer, splits["train"], splits["test"])
    report.append(f"test: perplexity, all characters, interpolated Kneser-Ney 4-gram: {counted:.2f}")
    poems = {form: sample_poems(model, tokenizer, form, 50, seed=7) for form in TAGS}
    right = sum(poem_form(poem) == form for form, texts in poems.items() for poem in texts)
    trained = {line for poem in splits["train"] for line in poem_lines(poem)}
    written = [poem for texts in poems.values() for poem in texts]
    lines = [line for poem in written for line in poem_lines(poem)]
    report.append(f"samples of the right form: {right} of 200")
    report.append(f"neighbours written twice in one poem: samples {repeated_pairs(written):.2%}")
    report.append(f"neighbours written twice in one poem: test poems {repeated_pairs(splits['test']):.2%}")
    report.append(f"sampled lines found in the training split: {sum(x in trained for x in lines)} of {len(lines)}")
    report.append(f"sampled poems found in the training split: {len(set(written) & set(splits['train']))} of 200")
    return "\n".join(report)


def show_samples(model: "GPT2LMHeadModel", tokenizer: "PreTrainedTokenizerFast", seed: int = 1) -> str:
    """Samples for the model card: the first ones of a seed, none left out.

    Args:
        model: The stored poem model.
        tokenizer: Its tokenizer.
        seed: Of every call of `sample_poems`.

    Returns:
        A Markdown list.
    """
    poems = [(form, poem) for form in TAGS for poem in sample_poems(model, tokenizer, form, 2, seed)]
    poems += [("五绝 秋夜", poem) for poem in sample_poems(model, tokenizer, "五绝", 2, seed, prefix="秋夜")]
    return "\n".join(f"- {name}: {poem}" for name, poem in poems)


def train_checkpoint(splits: dict[str, list[str]], arguments: argparse.Namespace) -> None:
    """Train the model and write its folder.

    Args:
        splits: Poems by split; only `train` is used.
        arguments: Of the command line.
    """
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer(count_vocabulary(splits["train"], MIN_COUNT), list(TAGS.values()))
    model = build_model(tokenizer, n_layer=4, n_head=7, n_embd=224, context_length=CONTEXT_LENGTH, dropout=0.0)
    batches = shuffled_batches(encode_poems(splits["train"], tokenizer), arguments.seed)
    run = train(model, batches, arguments.seconds, tokenizer.unk_token_id, state=arguments.state)
    write_checkpoint(arguments.out, model, tokenizer, card="")
    print(f"{run}, seed {arguments.seed}")


def main() -> None:
    """Train a checkpoint, or evaluate one and fill its model card."""
    arguments = parse_arguments(__doc__, seconds=2400)
    splits = read_poems(arguments.data)
    if arguments.out:
        train_checkpoint(splits, arguments)
        return
    model, tokenizer = load_checkpoint(arguments.evaluate)
    metrics = evaluate(model, tokenizer, splits)
    print(metrics)
    fill_card(arguments.evaluate, CARD, metrics=metrics, samples=show_samples(model, tokenizer))


if __name__ == "__main__":
    main()
