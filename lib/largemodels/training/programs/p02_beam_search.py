"""P02: continue a text with a model of GPT-2's family: five beams, early stopping, 50 new tokens.

Run: `python -m largemodels.training.programs.p02_beam_search FOLDER-OR-HUB-ID "How the text begins"`
"""

import sys
from collections.abc import Mapping

import torch

from largemodels._checkpoints import locate

BEGINNINGS = {
    "poem-gpt-zh": "<七律>秋风",
    "shakespeare-gpt-en": "KING RICHARD II:\n",
}


@torch.inference_mode()
def main(beginnings: Mapping[str, str] = BEGINNINGS, *, num_beams: int = 5, max_new_tokens: int = 50) -> None:
    """Print how each model goes on.

    Args:
        beginnings: model to prompt; a model is a shipped one's name, a local folder or a hub id.
        num_beams: how many beginnings beam search keeps at each step.
        max_new_tokens: how many tokens to write, the prompt not counted.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for source, prompt in beginnings.items():
        tokenizer = AutoTokenizer.from_pretrained(locate(source))
        model = AutoModelForCausalLM.from_pretrained(locate(source), dtype=torch.float32)
        inputs = tokenizer(prompt, return_tensors="pt")  # input_ids and attention_mask, both (1, T)
        ids = model.generate(
            **inputs,
            num_beams=num_beams,
            early_stopping=True,  # as soon as num_beams texts have reached their end
            max_new_tokens=max_new_tokens,
            pad_token_id=tokenizer.eos_token_id,
        )
        print(f"{source}: {tokenizer.decode(ids[0], skip_special_tokens=True)}")


if __name__ == "__main__":
    main({sys.argv[1]: sys.argv[2]} if len(sys.argv) > 2 else BEGINNINGS)
