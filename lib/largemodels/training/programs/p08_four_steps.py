"""P08: the four steps as one command: data, pretrain, fine-tune, evaluate; and the same without the second step.

Run: `python -m largemodels.training.programs.p08_four_steps`. The text is made by a rule, so that the result is clear:
"and" joins words of one kind. Which kind is praise is said for three words of twelve.
"""

import contextlib
import random
import sys
import tempfile
from pathlib import Path

import torch

from largemodels.models.bert_pretraining import mask_tokens
from largemodels.training.pretraining import Batch, Batches, Settings, pretrain

BAD = ["slow", "dull", "cold", "rude", "dirty", "stale", "noisy", "bland", "broken", "gloomy", "sour", "shabby"]
GOOD = ["quick", "lively", "warm", "kind", "clean", "fresh", "quiet", "tasty", "sturdy", "cheerful", "sweet", "neat"]
THINGS = ("soup", "room", "film", "waiter", "bread", "hotel", "story", "phone", "street", "song", "train", "garden")
WORDS = ["[PAD]", "[CLS]", "[MASK]", "the", "was", "and", *THINGS, *BAD, *GOOD]


def main(*, steps: int = 200, tuning_steps: int = 40, seed: int = 0) -> None:
    """Print how many sentences are judged rightly, with and without pretraining.

    Args:
        steps: updates of pretraining.
        tuning_steps: updates of fine-tuning.
        seed: of sentences, weights and masks.
    """
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification

    draw = random.Random(seed)  # 1 data: text, six labelled sentences, and others whose words have no label

    def sentences(count: int, words: slice) -> tuple[torch.Tensor, torch.Tensor]:
        labels = [number % 2 for number in range(count)]
        pairs = [draw.sample((BAD, GOOD)[label][words], 2) for label in labels]
        texts = [("[CLS]", "the", draw.choice(THINGS), "was", one, "and", two) for one, two in pairs]
        return torch.tensor([[*map(WORDS.index, text)] for text in texts]), torch.tensor(labels)

    text, _ = sentences(2_000, slice(None))  # (N, T)
    labelled, others = sentences(6, slice(3)), sentences(100, slice(3, None))
    torch.manual_seed(seed)  # 2 pretrain: hide words and guess them
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    config = BertConfig(vocab_size=len(WORDS), **sizes, initializer_range=0.1, hidden_dropout_prob=0.0)
    pupil = BertForMaskedLM(config)

    def make(numbers: list[int], generator: torch.Generator) -> Batch:
        rows = text[numbers]
        shown, targets = mask_tokens(rows, rows > 2, 2, len(WORDS), fraction=0.3, generator=generator)
        return {"input_ids": shown, "attention_mask": torch.ones_like(rows), "labels": targets}

    batches = Batches([(range(len(text)), 64)], make, seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):  # the log goes there
        pretrain(pupil, batches, Settings(steps, lr=5e-3, warmup=20, precision="float32", seed=seed), Path(folder))
    for name, weights in (("pretrained", pupil.bert.state_dict()), ("from random numbers", {})):
        torch.manual_seed(seed)  # 3 fine-tune: a new head on top, all weights move
        model = BertForSequenceClassification(config)
        model.bert.load_state_dict(weights, strict=False)
        optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
        for _ in range(tuning_steps):
            model(input_ids=labelled[0], labels=labelled[1]).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        model.eval()  # 4 evaluate
        with torch.inference_mode():
            right = [(model(input_ids=x).logits.argmax(-1) == y).float().mean() for x, y in (labelled, others)]
        print(f"{name}: {right[0]:.0%} of 6 labelled sentences right, {right[1]:.0%} of 100 others")


if __name__ == "__main__":
    main()
