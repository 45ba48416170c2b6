"""How every demo looks: the site's figure colours, the demo's widgets, and the language of Gradio's own words."""

import functools
import re
import typing
from pathlib import Path

from demos._notices import TAGS

if typing.TYPE_CHECKING:
    import gradio as gr

HERE = Path(__file__).parent
STYLES = (HERE.parent / "docs" / "_theme" / "figures.css", HERE / "_widgets.css")
CARDS = re.compile(r'<meta\s+(?:property|name)="(?:og|twitter):[^>]*?/>\s*')


@functools.cache
def css() -> str:
    """Return the style sheet of all demos."""
    return "\n".join(path.read_text("utf-8") for path in STYLES if path.is_file())


def theme() -> "gr.themes.Base":
    """Return the theme of all demos: indigo on slate; `_widgets.css` paints the page."""
    import gradio as gr

    fonts = ["system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
    base = gr.themes.Default(
        primary_hue="indigo", neutral_hue="slate", font=fonts, font_mono=["ui-monospace", "monospace"]
    )
    return base.set(
        body_background_fill="transparent",
        body_background_fill_dark="transparent",
        button_primary_background_fill="#3d4fd1",
        button_primary_background_fill_hover="#2f3fb0",
        button_primary_background_fill_dark="#4a5be0",
        button_primary_background_fill_hover_dark="#3d4fd1",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )


def localised(page: str, lang: str) -> str:
    """Return Gradio's page with its language set before any of its scripts runs.

    Gradio takes the language of its own words from the browser; ours comes from the address.
    """
    tag = TAGS[lang]
    script = (
        "<script>(function(l){var n=window.navigator;try{"
        'Object.defineProperty(n,"language",{get:function(){return l}});'
        'Object.defineProperty(n,"languages",{get:function(){return[l]}})}catch(e){}'
        f'document.documentElement.lang=l}})("{tag}")</script>'
    )
    page = re.sub(r'(<html\s+lang=")[^"]*', rf"\g<1>{tag}", page, count=1)
    return CARDS.sub("", page).replace("<head>", f"<head>{script}", 1)
