"""A Space without a Space: its user, its read-only code, its variables, its proxy; and the folders to upload."""

import importlib
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml
from gradio_client import Client

from concepts import ROOT
from demos import _host, _space
from demos.__main__ import main
from running import Running, serving, variables, watched

pytestmark = pytest.mark.timeout(600)  # servers start slowly on a busy machine
PUBLIC = {"x-forwarded-proto": "https", "x-forwarded-host": "user-space.hf.space"}
SPACE = {"SPACE_ID": "user/space", "SPACE_HOST": "user-space.hf.space", "SYSTEM": "spaces"}
# uid 1000 that may read everything, as in an image whose files are world-readable, and write nothing of root's
AS_USER = [
    "setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "--inh-caps=+dac_read_search",
    "--ambient-caps=+dac_read_search",
]  # fmt: skip


def as_user() -> list[str]:
    """Return what to put before a command so that it runs as the user of a Space."""
    if os.getuid() != 0:
        return []  # somebody without rights already
    if not shutil.which("setpriv") or subprocess.run([*AS_USER, "true"], check=False).returncode:
        pytest.skip("root without setpriv: nobody with fewer rights can be simulated")
    return AS_USER


@pytest.fixture(scope="module")
def space(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The server on a simulated Docker Space."""
    place = tmp_path_factory.mktemp("space")
    code, scratch = place / "app", place / "tmp"
    assert main(["space", "--out", str(code)]) == 0
    shutil.copytree(site, code / "site")  # the image is built with its site
    subprocess.run(["chmod", "-R", "a-w", str(code)], check=True)
    scratch.mkdir()
    scratch.chmod(0o777)
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, **SPACE, "PYTHONPATH": f"{code / 'lib'}{os.pathsep}{code}", "TMPDIR": str(scratch)}
    environment |= {"HOME": "/nonexistent", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    environment, left = watched(place / "guard", environment)
    command = [*as_user(), sys.executable, "-m", "demos", "serve"]
    with serving(place / "log", command, environment, cwd=code) as running:
        running.wait()
        yield running
        assert running.end() == 0, running.text()
        assert not left.exists(), left.read_text("utf-8")
    subprocess.run(["chmod", "-R", "u+w", str(code)], check=True)


def test_the_server_is_not_root_and_listens_to_all(space: Running) -> None:
    if Path("/proc").is_dir():
        status = Path(f"/proc/{space.process.pid}/status").read_text("utf-8")
        assert "Uid:\t0" not in status
    assert httpx.get(f"{space.url}/zh/", timeout=30).status_code == 200


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_gradio_knows_its_public_address(space: Running, lang: str) -> None:
    page = httpx.get(f"{space.url}/demos/{lang}/attention_matrices/", headers=PUBLIC, timeout=60)
    assert page.status_code == 200
    assert f'"root":"https://user-space.hf.space/demos/{lang}/attention_matrices"' in page.text
    assert '"space_id":null' in page.text  # else the page asks other hosts


def test_demos_answer_on_the_space(space: Running) -> None:
    client = Client(f"{space.url}/demos/en/attention_matrices/", verbose=False)
    # called without values: Gradio fills in what the widgets hold
    assert "lm-figure" in client.predict(api_name="/attention_matrices")


def test_nothing_is_reported_broken(space: Running) -> None:
    assert httpx.get(f"{space.url}/healthz", timeout=30).json()["broken"] == []


def front(path: Path) -> dict[str, object]:
    """Return a card's front matter."""
    fields = yaml.safe_load(path.read_text("utf-8").split("---\n")[1])
    assert isinstance(fields, dict)
    return fields


def test_the_docker_folder_is_whole(tmp_path: Path) -> None:
    assert main(["space", "--out", str(tmp_path / "space")]) == 0
    card = front(tmp_path / "space" / "README.md")
    assert card["sdk"] == "docker"
    assert card["app_port"] == _host.PORT
    assert len(str(card["short_description"])) <= 60
    recipe = (tmp_path / "space" / "Dockerfile").read_text("utf-8")
    assert "USER user" in recipe
    for line in recipe.splitlines():
        if line.startswith("COPY"):
            assert all((tmp_path / "space" / part).exists() for part in line.split()[2:-1])
    assert (
        tmp_path / "space" / "lib" / "largemodels" / "checkpoints" / "sentiment-bert-zh-en" / "config.json"
    ).is_file()
    assert not list((tmp_path / "space").rglob("__pycache__"))


def test_the_gradio_folder_is_whole(tmp_path: Path) -> None:
    out = tmp_path / "space"
    assert main(["space", "--out", str(out), "--sdk", "gradio"]) == 0
    card = front(out / "README.md")
    locked = _space.locked()
    assert card["sdk"] == "gradio"
    assert card["sdk_version"] == locked["gradio"]
    assert card["app_file"] == "app.py"
    assert "app_port" not in card
    compile((out / "app.py").read_text("utf-8"), "app.py", "exec")
    lines = (out / "requirements.txt").read_text("utf-8").split()
    assert f"torch=={locked['torch']}" in lines
    assert f"spaces=={locked['spaces']}" in lines
    assert not (out / "Dockerfile").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine", "utf-8")
    assert main(["space", "--out", str(tmp_path)]) == 1
    assert "must be empty or absent" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """Return a way to read demos._host again under other variables; the real one comes back afterwards."""
    yield _host
    monkeypatch.undo()
    importlib.reload(_host)


def test_a_space_listens_to_all_and_trusts_its_proxy(monkeypatch: pytest.MonkeyPatch, host: types.ModuleType) -> None:
    for name in ("HOST", "PORT", "SITE_URL", "FORWARDED_ALLOW_IPS", "SPACE_ID", "SPACE_HOST"):
        monkeypatch.delenv(name, raising=False)
    importlib.reload(host)
    assert host.address() == ("127.0.0.1", 7860)
    assert host.trusted_proxies() == "127.0.0.1,::1"
    assert host.site_url() == ""
    for name, value in SPACE.items():
        monkeypatch.setenv(name, value)
    importlib.reload(host)
    assert host.address() == ("0.0.0.0", 7860)  # noqa: S104
    assert host.trusted_proxies() == "*"
    assert host.site_url() == "https://user-space.hf.space/"


def test_gpu_changes_nothing_without_zerogpu() -> None:
    def compute() -> int:
        return 7

    assert _host.gpu(compute) is compute


def test_zerogpu_hears_which_functions_need_a_gpu(tmp_path: Path) -> None:
    """With ZeroGPU's variables, `spaces` comes before torch and Gradio, wraps, and the start is reported."""
    fake = tmp_path / "spaces"
    fake.mkdir()
    (fake / "__init__.py").write_text(
        "import sys\nassert not {'torch', 'gradio'} & set(sys.modules)\ncalls = []\n"
        "def GPU(duration):\n    calls.append(duration)\n    return lambda function: lambda *a: ('gpu', function(*a))\n"
        "class zero:\n    startup = staticmethod(lambda: calls.append('started'))\n",
        "utf-8",
    )
    code = (
        "import demos.app\nfrom demos import _host\nimport spaces\n"
        "assert _host.gpu(abs)(-3) == ('gpu', 3)\n_host.report_start()\n"
        "assert spaces.calls == [_host.GPU_SECONDS, 'started'], spaces.calls"
    )
    environment = variables() | {"SPACES_ZERO_GPU": "true"}
    environment["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", sorted(_host.FOLDERS))
def test_a_model_is_ours_unless_a_setting_says_otherwise(kind: str, tmp_path: Path) -> None:
    name = _host.SETTINGS[kind]
    assert Path(_host.model_source(kind, {})) == ROOT / "lib" / "largemodels" / "checkpoints" / _host.FOLDERS[kind]
    assert _host.model_source(kind, {name: str(tmp_path)}) == str(tmp_path)
    assert _host.model_source(kind, {name: "owner/model"}) == "owner/model"
    for environ in ({name: "/no/such/folder"}, {name: "owner/model", "HF_HUB_OFFLINE": "1"}, {name: "a b"}):
        with pytest.raises(ValueError, match=name):
            _host.model_source(kind, environ)


def test_the_device_is_one_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("LARGEMODELS_DEVICE", "cpu")
    _host.device_and_dtype.cache_clear()
    assert _host.device_and_dtype() == (torch.device("cpu"), torch.float32)
    _host.device_and_dtype.cache_clear()


def test_the_hub_is_off_unless_a_setting_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for value, expected in (("", "1"), ("owner/model", None)):
        with monkeypatch.context() as here:
            here.delenv("HF_HUB_OFFLINE", raising=False)
            here.setenv("LARGEMODELS_BERT", value)
            here.delenv("LARGEMODELS_GPT", raising=False)
            here.setattr(os, "environ", dict(os.environ))
            _host.settle_environment()
            assert os.environ.get("HF_HUB_OFFLINE") == expected
            assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
