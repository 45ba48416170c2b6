"""Recipe of `bilingual-bert`: a small BERT pretrained from scratch on Chinese and English, on both of BERT's tasks.

Train and evaluate:

    largemodels train bilingual-bert --data DATA --out FOLDER
    largemodels train bilingual-bert --data DATA --evaluate FOLDER
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from largemodels.models.bert_pretraining import SentencePair, sentence_pairs
from largemodels.training.pretraining import REPORT, Batch, Batches, Settings, pretrain
from largemodels.training.recipes.bilingual_bert_report import build_model, measure, write_card
from largemodels.training.recipes.checkpoint_folder import write_checkpoint
from largemodels.training.recipes.corpora import SPLITS
from largemodels.training.recipes.documents import Documents, read_documents, split_documents
from largemodels.training.recipes.pair_rows import (
    CONTEXT_LENGTH,
    Rows,
    build_rows,
    build_tokenizer,
    encode_documents,
    length_groups,
    make_batch,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

REPEATS = {"zh": 2, "en": 1}  # there is half as much Chinese text as English
TRAINING_FRACTION = 0.25  # more to learn from in each row than from 15 %; Wettig et al. 2022, arxiv.org/abs/2202.08005
PLAIN = ("sentences zh", "sentences en")  # short everyday sentences, read three times as often as the rest


def prepare(data: Path, seed: int, kept: Path) -> tuple["PreTrainedTokenizerFast", dict[str, dict[str, Rows]]]:
    """Tokenizer and rows of all splits.

    Args:
        data: folder, see `documents.read_documents`.
        seed: of the pairs.
        kept: folder of the tokenizer. It is learned once and then read from here: `tokenizers` breaks ties between
            pieces by the order of a hash table, so that learning it again gives another vocabulary.

    Returns:
        The tokenizer, and split to language to rows.
    """
    from transformers import AutoTokenizer

    splits: dict[str, dict[str, tuple[str, Documents]]] = {split: {} for split in SPLITS}
    for kind, (language, documents) in read_documents(data).items():
        for split, part in split_documents(documents).items():
            splits[split][kind] = (language, part)
    if not (kept / "tokenizer.json").exists():
        build_tokenizer(splits["train"]).save_pretrained(kept)
    tokenizer = AutoTokenizer.from_pretrained(kept)
    rows: dict[str, dict[str, Rows]] = {}
    for split, kinds in splits.items():
        pairs: dict[str, list[SentencePair]] = {"zh": [], "en": []}
        for kind, (language, documents) in kinds.items():
            found = sentence_pairs(encode_documents(documents, tokenizer), CONTEXT_LENGTH - 3, seed=seed)
            pairs[language] += found * (3 if kind in PLAIN and split == "train" else 1)
        rows[split] = {language: build_rows(found, tokenizer) for language, found in pairs.items()}
    return tokenizer, rows


def join(rows: dict[str, Rows]) -> Rows:
    """Both languages in one.

    Args:
        rows: Language to rows.

    Returns:
        Rows, those of each language as often as `REPEATS` says.
    """
    parts = [part for language, part in rows.items() for _ in range(REPEATS[language])]
    return {name: torch.cat([part[name] for part in parts]) for name in ("ids", "segments", "follows")}


def train(data: Path, out: Path, settings: Settings, n_layer: int = 4, n_head: int = 4, n_embd: int = 192) -> None:
    """Train the model and write its folder.

    Args:
        data: Folder, see `documents.read_documents`.
        out: The checkpoint folder; the states to resume from go to a folder beside it.
        settings: How to train.
        n_layer: Blocks.
        n_head: Heads per block.
        n_embd: Width; a multiple of `n_head`.
    """
    torch.manual_seed(settings.seed)
    state = out.with_name(out.name + "-state")
    tokenizer, rows = prepare(data, settings.seed, state / "tokenizer")
    everything = join(rows["train"])
    model = build_model(tokenizer, n_layer, n_head, n_embd)

    def make(numbers: list[int], generator: torch.Generator) -> Batch:
        return make_batch(everything, numbers, generator, tokenizer, fraction=TRAINING_FRACTION)

    def validate() -> dict[str, float]:
        figures = {language: measure(model, part, tokenizer) for language, part in rows["validation"].items()}
        return {f"{language} {name}": round(v, 4) for language, part in figures.items() for name, v in part.items()}

    batches = Batches(length_groups(everything, tokenizer.pad_token_id), make, settings.seed)
    report = pretrain(model, batches, settings, state, validate)
    write_checkpoint(out, model, tokenizer, card="")
    (out / REPORT).write_text((state / REPORT).read_text("utf-8"), encoding="utf-8")
    print(report.markdown())


def main() -> None:
    """Train a checkpoint, or evaluate one and fill its model card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the corpora that the model card names")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="train, and write this checkpoint folder")
    action.add_argument("--evaluate", type=Path, metavar="FOLDER", help="measure this folder and write its card")
    parser.add_argument("--steps", type=int, default=5_400, help="updates of about 3,000 tokens each")
    parser.add_argument("--lr", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order, pairs and masks")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.evaluate:
        tokenizer, rows = prepare(arguments.data, arguments.seed, arguments.evaluate)
        write_card(arguments.evaluate, tokenizer, rows["train"], rows["test"])
        return
    settings = Settings(
        steps=arguments.steps, lr=arguments.lr, seed=arguments.seed, optimizer="muon", warmup=min(150, arguments.steps),
        save_every=250, validate_every=500,
    )  # fmt: skip
    train(arguments.data, arguments.out, settings)


if __name__ == "__main__":
    main()
