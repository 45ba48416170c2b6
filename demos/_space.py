"""Assembles the folder that is uploaded to a Hugging Face Space: the whole site (docker) or for ZeroGPU (gradio)."""

import re
import shutil
import tomllib
from pathlib import Path

from demos import _host

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("demos", "docs", "lib", "mkdocs.yml", "pyproject.toml", "constraints.txt", "LICENSE")
DOCKER_PARTS = ("Dockerfile", ".dockerignore")
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*")
EXTRAS = ("docs", "demos")
APP = '''"""Starts the site and the demos on a Space with the Gradio SDK."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "lib"))

from demos.__main__ import main  # noqa: E402

if __name__ == "__main__":
    raise SystemExit(main(["serve"]))
'''


def assemble(out: Path, sdk: str) -> None:
    """Write everything that a Space needs into `out`.

    Args:
        out: folder to write; must be empty or absent.
        sdk: "docker" or "gradio"; ZeroGPU needs gradio.

    Raises:
        ValueError: `out` already holds something, or lies inside what is copied.
    """
    out = out.resolve()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} must be empty or absent, so that nothing else is uploaded; choose another folder")
    if any(out.is_relative_to(ROOT / part) for part in PARTS):
        raise ValueError(f"{out} lies inside what is copied; choose a folder outside the sources")
    out.mkdir(parents=True, exist_ok=True)
    for part in (*PARTS, *(DOCKER_PARTS if sdk == "docker" else ())):
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, out / part, ignore=LEFT_OUT)
        else:
            shutil.copyfile(source, out / part)
    card = (ROOT / "demos" / "README.md").read_text("utf-8")
    if sdk == "gradio":
        card = gradio_card(card)
        (out / "app.py").write_text(APP, "utf-8")
        (out / "requirements.txt").write_text("\n".join(requirements()) + "\n", "utf-8")
    (out / "README.md").write_text(card, "utf-8")
    print(f"{out}\nhf upload OWNER/SPACE {out} . --repo-type space")


def locked() -> dict[str, str]:
    """Return the version of every package in constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    pairs = [line.split("==", 1) for line in lines if "==" in line and not line.startswith("#")]
    return {name.strip().lower(): version.strip() for name, version in pairs}


def requirements() -> list[str]:
    """Return what the server needs, each at its locked version; the Space installs Gradio itself."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    versions = locked()
    # the name with its extras, without the range
    names = [re.split(r"[<>=!~ ;]", line, maxsplit=1)[0] for line in wanted]
    return [f"{name}=={versions[name.split('[')[0].lower()]}" for name in names if name != "gradio"]


def gradio_card(card: str) -> str:
    """Return the Docker Space's card with the front matter of a Gradio Space."""
    fields = {
        "sdk: docker": f'sdk: gradio\nsdk_version: {locked()["gradio"]}\npython_version: "{_host.PYTHON}"',
        f"app_port: {_host.PORT}": "app_file: app.py",
        "suggested_hardware: cpu-basic": "suggested_hardware: zero-a10g",
    }
    for old, new in fields.items():
        if f"{old}\n" not in card:
            raise ValueError(f"demos/README.md must hold the line {old!r}; put it back")
        card = card.replace(f"{old}\n", f"{new}\n", 1)
    return card
