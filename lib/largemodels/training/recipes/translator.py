"""Recipe of `translator-en-zh`: a small Transformer that translates short English sentences into Chinese.

Train, then evaluate:

    largemodels train translator --data DATA --seconds 3000 --out FOLDER
    largemodels train translator --data DATA --evaluate FOLDER
"""

import argparse
import itertools
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from largemodels.evaluation.metrics import bleu
from largemodels.training._muon import Muon
from largemodels.training.recipes.checkpoint_folder import fill_card, write_weights
from largemodels.training.recipes.corpora import SPLITS
from largemodels.training.recipes.sentence_pairs import (
    PAD_ID,
    UNKNOWN_ID,
    Pair,
    bucketed_batches,
    build_source_tokenizer,
    numbered,
    padded,
    read_pairs,
    target_tokens,
)
from largemodels.transformer.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from largemodels.transformer.translation import Translator

CARD = Path(__file__).with_name("translator_card.md")
SIZES: dict[str, Any] = {"n_embd": 192, "n_head": 6, "n_layer": 3, "n_hidden": 768, "dropout": 0.2, "norm_first": True}
SOURCE_VOCABULARY = 4000
PEAK_LR, WARM_UP_STEPS = 3e-3, 200
SAVE_SECONDS = 120


def translation_loss(model: EncoderDecoder, source: Tensor, target: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of every target token given the source and the target tokens before it.

    Args:
        model: The translator.
        source: `(B, Ts)` token ids.
        target: `(B, Tt)` token ids from `<start>` to `<end>`; filler and `<unk>` are never predicted.
        smoothing: Share of the target that is spread over the vocabulary, fraction 0–1.

    Returns:
        Mean loss in nats per token.
    """
    logits = model(source, target[:, :-1], (source != PAD_ID)[:, None])  # (B, Tt - 1, V)
    wanted = target[:, 1:].masked_fill(target[:, 1:] == UNKNOWN_ID, PAD_ID)
    return cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD_ID, label_smoothing=smoothing)


def make_optimizers(model: EncoderDecoder) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the blocks, AdamW for embeddings, norms and biases.

    Args:
        model: The translator.

    Returns:
        The two optimizers.
    """
    matrices = [p for block in (*model.encoder, *model.decoder) for p in block.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    adam = torch.optim.AdamW(others, lr=PEAK_LR, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    return [Muon(matrices, lr=PEAK_LR), adam]


class Run:
    """A training run that ends on time and can be continued.

    Args:
        model: Trained in place.
        seconds: Wall-clock budget of the whole run.
        state: File for weights, momentum and progress; if it exists, training continues from it.
    """

    def __init__(self, model: EncoderDecoder, seconds: float, state: Path | None) -> None:
        self.model, self.seconds, self.state = model, seconds, state
        self.optimizers = make_optimizers(model)
        self.steps, self.tokens, self.spent = 0, 0, 0.0
        if state and state.exists():
            saved = torch.load(state, weights_only=True)
            model.load_state_dict(saved["model"])
            for optimizer, kept in zip(self.optimizers, saved["optimizers"], strict=True):
                optimizer.load_state_dict(kept)
            self.steps, self.tokens, self.spent = saved["progress"]

    def save(self) -> None:
        """Write the state file, if there is one."""
        if self.state:
            kept = [optimizer.state_dict() for optimizer in self.optimizers]
            progress = (self.steps, self.tokens, self.spent)
            torch.save({"model": self.model.state_dict(), "optimizers": kept, "progress": progress}, self.state)

    def step(self, source: Tensor, target: Tensor) -> float:
        """Make one update; the learning rate rises with the steps and falls to 0 with the clock.

        Args:
            source: `(B, Ts)` token ids.
            target: `(B, Tt)` token ids.

        Returns:
            Smoothed training loss before the update, nats per token.
        """
        lr = PEAK_LR * min(1.0, (self.steps + 1) / WARM_UP_STEPS) * (1 - self.spent / self.seconds)
        loss = translation_loss(self.model, source, target, smoothing=0.1)
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
            optimizer.zero_grad()
        self.steps, self.tokens = self.steps + 1, self.tokens + source.numel() + target.numel()
        return loss.item()

    def train(self, batches: Iterator[tuple[Tensor, Tensor]], held_out: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Train until the time is spent.

        Args:
            batches: Endless source ids `(B, Ts)` and target ids `(B, Tt)`.
            held_out: Batches on which the loss is measured now and then.
        """
        before, saved_at, losses = self.spent, time.monotonic(), []
        began = saved_at
        while self.spent < self.seconds:
            losses.append(self.step(*next(batches)))
            now = time.monotonic()
            self.spent = before + now - began
            if self.steps % 200 == 0:
                line = f"step {self.steps:5d}  {self.spent:5.0f} s  {self.tokens:8d} tokens  "
                print(line + f"loss {sum(losses) / len(losses):.3f}  held out {self.measure(held_out):.3f}", flush=True)
                losses = []
            if now - saved_at > SAVE_SECONDS:
                self.save()
                saved_at = now
        self.save()

    @torch.no_grad()
    def measure(self, batches: Sequence[tuple[Tensor, Tensor]]) -> float:
        """Mean loss of some batches without smoothing and dropout.

        Args:
            batches: Source ids `(B, Ts)` and target ids `(B, Tt)`.

        Returns:
            Nats per token.
        """
        self.model.eval()
        losses = [translation_loss(self.model, source, target).item() for source, target in batches]
        self.model.train()
        return sum(losses) / len(losses)


def train_checkpoint(splits: dict[str, list[Pair]], arguments: argparse.Namespace) -> None:
    """Train the model and write its folder.

    Args:
        splits: Pairs by split; `train` is learned, `validation` only watched.
        arguments: Of the command line.
    """
    torch.manual_seed(arguments.seed)
    tokenizer = build_source_tokenizer([english for english, _ in splits["train"]], SOURCE_VOCABULARY)
    tokens = target_tokens([chinese for _, chinese in splits["train"]])
    config = {"source_vocab_size": tokenizer.get_vocab_size(), "target_vocab_size": len(tokens), **SIZES}
    run = Run(EncoderDecoder(EncoderDecoderConfig(**config)).train(), arguments.seconds, arguments.state)
    train, watched = (numbered(splits[split], tokenizer, tokens) for split in ("train", "validation"))
    held_out = list(itertools.islice(bucketed_batches(watched, seed=0), 4))
    run.train(bucketed_batches(train, arguments.seed + run.steps), held_out)
    done = f"{run.steps:,} steps, {run.tokens:,} tokens, {run.spent:,.0f} s"
    contents = {"model": config, "target_tokens": tokens, "trained": done}
    write_weights(arguments.out, run.model, contents, card="", tokenizer__json=tokenizer.to_str())


def evaluate(translator: Translator, pairs: Sequence[Pair], name: str) -> str:
    """What the model card states about one split.

    Args:
        translator: The stored model.
        pairs: Held-out pairs; those with the same English are references of one sentence.
        name: Of the split.

    Returns:
        Printable lines.
    """
    import jieba

    jieba.setLogLevel(60)
    known: dict[str, list[str]] = {}
    for english, chinese in pairs:
        known.setdefault(english, []).append(chinese)
    rows = numbered(pairs, translator.tokenizer, translator.target_tokens)
    batches = [(padded([source]), padded([target])) for source, target in rows]
    with torch.no_grad():
        losses = [(translation_loss(translator.model, *batch).item(), batch[1].shape[1] - 1) for batch in batches]
    nats = sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
    report = [f"{name}: {len(known)} sentences, {len(pairs)} references"]
    report.append(f"{name}: {nats:.4f} nats per character, perplexity {math.exp(nats):.2f}")
    for search, beams in (("greedy", 1), ("beam 5", 5)):
        written = [translator.translate(english, beams=beams).text for english in known]
        by_character, by_word = (
            bleu(list(map(cut, written)), [list(map(cut, texts)) for texts in known.values()], smooth=False).score
            for cut in (list, jieba.lcut)
        )
        same = sum(text in texts for text, texts in zip(written, known.values(), strict=True))
        line = f"BLEU {by_character:.1f} by character, {by_word:.1f} by word, {same} exactly as a reference"
        report.append(f"{name}, {search}: {line}")
    return "\n".join(report)


def main() -> None:
    """Train a checkpoint, or evaluate one and fill its model card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data root")
    parser.add_argument("--seconds", type=float, default=3000, help="training budget")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    parser.add_argument("--state", type=Path, help="file of intermediate weights, to continue a stopped run")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="train, and write this checkpoint folder")
    action.add_argument("--evaluate", type=Path, help="measure this checkpoint folder and fill its model card")
    arguments = parser.parse_args()
    splits = read_pairs(arguments.data)
    if arguments.out:
        train_checkpoint(splits, arguments)
        return
    translator = Translator.from_checkpoint(arguments.evaluate)
    metrics = "\n".join(evaluate(translator, splits[split], split) for split in SPLITS[1:])
    print(metrics)
    sentences = list(dict(splits["test"]))
    every = len(sentences) // 10
    shown = sentences[every - 1 :: every][:10]
    samples = "\n".join(f"| {text} | {translator.translate(text).text} |" for text in shown)
    run = json.loads((arguments.evaluate / "config.json").read_text("utf-8"))["trained"]
    fill_card(arguments.evaluate, CARD, metrics=metrics, samples=samples, run=run, every=str(every))


if __name__ == "__main__":
    main()
