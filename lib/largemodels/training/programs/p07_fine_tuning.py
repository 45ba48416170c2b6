"""P07: fine-tune BERT for praise or complaint by hand: AdamW, linear schedule with warm-up, softmax at the end.

Run: `python -m largemodels.training.programs.p07_fine_tuning FOLDER-OR-HUB-ID`

The shipped encoder has met reviews before, so few sentences suffice; the head starts from random numbers.
"""

import re
import sys

import torch

from largemodels._checkpoints import locate

GOOD = """面条筋道，汤也鲜。|房间干净，前台很热情。|送货快，包装严实。
一口气看完，停不下来。|电池很耐用，屏幕也亮。|老师讲得清楚，受益很多。
The soup was wonderful.|A warm and funny film.|Great sound for the price.
Friendly staff and a quiet room.|It arrived a day early, well packed.|I laughed until the end."""
BAD = """面条又冷又硬。|房间有霉味，前台爱理不理。|等了一周，盒子还是破的。
看到一半就睡着了。|电池半天就没电。|老师照着课件念，白费时间。
The soup was cold and salty.|A dull film without an idea.|It broke after two days.
Rude staff and a noisy room.|It arrived late, and the box was torn.|I walked out after an hour."""
UNSEEN = {"点心好吃，下次还来。": 1, "点心难吃，再也不来了。": 0}
UNSEEN |= {"A lovely little hotel.": 1, "A horrible little hotel.": 0}


def main(source: str = "sentiment-bert-zh-en", *, epochs: int = 3, batch_size: int = 4, seed: int = 0) -> None:
    """Train, then print each unseen sentence's probability of being praise.

    Args:
        source: name of a shipped model, a local folder or a hub id.
        epochs: how often every sentence is seen.
        batch_size: sentences in one step.
        seed: of the new head, of dropout and of the order of the sentences.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(locate(source))
    model = AutoModelForSequenceClassification.from_pretrained(locate(source), num_labels=2, dtype=torch.float32)
    model.classifier.reset_parameters()  # a new head, also where the model brings one
    good, bad = (re.split(r"[|\n]", text) for text in (GOOD, BAD))
    texts, labels = good + bad, torch.tensor([1] * len(good) + [0] * len(bad))
    steps = epochs * -(-len(texts) // batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-4)
    schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=steps // 6, num_training_steps=steps)
    for epoch in range(epochs):
        model.train()  # dropout on
        total = 0.0
        for rows in torch.randperm(len(texts)).split(batch_size):
            batch = [texts[row] for row in rows.tolist()]
            inputs = tokenizer(batch, padding=True, truncation=True, return_tensors="pt")
            loss = model(**inputs, labels=labels[rows]).loss  # cross-entropy, nats
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()  # after the optimizer, once a step
            optimizer.zero_grad()
            total += loss.item() * len(rows)
        print(f"epoch {epoch + 1}: loss {total / len(texts):.2f}")
    model.eval()  # dropout off
    with torch.inference_mode():
        inputs = tokenizer(list(UNSEEN), padding=True, return_tensors="pt")
        probs = model(**inputs).logits.softmax(-1)[:, 1].tolist()  # (B,)
    for (text, label), p in zip(UNSEEN.items(), probs, strict=True):
        print(f"{p:.2f} {'right' if (p > 0.5) == bool(label) else 'wrong'} {text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
