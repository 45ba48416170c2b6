"""House rule 2: the Chinese and the English page say the same; only the prose differs."""

import functools

import pytest

import page
from concepts import ROOT, pages, report

EXTRA_IN = "{path}: only in {language}"


def lonely_pages() -> list[str]:
    """Name every page that exists in one language only."""
    paths = {language: {p.relative_to(ROOT / "docs" / language) for p in pages(language)} for language in ("zh", "en")}
    return [EXTRA_IN.format(path=path, language="zh") for path in sorted(paths["zh"] - paths["en"])] + [
        EXTRA_IN.format(path=path, language="en") for path in sorted(paths["en"] - paths["zh"])
    ]


def first_difference(zh: object, en: object) -> str:
    """Show what differs; of two long lists only the first items that do."""
    if isinstance(zh, list) and isinstance(en, list):
        at = next((i for i, (a, b) in enumerate(zip(zh, en, strict=False)) if a != b), min(len(zh), len(en)))
        count = "" if len(zh) == len(en) else f" ({len(zh)} in zh, {len(en)} in en)"
        return f"item {at + 1}{count}: zh {zh[at : at + 1]}, en {en[at : at + 1]}"
    return f"zh {zh}, en {en}"


def differences(zh: page.Page, en: page.Page) -> list[str]:
    """Say in what two pages differ that should agree."""
    seen = {
        "front matter keys": (list(zh.front), list(en.front)),
        "order": (zh.front.get("order"), en.front.get("order")),
        "kind": (zh.front.get("kind"), en.front.get("kind")),
        "needs": (zh.front.get("needs"), en.front.get("needs")),
        "heading levels and ids": ([(h[0], h[2]) for h in zh.headings], [(h[0], h[2]) for h in en.headings]),
        "code": ([(f.info, f.code) for f in zh.fences], [(f.info, f.code) for f in en.fences]),
        "display formulas": (zh.display_formulas, en.display_formulas),
        "inline formulas": (zh.inline_formulas, en.inline_formulas),
        "API blocks": (zh.api_blocks, en.api_blocks),
        "demos": (zh.demos, en.demos),
        "figures": (zh.figures, en.figures),
        "links": (zh.links, en.links),
        "folded boxes": (zh.folded, en.folded),
    }
    return [f"{what}: {first_difference(a, b)}" for what, (a, b) in seen.items() if a != b]


PAIRS = sorted(p.relative_to(ROOT / "docs" / "zh").as_posix() for p in pages("zh"))


def test_both_languages_have_the_same_pages() -> None:
    report(lonely_pages())


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_agree(name: str) -> None:
    english = ROOT / "docs" / "en" / name
    if not english.is_file():
        pytest.fail(f"docs/en/{name} does not exist")
    report(differences(page.read(ROOT / "docs" / "zh" / name), page.read(english)))


ZH = """---
title: 加法
order: 10
needs: [counting]
---
# 加法 { #adding }

两个数之和 $a + b$，见[减法](subtracting.md)。

$$
a + b = b + a
$$

<svg viewBox="0 0 1 1" aria-label="线"><path d="M0 0"/></svg>

```python
print(1 + 2)  # 三
```

<div class="demo" data-demo="adding" data-title="加法演示"></div>

## API { #api }

::: largemodels.sums.adding

??? success "答案"
    ```{.text .output}
    3
    ```
"""
TRANSLATION = [
    ("加法演示", "Adding demo"), ("加法", "Adding"), ("线", "a line"), ("三", "three"), ("答案", "Answer"),
    ("两个数之和 $a + b$，见[减法](subtracting.md)。", "As [minus](subtracting.md) shows, the sum is $a + b$."),
]  # fmt: skip
EN = functools.reduce(lambda text, pair: text.replace(*pair), TRANSLATION, ZH)


def test_pages_that_differ_in_prose_only_agree() -> None:
    assert differences(page.Page(ZH), page.Page(EN)) == []


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("order: 10", "order: 20", "order"),
        ("order: 10", "order: 10\nkind: essay", "front matter keys"),
        ("order: 10\nneeds: [counting]", "order: 10\nneeds: [halving]", "needs"),
        ("{ #api }", "{ #reference }", "heading levels and ids"),
        ("## API", "### API", "heading levels and ids"),
        ("print(1 + 2)", "print(2 + 1)", "code"),
        ("```{.text .output}\n    3", "```{.text .output}\n    4", "code"),
        ("a + b = b + a", "a + b = a + b", "display formulas"),
        ("$a + b$", "$a - b$", "inline formulas"),
        ("::: largemodels.sums.adding", "", "API blocks"),
        ('data-demo="adding"', 'data-demo="adding_twice"', "demos"),
        ("M0 0", "M0 1", "figures"),
        ("subtracting.md", "dividing.md", "links"),
        ('??? success "Answer"', '!!! success "Answer"', "folded boxes"),
    ],
)
def test_a_difference_is_reported(old: str, new: str, what: str) -> None:
    assert old in EN
    assert what in [found.split(":")[0] for found in differences(page.Page(ZH), page.Page(EN.replace(old, new)))]
