"""Tiny random Hugging Face models: the independent truth that our wrappers are compared with."""

from pathlib import Path

import pytest
import torch

END = "<end>"
BYTES = "the byte-level vocabulary covers any text: 中文, emoji 🐼 and é"


def write_bert(folder: Path, classes: int = 3) -> Path:
    """Save a random BERT classifier whose tokenizer knows single characters, and return its folder."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *"abcdefghij 好坏吃看"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[3]))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    special = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), words[:5], strict=True))
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=24, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=20, num_hidden_layers=2, num_attention_heads=5, intermediate_size=28,
        max_position_embeddings=24, num_labels=classes, initializer_range=0.7, pad_token_id=1,
        id2label={i: f"class{i}" for i in range(classes)},
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def write_gpt(folder: Path) -> Path:
    """Save a random GPT-2 with a byte-level tokenizer, so that characters are split over tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=270, initial_alphabet=alphabet, special_tokens=[END])
    backend.train_from_iterator([BYTES], trainer)
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END).save_pretrained(folder)
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=backend.get_vocab_size(), n_embd=24, n_layer=2, n_head=3, n_positions=48, initializer_range=0.4,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="session")
def gpt_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gpt(tmp_path_factory.mktemp("gpt"))
