"""Tables: their widths on a terminal, folding, and output to a pipe."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import archdsl
from archdsl.backends.table import ReportStyle, report
from archdsl.backends.views import VIEWS
from archdsl.passes.analysis import Analysis
from archdsl.resources import shipped_presets
from tests import presets
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

# A spec whose folding can be worked out by hand.
COPIES = """arch 1

block unit<width> { conv 3x3 width -> bn -> relu }

network Copies {
    input 8x16x16
    stage: seq { unit<8> x4; unit<16> }
    head: conv 1x1 4
}
"""


@pytest.fixture(scope="module")
def shipped() -> dict[str, Analysis]:
    """Return the analysis of every shipped preset."""
    return {
        name: archdsl.analyze(
            presets.network(name, symbolic=False), tool="fvcore", device="t4"
        )
        for name in shipped_presets()
    }


def table(facts: Analysis, *views: str, **style: object) -> list[str]:
    shown = views or VIEWS[:1]
    looks = ReportStyle(**style)  # type: ignore[arg-type]
    return report(facts.network, facts.facts, views=shown, style=looks).splitlines()


def copies() -> Analysis:
    return archdsl.analyze(archdsl.loads(COPIES, symbolic=False))


# ---- widths ---------------------------------------------------------------------


def test_every_shipped_preset_fits_80_columns(shipped: dict[str, Analysis]) -> None:
    for name, facts in shipped.items():
        lines = table(facts, width=80, fold=True, bars="#")
        assert max(map(len, lines)) <= 80, name
        # All columns about the size of a layer are still there.
        header = next(line for line in lines if line.startswith("layer"))
        assert {"kind", "output", "params", "MACs"} <= set(header.split()), name


def test_every_view_fits_80_columns(shipped: dict[str, Analysis]) -> None:
    for name in ("alexnet", "vgg19", "googlenet", "resnet50", "densenet121", "dla34"):
        for view in set(VIEWS) - {"layers"}:
            lines = table(shipped[name], view, width=80, fold=True, bars="#")
            assert max(map(len, lines)) <= 80, (name, view)


@pytest.mark.parametrize("width", [20, 33, 60, 100, 200])
def test_no_width_is_exceeded(shipped: dict[str, Analysis], width: int) -> None:
    for name in ("googlenet", "siamese"):
        lines = table(shipped[name], *VIEWS, width=width, fold=True, bars="#")
        assert max(map(len, lines)) <= width


def test_what_is_changed_to_fit_is_said_once(shipped: dict[str, Analysis]) -> None:
    facts = shipped["resnet50"]
    lines = table(facts, "layers", "costs", width=80)
    said = " ".join(lines).partition("To fit 80 columns:")[2]
    assert "To fit" not in said
    assert "numbers are rounded" in said and "backward MACs" in said
    assert "To fit" not in "\n".join(table(facts, width=200))


def test_rounded_numbers_are_those_of_the_layers(shipped: dict[str, Analysis]) -> None:
    factor = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9}
    for name in ("vgg16", "densenet121", "unet"):
        facts = shipped[name]
        lines = table(facts, width=80)
        pattern = r"  ([\d.,]+)([KMG]?|-)  +(\S+)  +\S+(?: to \S+)? /\d"
        found = [re.search(pattern, line) for line in lines]
        rows = [match for match in found if match]
        layers = [
            layer
            for layer in facts.layers
            if layer.params and len(layer.output) == 3 and layer.receptive_field
        ]
        assert len(rows) == len(layers)
        for match, layer in zip(rows, layers, strict=True):
            shown = float(match[1].replace(",", "")) * factor[match[2]]
            assert shown == pytest.approx(layer.params, rel=5e-4)


@pytest.mark.parametrize("width", [60, 80])
def test_lists_fit_a_width(run: Run, width: int) -> None:
    for options in ([], ["--devices"]):
        code, out, _ = run("list", *options, "--width", str(width))
        lines = out.splitlines()
        assert code == 0 and max(map(len, lines)) <= width
        assert lines[0].split()[0] == ("name" if options else "spec")
    _, out, _ = run("list", "--devices", "--width", "0")
    assert "NVIDIA H100 SXM" in out


# ---- folding --------------------------------------------------------------------


def test_equal_copies_have_one_row() -> None:
    rows = [line.split() for line in table(copies(), fold=True)[3:13]]
    names = [row[:2] if row[1].startswith("x") else row[:1] for row in rows]
    # The fifth has another width. conv 3x3 from 8 to 8: 8 * 8 * 9 weights and 8 biases;
    # before a bn, there is no bias by default, and bn has 2 * 8.
    assert names == [
        ["stage"],
        *(["0-3", "x4"], ["conv1"], ["bn1"], ["relu1"]),
        *(["4"], ["conv1"], ["bn1"], ["relu1"]),
        ["head"],
    ]
    assert rows[1][4:6] == [f"{8 * 8 * 9 + 2 * 8}", f"{8 * 8 * 9 * 16 * 16:,}"]


def test_folding_leaves_nothing_out(shipped: dict[str, Analysis]) -> None:
    """Rows times their copies are the layers, and their figures the totals."""
    from archdsl.backends.rows import rows
    from archdsl.backends.table import _Content
    from archdsl.backends.views import view
    from archdsl.ir import Step

    for name in (
        "vgg16",
        "resnet50",
        "googlenet",
        "regnet_y_400mf",
        "unet",
        "siamese",
        "convnext_tiny",
    ):
        facts = shipped[name]
        layers = {layer.node.output: layer for layer in facts.layers}
        plain = {value: layer.facts for value, layer in layers.items()}
        content = _Content(view("layers"), plain)
        inside: list[int] = []
        number = params = 0
        for row in rows(facts.network.root, content=content):
            del inside[row.level :]
            times = row.times * (inside[-1] if inside else 1)
            if isinstance(row.node, Step):
                number += times
                params += times * layers[row.node.output].params
            else:
                inside.append(times)
        assert number == len(facts.layers), name
        assert params == facts.params, name


def test_what_differs_is_not_folded() -> None:
    text = COPIES.replace("unit<8> x4", "conv 3x3 8 x3; conv 3x3 8 dilation=2")
    shown = [line.split()[:2] for line in table(_analysis(text), fold=True)[4:6]]
    assert shown == [["0-2", "x3"], ["3", "conv"]]


def test_rates_of_dropout_do_not_stop_folding() -> None:
    """A stage's blocks have rates that grow; they are shown as a range."""
    text = """arch 1
block unit<p> { residual { conv 3x3 8 -> stochasticdepth p } }
network Net {
    input 8x16x16
    for p in [0.1, 0.2, 0.3] { unit<p> }
    dropout 0.1 -> dropout 0.5
}
"""
    shown = [line.split() for line in table(_analysis(text), fold=True)[3:8]]
    # 8 * 8 * 9 weights and 8 biases.
    assert shown[0][:5] == ["unit1-3", "x3", "unit", "8x16x16", f"{8 * 8 * 9 + 8}"]
    assert [row[0] for row in shown[1:4]] == ["conv1", "stochasticdepth1", "add1"]
    assert shown[2][1:3] == ["stochasticdepth", "0.1…0.3"]
    assert shown[4][:4] == ["dropout1-2", "x2", "dropout", "0.1…0.5"]
    rows = [line.split() for line in table(_analysis(text))[3:]]
    assert [row[2] for row in rows if row and row[0] == "stochasticdepth1"] == [
        *("0.1", "0.2", "0.3")
    ]


def _analysis(text: str) -> Analysis:
    return archdsl.analyze(archdsl.loads(text, symbolic=False))


def test_copies_of_several_layers_are_folded_together(
    shipped: dict[str, Analysis],
) -> None:
    # VGG-16 ends with three pairs of a convolution to 512 and a relu: 24 to 29.
    rows = [line.split() for line in table(shipped["vgg16"], fold=True) if line]
    shown = {row[0]: row[1:] for row in rows}
    assert shown["24"][:4] == ["x3", "conv", "3x3", "512"]
    assert shown["25"][:2] == ["x3", "relu"]
    assert "26" not in shown and "29" not in shown and "30" in shown


# ---- depth ----------------------------------------------------------------------


def test_depth_closes_blocks(shipped: dict[str, Analysis]) -> None:
    facts = shipped["densenet121"]
    rows = [line for line in table(facts, depth=2)[3:] if line]
    names = [row.split()[0] for row in rows]
    assert "denseblock4" in names and "denselayer1" not in names
    dense = next(row for row in rows if row.startswith("  denseblock1")).split()
    # 6 layers: bn of the inputs, 1x1 to 128, bn, 3x3 to 32.
    inputs = [64 + 32 * at for at in range(6)]
    params = sum(2 * n + n * 128 + 2 * 128 + 128 * 32 * 9 for n in inputs)
    assert dense[3] == f"{params:,}"
    # The field of its last layer: each 3x3 at jump 4 adds 8 positions.
    assert dense[5:] == [f"{11 + 6 * 8}x{11 + 6 * 8}", "/4"]


# ---- terminals and pipes ----------------------------------------------------------


def test_a_pipe_gets_every_layer_and_digit(run: Run) -> None:
    code, out, _ = run("analyze", "resnet50")
    assert code == 0
    lines = out.splitlines()
    assert sum(line.strip().startswith("conv2 ") for line in lines) == 16
    assert " x2" not in out and "4,089,184,256" in out and "\033" not in out


def test_options_are_for_pipes_too(run: Run) -> None:
    _, out, _ = run("analyze", "resnet50", "--depth", "2", "--fold", "--width", "70")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 70
    assert sum("bottleneck" in line for line in lines) == 8
    assert run("analyze", "alexnet", "--depth", "0").code == 2
    _, out, _ = run("analyze", "alexnet", "--width", "0")
    assert out == run("analyze", "alexnet").out


@pytest.mark.skipif(not hasattr(os, "forkpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("plain", "columns"), [("1", 72), ("", 100)])
def test_a_terminal_gets_what_fits(tmp_path: Path, plain: str, columns: int) -> None:
    import fcntl
    import pty
    import struct
    import subprocess
    import sys
    import termios

    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")}
    env |= {"NO_COLOR": plain, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    arguments = [sys.executable, "-m", "archdsl", "analyze", "resnet50", "--depth", "2"]
    process = subprocess.Popen(arguments, stdout=there, env=env)
    os.close(there)
    data = b""
    try:
        while chunk := os.read(here, 65536):
            data += chunk
    except OSError:  # raised on Linux at the end
        pass
    os.close(here)
    assert process.wait() == 0
    text = data.decode()
    assert ("\033[" in text) == (not plain)
    bare = re.sub(r"\033\[\d*m", "", text).splitlines()
    assert max(map(len, bare)) <= columns
    assert any("  1-5 x5" in line for line in bare)
    # Layer 3 takes 1,464,336,384 of 4,089,184,256 MACs: a bar of more than a third.
    (third,) = [line for line in bare if line.startswith("layer3 ")]
    assert ("█" in third) == (columns == 100)


# ---- comparisons ------------------------------------------------------------------


@pytest.mark.parametrize(
    "specs",
    [
        ["resnet18", "resnet34"],
        ["resnet50", "densenet121", "vgg19"],
        ["googlenet", "googlenet_paper"],
        ["alexnet", "vgg16", "googlenet", "resnet50", "densenet121"],
    ],
    ids=" ".join,
)
def test_a_comparison_fits_80_columns(run: Run, specs: list[str]) -> None:
    _, out, _ = run("compare", *specs, "--width", "80")
    lines = out.splitlines()
    assert max(map(len, lines)) <= 80
    # The totals of all networks come first, whatever other columns are dropped.
    assert lines[0].split() == specs
    macs = [at for at, line in enumerate(lines) if line.startswith("MACs ")]
    assert macs and macs[0] < lines.index("")
    _, wide, _ = run("compare", *specs)
    assert run("compare", *specs, "--width", "0").out == wide
    assert wide.splitlines()[0].split() == specs


def test_what_a_comparison_leaves_out_is_said(run: Run) -> None:
    specs = ("alexnet", "vgg16", "googlenet", "resnet50", "densenet121")
    _, out, _ = run("compare", *specs, "--width", "80")
    said = " ".join(out.partition("To fit 80 columns:")[2].split())
    assert "differences" in said and said.endswith("--width 0 shows all.")
    _, out, _ = run("compare", "resnet18", "resnet34", "--width", "100")
    assert "+116.7 %" in out or "To fit" not in out


def test_a_comparison_names_the_layers_in_full(run: Run) -> None:
    specs = ("resnet18", "resnet50")
    names = {
        line.split()[1]
        for line in run("compare", *specs).out.splitlines()
        if line.startswith(("  + ", "  - ", "  ~ "))
    }
    longest = max(map(len, names))
    assert longest > 16
    for width in (longest + 4, 60):
        _, out, _ = run("compare", *specs, "--width", str(width))
        lines = out.splitlines()
        assert max(map(len, lines)) <= width
        found = [line.split()[1] for line in lines if line[:4] in ("  + ", "  ~ ")]
        assert set(found) == names
        assert "details" in " ".join(out.partition("To fit")[2].split())


def test_a_figure_is_never_cut(shipped: dict[str, Analysis]) -> None:
    facts = shipped["two_inputs"]
    # "436.4 KiB" was once cut to "436." if names left no more room.
    wide = re.findall(r"\S+ [KM]iB", "\n".join(table(facts)))
    assert wide
    assert re.findall(r"\S+ [KM]iB", "\n".join(table(facts, width=30))) == wide
