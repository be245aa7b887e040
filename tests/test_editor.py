"""Answers for editors, on complete, wrong and unfinished texts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import archdsl
from archdsl.editor import Completion, Document, Symbol
from archdsl.layer import words
from archdsl.resources import specs_dir
from archdsl.syntax import loader
from tests.timing import once, small_heap

SPEC = """\
arch 1

import ghost_module from "parts.arch"

fn twice(n) = 2 * n

# A convolution with its norm.
block unit<width, act: kind = relu> {
    conv 3x3 width
    bn
    act
}

network net<width = 16, classes = 10> {
    input 3x32x32
    wide = twice(width)
    stem: unit<width>
    for i, n in [wide, 64] {
        stage{i}: unit<n> -> maxpool 2x2
    }
    concat {
        unit<8, act = silu>
        | @stem -> maxpool 4x4
    }
    globalavgpool -> flatten
    head: linear classes
    expect output 10
}

preset small = net<width = 8>
default preset large = net<width = 32>
"""
PARTS = "arch 1\nblock ghost_module<width> { conv 1x1 width }\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("editor")
    (folder / "parts.arch").write_text(PARTS, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def document(folder: Path) -> Document:
    text = SPEC.replace(
        "    globalavgpool", "    ghost_module<wide>\n    globalavgpool"
    )
    return Document(text, folder / "net.arch")


def at(document: Document, around: str, word: str = "") -> int:
    """Return the offset of a word within a unique piece of the text."""
    assert document.text.count(around) == 1, around
    start = document.text.index(around)
    return start + around.index(word or around)


def said(document: Document, around: str, word: str = "") -> str:
    found = document.hover(at(document, around, word))
    return found.text if found else ""


def test_a_right_text_has_no_diagnostics(document: Document) -> None:
    assert document.diagnostics == []


# ---- outline and definitions


def test_outline(document: Document) -> None:
    found = {symbol.name: symbol for symbol in document.symbols()}
    kinds = {name: symbol.kind for name, symbol in found.items()}
    assert kinds == {
        "twice": "function",
        "unit": "block",
        "net": "network",
        "small": "preset",
        "large": "preset",
    }
    inside = [(child.name, child.kind) for child in found["net"].children]
    assert inside == [
        ("width", "parameter"),
        ("classes", "parameter"),
        ("wide", "name"),
        ("stem", "label"),
        ("stage{i}", "label"),
        ("head", "label"),
    ]

    def nested(symbol: Symbol) -> None:
        assert symbol.extent.start <= symbol.span.start
        assert symbol.span.end <= symbol.extent.end
        assert symbol.span.text == symbol.name
        for child in symbol.children:
            nested(child)

    for symbol in found.values():
        nested(symbol)


@pytest.mark.parametrize(
    ("around", "word", "line"),
    [
        ("stem: unit<width>", "unit", "block unit<"),
        ("stem: unit<width>", "width", "network net<width"),
        ("conv 3x3 width", "width", "block unit<width"),
        ("    act\n", "act", "block unit<width, act"),
        ("act = silu", "act", "block unit<width, act"),
        ("twice(width)", "twice", "fn twice"),
        ("2 * n\n", "n", "fn twice"),
        ("<n> ->", "n", "for i, n in"),
        ("[wide, 64]", "wide", "wide = twice"),
        ("@stem", "stem", "stem: unit"),
        ("preset small = net", "net", "network net"),
        ("net<width = 8>", "width", "network net<width"),
    ],
)
def test_definitions(document: Document, around: str, word: str, line: str) -> None:
    found = document.definition(at(document, around, word))
    assert found is not None and found.path == document.path
    assert found.span.text == word or "i, n" in found.span.text
    assert line in found.span.source.line(found.span.line)


@pytest.mark.parametrize("around", ["ghost_module from", "ghost_module<wide>"])
def test_definitions_in_other_files(document: Document, around: str) -> None:
    found = document.definition(at(document, around))
    assert found is not None and found.path is not None
    assert found.path.name == "parts.arch"
    assert found.span.line == 2 and found.span.text == "ghost_module"


def test_the_language_is_defined_nowhere(document: Document) -> None:
    assert document.definition(at(document, "conv 3x3 width")) is None
    assert document.definition(at(document, "3x32x32")) is None


# ---- hover


def test_layers_show_shapes_and_costs(document: Document) -> None:
    """The numbers are those of the analysis, which computes them by other code."""
    network = document.attempt.network
    assert network is not None
    rows = {row.name: row for row in archdsl.analyze(network).layers}
    text = said(document, "head: linear classes", "linear")
    row = rows["head"]
    assert "-> 10" in text
    assert f"{row.params:,} parameters, {row.macs:,} MACs" in text
    text = said(document, "conv 3x3 width", "conv")
    for path in ("stem.conv1", "stage1.conv1"):
        row = rows[path]
        assert f"{row.params:,} parameters, {row.macs:,} MACs" in text
    assert "- `groups = 1`: independent groups of channels" in text


def test_blocks_show_their_comment_and_what_they_make(document: Document) -> None:
    text = said(document, "stem: unit<width>", "unit")
    assert "`unit<width>`: 3x32x32 -> 32x32x32, 928 parameters" in text
    assert "`block unit<width, act: kind = relu>`" in text
    assert "A convolution with its norm." in text


@pytest.mark.parametrize(
    ("around", "word", "text"),
    [
        ("twice(width)", "width", "here 32"),
        ("conv 3x3 width", "width", "here 32, 64, 8"),
        ("twice(width)", "twice", "`fn twice(n)`"),
        ("expect output", "output", "`output`: "),
        ("@stem", "stem", "3x32x32 -> 32x32x32"),
    ],
)
def test_names_show_values(
    document: Document, around: str, word: str, text: str
) -> None:
    assert text in said(document, around, word)


def test_another_preset_shows_other_values(document: Document) -> None:
    small = document.edited(document.text, preset="small")
    assert "here 8" in said(small, "twice(width)", "width")
    assert "here 8" in said(small.edited(document.text), "twice(width)", "width")


# ---- mistakes


def test_a_network_is_known_as_far_as_it_goes() -> None:
    document = Document("arch 1\nnetwork n { input 3x8x8; conv 3x3 4; linear 5; bn }")
    assert [d.code for d in document.diagnostics] == ["A0302"]
    assert "3x8x8 -> 4x8x8" in said(document, "conv 3x3 4")


def test_mistakes_are_those_of_check(document: Document) -> None:
    wrong = document.edited(document.text.replace("linear classes", "linear clases"))
    assert wrong.path is not None
    wrong.path.write_text(wrong.text, encoding="utf-8")
    with pytest.raises(archdsl.SpecError) as refused:
        archdsl.load(wrong.path)
    told, asked = refused.value.diagnostics, wrong.diagnostics
    assert [(d.code, d.message) for d in asked] == [(d.code, d.message) for d in told]
    assert "A0104" in {d.code for d in asked}


def test_the_rest_is_known_beside_a_syntax_error(document: Document) -> None:
    broken = document.edited(document.text.replace("    bn\n", "    bn )(\n"))
    assert broken.diagnostics and all(d.code < "A01" for d in broken.diagnostics)
    assert [symbol.name for symbol in broken.symbols()][-1] == "large"
    assert broken.definition(at(broken, "stem: unit", "unit")) is not None


@pytest.mark.parametrize("step", [1, 5])
def test_every_beginning_of_a_text_has_answers(folder: Path, step: int) -> None:
    """Typing at the end, or deleting in the middle, never fails."""
    whole = SPEC if step == 5 else (SPEC[:420])
    document = Document("", folder / "net.arch")
    for end in range(0, len(whole), step):
        text = whole[:end] + (whole[end + 40 :] if step == 5 else "")
        document = document.edited(text)
        for place in {0, end, max(0, end - 3), len(text)}:
            document.definition(place)
            document.hover(place)
        document.symbols()
        assert isinstance(document.diagnostics, list)
        if end % 20 == 0:
            document.completions(end)


# ---- completion

BEFORE = """\
arch 1
import mb_conv from efficient
block unit<width, act: kind = relu> { conv 1x1 width -> act }
"""


def offered(text: str, before: str = BEFORE) -> dict[str, Completion]:
    """Return the completions at the `|` in a text."""
    start = len(before) + text.index("^")
    found = Document(before + text.replace("^", "")).completions(start)
    return {each.text: each for each in found}


def within(line: str) -> str:
    """Return a network with a line in it."""
    return f"""\
network n<size = 3> {{
    input 3x8x8
    total = 2 * size
    stem: conv 3x3 4
    {line}
    globalavgpool
}}
"""


@pytest.mark.parametrize(
    ("text", "wanted", "unwanted"),
    [
        ("^", "network block preset import fn", "conv for"),
        (within("^"), "conv unit mb_conv residual for expect output", "network size"),
        (within("co^"), "conv concat", "unit bn"),
        (within("bn -> ^"), "conv unit relu", "for expect size"),
        (within("bn -> ma^ 2x2"), "maxpool", "unit"),
        (within("conv 3x3 8 ^"), "groups= pad= size total", "unit conv"),
        (within("conv 3x3 8 pad=^"), "same size", "groups= conv"),
        (within("conv 3x3 si^"), "size", "total"),
        (within("unit<^"), "act= width= size total sqrt", "groups="),
        (within("unit<8, act = ^>"), "silu unit gelu", "groups= for"),
        (within("unit<8, ^> -> bn"), "act=", "groups="),
        (within("concat { bn | @^ }"), "stem input", "conv size"),
        (within("bn x(^)"), "size total max", "conv"),
        (within("bn if ^"), "size channels true", "conv"),
        (within("for i in [1, ^] { bn }"), "size total len", "conv i"),
        (within("for i in [1, 2] { conv 3x3 (^) }"), "i size", "bn"),
        (within("init ^ bias=0"), "conv linear", "size"),
        (within("init conv weight=^"), "kaiming_normal", "size"),
        (within("expect ^"), "params macs output", "conv"),
        (within("reg^"), "register", "conv"),
        (within("bn -> relu; register ^"), "stem bn1", "relu1 conv size input"),
        (within("bn; register stem, ^"), "stem bn1", "conv size"),
        (within("b.0: bn -> b.1: bn; register b.^"), "0 1", "stem b"),
        (within("g: { register ^; conv 3x3 -> bn }"), "conv1 bn1", "stem g"),
        (within("u: unit<8>") + "block c { register ^; conv 3x3 }", "", "stem u"),
        (within("expect params == 1, m^"), "macs", "params"),
        (within("# co^"), "", "conv"),
        (within("bn") + "preset a = ^", "n", "unit size"),
        (within("bn") + "preset a = n<^>", "size=", "act="),
        ("import ^ from efficient", "mb_conv", "unit conv"),
        ("import mb_conv from ^", "efficient widths", "prelude conv"),
        ("block b<x: ^> { conv 1x1 x }", "int kind kernel", "conv"),
        ("fn f(a, b = 2) = a + ^", "a b max", "conv"),
    ],
)
def test_completions(text: str, wanted: str, unwanted: str) -> None:
    found = {name.replace(" ", "") for name in offered(text)}
    assert set(wanted.split()) <= found
    assert not set(unwanted.split()) & found


def test_labels_of_a_loop_are_completed(document: Document) -> None:
    text = document.text.replace("| @stem", "| @st^")
    place = text.index("^")
    found = document.edited(text.replace("^", "")).completions(place)
    assert [each.text for each in found] == ["stage0", "stage1", "stem"]


def test_parts_of_a_group_are_completed(document: Document) -> None:
    text = document.text.replace("| @stem", "| @stem.^")
    place = text.index("^")
    found = document.edited(text.replace("^", "")).completions(place)
    assert [each.text for each in found] == ["act1", "bn1", "conv1"] or {
        "conv1",
        "bn1",
    } <= {each.text for each in found}


def test_parts_that_are_registered_are_defined_where_they_are_made() -> None:
    text = """\
arch 1
block unit<width> {
    register conv2, norm
    conv 3x3 width -> norm: bn
    conv 3x3
}
network n {
    input 3x8x8
    register b.1
    unit<4>
    b.0: bn
    b.1: bn
}
"""
    document = Document(text)
    assert not document.diagnostics
    for around, word, line in (
        ("register conv2", "conv2", "    conv 3x3\n"),
        ("conv2, norm", "norm", "norm: bn"),
        ("register b.1", "b", "b.1: bn"),
    ):
        found = document.definition(at(document, around, word))
        assert found is not None
        assert found.span.start >= text.index(line)
        assert found.span.end <= text.index(line) + len(line)
    assert "4x8x8" in said(document, "register conv2", "conv2")


def test_every_completion_of_layers_is_a_layer() -> None:
    found = offered(within("bn -> ^"))
    assert words() <= set(found)
    assert all(each.detail for each in found.values() if each.kind == "layer")


# ---- shipped specs


@pytest.mark.parametrize("name", ["resnet", "googlenet", "densenet", "dla"])
def test_every_word_of_a_shipped_spec(name: str) -> None:
    """Each name has a definition with that name; each layer has a hover text."""
    path = specs_dir() / f"{name}.arch"
    document = Document(path.read_text(encoding="utf-8"), path)
    assert document.diagnostics == []
    # Without comments, labels, and the kinds in `init` statements.
    code = re.sub(r"#.*|\w+:|init \w+", lambda m: " " * len(m[0]), document.text)
    followed = 0
    for word in re.finditer(r"[A-Za-z_]\w*", code):
        target = document.definition(word.start())
        if target is not None:
            followed += 1
            assert word[0] in re.findall(r"\w+", target.span.text)
        if word[0] in ("conv", "linear", "bn") and target is None:
            assert document.hover(word.start())
    assert followed > 20


# ---- edits


def test_imports_are_read_again_only_if_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = loader.read_source

    def counted(path: Path, shown: str | None = None) -> object:
        read.append(path.name)
        return real(path, shown)

    monkeypatch.setattr(loader, "read_source", counted)
    other = folder / "other.arch"
    other.write_text(PARTS, encoding="utf-8")
    text = SPEC.replace("parts.arch", "other.arch")
    text = text.replace("    globalavg", "    ghost_module<8>\n    globalavg")
    document = Document(text, folder / "net.arch")
    assert document.diagnostics == []
    document = document.edited(text + "\n")
    assert document.diagnostics == [] and read == ["other.arch"]
    other.write_text(PARTS.replace("ghost_module", "ghosts"), encoding="utf-8")
    os.utime(other, ns=(1, 1))
    document = document.edited(text)
    assert "A0504" in {d.code for d in document.diagnostics}
    assert read == ["other.arch"] * 2


def test_lines_and_columns(document: Document) -> None:
    assert document.offset(1, 1) == 0
    assert document.text[document.offset(3, 8) :].startswith("ghost_module")
    assert document.offset(2, 99) == document.offset(3, 1) - 1
    assert document.offset(999, 1) <= len(document.text)


def test_answers_come_while_one_types() -> None:
    """After an edit of ResNet's spec, in at most twice the time to load it.

    That is less than 20 ms on an idle processor.
    """
    path = specs_dir() / "resnet.arch"
    document = Document(path.read_text(encoding="utf-8"), path)
    place = at(document, "conv 7x7")
    questions: tuple[Callable[[Document], object], ...] = (
        Document.symbols,
        lambda edited: edited.definition(place),
        lambda edited: edited.completions(place + 3),
        lambda edited: edited.hover(place),
        lambda edited: edited.diagnostics,
    )
    taken: list[list[float]] = [[] for _ in questions]
    plain = []
    # In turn, so that other processes slow all of them down.
    with small_heap():
        for spaces in range(8):
            text = document.text.replace("7x7", "7x7" + " " * spaces)
            plain.append(once(partial(archdsl.loads, text, symbolic=False)))
            for ask, seconds in zip(questions, taken, strict=True):
                edited = document.edited(text)  # still lazy
                seconds.append(once(partial(ask, edited)))
    assert all(min(seconds) < 2 * min(plain) for seconds in taken)
