"""Notebooks: how values are displayed, the magic, and the executed story."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

import archdsl
from archdsl.notebook import networks_of
from tests.conftest import ROOT
from tests.test_docs import refresh

SPEC = """arch 1

network Net<width = 8> {
    input 3x8x8
    conv 3x3 width bias=false
    globalavgpool
    head: linear 4
}

preset narrow = Net<4>
default preset wide = Net<16>
"""
CLAIM = SPEC.replace("Net<4>", "Net<4> expect params == 1")


class Cells(HTMLParser):
    """Collects the rows of all tables."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.inside = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def rows_of(html: str) -> list[list[str]]:
    parser = Cells()
    parser.feed(html)
    return parser.rows


# ---- display of values -----------------------------------------------------------


def test_a_network_is_a_picture() -> None:
    svg = archdsl.load("alexnet")._repr_svg_()
    assert svg is not None
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert "conv 11x11" in re.sub(r"&#160;|\xa0", " ", svg)


def test_without_an_engine_a_network_is_its_repr(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    monkeypatch.setenv("PATH", "")
    assert archdsl.loads(SPEC)._repr_svg_() is None


def test_an_analysis_is_a_table() -> None:
    html = archdsl.analyze(archdsl.loads(SPEC))._repr_html_()
    assert html is not None
    rows = rows_of(html)
    # 16 kernels of 3x3 on 3 channels, and 4 units of 16 weights and a bias.
    assert ["params", "500", ""] in rows
    assert rows[-3] == ["conv1", "conv 3x3 16", "16x8x8", "432", "27,648", "3x3"]
    assert rows[-1] == ["head", "linear 4", "4", "68", "64", "whole input"]
    assert "<details open>" in html
    assert all(len(row) in (3, 6) for row in rows)


def test_long_tables_are_folded_and_names_escaped() -> None:
    html = archdsl.analyze("resnet18")._repr_html_()
    assert html is not None
    layers = len([*archdsl.load("resnet18").steps()])
    assert "<details>" in html and f"<summary>{layers} layers</summary>" in html
    network = archdsl.loads(SPEC).model_copy(update={"name": "<script>"})
    assert "&lt;script&gt;" in str(archdsl.analyze(network)._repr_html_())


def test_the_table_has_all_inputs_and_outputs() -> None:
    html = archdsl.analyze("two_inputs")._repr_html_()
    assert html is not None
    assert "</strong>: image 3x64x64, table 16 → 10\n" in html
    html = archdsl.analyze("googlenet")._repr_html_()
    assert html is not None
    heads = "aux1 1000 (training only), aux2 1000 (training only)"
    assert f"</strong>: 3x224x224 → output 1000, {heads}\n" in html


# ---- the magic ------------------------------------------------------------------


class Shell:
    """The parts of IPython's shell that an extension uses."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self.magics: dict[str, Any] = {}

    def push(self, names: dict[str, Any]) -> None:
        self.names.update(names)

    def register_magic_function(self, function: Any, kind: str, name: str) -> None:
        assert kind == "cell"
        self.magics[name] = function


@pytest.fixture
def shell() -> Shell:
    made = Shell()
    archdsl.load_ipython_extension(made)
    return made


def test_the_magic_defines_every_preset_and_shows_the_default(shell: Shell) -> None:
    shown = shell.magics["arch"]("", SPEC)
    assert set(shell.names) == {"narrow", "wide"}
    assert shown is shell.names["wide"]
    assert archdsl.analyze(shell.names["narrow"]).params == 4 * 27 + 4 * 4 + 4
    assert shell.magics["arch"](" narrow ", SPEC).name == "narrow"


def test_the_magic_prints_what_is_wrong(
    shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    for cell, line, said in (
        (SPEC.replace("conv ", "convv "), "", "did you mean `conv`?"),
        (CLAIM, "", "A0401"),
        (SPEC, "nothing", "it has narrow, wide"),
        ("arch 1\n", "", "A0601"),
    ):
        assert shell.magics["arch"](line, cell) is None
        printed = capsys.readouterr()
        assert printed.out == "" and said in printed.err
        assert "Traceback" not in printed.err
    assert shell.names == {}


def test_a_single_network_needs_no_preset() -> None:
    networks, first = networks_of(SPEC.split("\npreset")[0])
    assert list(networks) == ["Net"] == [first]


# ---- the story ------------------------------------------------------------------


EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
book = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(book)
NotebookClient(book, timeout=120, kernel_name="python3").execute()
nbformat.write(book, sys.argv[2])
"""


def test_the_notebook_is_the_story() -> None:
    story = (ROOT / "docs/story.md").read_text(encoding="utf-8")
    book = (ROOT / "docs/story.ipynb").read_text(encoding="utf-8")
    assert book == refresh.notebook(story), "`python docs/refresh.py` renews it"
    cells = json.loads(book)["cells"]
    text = [c for c in cells if c["cell_type"] == "markdown"]
    prose = "\n".join("".join(cell["source"]) for cell in text)
    headings = re.findall(r"^## .*", story, re.M)
    assert re.findall(r"^## .*", prose, re.M) == headings
    assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.slow
def test_the_story_runs_as_a_notebook(tmp_path: Path) -> None:
    made = tmp_path / "made.ipynb"
    # A kernel of this interpreter, whatever the user has configured.
    folders = {f"{n}_DIR": str(tmp_path) for n in ("IPYTHON", "JUPYTER_CONFIG")}
    folders["JUPYTER_RUNTIME_DIR"] = str(tmp_path)
    subprocess.run(
        [sys.executable, "-c", EXECUTE, str(ROOT / "docs/story.ipynb"), str(made)],
        env={**os.environ, **folders, "IPYTHONDIR": str(tmp_path)},
        check=True,
        capture_output=True,
        text=True,
    )
    cells = json.loads(made.read_text(encoding="utf-8"))["cells"]
    shown = {}
    for cell in cells[2:]:
        if cell["cell_type"] == "code":
            source = "".join(cell["source"])
            (output,) = cell["outputs"]
            shown[source] = {k: "".join(v) for k, v in output["data"].items()}
    for source, data in shown.items():
        kind = "text/html" if source.startswith("archdsl.analyze") else "image/svg+xml"
        assert kind in data, source
    rows = rows_of(shown['archdsl.analyze("alexnet")']["text/html"])
    assert ["params", "61,100,840", ""] in rows
    (layer,) = [row for row in rows if row[0] == "features.0"]
    assert layer[:4] == ["features.0", "conv 11x11 64 /4", "64x55x55", "23,296"]
    paths = next(data for source, data in shown.items() if 'show="paths"' in source)
    assert "134,217,728 paths" in paths["image/svg+xml"]
