"""P06: BERT's last hidden state, one vector per token, and its mean as a vector of the sentence.

Run: `python -m largemodels.training.programs.p06_embeddings FOLDER-OR-HUB-ID "One sentence" "Another" …`
"""

import sys
from collections.abc import Sequence

import torch

from largemodels._checkpoints import locate

SENTENCES = ("我喜欢猫。", "I like cats.", "股市今天大跌。", "Stocks fell sharply today.")


@torch.inference_mode()
def main(source: str = "sentiment-bert-zh-en", sentences: Sequence[str] = SENTENCES) -> None:
    """Print the shapes and the cosine of every pair.

    Args:
        source: name of a shipped model, a local folder or a hub id.
        sentences: what to compare.
    """
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(locate(source))
    model = AutoModel.from_pretrained(locate(source), dtype=torch.float32).eval()
    inputs = tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
    hidden = model(**inputs).last_hidden_state  # (B, T, C)
    mask = inputs["attention_mask"][:, :, None]  # (B, T, 1): 0 where a short sentence was filled up
    embeddings = (hidden * mask).sum(1) / mask.sum(1)  # (B, C)
    unit = torch.nn.functional.normalize(embeddings, dim=-1)
    print("last_hidden_state", tuple(hidden.shape), "embeddings", tuple(embeddings.shape))
    for sentence, row in zip(sentences, (unit @ unit.T).tolist(), strict=True):
        print(" ".join(f"{cosine:5.2f}" for cosine in row), sentence)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:]) if len(sys.argv) > 2 else main()
