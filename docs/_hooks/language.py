"""The few words of the frame that differ between the two passes over mkdocs.yml."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

WORDS = {
    "zh": {
        "site_name": "大模型，跑起来",
        "site_description": "双语的大模型教科书：每个公式都有能读懂的代码、能动手的演示和会失败的测试。",
        "palette": ["跟随系统（点击：浅色）", "浅色（点击：深色）", "深色（点击：跟随系统）"],
        "permalink": "本节的链接",
    },
    "en": {
        "site_name": "Large Models, Running",
        "site_description": "A bilingual textbook of large models: every formula has readable code, a live demo and a "
        "test that can fail.",
        "palette": ["Colours of the system (click: light)", "Light (click: dark)", "Dark (click: as the system)"],
        "permalink": "Link to this section",
    },
}

WIDE = r"[\u2018-\u201d\u2026\u3000-\u303f\u3400-\u9fff\uff00-\uffef]"
LINE_BREAK = re.compile(rf"(?<={WIDE})\n(?={WIDE})")
PREFORMATTED = re.compile(r"(<pre.*?</pre>|<svg.*?</svg>)", re.S)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the words of the pass's language into the config."""
    words = WORDS[str(config.theme["language"])]
    config.site_name = str(words["site_name"])
    config.site_description = str(words["site_description"])
    for option, name in zip(config.theme["palette"], words["palette"], strict=True):
        option["toggle"]["name"] = name
    config.mdx_configs["toc"]["permalink_title"] = words["permalink"]
    return config


def on_page_context(context: dict[str, Any], page: Page, config: MkDocsConfig, nav: Navigation) -> dict[str, Any]:
    """Let the language menu lead to the same page: relative links work below any path and without a script."""
    for alternate in config.extra["alternate"]:
        alternate["link"] = f"../{alternate['lang']}/{page.url}"
    return context


def on_env(env: Environment, config: MkDocsConfig, files: Files) -> Environment:
    """The 404 page belongs to no page: from there the menu leads to the first pages."""
    for alternate in config.extra["alternate"]:
        alternate["link"] = f"../{alternate['lang']}/"
    return env


def on_page_content(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Browsers show a line break as a space; between Chinese characters there must be none."""
    if config.theme["language"] != "zh":
        return text
    parts = PREFORMATTED.split(text)
    return "".join(part if index % 2 else LINE_BREAK.sub("", part) for index, part in enumerate(parts))
