"""Character-level GPT: tokenizer, model, loss and command line, which both GPT recipes use."""

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

PAD, END, UNK = "<pad>", "<end>", "<unk>"
IGNORED = -100


def count_vocabulary(texts: Iterable[str], min_count: int = 1) -> list[str]:
    """Characters seen at least `min_count` times, the most frequent first.

    Args:
        texts: Training texts.
        min_count: Rarer characters are left out.

    Returns:
        The characters; equal counts are ordered by code point.
    """
    counts = Counter(character for text in texts for character in text)
    return [char for char, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])) if n >= min_count]


def build_tokenizer(characters: Sequence[str], tags: Sequence[str] = ()) -> "PreTrainedTokenizerFast":
    """Tokenizer with one token per character.

    Args:
        characters: The vocabulary; anything else becomes `<unk>`.
        tags: Further special tokens, written in the text like `<五绝>`.

    Returns:
        A tokenizer with pad, end-of-sequence and unknown token set, whose `decode` joins without spaces.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate((PAD, END, UNK, *tags, *characters))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNK,
        extra_special_tokens=list(tags),
        clean_up_tokenization_spaces=False,
    )


def build_model(
    tokenizer: "PreTrainedTokenizerFast", n_layer: int, n_head: int, n_embd: int, context_length: int, dropout: float
) -> "GPT2LMHeadModel":
    """Untrained GPT-2 with tied embeddings, sized for the tokenizer.

    Args:
        tokenizer: Gives the vocabulary size and the special ids.
        n_layer: Blocks.
        n_head: Heads per block.
        n_embd: Width; a multiple of `n_head`.
        context_length: Number of positions, in tokens.
        dropout: Fraction dropped in embeddings, attention and residuals.

    Returns:
        The model, in training mode.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_layer=n_layer,
        n_head=n_head,
        n_embd=n_embd,
        n_positions=context_length,
        activation_function="gelu_pytorch_tanh",  # the same function as gelu_new, in one kernel
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        bos_token_id=tokenizer.eos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return GPT2LMHeadModel(config).train()


def next_token_loss(model: "GPT2LMHeadModel", ids: Tensor, ignored_id: int, reduction: str = "mean") -> Tensor:
    """Cross-entropy of every token given the ones before it.

    Args:
        model: A GPT-2 language model.
        ids: `(B, T)` token ids; the first of each row is only read, never predicted.
        ignored_id: Token that is never a target; `<unk>` stays readable without being learned as an output.
        reduction: `mean`, or `none` for `(B, T - 1)` losses.

    Returns:
        Loss in nats per token.
    """
    logits = model(ids[:, :-1], use_cache=False).logits  # (B, T - 1, V)
    targets = ids[:, 1:].masked_fill(ids[:, 1:] == ignored_id, IGNORED)
    losses = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction=reduction)
    return losses.view_as(targets) if reduction == "none" else losses


@torch.no_grad()
def token_losses(model: "GPT2LMHeadModel", rows: Tensor, ignored_id: int, batch_size: int = 64) -> Tensor:
    """Loss of every token of every row, dropout off.

    Args:
        model: A GPT-2 language model; left in evaluation mode.
        rows: `(N, T)` token ids of one length.
        ignored_id: Targets with this id get loss 0.
        batch_size: Rows per forward pass.

    Returns:
        `(N, T - 1)` losses in nats.
    """
    model.eval()
    parts = [next_token_loss(model, part, ignored_id, reduction="none") for part in rows.split(batch_size)]
    return torch.cat(parts)


def load_checkpoint(folder: Path) -> tuple["GPT2LMHeadModel", "PreTrainedTokenizerFast"]:
    """Model and tokenizer of a folder, as a user would load them.

    Args:
        folder: A checkpoint folder.

    Returns:
        The model in evaluation mode, and its tokenizer.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def parse_arguments(description: str, seconds: float) -> argparse.Namespace:
    """Command line of a GPT recipe.

    Args:
        description: Shown by `--help`.
        seconds: Default training budget.

    Returns:
        `data`, `seconds`, `seed`, `state`, and either `out` or `evaluate`.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data root")
    parser.add_argument("--seconds", type=float, default=seconds, help="training budget")
    parser.add_argument("--seed", type=int, default=0, help="of weights and order")
    parser.add_argument("--state", type=Path, help="file of intermediate weights, to continue a stopped run")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path, help="train, and write this checkpoint folder")
    action.add_argument("--evaluate", type=Path, help="measure this checkpoint folder and fill its model card")
    return parser.parse_args()
