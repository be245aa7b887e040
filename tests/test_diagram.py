"""Diagrams: what is drawn and folded, names that look like markup, and files."""

from __future__ import annotations

import itertools
import os
import re
import stat
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import archdsl
from archdsl.backends.diagram import (
    FORMATS,
    UnknownFormat,
    dot_source,
    image,
    layout,
    render,
)
from archdsl.backends.diagram.options import ALL, Options
from archdsl.backends.diagram.themes import DARK, FAMILIES, LIGHT, Palette, layer_family
from archdsl.backends.extras import MissingExtra
from archdsl.ir import Group, Network, Parameter, Step
from archdsl.layer import all_kinds
from archdsl.values import Dims
from tests.conftest import ROOT

GOLDEN = ROOT / "tests" / "golden" / "diagram"

SMALL = """arch 1
block unit<width, stride> {
    residual {
        conv 3x3 width /stride -> bn -> relu
        conv 3x3 width -> bn
    } -> relu
}
block head<classes> {
    globalavgpool
    fc: linear classes
}
network small {
    input 3x32x32
    stem: conv 3x3 16 -> bn -> relu
    unit{}: unit<16, 1>  x3
    mixed: concat {
        conv 1x1 8 -> relu
      | a: conv 1x1 4 -> relu -> conv 3x3 8
      | maxpool 3x3 /1 pad=1
    }
    down: unit<32, 2>
    training output @mixed -> aux: head<10>
    globalavgpool -> dropout 0.2
    fc: linear 10
}
"""


class Drawn(NamedTuple):
    """The contents of dot text, parsed by graphviz."""

    labels: dict[str, str]
    boxes: list[str]
    edges: list[tuple[str, str, str]]
    legend: set[str]

    def node(self, label: str) -> str:
        (name,) = (n for n, text in self.labels.items() if text == label)
        return name


def read(source: str) -> Drawn:
    from pygraphviz import AGraph

    graph = AGraph(string=source)
    boxes, stack = [], [graph]
    while stack:
        for part in stack.pop().subgraphs():
            boxes.append(part.graph_attr["label"] or "")
            stack.append(part)
    keys = {n for n in graph.nodes() if n.startswith("key_")}
    labels = {str(n): n.attr["label"] for n in graph.nodes() if n not in keys}
    found = [
        (str(a), str(b), graph.get_edge(a, b, key).attr["tooltip"] or "")
        for a, b, key in graph.edges(keys=True)
        if a not in keys
    ]
    # Arrows from a triangle inside a box continue the arrows that lead to it.
    fans = {n for n in labels if graph.get_node(n).attr["shape"] == "invtriangle"}
    into = {b: a for a, b, _ in found if b in fans}

    def origin(node: str) -> str:
        return origin(into[node]) if node in fans else node

    edges = [(origin(a), b, shape) for a, b, shape in found if b not in fans]
    labels = {n: label for n, label in labels.items() if n not in fans}
    return Drawn(labels, [b for b in boxes if b], edges, {n[4:] for n in keys})


# All blocks are open, and boxes only show names.
OPEN = Options(depth=ALL, detail="names")


def draw(text: str, *, fold: bool = True) -> Drawn:
    return opened(archdsl.loads(text), fold=fold)


def opened(net: Network, *, fold: bool = True) -> Drawn:
    return read(dot_source(net, fold=fold, options=OPEN))


def network(body: str, blocks: str = "") -> str:
    return f"arch 1\n{blocks}\nnetwork net {{\n input 4x16x16\n{body}\n}}\n"


def small() -> Network:
    return archdsl.loads(SMALL)


# ---- what is drawn


@pytest.mark.parametrize(("name", "fold"), [("folded", True), ("unfolded", False)])
def test_golden(name: str, fold: bool, golden: Callable[[Path, str], None]) -> None:
    source = dot_source(small(), fold=fold)
    read(source)
    golden(GOLDEN / f"{name}.dot", source)


def test_no_orphans() -> None:
    assert {p.name for p in GOLDEN.iterdir()} == {"folded.dot", "unfolded.dot"}


def test_every_step_is_drawn_unfolded() -> None:
    net = archdsl.load("resnet50")
    drawn = opened(net, fold=False)
    steps = list(net.steps())
    assert len(drawn.labels) == len(steps) + len(net.inputs) + len(net.outputs)
    reads = sum(len(step.inputs) for step in steps)
    assert len(drawn.edges) == reads + len(net.outputs)
    assert not any(re.search(r"x\d+$", box) for box in drawn.boxes)


def test_edges_carry_the_shapes() -> None:
    drawn = opened(archdsl.load("resnet50"))
    assert all(re.fullmatch(r"\d+(x\d+x\d+)?", shape) for *_, shape in drawn.edges)
    label = drawn.labels
    shown = {(label[a], label[b], shape) for a, b, shape in drawn.edges}
    assert ("x", "conv1: conv 7x7 64 /2 · bn · relu", "3x224x224") in shown
    assert ("fc: linear 1000", "output", "1000") in shown
    # The identity shortcut of the second unit, and the next stage's projection.
    assert ("add · relu", "add · relu", "256x56x56") in shown
    assert (
        "add · relu",
        r"downsample\nconv 1x1 512 /2 · bn",
        "256x56x56",
    ) in shown


def test_a_chain_is_one_node_of_its_main_layer() -> None:
    body = "bn -> relu -> conv 3x3 8 -> bn -> relu -> maxpool 2x2 /2 -> dropout 0.5"
    drawn = draw(network(body))
    assert drawn.node("bn · relu · conv1: conv 3x3 8 · bn · relu")
    assert drawn.node("maxpool 2x2 /2 · dropout 0.5")


def test_a_value_read_twice_ends_a_chain() -> None:
    drawn = draw(network("a: conv 3x3 -> b: relu\nadd { @a | @b }"))
    assert drawn.node("a: conv 3x3")
    assert drawn.node("b: relu")


def test_training_parts_are_dashed() -> None:
    from pygraphviz import AGraph

    drawn = draw(SMALL)
    assert "training" in drawn.legend
    graph = AGraph(string=dot_source(small(), options=OPEN))
    head = graph.get_node(drawn.node("globalavgpool"))
    assert "dashed" in head.attr["style"]
    assert [e.attr["style"] for e in graph.out_edges(head)] == ["dashed"]
    aux = graph.get_node(drawn.node("aux"))
    assert "dashed" in aux.attr["style"]
    main = graph.get_node(drawn.node("output"))
    assert "dashed" not in main.attr["style"]


@pytest.mark.parametrize(
    ("body", "families"),
    [
        ("conv 3x3", {"conv"}),
        ("conv 3x3 -> bn -> relu", {"conv"}),
        ("bn -> relu", {"norm"}),
        ("flatten\nlinear 3", {"reshape", "linear"}),
        ("add { identity | avgpool 3x3 /1 pad=1 }", {"merge", "pool", "other"}),
    ],
)
def test_legend_has_the_families_used(body: str, families: set[str]) -> None:
    assert draw(network(body)).legend == families


def test_every_kind_has_a_colour() -> None:
    assert {layer_family(kind.family) for kind in all_kinds()} <= FAMILIES.keys()
    assert FAMILIES.keys() == LIGHT.fills.keys() == DARK.fills.keys()


def test_title() -> None:
    source = dot_source(archdsl.load("googlenet"))
    title = r"googlenet\n6,624,904 parameters (13,004,888 in training)"
    assert f'label="{title}"' in source


# ---- folding


@pytest.mark.parametrize(
    ("spec", "folds"),
    [
        ("resnet50", [2, 3, 5, 2]),
        ("resnet18", [2]),
        ("densenet121", [6, 12, 24, 16]),
        ("googlenet", []),
    ],
)
def test_folds(spec: str, folds: list[int]) -> None:
    drawn = opened(archdsl.load(spec))
    found = [m for m in (re.search(r"(\S+)  x(\d+)$", b) for b in drawn.boxes) if m]
    assert sorted(int(m[2]) for m in found) == sorted(folds)


def test_fold_is_labelled_with_the_range() -> None:
    drawn = opened(archdsl.load("resnet50"))
    assert any(
        re.fullmatch(r"layer1\.1 to layer1\.2: bottleneck<.*>  x2", box)
        for box in drawn.boxes
    )
    dense = opened(archdsl.load("densenet121"))
    assert "denselayer1 to denselayer6  x6" in dense.boxes


def test_a_single_node_says_how_often() -> None:
    drawn = draw(network("conv 3x3 8 -> relu  x3\nconv 3x3 2"))
    assert drawn.node("conv1: conv 3x3 8 · relu  x3")


UNIT = "block unit<width> { conv 3x3 width -> bn -> relu\n conv 3x3 width }"


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("a: unit<4>\nb: unit<4>\nc: unit<4>", 3),
        ("a: unit<4>\nunit<4>  x2", 3),
        ("a: unit<4>\nb: unit<8>", 0),  # other layers
        ("a: unit<4>\nb: unit<4>\nadd { @a | @b }", 0),  # the first is read elsewhere
        ("x: conv 1x1\na: unit<4>\n@x -> b: unit<4>\nadd { @a | @b }", 0),
        ("for w in [4, 8] { unit<w> }", 0),
        ("for w in [4, 4] { unit<w>\nrelu }", 2),
        ("for w in [4, 4] { unit<w>\nmaxpool 2x2 }", 0),  # another size
    ],
)
def test_what_folds(body: str, count: int) -> None:
    boxes = draw(network(body, UNIT)).boxes
    found = [int(m[1]) for b in boxes if (m := re.search(r"x(\d+)$", b))]
    assert found == ([count] if count else [])


def test_edges_leave_a_fold_with_the_last_copys_shape() -> None:
    drawn = draw(network("dense<layers = 5, growth = 2>\nconv 1x1 1"))
    concat, conv = drawn.node("concat"), drawn.node("conv1: conv 1x1 1")
    assert (concat, conv, "14x16x16") in drawn.edges
    # No edge leads from the drawn copy back into itself.
    assert all(int(a[1:]) < int(b[1:]) for a, b, _ in drawn.edges)


def test_blocks_are_called_as_in_the_spec() -> None:
    def parameters(group: Group) -> tuple[Parameter, ...]:
        return (
            Parameter(name="in_channels", value=4),
            Parameter(name="width", value=64),
            Parameter(name="layers", value=(3, 4)),
            Parameter(name="kernel", value=Dims((3, 3)), default=Dims((1, 1))),
            Parameter(name="stride", value=1, default=1),
            Parameter(name="list", value=(1, 2.5)),
            Parameter(name="flag", value=True, default=False),
        )

    net = rewritten(
        archdsl.loads(network("a: unit<4>", UNIT)),
        lambda g: {"parameters": parameters(g)} if isinstance(g, Group) else {},
    )
    call = "unit<64, [3, 4], kernel = 3x3, list = [1, 2.5], flag = true>"
    assert f"a: {call}" in opened(net).boxes


# ---- names are text


def rewritten(
    net: Network, change: Callable[[Step | Group], dict[str, object]]
) -> Network:
    def visit(node: Step | Group) -> Step | Group:
        more = change(node)
        if isinstance(node, Group):
            more = {**more, "children": tuple(map(visit, node.children))}
        return node.model_copy(update=more)

    root = net.root.model_copy(
        update={"children": tuple(map(visit, net.root.children))}
    )
    return net.model_copy(update={"root": root})


HOSTILE = [
    '"]; evil [URL="https://example.org"]; "',
    '\\"] evil [label="',
    "<<b>bold</b>>",
    "<table><tr><td>x</td></tr></table>",
    "back\\slash\\",
    r"\N \G \l \n",
    "{record|<port>field}",
    "&lt;script&gt; & &#60;",
    "n1",
    "graph",
    "größe 大",
    "]]> <!-- -->",
]


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_stay_text(name: str, fold: bool) -> None:
    def rename(node: Step | Group) -> dict[str, object]:
        if isinstance(node, Group):
            word = {"word": name} if node.role == "block" else {}
            return {"name": name, "path": name, **word} if node.name else {}
        return {"name": name, "path": f"{name}.{node.output}", "labelled": True}

    net = rewritten(small(), rename)
    ports = tuple(p.model_copy(update={"name": name}) for p in net.inputs)
    net = net.model_copy(update={"name": name, "inputs": ports})
    source = dot_source(net, fold=fold, options=OPEN)

    drawn = read(source)
    assert all(re.fullmatch(r"n\d+", node) for node in drawn.labels)
    assert len(drawn.labels) == len(opened(small(), fold=fold).labels)
    svg = image(source, "svg").decode()
    texts = [e.text or "" for e in ET.fromstring(svg).iter() if e.tag.endswith("text")]
    shown = {text.replace("\u00a0", " ") for text in texts}
    assert name in shown
    assert any(text.startswith(f"{name}: conv 3x3 16") for text in shown)
    assert "href" not in svg.replace(name, "")


def test_controls_and_length_are_tamed() -> None:
    names = {1: "a\nb\r\x00\x1b[31m\u202e", 2: "long" * 1000}
    net = small().model_copy(update={"name": names[1]})
    assert 'label="a b   [31m \\n' in dot_source(net)
    net = small().model_copy(update={"name": names[2]})
    assert "long" * 20 not in dot_source(net)


# ---- the same bytes on every run


def test_two_hash_seeds_give_the_same_bytes() -> None:
    code = (
        "import sys, archdsl\n"
        "for name in ('googlenet', 'densenet121'):\n"
        "    for fold in (True, False):\n"
        "        net = archdsl.load(name)\n"
        "        sys.stdout.write(archdsl.render(net, fold=fold))"
    )

    def run(seed: str) -> bytes:
        env = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    assert run("1") == run("2") != b""


@pytest.mark.parametrize("format", FORMATS)
def test_drawing_twice_gives_the_same_bytes(format: str) -> None:
    source = dot_source(small())
    first = image(source, format)
    if format == "pdf":
        assert b"CreationDate (D:19700101000000" in first
    assert image(source, format) == first


def test_dot_text_is_the_same_with_symbolic_numbers() -> None:
    for name in ("resnet50", "googlenet"):
        plain, symbolic = (archdsl.load(name, symbolic=s) for s in (False, True))
        assert dot_source(plain) == dot_source(symbolic)


# ---- files


SIGNATURES = {"png": b"\x89PNG\r\n\x1a\n", "pdf": b"%PDF-", "svg": b"<?xml"}


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf", "SVG"])
def test_writes_a_drawing(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"net.{suffix}"
    assert render(small(), path) == dot_source(small())
    assert path.read_bytes().startswith(SIGNATURES[suffix.lower()])
    assert list(tmp_path.iterdir()) == [path]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["dot", "gv"])
def test_writes_dot_text(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net.{suffix}"
    source = render(small(), str(path), fold=False)
    assert path.read_bytes() == source.encode()


def test_svg_shows_what_the_network_says(tmp_path: Path) -> None:
    path = tmp_path / "googlenet.svg"
    render(archdsl.load("googlenet"), path)
    root = ET.parse(path).getroot()
    texts = {
        (e.text or "").replace("\u00a0", " ").strip()
        for e in root.iter("{http://www.w3.org/2000/svg}text")
    }
    assert {
        "branch2",
        "concat",
        "in 192x28x28",
        "convolution",
        "fc: linear 1000",
    } <= texts
    assert any(text.startswith("inception3a: inception<") for text in texts)
    assert "Helvetica" in path.read_text(encoding="utf-8")


def test_format_wins_over_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "net.svg"
    render(small(), path, format="PNG")
    assert path.read_bytes().startswith(SIGNATURES["png"])


@pytest.mark.parametrize(
    ("name", "format", "message"),
    [
        ("net.jpgg", None, "unknown format `jpgg`"),
        ("net", None, "no format and no suffix"),
        ("net.svg", "pfd", "did you mean `pdf`?"),
        (None, "bmp", "known are dot, gv, pdf, png, svg"),
    ],
)
def test_unknown_format(
    name: str | None, format: str | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name if name else None
    with pytest.raises(UnknownFormat, match=re.escape(message)) as caught:
        render(small(), path, format=format)
    assert isinstance(caught.value, ValueError)
    assert not list(tmp_path.iterdir())


def test_a_failed_drawing_leaves_the_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.svg"
    path.write_text("before")
    without_engines(monkeypatch)
    with pytest.raises(MissingExtra):
        render(small(), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")
def test_keeps_links_and_modes(tmp_path: Path) -> None:
    path, link = tmp_path / "net.dot", tmp_path / "link.dot"
    render(small(), path)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    path.chmod(0o640)
    path.write_text("before")
    link.symlink_to(path)
    render(small(), link)
    assert link.is_symlink()
    assert path.read_text(encoding="utf-8") == dot_source(small())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


# ---- engines


def without_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "which", lambda _: None)
    monkeypatch.setitem(sys.modules, "pygraphviz", None)


def test_no_engine_is_a_missing_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = small()
    without_engines(monkeypatch)
    for suffix in ("svg", "png", "pdf"):
        with pytest.raises(MissingExtra, match=r'pip install "archdsl\[render\]"'):
            render(net, tmp_path / f"net.{suffix}")
    render(net, tmp_path / "net.dot")
    assert [p.name for p in tmp_path.iterdir()] == ["net.dot"]


def program(folder: Path, script: str) -> None:
    path = folder / "dot"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.skipif(os.name != "posix", reason="the program is a shell script")
def test_the_systems_dot_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, 'echo "by dot $1"; cat; echo warning >&2')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    source = dot_source(small())
    assert image(source, "svg") == b"by dot -Tsvg\n" + source.encode()


@pytest.mark.skipif(os.name != "posix", reason="the program is a shell script")
def test_a_failing_dot_is_replaced(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    program(tmp_path, "echo no such format >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert image(dot_source(small()), "png").startswith(SIGNATURES["png"])
    assert capfd.readouterr() == ("", "")


def test_importing_needs_no_engine() -> None:
    code = (
        "import sys, archdsl.backends.diagram as d\n"
        "assert not {'graphviz', 'pygraphviz', 'torch'} & set(sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


def test_a_large_network_takes_seconds(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net = archdsl.load("resnet152")
    start = time.perf_counter()
    render(net, tmp_path / "resnet152.svg", fold=False)
    assert time.perf_counter() - start < 20  # about one, on two cores
    nodes = ET.parse(tmp_path / "resnet152.svg").findall(".//*[@class='node']")
    assert len(nodes) > 500
    assert capfd.readouterr() == ("", "")


# ---- colours


# Severe colour vision deficiencies (Machado, Oliveira & Fernandes 2009, table 1).
VISION = {
    "ordinary": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def linear(fill: str) -> list[float]:
    parts = (int(fill[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def luminance(rgb: list[float]) -> float:
    return 0.2126 * rgb[0] + 0.7152 * rgb[1] + 0.0722 * rgb[2]


def lab(rgb: list[float]) -> tuple[float, float, float]:
    """Return CIE L*a*b* of linear sRGB, for the white D65."""
    x = (0.4124 * rgb[0] + 0.3576 * rgb[1] + 0.1805 * rgb[2]) / 0.9505
    z = (0.0193 * rgb[0] + 0.1192 * rgb[1] + 0.9505 * rgb[2]) / 1.089

    def f(t: float) -> float:
        return t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116

    y = f(luminance(rgb))
    return 116 * y - 16, 500 * (f(x) - y), 200 * (y - f(z))


@pytest.mark.parametrize("family", FAMILIES)
def test_black_text_is_readable(family: str) -> None:
    """WCAG 2.2, criterion 1.4.6: a contrast of at least 7."""
    assert (luminance(linear(LIGHT.fills[family])) + 0.05) / 0.05 >= 7


@pytest.mark.parametrize("family", FAMILIES)
def test_white_text_is_readable(family: str) -> None:
    """WCAG 2.2, criterion 1.4.3: a contrast of at least 4.5."""
    assert 1.05 / (luminance(linear(DARK.fills[family])) + 0.05) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("vision", VISION)
def test_fills_differ(vision: str, palette: Palette) -> None:
    """A difference of 2.3 is just noticeable (Mahy et al. 1994); more is required."""
    seen = {}
    for family, fill in palette.fills.items():
        rgb = linear(fill)
        mixed = (
            sum(m * c for m, c in zip(r, rgb, strict=True)) for r in VISION[vision]
        )
        seen[family] = lab([min(1.0, max(0.0, c)) for c in mixed])
    for one, other in itertools.combinations(seen, 2):
        pairs = zip(seen[one], seen[other], strict=True)
        assert sum((a - b) ** 2 for a, b in pairs) ** 0.5 > 15, (one, other)
