"""Recipe of `shakespeare-gpt-en`: a character GPT that writes English in the manner of a play.

Train, then evaluate:

    largemodels train shakespeare-gpt --data DATA --seconds 660 --out FOLDER
    largemodels train shakespeare-gpt --data DATA --evaluate FOLDER
"""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from largemodels.training.recipes.character_gpt import (
    build_model,
    build_tokenizer,
    count_vocabulary,
    load_checkpoint,
    parse_arguments,
    token_losses,
)
from largemodels.training.recipes.checkpoint_folder import fill_card, write_checkpoint
from largemodels.training.recipes.corpora import SPLITS, read_shakespeare
from largemodels.training.recipes.timed_training import train

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

CARD = Path(__file__).with_name("shakespeare_gpt_card.md")
CONTEXT_LENGTH = 256
ROWS_PER_STEP = 4
PROMPTS = ("ROMEO:\nShall I", "First Citizen:\n", "JULIET:\nO ")


def random_windows(ids: Tensor, seed: int) -> Iterator[Tensor]:
    """Endless batches of windows that begin anywhere.

    Args:
        ids: `(N,)` token ids of the training text.
        seed: Decides the windows.

    Yields:
        `(ROWS_PER_STEP, CONTEXT_LENGTH + 1)` token ids.
    """
    generator = torch.Generator().manual_seed(seed)
    windows = ids.unfold(0, CONTEXT_LENGTH + 1, 1)
    while True:
        yield windows[torch.randint(len(windows), (ROWS_PER_STEP,), generator=generator)]


def measure_loss(model: "GPT2LMHeadModel", ids: Tensor) -> float:
    """Loss per character, each predicted from at least half a context of text before it.

    Args:
        model: The Shakespeare model.
        ids: `(N,)` token ids of a held-out text; its first half context is only read.

    Returns:
        Nats per character.
    """
    half = CONTEXT_LENGTH // 2
    windows = ids.unfold(0, CONTEXT_LENGTH + 1, half)  # (B, CONTEXT_LENGTH + 1)
    losses = token_losses(model, windows, ignored_id=-1)  # (B, CONTEXT_LENGTH)
    return losses[:, half:].double().mean().item()


def evaluate(model: "GPT2LMHeadModel", tokenizer: "PreTrainedTokenizerFast", splits: dict[str, str]) -> str:
    """Everything the model card states about quality.

    Args:
        model: The stored model.
        tokenizer: Its tokenizer.
        splits: Text by split.

    Returns:
        Printable lines.
    """
    report = []
    for split in SPLITS[1:]:
        nats = measure_loss(model, torch.tensor(tokenizer(splits[split])["input_ids"]))
        report.append(f"{split}: {len(splits[split])} characters")
        report.append(f"{split}: {nats:.4f} nats per character, perplexity {math.exp(nats):.3f}")
    return "\n".join(report)


@torch.no_grad()
def sample_text(model: "GPT2LMHeadModel", tokenizer: "PreTrainedTokenizerFast", prompt: str, seed: int) -> str:
    """Continue a prompt to the end of the context, with temperature 0.8 and top-k 20.

    Args:
        model: The stored model.
        tokenizer: Its tokenizer.
        prompt: Like `ROMEO:` and a line break.
        seed: Of PyTorch's global generator.

    Returns:
        Prompt and continuation, `CONTEXT_LENGTH` characters.
    """
    torch.manual_seed(seed)
    ids = model.generate(
        **tokenizer(prompt, return_tensors="pt"), do_sample=True, temperature=0.8, top_k=20, max_length=CONTEXT_LENGTH
    )
    return tokenizer.decode(ids[0], skip_special_tokens=True)


def train_checkpoint(splits: dict[str, str], arguments: argparse.Namespace) -> None:
    """Train the model and write its folder.

    Args:
        splits: Text by split; only `train` is used.
        arguments: Of the command line.
    """
    torch.manual_seed(arguments.seed)
    tokenizer = build_tokenizer(count_vocabulary([splits["train"]]))
    model = build_model(tokenizer, n_layer=4, n_head=7, n_embd=224, context_length=CONTEXT_LENGTH, dropout=0.0)
    batches = random_windows(torch.tensor(tokenizer(splits["train"])["input_ids"]), arguments.seed)
    run = train(model, batches, arguments.seconds, tokenizer.unk_token_id, state=arguments.state)
    write_checkpoint(arguments.out, model, tokenizer, card="")
    print(f"{run}, seed {arguments.seed}")


def main() -> None:
    """Train a checkpoint, or evaluate one and fill its model card."""
    arguments = parse_arguments(__doc__, seconds=660)
    splits = read_shakespeare(arguments.data)
    if arguments.out:
        train_checkpoint(splits, arguments)
        return
    model, tokenizer = load_checkpoint(arguments.evaluate)
    metrics = evaluate(model, tokenizer, splits)
    print(metrics)
    samples = "\n".join(f"```text\n{sample_text(model, tokenizer, prompt, seed=1)}\n```" for prompt in PROMPTS)
    fill_card(arguments.evaluate, CARD, metrics=metrics, samples=samples)


if __name__ == "__main__":
    main()
