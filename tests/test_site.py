"""House rule 6: the built site is whole: languages, links, anchors, twins, icons, first results, and no other host."""

import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from bs4 import BeautifulSoup, Tag

from concepts import LANGUAGES, concepts, report

HOST = "http://127.0.0.1:7860"  # where a site is built for when nothing else is said
LOADS = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
CSS_URL = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s;]+)""")
NAMES_ONLY = {"canonical", "alternate", "translation", "next", "prev"}  # links that a browser does not load


class Built:
    """A built site, its pages parsed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pages = {
            f"/{path.relative_to(folder).as_posix()}": BeautifulSoup(path.read_text("utf-8"), "html.parser")
            for path in sorted(folder.rglob("*.html"))
        }
        self.ids = {
            path: {tag.get(key) for key in ("id", "name") for tag in soup.find_all(attrs={key: True})}
            for path, soup in self.pages.items()
        }

    def file(self, url: str) -> str | None:
        """Return the file that answers a path of the site, or None."""
        path = unquote(urlsplit(url).path)
        path += "index.html" if path.endswith("/") else ""
        return path if (self.folder / path.lstrip("/")).is_file() else None

    def lessons(self) -> dict[str, BeautifulSoup]:
        """Return the pages that belong to a language, without those for errors."""
        return {p: s for p, s in self.pages.items() if p.split("/")[1] in LANGUAGES and not p.endswith("404.html")}


def elsewhere(url: str) -> bool:
    """Whether an address names another host."""
    return bool(urlsplit(url).netloc) and not url.startswith(f"{HOST}/")


def wrong_languages(built: Built) -> list[str]:
    """Name pages whose `lang` is not that of their folder."""
    found = []
    for path, soup in built.pages.items():
        language = path.split("/")[1]
        root = soup.html
        have = str(root.get("lang", "")) if root else ""
        if not have or (language in LANGUAGES and have.split("-")[0] != language):
            found.append(f"{path}: lang is {have!r}")
    return found


def broken_links(built: Built) -> list[str]:
    """Name links whose page or anchor does not exist on this site."""
    found = []
    for path, soup in built.pages.items():
        base = HOST + (path.removesuffix("index.html"))
        for tag in soup.find_all(["a", *LOADS]):
            address = tag.get(LOADS.get(tag.name, "href"))
            if not address or str(address).startswith(("data:", "mailto:", "javascript:")):
                continue
            url = urljoin(base, str(address))
            if elsewhere(url) or urlsplit(url).path.startswith("/demos/"):
                continue
            target, anchor = built.file(url), unquote(urlsplit(url).fragment)
            if target is None:
                found.append(f"{path}: {address} does not exist")
            elif anchor and target in built.ids and anchor not in built.ids[target]:
                found.append(f"{path}: {address} has no such anchor")
    return found


def foreign(built: Built) -> list[str]:
    """Name everything that a browser would load from another host."""
    found = []
    for path, soup in built.pages.items():
        for tag in soup.find_all(list(LOADS)):
            address = str(tag.get(LOADS[tag.name]) or "")
            if elsewhere(address) and not NAMES_ONLY.issuperset(tag.get("rel") or ["loaded"]):
                found.append(f"{path}: <{tag.name}> loads {address}")
        styles = [style.get_text() for style in soup.find_all("style")]
        styles += [str(tag["style"]) for tag in soup.find_all(style=True)]
        urls = [url for style in styles for url in CSS_URL.findall(style)]
        found += [f"{path}: a style loads {url}" for url in urls if elsewhere(url)]
    for sheet in sorted(built.folder.rglob("*.css")):
        urls = CSS_URL.findall(sheet.read_text("utf-8"))
        found += [f"{sheet.relative_to(built.folder)}: loads {url}" for url in urls if elsewhere(url)]
    return found


def missing_twins(built: Built) -> list[str]:
    """Name pages that do not point at their twin in each language."""
    found = []
    for path, soup in built.lessons().items():
        for language in LANGUAGES:
            twin = f"/{language}/{path.split('/', 2)[2]}"
            links = soup.find_all("link", rel="alternate", hreflang=re.compile(f"^{language}"))
            links += soup.select(f".md-select__link[hreflang={language}]")
            targets = {built.file(urljoin(HOST + path, str(link.get("href")))) for link in links}
            if targets != {twin}:
                found.append(f"{path}: hreflang={language} is {targets or 'missing'}, wanted {twin}")
    return found


def missing_results(built: Built) -> list[str]:
    """Name demos that show nothing before they are clicked."""
    found = []
    for path, soup in built.lessons().items():
        for demo in soup.find_all(attrs={"data-demo": True}):
            result = demo.select_one(".demo-result")
            picture = isinstance(result, Tag) and result.select_one("figure.lm-figure .lm-twin")
            if not picture or not demo.select_one("button"):
                found.append(f"{path}: {demo['data-demo']} has no first result or no button")
    return found


def lost_concepts(built: Built) -> list[str]:
    """Name every concept that its chapter's map or list, or the home page, does not lead to."""
    found = []
    for concept in concepts():
        for language in LANGUAGES:
            home, front = f"/{language}/index.html", f"/{language}/{concept.chapter}/index.html"
            for path, places in ((home, (".home-path",)), (front, (".chapter-map", "table"))):
                for place in places:
                    links = [urljoin(path, str(a["href"])) for a in built.pages[path].select(f"{place} a[href]")]
                    if f"/{language}/{concept.chapter}/{concept.name}/" not in links:
                        found.append(f"{path}: {place} has no link to {concept}")
    return found


@pytest.fixture(scope="module")
def built(site: Path) -> Built:
    return Built(site)


def test_pages_say_their_language(built: Built) -> None:
    report(wrong_languages(built))


def test_links_and_anchors_resolve(built: Built) -> None:
    report(broken_links(built))


def test_nothing_is_loaded_from_another_host(built: Built) -> None:
    report(foreign(built))


def test_every_page_names_its_twin(built: Built) -> None:
    report(missing_twins(built))


def test_every_demo_shows_its_first_result(built: Built) -> None:
    report(missing_results(built))


def test_home_page_and_chapter_fronts_lead_to_every_concept(built: Built) -> None:
    report(lost_concepts(built))


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_language_has_its_error_page(built: Built, language: str) -> None:
    words = {"zh": "页", "en": "page"}
    assert words[language] in built.pages[f"/{language}/404.html"].get_text().lower()


def test_icons_exist(built: Built) -> None:
    assert (built.folder / "favicon.ico").stat().st_size > 0
    for path, soup in built.lessons().items():
        icon = soup.find("link", rel="icon")
        assert isinstance(icon, Tag), path
        assert built.file(urljoin(HOST + path, str(icon["href"]))), path


def test_the_first_page_leads_to_both_languages(built: Built) -> None:
    links = {str(link["href"]).strip("./") for link in built.pages["/index.html"].find_all("a", href=True)}
    assert set(LANGUAGES) <= links


PAGE = """<html lang="zh"><head>
<link rel="alternate" hreflang="zh" href="/zh/"><link rel="alternate" hreflang="en" href="/en/">
</head><body><a class="md-select__link" hreflang="en" href="../en/">English</a>
<h1 id="top">加法</h1><a href="#top">上</a><a href="../en/#top">en</a><a href="https://example.org">外</a>
<div data-demo="adding"><div class="demo-result"><figure class="lm-figure"><p class="lm-twin">3</p></figure></div>
<button>运行</button></div></body></html>"""
CHECKS = (wrong_languages, broken_links, foreign, missing_twins, missing_results)


def made_up(folder: Path, chinese: str) -> Built:
    """Return a site of two pages, the Chinese one with this text."""
    for language, text in (("zh", chinese), ("en", PAGE.replace('lang="zh">', 'lang="en">', 1))):
        (folder / language).mkdir()
        (folder / language / "index.html").write_text(text, "utf-8")
    return Built(folder)


def test_a_site_that_is_whole_is_accepted(tmp_path: Path) -> None:
    built = made_up(tmp_path, PAGE)
    assert [problem for check in CHECKS for problem in check(built)] == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('<html lang="zh">', '<html lang="en">', "lang is 'en'"),
        ('<html lang="zh">', "<html>", "lang is ''"),
        ('href="../en/#top"', 'href="../en/missing/"', "does not exist"),
        ('href="../en/#top"', 'href="../en/#bottom"', "no such anchor"),
        ("</h1>", '</h1><img src="//example.org/x.png">', "<img> loads //example.org/x.png"),
        ("</head>", "<style>@import 'https://example.org/x.css'</style></head>", "a style loads"),
        ("<h1", '<h1 style="background:url(https://example.org/x.png)"', "a style loads"),
        ('hreflang="en" href="/en/"', 'hreflang="en" href="/zh/"', "wanted /en/index.html"),
        ('href="../en/">', 'href="./">', "wanted /en/index.html"),
        ("demo-result", "demo-waiting", "no first result"),
        ("<button>运行</button>", "", "no button"),
    ],
)
def test_a_site_that_is_not_whole_is_reported(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    assert old in PAGE
    built = made_up(tmp_path, PAGE.replace(old, new))
    assert complaint in "\n".join(problem for check in CHECKS for problem in check(built))


def test_a_style_sheet_that_loads_from_elsewhere_is_reported(tmp_path: Path) -> None:
    (tmp_path / "site.css").write_text("b{background:url('https://example.org/x.png')}", "utf-8")
    assert foreign(Built(tmp_path)) == ["site.css: loads https://example.org/x.png"]
