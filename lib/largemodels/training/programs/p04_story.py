"""P04: let a model of GPT-2's family tell a story, by drawing lots instead of searching for the likeliest text.

Run: `python -m largemodels.training.programs.p04_story FOLDER-OR-HUB-ID "How the story begins"`
"""

import sys
from collections.abc import Mapping

import torch

from largemodels._checkpoints import locate

BEGINNINGS = {
    "shakespeare-gpt-en": "Once upon a time",
    "poem-gpt-zh": "<五律>从前有座山，",
}


@torch.inference_mode()
def main(beginnings: Mapping[str, str] = BEGINNINGS, *, max_new_tokens: int = 200, seed: int = 0) -> None:
    """Print one story for each model.

    Args:
        beginnings: model to opening; a model is a shipped one's name, a local folder or a hub id.
        max_new_tokens: how many tokens to write at most, the opening not counted.
        seed: another seed tells another story.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for source, opening in beginnings.items():
        tokenizer = AutoTokenizer.from_pretrained(locate(source))
        model = AutoModelForCausalLM.from_pretrained(locate(source), dtype=torch.float32)
        inputs = tokenizer(opening, return_tensors="pt")
        # GPT-2 has a vector for so many positions and no more.
        room = model.config.max_position_embeddings - inputs["input_ids"].shape[1]
        torch.manual_seed(seed)
        ids = model.generate(
            **inputs,
            do_sample=True,  # without it temperature and top_p are ignored
            temperature=0.8,
            top_p=0.95,
            max_new_tokens=min(max_new_tokens, room),
            pad_token_id=tokenizer.eos_token_id,
        )
        print(f"{tokenizer.decode(ids[0], skip_special_tokens=True)}\n")


if __name__ == "__main__":
    main({sys.argv[1]: sys.argv[2]} if len(sys.argv) > 2 else BEGINNINGS)
