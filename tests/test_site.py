"""The site: it is built from packages only, and loads nothing from other servers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import archdsl
from archdsl.codes import CODES
from archdsl.layer import all_kinds
from archdsl.linter.rule import all_rules
from tests.conftest import ROOT

# Attributes that a browser loads without a click.
LOADED = {
    ("audio", "src"),
    ("embed", "src"),
    ("iframe", "src"),
    ("image", "href"),
    ("img", "src"),
    ("img", "srcset"),
    ("input", "src"),
    ("link", "href"),
    ("object", "data"),
    ("script", "src"),
    ("source", "src"),
    ("source", "srcset"),
    ("use", "href"),
    ("video", "src"),
}


class Page(HTMLParser):
    """A page: what it loads, its links, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.classes: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if (tag, name) in LOADED:
                self.loads.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)
            elif name == "id":
                self.anchors.add(value)
            elif name == "class":
                self.classes.update(value.split())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the built site."""
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    """Return the pages of the site."""
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


def test_every_page_of_the_docs_is_on_the_site(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        built = page.relative_to(ROOT / "docs").with_suffix(".html")
        if built.name == "README.html":
            built = built.with_name("index.html")
        assert (site / built).is_file(), page
    assert (site / "changelog.html").is_file()


def test_no_page_loads_anything_from_elsewhere(
    site: Path, pages: dict[Path, Page]
) -> None:
    loaded = 0
    for path, page in pages.items():
        for url in page.loads:
            # The 404 page is shown at any address, so its links are absolute.
            if path.name == "404.html" or url.startswith("data:"):
                assert not urlsplit(url).netloc, (path, url)
                continue
            parts = urlsplit(url)
            assert not parts.scheme and not parts.netloc, (path, url)
            assert (path.parent / unquote(parts.path)).resolve().is_file(), (path, url)
            loaded += 1
    assert loaded > len(pages)


def test_no_style_loads_anything_from_elsewhere(site: Path) -> None:
    styles = list(site.rglob("*.css"))
    assert styles
    for style in styles:
        text = style.read_text(encoding="utf-8")
        assert "@import" not in text, style
        for part in text.split("url(")[1:]:
            assert not part.strip("\"' ").startswith(("http:", "https:", "//")), style


def test_every_link_within_the_site_leads_somewhere(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        if path.name == "404.html":
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https"):
                continue
            assert not parts.scheme and not parts.netloc, (path, link)
            target = (path.parent / unquote(parts.path)).resolve()
            target = path if not parts.path else target
            assert target.is_file(), (path, link)
            if target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, (path, link)


def test_specs_are_coloured_and_lexed(pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        # Some examples of errors contain characters that are not in the language.
        assert path.name == "errors.html" or "err" not in page.classes, path
    language = pages[next(p for p in pages if p.name == "language.html")]
    assert {"language-arch", "kd", "nb", "nl", "language-console"} <= language.classes


def test_each_kind_rule_and_error_has_its_place(site: Path) -> None:
    layers = Page(site / "layers.html").anchors
    assert {kind.word for kind in all_kinds()} <= layers
    errors = Page(site / "errors.html").anchors
    assert {code.lower() for code in CODES} <= {a.split("-")[0] for a in errors}
    lint = Page(site / "lint.html").anchors
    rules = all_rules().values()
    assert {f"{rule.code.lower()}-{rule.name}" for rule in rules} <= lint


def test_the_interface_of_python_is_complete(site: Path) -> None:
    names = {name for name in archdsl.__all__ if not name.startswith("_")}
    found = Page(site / "api.html").anchors
    assert {f"archdsl.{name}" for name in names} <= found


def test_the_search_knows_the_pages(site: Path) -> None:
    text = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    index = json.loads(text.removeprefix("var __index = "))
    found = {entry["location"] for entry in index["docs"]}
    assert {"layers.html#conv", "language.html", "changelog.html"} <= found


# ---- in a browser ---------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium() -> Iterator[list[str]]:
    """Return the command of a headless Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip("needs Chromium")
    yield [program, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]


def test_the_search_works_without_a_server(site: Path, chromium: list[str]) -> None:
    start = (site / "index.html").as_uri() + "?q=bottleneck"
    options = ["--virtual-time-budget=15000", "--timeout=20000"]
    result = subprocess.run(
        [*chromium, *options, start], capture_output=True, encoding="utf-8", timeout=60
    )
    assert "lint.html?h=bottleneck#w" in result.stdout


# ---- on a package index ---------------------------------------------------------


def test_the_readme_has_no_relative_link_where_a_package_index_shows_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for change in hook["substitutions"]:
        text = re.sub(change["pattern"], change["replacement"], text)
    targets = re.findall(r"\]\(([^)]*)\)", text) + re.findall(r'src="([^"]*)"', text)
    assert not [target for target in targets if "://" not in target]
    # Nothing else is lost: texts of links and all blocks are still there.
    for words in re.findall(r"\[([^\[\]]+)\]\(", readme):
        assert words in text
    assert text.count("```") == readme.count("```")
