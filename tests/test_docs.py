"""The documentation: its examples match the code, and its links work."""

from __future__ import annotations

import html
import importlib.util
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sklearn.datasets import load_digits

import archdsl
from archdsl import codes
from archdsl.cli.app import COMMANDS
from archdsl.passes.analysis import Analysis
from archdsl.resources import specs_dir
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAX_IMAGE_BYTES = 200_000


def load_refresh() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refresh", ROOT / "docs/refresh.py")
    assert spec is not None and spec.loader is not None
    module = sys.modules["refresh"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


refresh = load_refresh()


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# ---- what the pages show ------------------------------------------------------


# These run torch in processes of their own.
SLOW = {
    "docs/architecture.md",
    "docs/guides/checkpoints.md",
    "docs/guides/foreign.md",
    "docs/guides/import.md",
    "docs/guides/plot.md",
    "docs/guides/sweep.md",
    "docs/guides/training.md",
    "docs/story.md",
}


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=name_of(page),
            marks=pytest.mark.slow if name_of(page) in SLOW else (),
        )
        for page in PAGES
    ],
)
def test_page(page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    try:
        new = refresh.refreshed(text, tmp_path)
        drawn = refresh.pictures(text, tmp_path)
    except refresh.Wrong as error:
        pytest.fail(f"{name_of(page)}: {error}", pytrace=False)
    assert text == new, "`python docs/refresh.py` renews the pages"
    for shown, picture in drawn.items():
        assert refresh.words_of(shown) == refresh.words_of(picture), shown


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```arch\nnetwork n { input 3x8x8 }\n```\n", "begins with `arch 1`"),
        ("```arch fragment\nconvv 3x3 8\n```\n", "A0106"),
        ("```arch fragment\nexpect params == 1\n```\n", "A0401"),
        ("```arch error A0106\nconv 3x3 8\n```\n", "expected A0106"),
        ("```python\nassert False\n```\n", "AssertionError"),
        ("```python excerpt resnet18\nclass Nothing:\n```\n", "not emitted"),
        ("```console\n$ archdsl check nothing\n```\n", "ends with 1"),
        ("```sh\nfalse\n```\n", "ends with 1"),
        ("```ruby\nputs 1\n```\n", "how to test"),
    ],
)
def test_a_wrong_page_is_found(text: str, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(refresh.Wrong, match=re.escape(wrong)):
        refresh.refreshed(text, tmp_path)


def test_outputs_are_renewed(tmp_path: Path) -> None:
    def of(shown: str) -> str:
        return f"```console\n$ printf 'a\\nb\\nc\\n'\n{shown}```\n"

    assert refresh.refreshed(of("a\nb\n"), tmp_path) == of("a\nb\nc\n")
    assert refresh.refreshed(of("a\n...\n"), tmp_path) == of("a\n...\n")
    assert refresh.refreshed(of("...\nb\n"), tmp_path) == of("a\nb\nc\n")


def test_an_output_stays_short_where_its_words_change(tmp_path: Path) -> None:
    def of(shown: str) -> str:
        return f"```console\n$ printf 'first\\nsize 3 new\\nlast\\n'\n{shown}```\n"

    renewed = refresh.refreshed(of("...\nsize 3 old\n...\n"), tmp_path)
    assert renewed == of("...\nsize 3 new\n...\n")
    whole = of("first\nsize 3 new\nlast\n")
    assert refresh.refreshed(of("...\nall else\n...\n"), tmp_path) == whole


# ---- links and paths ------------------------------------------------------------


def slugs(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose, re.M):
        bare = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(bare)
    return found


def links(text: str) -> Iterator[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    yield from re.findall(r"\]\(([^)\s]+)\)", prose)
    yield from re.findall(r'(?:src|href)="([^"]+)"', prose)


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in links(text):
        if re.match(r"https://", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert path.is_relative_to(ROOT), link
        if anchor:
            assert anchor in slugs(path.read_text(encoding="utf-8")), link


@pytest.mark.parametrize("page", LINKED, ids=name_of)
def test_paths_in_the_text_exist(page: Path) -> None:
    prose = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    for path in re.findall(
        r"`((?:archdsl|docs|grammar|specs|tests|scripts)/[\w./]+)`", prose
    ):
        assert (ROOT / path).exists(), path


def test_codes_in_the_text_exist() -> None:
    for page in {*PAGES} - {ROOT / "docs/errors.md"}:  # made from the codes
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"\bA0\d{3}\b", text)) <= set(codes.CODES), page


def test_images_are_small() -> None:
    images = [p for p in (ROOT / "docs/images").rglob("*") if p.is_file()]
    assert images
    for image in images:
        assert image.stat().st_size < MAX_IMAGE_BYTES, image


def test_the_readmes_picture_is_of_its_spec() -> None:
    spec = next(b for b in refresh.blocks(README) if b.words == ("small.arch",))
    source = archdsl.render(archdsl.loads(spec.text))
    picture = (ROOT / "docs/images/small.svg").read_text(encoding="utf-8")
    shown = re.sub(
        r"\s", "", html.unescape(" ".join(re.findall(r">([^<]+)<", picture)))
    )
    for label in re.findall(r'label="([^"]+)"', source):
        for line in re.split(r"\\[nlr]", label):
            assert re.sub(r"\s", "", line) in shown, line


# ---- the README ------------------------------------------------------------------


def test_the_readme_leads_with_the_two_commands() -> None:
    first = next(refresh.blocks(README))
    commands = [line.split("#")[0].strip() for line in first.text.splitlines()]
    assert commands == ["make demo", "make test"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for command in commands:
        assert re.search(rf"^{command.split()[1]}:", makefile, re.M), command


def test_the_readme_names_existing_extras_and_versions() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project: dict[str, Any] = tomllib.loads(text)["project"]
    (torch,) = project["optional-dependencies"]["torch"]
    assert f"torch {torch.partition('>=')[2]}" in README
    assert f"Python {project['requires-python'].removeprefix('>=')}" in README
    pinned = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(), re.M)
    assert pinned is not None and f"torch {pinned[1]}" in README
    for extras in re.findall(r'pip install -e "\.\[([\w,]+)\]"', README):
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_every_command_is_in_the_readme() -> None:
    for command in COMMANDS:
        assert f"archdsl {command}" in README, command


def test_the_readme_gives_the_exit_statuses() -> None:
    from archdsl.cli import status

    statuses = {n for name, n in vars(status).items() if name.isupper()}
    table = README.partition("| exit status")[2].partition("\n\n")[0]
    assert {int(n) for n in re.findall(r"^\| (\d+)", table, re.M)} == statuses


# ---- the pages' own claims ---------------------------------------------------------


def test_the_changelog_has_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[?{re.escape(archdsl.__version__)}\b", text, re.M)


# ---- figures, counted by hand -------------------------------------------------


def facts_of(preset: str, **params: object) -> Analysis:
    return archdsl.analyze(archdsl.load(preset, params=params, symbolic=False))


def convs(*sizes: tuple[int, int, int]) -> int:
    """Return the parameters of convolutions: inputs per unit, kernel size, width."""
    return sum((inputs * k * k + 1) * width for inputs, k, width in sizes)


def linears(*widths: int) -> int:
    return sum((inputs + 1) * width for inputs, width in pairwise(widths))


def alexnet(second: int, fourth: int, fifth: int) -> int:
    """Return the parameters with the published widths, for inputs of some layers."""
    maps = convs(
        (3, 11, 96), (second, 5, 256), (256, 3, 384), (fourth, 3, 384), (fifth, 3, 256)
    )
    return maps + linears(6 * 6 * 256, 4096, 4096, 1000)


def first_strided(layers: str) -> Analysis:
    """Return a ResNet whose bottlenecks take the stride in their first 1x1."""
    text = (specs_dir() / "resnet.arch").read_text(encoding="utf-8")
    preset = f"preset published = ResNet<bottleneck<first = true>, {layers}>\n"
    return archdsl.analyze(archdsl.loads(text + preset, preset="published"))


def counted_by_hand() -> dict[str, int]:
    """Return the figures that `docs/figures.md` has besides its generated table."""
    return {
        "60,965,224": alexnet(second=48, fourth=192, fifth=192),
        "62,378,344": alexnet(second=96, fourth=384, fifth=384),
        "61,100,840": convs((3, 11, 64), (64, 5, 192), (192, 3, 384), (384, 3, 256))
        + convs((256, 3, 256))
        + linears(6 * 6 * 256, 4096, 4096, 1000),
        "123,642,856": linears(7 * 7 * 512, 4096, 4096, 1000),
        "132,863,336": facts_of("vgg11").params,
        "138,357,544": facts_of("vgg16").params,
        "143,667,240": facts_of("vgg19").params,
        "20,024,384": facts_of("vgg19").params - linears(25_088, 4096, 4096, 1000),
        "6,797.7": 6_797,
        "6,960,845": round(6_797.7 * 1024),
        "6,998,552": facts_of("googlenet_paper", aux=False).params,
        "6,624,904": facts_of("googlenet", aux=False).params,
        "13,004,888": facts_of("googlenet").params,
        "13,378,280": facts_of("googlenet_paper").params,
        "114,688": 64 * 64 + 64 * 192 * 9,
        "9,408": 7 * 7 * 3 * 64,
        "2,712": 7 * 7 * 3 * 8 + 24 * 64,
        "25,557,032": facts_of("resnet50").params,
        "3,857,973,248": first_strided("[3, 4, 6, 3]").macs,
        "7,570,194,432": first_strided("[3, 4, 23, 3]").macs,
        "11,282,415,616": first_strided("[3, 8, 36, 3]").macs,
        "4,089,184,256": facts_of("resnet50").macs,
        "7,801,405,440": facts_of("resnet101").macs,
        "11,513,626,624": facts_of("resnet152").macs,
        "7,978,856": facts_of("densenet121").params,
        "102,400": 25 * 64 * 64,
        "73,728": 18 * 64 * 64,
        "147,456": 9 * 128 * 128,
        "40,960": 32 * 128 + 9 * 32 * 128,
        "50,688": 9 * 16 * (64 + 80 + 96 + 112),
        "269,722": facts_of("plain20").params,
        "853,018": facts_of("plain56").params,
    }


FIGURES = (ROOT / "docs/figures.md").read_text(encoding="utf-8")


def test_every_large_figure_is_counted_once_more() -> None:
    prose = re.sub(r"<!-- table.*?<!-- end -->", "", FIGURES, flags=re.S)
    shown = set(re.findall(r"\d{1,3}(?:,\d{3})+(?:\.\d)?", prose))
    counted = counted_by_hand()
    assert shown == counted.keys()
    for text, number in counted.items():
        assert int(text.replace(",", "").partition(".")[0]) == number, text


def test_every_large_figure_of_the_story_is_printed_or_counted() -> None:
    page = (ROOT / "docs/story.md").read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    printed = {n for block in refresh.blocks(page) for n in _FIGURE.findall(block.text)}
    counted = counted_by_hand() | {
        "1,437": len(load_digits().target) - 360,
        "2,752": 16 * 32 + 32 * 64 + 2 * (32 + 64),
        "4,096": 32 * 128,
        "36,864": 32 * 128 * 9,
        "58,631,144": linears(6 * 6 * 256, 4096, 4096, 1000),
    }
    for text in set(_FIGURE.findall(prose)) - printed:
        table = prose.partition("<!-- table: five -->")[2].partition("<!-- end -->")[0]
        assert text in table or counted[text] == int(text.replace(",", "")), text


_FIGURE = re.compile(r"\d{1,3}(?:,\d{3})+")


def test_the_rows_of_googlenets_table() -> None:
    rows = re.findall(
        r"^\| (?:inception (\w+)|first convolution) \| ([\d.]+)K \| ([\d.]+) \|$",
        FIGURES,
        re.M,
    )
    assert len(rows) == 10
    layers = facts_of("googlenet_paper", aux=False).layers
    published = 112.0 + 1000.0  # the rows that are exact
    for module, in_table, exact in rows:
        prefix = f"inception{module}." if module else "conv1."
        # Each unit has a bias, which the column leaves out.
        weights = sum(
            layer.params - layer.output[0]
            for layer in layers
            if layer.name.startswith(prefix) and layer.kind == "conv"
        )
        assert round(weights / 1024, 1) == float(exact), module
        published += float(in_table)
    assert round(published, 1) == 6_797.7


def test_the_depths_that_figures_explains() -> None:
    counted = {
        preset: sum(
            layer.kind in ("conv", "linear") for layer in facts_of(preset).layers
        )
        for preset in ("resnet50", "densenet121")
    }
    assert counted == {"resnet50": 54, "densenet121": 121}
    layers = facts_of("googlenet_paper", aux=False).layers
    assert sum(layer.kind in ("conv", "linear") for layer in layers) == 58
    assert facts_of("densenet121").depth == 1 + 2 * (6 + 12 + 24 + 16) + 3 + 1


# ---- JSON --------------------------------------------------------------------------


def test_the_json_guide_has_every_key() -> None:
    page = (ROOT / "docs/guides/json.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `([\w.\[\]]+(?:\.\*)?)` \|", page, re.M))
    # Together, these networks have every key that can be null.
    keys = {"errors"}
    for name in ("googlenet", "vgg19", "dla", "siamese"):
        facts = archdsl.analyze(
            archdsl.load(name), tool="fvcore", device="t4", budget=2**34
        )
        keys |= set(_keys(facts.as_dict()))
    for key in ("code", "message", "file", "line", "column", "label", "notes", "help"):
        keys.add(f"errors[].{key}")
    keys |= {"errors[].end_line", "errors[].end_column"}
    groups = tuple(name[:-1] for name in documented if name.endswith(".*"))
    assert all(key in documented or key.startswith(groups) for key in keys)
    assert {name for name in documented if not name.endswith(".*")} <= keys
    assert all(any(key.startswith(group) for key in keys) for group in groups)


def _keys(value: Any, prefix: str = "") -> Iterator[str]:
    """Yield the keys of JSON; those of list items once."""
    if isinstance(value, dict):
        for key, part in value.items():
            name = f"{prefix}.{key}" if prefix else key
            yield name
            yield from _keys(part, name)
    elif isinstance(value, list):
        for part in value:
            if isinstance(part, dict):
                yield from _keys(part, f"{prefix}[]")
