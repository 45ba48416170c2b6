"""P11: pretrain a GPT on any text, character by character; its loss and its writing, before and after.

Run: `python -m largemodels.training.programs.p11_gpt_pretraining FILE.txt`; without a file it reads Python's help.
"""

import contextlib
import sys
import tempfile
from pathlib import Path
from pydoc_data.topics import topics

import torch

from largemodels.training.pretraining import Batch, Batches, Settings, pretrain


def main(text: str = "", *, steps: int = 1_000, n_embd: int = 96, context_length: int = 96, seed: int = 0) -> None:
    """Print held-out loss and a sample, before and after.

    Args:
        text: what to learn from, some thousand characters at least; empty for Python's help pages.
        steps: updates.
        n_embd: width, a multiple of 4.
        context_length: characters of a row.
        seed: of weights, order and samples.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    text = text or "\n\n".join(topics.values())
    characters = sorted(set(text))
    numbers = {character: number for number, character in enumerate(characters)}
    ids = torch.tensor([numbers[character] for character in text])
    rows = ids[: len(ids) // context_length * context_length].view(-1, context_length)  # (N, T)
    cut = len(rows) * 9 // 10  # the rest is never learned from

    def make(chosen: list[int], generator: torch.Generator) -> Batch:
        x = rows[chosen]
        return {"input_ids": x, "attention_mask": torch.ones_like(x), "labels": x}  # the model shifts them itself

    torch.manual_seed(seed)
    sizes = {"n_layer": 3, "n_head": 4, "n_embd": n_embd, "n_positions": context_length}
    rest = {"embd_pdrop": 0.0, "resid_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": None, "eos_token_id": None}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(characters), **sizes, **rest))

    @torch.inference_mode()
    def show() -> None:
        model.eval()
        unseen, first = rows[cut:][:64].to(model.device), ids[None, :1].to(model.device)
        loss = model(input_ids=unseen, labels=unseen).loss
        torch.manual_seed(seed)
        written = model.generate(first, do_sample=True, max_length=context_length // 2, top_k=0)[0]
        print(f"{loss:.1f} nats per character: {''.join(characters[i] for i in written)!r}")

    show()
    batches, warmup = Batches([(range(cut), 16)], make, seed), min(100, steps // 10)
    settings = Settings(steps=steps, lr=3e-3, warmup=warmup, optimizer="muon", precision="float32", seed=seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):  # the log goes there
        report = pretrain(model, batches, settings, Path(folder))
    show()
    print(f"{report.parameters:,} parameters, {report.tokens:,} characters", file=sys.stderr)


if __name__ == "__main__":
    main(Path(sys.argv[1]).read_text("utf-8") if len(sys.argv) > 1 else "")
