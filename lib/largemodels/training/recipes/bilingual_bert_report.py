"""The model of `bilingual-bert`, its measurements and its model card."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from largemodels.models.bert_pretraining import IGNORED, masked_language_loss, next_sentence_loss
from largemodels.training.pretraining import REPORT
from largemodels.training.recipes.checkpoint_folder import fill_card
from largemodels.training.recipes.pair_rows import CONTEXT_LENGTH, Rows, make_batch

if TYPE_CHECKING:
    from transformers import BertForPreTraining, PreTrainedTokenizerFast

CARD = Path(__file__).with_name("bilingual_bert_card.md")
GAPS = (
    "今天天气很[MASK]。",
    "味道很好，送餐很[MASK]。",
    "我[MASK]常喜欢这本书。",
    "中国的首[MASK]是北京。",
    "这家酒店的服务态度很[MASK]。",
    "I don't [MASK] what you mean.",
    "He drinks a cup of [MASK] every morning.",
    "The movie was really [MASK].",
    "This is one of the [MASK] films I have ever seen.",
    "She opened the [MASK] and went out.",
)


def build_model(
    tokenizer: "PreTrainedTokenizerFast", n_layer: int, n_head: int, n_embd: int
) -> "BertForPreTraining":
    """Untrained BERT with both heads; the vocabulary is only scored at the hidden tokens, which halves the work.

    Args:
        tokenizer: Gives the vocabulary size and the special ids.
        n_layer: Blocks.
        n_head: Heads per block.
        n_embd: Width; a multiple of `n_head`.

    Returns:
        The model, in training mode. Called with labels, it returns the sum of both losses.
    """
    from transformers import BertConfig, BertForPreTraining

    class SparseBert(BertForPreTraining):
        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor, labels: Tensor,
            next_sentence_label: Tensor,
        ) -> dict[str, Tensor]:  # fmt: skip
            out = self.bert(input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            hidden = labels != IGNORED
            words = self.cls.predictions(out.last_hidden_state[hidden])  # (M, V)
            answers = self.cls.seq_relationship(out.pooler_output)  # (B, 2)
            masked = masked_language_loss(words, labels[hidden])
            following = next_sentence_loss(answers, next_sentence_label)
            return {"loss": masked + following, "words": words.detach(), "answers": answers.detach()}

    SparseBert.__name__ = "BertForPreTraining"  # which is what the folder's readers shall load
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=n_embd,
        num_hidden_layers=n_layer,
        num_attention_heads=n_head,
        intermediate_size=4 * n_embd,
        hidden_act="gelu_pytorch_tanh",
        hidden_dropout_prob=0.0,  # less than two passes over the text: there is nothing to memorise yet
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=CONTEXT_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
    )
    return SparseBert(config).train()


def measure(
    model: "BertForPreTraining", rows: Rows, tokenizer: "PreTrainedTokenizerFast", limit: int = 1_000
) -> dict[str, float]:
    """Both tasks on held-out rows, masks decided by a fixed seed.

    Args:
        model: from `build_model`.
        rows: of one language.
        tokenizer: its tokenizer.
        limit: rows to read at most, evenly spread.

    Returns:
        Loss in nats and accuracy of both tasks.
    """
    count = len(rows["ids"])
    chosen = range(0, count, max(1, count // limit))
    generator = torch.Generator().manual_seed(0)
    totals = torch.zeros(6, dtype=torch.float64)
    for at in range(0, len(chosen), 32):
        batch = make_batch(rows, chosen[at : at + 32], generator, tokenizer)
        out = model(**batch)
        words, targets = out["words"].float(), batch["labels"][batch["labels"] != IGNORED]
        asked = batch["next_sentence_label"] != IGNORED
        answers, follows = out["answers"].float()[asked], batch["next_sentence_label"][asked]
        totals += torch.tensor([
            masked_language_loss(words, targets) * len(targets), (words.argmax(-1) == targets).sum(), len(targets),
            next_sentence_loss(answers, follows) * len(follows), (answers.argmax(-1) == follows).sum(), len(follows),
        ])  # fmt: skip
    loss, right, hidden, pair_loss, pair_right, pairs = totals.tolist()
    return {
        "masked loss": loss / hidden,
        "masked accuracy": right / hidden,
        "next sentence loss": pair_loss / max(pairs, 1),
        "next sentence accuracy": pair_right / max(pairs, 1),
    }


def load_weights(model: "BertForPreTraining", folder: Path) -> None:
    """Put the stored weights into a model of the same sizes; the output table is the input table.

    Args:
        model: Changed in place, left in evaluation mode.
        folder: A checkpoint folder.
    """
    from safetensors.torch import load_file

    weights = {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}
    lost, unknown = model.load_state_dict(weights, strict=False)
    if unknown or any(not name.startswith("cls.predictions.decoder") for name in lost):
        raise ValueError(f"{folder} must hold this model's tensors, lacks {lost} and has {unknown}; train it again")
    model.eval()


def guess_the_most_frequent(train: Rows, test: Rows, tokenizer: "PreTrainedTokenizerFast") -> float:
    """How often the most frequent token of the training text would be right.

    Args:
        train: Rows that are counted.
        test: Rows that are guessed.
        tokenizer: Gives the special ids, which are never asked.

    Returns:
        Fraction 0-1.
    """
    special = torch.tensor(tokenizer.all_special_ids)
    counts = torch.bincount(train["ids"].long().flatten(), minlength=len(tokenizer))
    counts[special] = 0
    asked = test["ids"].long()
    asked = asked[~torch.isin(asked, special)]
    return (asked == counts.argmax()).float().mean().item()


def fill_gaps(model: "BertForPreTraining", tokenizer: "PreTrainedTokenizerFast") -> str:
    """Answers for the model card: every gap of `GAPS`, none left out.

    Args:
        model: The stored model.
        tokenizer: Its tokenizer.

    Returns:
        A Markdown list, five answers with their probability each.
    """
    lines = []
    for text in GAPS:
        inputs = tokenizer(text, return_tensors="pt")
        place = int((inputs["input_ids"][0] == tokenizer.mask_token_id).nonzero())
        with torch.inference_mode():
            states = model.bert(**inputs).last_hidden_state[0, place]  # (C,)
            probs, ids = model.cls.predictions(states).softmax(-1).topk(5)
        answers = [f"{token} {p:.2f}" for token, p in zip(tokenizer.convert_ids_to_tokens(ids), probs, strict=True)]
        lines.append(f"- {text} → {', '.join(answers)}")
    return "\n".join(lines)


def write_card(
    folder: Path, tokenizer: "PreTrainedTokenizerFast", train: dict[str, Rows], test: dict[str, Rows]
) -> None:
    """Measure a finished folder on the test split and write its model card.

    Args:
        folder: The checkpoint folder.
        tokenizer: The folder's.
        train: Language to training rows.
        test: Language to test rows.
    """
    sizes = json.loads((folder / "config.json").read_text("utf-8"))
    model = build_model(tokenizer, sizes["num_hidden_layers"], sizes["num_attention_heads"], sizes["hidden_size"])
    load_weights(model, folder)
    lines = [
        "| held-out text | masked tokens: loss | accuracy | next sentence: loss | accuracy |",
        "| --- | --- | --- | --- | --- |",
        f"| chance | {math.log(len(tokenizer)):.3f} | {1 / len(tokenizer):.4f} | {math.log(2):.3f} | 0.500 |",
    ]
    with torch.inference_mode():
        for language, part in test.items():
            counted = guess_the_most_frequent(train[language], part, tokenizer)
            figures = measure(model, part, tokenizer, limit=len(part["ids"]))
            lines += [
                f"| {language}, always the most frequent token | | {counted:.3f} | | |",
                f"| {language}, this model | {' | '.join(f'{value:.3f}' for value in figures.values())} |",
            ]
    metrics = "\n".join(lines)
    print(metrics)
    report = json.loads((folder / REPORT).read_text("utf-8"))
    rows = [[str(value) for value in row.values()] for row in report["validation"]]
    curve = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    facts = {
        "parameters": f"{report['parameters']:,}",
        "tokens": f"{report['tokens']:,}",
        "seconds": f"{report['seconds']:,.0f}",
        "machine": ", ".join(f"{name} {value}" for name, value in report["machine"].items()),
        "settings": ", ".join(f"{name} {value}" for name, value in report["settings"].items()),
        "curve": curve,
        "width": str(sizes["hidden_size"]),
        "vocab": f"{len(tokenizer):,}",
        "han": f"{sum('一' <= token <= '鿿' for token in tokenizer.get_vocab()):,}",
    }
    fill_card(folder, CARD, metrics=metrics, gaps=fill_gaps(model, tokenizer), **facts)
