"""Print Lighthouse's four scores (mobile) of one lesson page per language; `npx` fetches Lighthouse on first use."""

import json
import os
import subprocess
import sys

from concepts import LANGUAGES
from serving import LESSON, serving
from test_browser import ARGUMENTS, CHROMIUM

NODE = "node@22"  # Lighthouse 13 wants Node 22.19 or later
LIGHTHOUSE = ["npx", "--yes", "-p", NODE, "-p", "lighthouse@13", "--", "lighthouse", "--output=json", "--quiet"]


def main() -> None:
    """Run Lighthouse on each page."""
    if CHROMIUM is None:
        sys.exit("no Chromium on this machine: install the package chromium")
    flags = f"--headless=new {' '.join(ARGUMENTS)}"
    with serving() as base:
        for language in LANGUAGES:
            command = [*LIGHTHOUSE, f"{base}/{language}/{LESSON}", f"--chrome-flags={flags}"]
            text = subprocess.check_output(command, env={**os.environ, "CHROME_PATH": CHROMIUM})
            scores = json.loads(text)["categories"]
            listed = ", ".join(f"{name} {round(100 * part['score'])}" for name, part in scores.items())
            print(f"/{language}/{LESSON}: {listed}")


if __name__ == "__main__":
    main()
