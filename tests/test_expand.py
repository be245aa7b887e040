"""Expanded specs describe the networks that they come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import archdsl
from archdsl.backends.spec import Unwritable, write_spec
from archdsl.backends.spec.same import network_difference
from archdsl.cli import main
from archdsl.ir import Group, Network, Step
from archdsl.ir.build import NetworkBuilder
from archdsl.ir.rewrite import rewrite
from archdsl.resources import shipped_presets
from archdsl.transforms import FoldNorms
from tests import presets
from tests.comparing import differences, skeleton
from tests.conftest import ROOT
from tests.generated import specimen
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

# Something of every form: lists of rows, guards, optional sums, kinds as arguments,
# several inputs and outputs, shared weights, containers, taps across loops.
SOME = (
    "deeplabv3_mobilenet_v3_large",
    "dla34",
    "efficientnet_b0",
    "googlenet",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18_fpn",
    "siamese",
    "two_inputs",
)
CASES = ROOT / "tests" / "cases"
# These blocks test their input channels, which cannot be recovered from the calls.
_BY_VALUE = {"optional_of_empty_block"}
# If all units of a stage have the same squeeze, the original has a class for it; the
# expanded spec has an argument.
_AS_ARGUMENTS = {name for name in shipped_presets() if name.startswith("regnet_y_")}
# All units with a stride have the same one, so it is a constant, not an argument.
_AS_NUMBERS = {"mc3_18"}
# Items of a list have no name in the original; here they have a parameter's name.
_OF_LISTS = {"lists_of_the_caller"}


def check(
    network: Network, emitted: str | None = None, *, same_module: bool = True
) -> str:
    """Check that a network's text describes it, and return the text.

    Args:
        network: the network.
        emitted: the text of its module, if it is known already.
        same_module: whether the text of the module is the same.
    """
    text = archdsl.expand(network)
    again = archdsl.loads(text)
    assert skeleton(again) == skeleton(network)
    assert again.initializers == network.initializers
    claims = [
        [(claim.measure, claim.op, claim.value) for claim in each.expectations]
        for each in (network, again)
    ]
    assert claims[0] == claims[1]
    if same_module and network.name not in _AS_ARGUMENTS | _AS_NUMBERS:
        assert archdsl.emit(again) == (emitted or archdsl.emit(network))
    assert archdsl.format(text) == text
    assert archdsl.expand(again) == text
    return text


@pytest.mark.parametrize(
    ("block", "calls"),
    [
        (
            "",
            "residual<8, stride = 2>; residual<8>; dense<layers = 2>",
        ),
        (
            "block c<kernel = 3x3> { conv kernel (kernel[0]) pad=(kernel[0] // 2) }",
            "c; c<5x5>",
        ),
        (
            "block c<k = 3x3, d = 1> { conv k 4 pad=(k[0] // 2 * d) dilation=d }",
            "c; c<3x3, 2>",
        ),
    ],
)
def test_words_and_sizes_of_blocks(block: str, calls: str) -> None:
    text = f"arch 1\n{block}\nnetwork Net {{ input 3x32x32; {calls} }}\n"
    network = archdsl.loads(text)
    again = archdsl.loads(archdsl.expand(network))
    words = {"residual2": "residual"}
    assert not network_difference(network, again, words)


NESTED = """arch 1

block unit<width> {
    conv 3x3 width -> bn
}

block tail<width> {
    conv 1x1 width
    unit<width>
}

block repeated<count = 2, body: block> {
    body  x(count)
}

block wrap<width, body: block> {
    body
    tail<width>
}

network Net {
    input 3x16x16
%
}
"""


@pytest.mark.parametrize(
    "calls",
    [
        "wrap<8> { unit<8>; tail<4> }; wrap<8> { conv 5x5 8 }; unit<9>",
        "wrap<8> { wrap<8> { wrap<4> { relu } } }",
        "wrap<8> { repeated { conv 1x1 8 } }; repeated { wrap<4> { unit<3> } }",
        "repeated<1> { unit<8> }; repeated { wrap<16> { repeated { tail<16> } } }\n"
        "dense<layers = 2> { conv 3x3 8; unit<8> }; wrap<8> { unit<8> }\n"
        "dense<layers = 2> { wrap<8> { tail<8> } }; repeated<3> { tail<8> }",
    ],
)
def test_blocks_in_braces_of_blocks(calls: str) -> None:
    network = archdsl.loads(NESTED.replace("%", calls))
    text = archdsl.expand(network)
    again = archdsl.loads(text)
    assert archdsl.expand(again) == text
    words = {group.word for group in _blocks(again.root)}
    assert len(words) == text.count("\nblock ")
    made = {word: word.rstrip("_0123456789") for word in words}
    assert not network_difference(network, again, made)


def _blocks(group: Group) -> Iterator[Group]:
    for child in group.children:
        if isinstance(child, Group):
            if child.role == "block":
                yield child
            yield from _blocks(child)


@pytest.mark.parametrize("mode", ["auto", "optional", "projection"])
@pytest.mark.parametrize("body", ["conv 1x1", "conv 1x1 6", "conv 1x1 6 /2 -> bn"])
@pytest.mark.parametrize("width", ["", "16", "width"])
def test_residuals_anywhere(mode: str, body: str, width: str) -> None:
    """A network without any parameter has residuals, too."""
    layers = f"conv 1x1 {width} -> residual<shortcut = {mode}> {{ {body} }}"
    head = "Net<width = 8>" if width == "width" else "Net"
    check(archdsl.loads(f"arch 1\nnetwork {head} {{ input 3x8x8; {layers} }}"))
    block = f"block b{head[3:]} {{ {layers} }}"
    check(archdsl.loads(f"arch 1\n{block}\nnetwork Net {{ input 3x8x8; b -> b }}"))


@pytest.mark.parametrize("name", SOME)
def test_presets(name: str) -> None:
    text = check(presets.network(name), presets.emitted(name))
    for word in ("import ", "fn ", "+ 1) if", "preset {"):
        assert word not in text


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(shipped_presets().keys() - set(SOME)))
def test_all_other_presets(name: str) -> None:
    check(presets.network(name), presets.emitted(name))


@pytest.mark.parametrize("first", range(0, 40, 20))
def test_specimens(first: int) -> None:
    for case in range(first, first + 20):
        text = specimen(case)
        try:
            check(archdsl.loads(text))
        except (AssertionError, ValueError, archdsl.SpecError) as error:
            error.add_note(f"in specimen {case}:\n{text}")
            raise


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in CASES.glob("*.arch")
        if path.stem not in ("fmt_unbalanced", "lint_comment_in_library")
    ),
    ids=lambda path: path.stem,
)
def test_cases(path: Path) -> None:
    network = archdsl.load(path)
    if path.stem in _BY_VALUE:
        assert archdsl.loads(archdsl.expand(network)).outputs[0].shape
    else:
        check(network, same_module=path.stem not in _OF_LISTS)


WRITTEN = """arch 1

import make_divisible from widths

fn double(n) = 2 * n

# Convolution, norm and what follows.
block unit<width, kernel = 3x3, act: kind = relu, squeeze = false> {
    wide = double(width)
    conv kernel wide -> bn
    if squeeze {
        squeeze_excite<wide // 4>
    }
    act
}

network Net<widths = [8, 12, 12], norm = true, big = false, classes = 10> {
    input 3x32x32
    conv 3x3 (make_divisible(17)) -> bn if norm -> relu
    for i, width in widths {
        stage{i + 1}: seq { unit<width, act = gelu>  x(i + 1) }
        maxpool 2x2 if i < 2
    }
    if big {
        conv 3x3 512
    } else {
        last: unit<widths[-1], 1x1, squeeze = true>
    }
    globalavgpool
    linear classes
    init conv weight=normal(std = 0.1 / 2) bias=1 - 1
    init linear weight=normal
}

preset small = Net<[4, 4], classes = 4>
    expect params > 1000, output 4
"""

EXPANDED = """arch 1

# Squeeze and excitation: each channel is scaled by a gate, computed from the averages
# of all channels (Hu et al. 2017, figure 3).
block squeeze_excite<squeeze, act: kind, gate: kind> {
    width = channels
    mul {
        adaptiveavgpool 1x1
        fc1: conv 1x1 squeeze -> act
        fc2: conv 1x1 width -> gate
      |
    }
}

# Convolution, norm and what follows.
block unit<width, kernel = 3x3, act: kind, squeeze = false> {
    wide = 2 * width
    conv kernel wide -> bn
    if squeeze { squeeze_excite<2 * width // 4, relu, sigmoid> }
    act
}

network Net<classes = 4> {
    input 3x32x32
    conv 3x3 16 -> bn -> relu
    for i in range(2) {
        stage{i + 1}: seq { unit<4, act = gelu>  x(i + 1) }
        maxpool 2x2
    }
    last: unit<4, 1x1, relu, true>
    globalavgpool
    linear classes
    init conv weight=normal(std = 0.05) bias=0
    init linear weight=normal
}

default preset small = Net
    expect params > 1000, output 4
"""


def test_what_is_written_out() -> None:
    text = WRITTEN.replace("bias=1 - 1", "bias=0").replace("0.1 / 2", "0.05")
    assert check(archdsl.loads(text, preset="small")) == EXPANDED


def test_parameters_from_outside_are_written() -> None:
    network = archdsl.load("resnet18", classes=7, input="1x64x64")
    text = check(network)
    assert "classes = 7" in text and "input 1x64x64" in text
    assert "expect" not in text  # claims are about the original network


def test_plain_numbers_are_enough() -> None:
    """The network for figures has no expressions, but the same values."""
    network = archdsl.load("mobilenet_v2", symbolic=False)
    again = archdsl.loads(archdsl.expand(network), symbolic=False)
    assert skeleton(again) == skeleton(network)


def test_foreign_layers_are_declared() -> None:
    text = """arch 1
op gate<width: int, groups = 1> {
    torch = "mylayers.Gate"
    args = [channels, width]
    shape = [width, in_height, in_width]
    params = channels * width // groups
    pointwise = true
}
network Net {
    input 3x8x8
    gate 4 groups=2 -> relu
}
"""
    assert "op gate<width: int, groups = 1> {" in check(archdsl.loads(text))


# ---- networks made and changed in code -------------------------------------------


def test_a_transformed_network() -> None:
    network = FoldNorms().apply(archdsl.load("resnet18"))
    text = archdsl.expand(network)
    assert " bn" not in text
    again = archdsl.loads(text)
    paths = [[step.path for step in each.steps()] for each in (network, again)]
    assert paths[0] == paths[1]
    assert not differences(network, archdsl.build(again))


def test_a_network_made_in_code() -> None:
    build = NetworkBuilder("Small")
    x = build.input((3, 16, 16))
    with build.group("stem", x):
        x = build.add("conv", x, kernel=(3, 3), width=8, bias=False)
        x = build.add("bn", x)
    x = build.add("add", x, build.add("conv", x, kernel=(3, 3), bias=True))
    x = build.add("globalavgpool", x)
    network = build.network(build.add("linear", x, width=4, bias=True))
    text = archdsl.expand(network)
    assert "add { @stem | }" in text
    again = archdsl.loads(text)
    assert [s.path for s in again.steps()] == [s.path for s in network.steps()]
    assert not differences(network, archdsl.build(again))


def test_what_has_no_words_is_refused(run: Run, folder: Path) -> None:
    """A value that is read twice needs a label, which would make a module of relu."""
    build = NetworkBuilder("Twice")
    x = build.input((3, 8, 8))
    x = build.add("relu", x)
    y = build.add("tanh", x)
    z = build.add("sigmoid", x)
    network = build.network(build.add("add", y, z))
    with pytest.raises(Unwritable, match="no spec describes Twice"):
        archdsl.expand(network)
    (folder / "twice.json").write_text(network.model_dump_json())
    code, out, err = run("expand", "twice.json")
    assert (code, out) == (1, "") and "error[A0506]: no spec describes Twice" in err


# ---- the comparison of networks ------------------------------------


def _first(network: Network, word: str) -> Step:
    return next(step for step in network.steps() if step.op.word == word)


CHANGES: dict[str, Callable[[Network], Network]] = {
    "arguments": lambda n: rewrite(
        n, {_first(n, "conv").output: _first(n, "conv").op.replace(bias=True)}
    ),
    "kind": lambda n: rewrite(
        n, {_first(n, "bn").output: archdsl.loads(NORM).steps().__next__().op}
    ),
    "inputs": lambda n: n.model_copy(
        update={"inputs": (n.inputs[0].model_copy(update={"name": "y"}),)}
    ),
    "initialisation": lambda n: n.model_copy(update={"initializers": ()}),
    "claims": lambda n: n.model_copy(update={"expectations": ()}),
    "name": lambda n: n.model_copy(update={"name": "other"}),
    "outputs": lambda n: n.model_copy(
        update={"outputs": (n.outputs[0].model_copy(update={"name": "y"}),)}
    ),
}
NORM = "arch 1\nnetwork N {\n    input 64x8x8\n    instancenorm affine=true\n}\n"


@pytest.mark.parametrize("what", CHANGES)
def test_a_difference_is_found(what: str) -> None:
    network = archdsl.load("resnet18")
    assert not network_difference(network, archdsl.load("resnet18"), {})
    assert what in network_difference(network, CHANGES[what](network), {})


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("conv 3x3 4 -> relu", "conv 3x3 4; relu", "chain"),
        ("conv 3x3 4; relu", "conv 3x3 4; r: relu", "name"),
        ("a: relu; add { @a | tanh }", "a: relu; add { tanh | @a }", ""),
        ("a: relu; add { tanh | }", "a: relu; add { tanh | @input }", "value"),
        ("{ relu }  x2", "relu; relu", "parts"),
        ("a: { relu }", "a: seq { relu }", "word"),
        ("a: conv 1x1; same a", "a: conv 1x1; conv 1x1", "name"),
        ("bn", 'bn renamed from "b"', "renamed_from"),
        ("a: { bn }", 'a: { bn } renamed from "b"', "renamed_from"),
        ("scale 1", "scale 2", "arguments"),
        ("residual { bn }", "residual<shortcut = optional> { bn }", "parts"),
    ],
)
def test_specs_that_differ(one: str, other: str, what: str) -> None:
    text = "arch 1\nnetwork N {{\n    input 3x8x8\n    {}\n}}\n"
    left, right = (archdsl.loads(text.format(body)) for body in (one, other))
    found = network_difference(left, right, {})
    assert (what in found and found) or not what, found


def test_a_wrong_text_is_never_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    from archdsl.backends.spec import spec

    def wrong(self: Any) -> str:
        return text.replace("64", "65")

    text = archdsl.expand("resnet18")
    monkeypatch.setattr(spec.SpecText, "text", wrong)
    with pytest.raises(Unwritable, match="no spec describes resnet18"):
        write_spec(archdsl.load("resnet18"))


# ---- the command -----------------------------------------------------------------


def test_the_command(run: Run, folder: Path) -> None:
    code, out, err = run("expand", "resnet18", "-D", "classes=10")
    assert (code, err) == (0, "")
    assert out == archdsl.expand(archdsl.load("resnet18", classes=10))
    assert run("expand", "resnet18", "-D", "classes=10", "-o", "r.arch")[:2] == (0, "")
    assert (folder / "r.arch").read_text() == out
    assert run("check", "r.arch")[0] == run("fmt", "--check", "r.arch")[0] == 0


def test_the_command_as_json(run: Run) -> None:
    code, out, _ = run("expand", "vgg11", "--json")
    found = json.loads(out)
    assert code == 0 and found["file"] is None
    assert found["text"] == archdsl.expand("vgg11")


def test_errors_of_the_spec(run: Run) -> None:
    code, out, err = run("expand", "resnet19")
    assert (code, out) == (1, "") and "did you mean" in err


def test_main_is_the_command() -> None:
    assert main(["expand", "--help"]) == 0
