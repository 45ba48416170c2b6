"""A model that is incomplete, damaged or not safetensors is refused, and the error names the file."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from largemodels._checkpoints import ModelError
from largemodels.models.bert import Bert
from largemodels.models.gpt import Gpt

WEIGHTS = "model.safetensors"


def write_manifest(folder: Path) -> None:
    names = [path.name for path in folder.iterdir() if path.name != "manifest.json"]
    content = {name: (folder / name).read_bytes() for name in names}
    files = {n: {"sha256": hashlib.sha256(c).hexdigest(), "bytes": len(c)} for n, c in content.items()}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))


@pytest.fixture
def folder(gpt_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(gpt_folder, tmp_path / "model")
    write_manifest(tmp_path / "model")
    return tmp_path / "model"


def remove(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def cut(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-777] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


def tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    state = load_file(folder / WEIGHTS)
    change(state)
    save_file(state, folder / WEIGHTS, {"format": "pt"})


def lose_a_tensor(folder: Path) -> None:
    tensors(folder, lambda state: state.pop("transformer.h.1.mlp.c_fc.weight"))  # type: ignore[arg-type, return-value]


def wrong_shape(folder: Path) -> None:
    tensors(folder, lambda state: state.update({"transformer.h.1.ln_1.bias": torch.zeros(7)}))


def poison(folder: Path) -> None:
    tensors(folder, lambda state: state["transformer.ln_f.weight"].__setitem__(3, float("nan")))


def only_pickle(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    remove(folder)


def own_code(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text("raise SystemExit('remote code was run')")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def huge_header(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes(b"\xff" * 8 + b"{}")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "model.safetensors: is in the manifest but missing"),
        (cut, r"model.safetensors: must have \d+ bytes by the manifest, has \d+"),
        (flip_a_bit, "model.safetensors: must have sha256 .* by the manifest, has"),
        (pointer, "must have .* bytes by the manifest"),
        (no_config, "config.json: is in the manifest but missing"),
    ],
)
def test_manifest_names_the_damaged_file(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(ModelError, match=message) as caught:
        Gpt.from_pretrained(folder)
    assert caught.value.file in str(caught.value)
    assert caught.value.file


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove, "model.safetensors: is missing"),
        (cut, "cannot load it .*fetch it again"),
        (pointer, "cannot load it"),
        (huge_header, "cannot load it"),
        (lose_a_tensor, "lacks transformer.h.1.mlp.c_fc.weight"),
        (wrong_shape, "cannot load it"),
        (poison, "weights must be finite, transformer.ln_f.weight is not"),
        (only_pickle, "model.safetensors: is missing; other formats may run code"),
        (own_code, "cannot load it"),
        (no_config, "config.json: is missing"),
    ],
)
def test_without_a_manifest_nothing_wrong_loads_either(
    folder: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(ModelError, match=message):
        Gpt.from_pretrained(folder)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"files": {"a": 1}}', '{"files": {"../x": {"bytes": 1, "sha256": ""}}}']
)
def test_a_broken_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ModelError):
        Gpt.from_pretrained(folder)


def test_weights_beside_the_manifest_are_refused(folder: Path) -> None:
    shutil.copy(folder / WEIGHTS, folder / "other.safetensors")
    with pytest.raises(ModelError, match="other.safetensors: is not in the manifest"):
        Gpt.from_pretrained(folder)


@pytest.mark.parametrize("source", ["no/such/folder", "./nothing", Path("nowhere")])
def test_a_path_that_does_not_exist_is_not_asked_for_on_the_hub(source: str | Path) -> None:
    with pytest.raises(ModelError, match="must be a folder or a hub id"):
        Gpt.from_pretrained(source)


def test_an_intact_folder_loads_in_the_wanted_dtype_and_leaves_the_random_state_alone(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = torch.get_rng_state()
    gpt = Gpt.from_pretrained(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in gpt._model.parameters()} == {torch.bfloat16}
    assert not gpt._model.training
    assert torch.equal(before, torch.get_rng_state())
    assert capfd.readouterr() == ("", "")


def test_an_error_is_an_oserror_and_a_missing_head_is_refused(bert_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(bert_folder, tmp_path / "model")
    tensors(tmp_path / "model", lambda state: state.pop("classifier.weight"))  # type: ignore[arg-type, return-value]
    with pytest.raises(OSError, match="lacks classifier.weight"):
        Bert.from_pretrained(tmp_path / "model")
