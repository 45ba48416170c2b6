"""P12: classify 20 Newsgroups by GPT and `Trainer`; a GPT has no [CLS], so the last token that is no padding answers.

Run: `python -m largemodels.training.programs.p12_gpt_newsgroups DATA-FOLDER FOLDER-OR-HUB-ID`

The padding token must be set twice: in the tokenizer, which fills up, and in the model, which looks for the last token.
"""

import sys
import tempfile
from pathlib import Path

import torch

from largemodels.training.fine_tuning import load_classifier
from largemodels.training.recipes.newsgroups import read_newsgroups


def main(
    data: str, source: str = "shakespeare-gpt-en", *, epochs: float = 3, max_length: int = 256, share: float = 1.0
) -> dict[str, float]:
    """Fine-tune, and print the metrics.

    Args:
        data: folder that holds `20newsgroups`.
        source: name of a shipped GPT, a local folder or a hub id.
        epochs: how often each post is seen.
        max_length: tokens of a post that are kept, at most as many as the model has positions.
        share: fraction of the posts that is used, to learn from and to be tested on.

    Returns:
        Accuracy and macro-F1 on the test part, fractions.
    """
    from sklearn.metrics import accuracy_score, f1_score
    from transformers import DataCollatorWithPadding, EvalPrediction, Trainer, TrainingArguments

    parts = read_newsgroups(Path(data), share=share)
    names = sorted({group for _, group in parts[0]})
    model, tokenizer = load_classifier(source, names)
    if tokenizer.pad_token is None:  # GPT-2 has none
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    rows = [
        [{**tokenizer(t, truncation=True, max_length=max_length), "labels": names.index(g)} for t, g in part]
        for part in parts
    ]

    def compute_metrics(output: EvalPrediction) -> dict[str, float]:
        answers, wanted = output.predictions.argmax(-1), output.label_ids
        return {"accuracy": accuracy_score(wanted, answers), "macro_f1": f1_score(wanted, answers, average="macro")}

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, num_train_epochs=epochs, learning_rate=1e-3, warmup_steps=0.1,
            per_device_train_batch_size=16, per_device_eval_batch_size=64, report_to=[], save_strategy="no",
            disable_tqdm=True, logging_strategy="no", use_cpu=not torch.cuda.is_available(),
        )  # fmt: skip
        collator = DataCollatorWithPadding(tokenizer)
        trainer = Trainer(model, arguments, collator, rows[0], rows[1], compute_metrics=compute_metrics)
        trainer.train()
        found = trainer.evaluate()
    print(f"{len(names)} groups, {len(rows[0])} posts to learn from, {len(rows[1])} to be tested on")
    return {name: round(found[f"eval_{name}"], 3) for name in ("accuracy", "macro_f1")}


if __name__ == "__main__":
    print(main(*sys.argv[1:3]))
