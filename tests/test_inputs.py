"""Blocks with several inputs, compared with modules written by hand."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archdsl
from archdsl.editor import Document
from archdsl.elaborate import elaborate
from archdsl.elaborate.layer_counts import SharedLayers, count_layers
from archdsl.ir import Group, Network
from archdsl.syntax.loader import load_text
from archdsl.transforms import RemoveIdentities, pipeline
from tests.comparing import faults, skeleton, with_statistics

# A pyramid with two steps down, the second to another width.
PYRAMID = """arch 1

# Enlarge the coarse map, and add what the fine one is.
block fuse<width>(coarse, fine) {
    conv 1x1 width -> upsample 2x2
    add { | @fine -> side: conv 1x1 width }
    conv 3x3 -> bn -> relu
}

network Pyramid {
    input 3x32x32
    c1: conv 3x3 8 /2
    relu
    c2: conv 3x3 12 /2
    relu
    c3: conv 3x3 16 /2
    p2: fuse<16> { relu | @c2 }
    p1: fuse<10> { | @c1 }
}
"""


class Fuse(nn.Module):
    """The block, written by hand."""

    def __init__(self, coarse: int, fine: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(coarse, width, 1)
        self.side = nn.Conv2d(fine, width, 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        x = F.interpolate(self.conv1(coarse), scale_factor=2) + self.side(fine)
        return F.relu(self.bn1(self.conv2(x)))


class Pyramid(nn.Module):
    """The network, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 8, 3, 2, 1)
        self.c2 = nn.Conv2d(8, 12, 3, 2, 1)
        self.c3 = nn.Conv2d(12, 16, 3, 2, 1)
        self.p2 = Fuse(16, 12, 16)
        self.p1 = Fuse(16, 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        c1 = self.c1(x)
        c2 = self.c2(F.relu(c1))
        c3 = self.c3(F.relu(c2))
        return self.p1(self.p2(F.relu(c3), c2), c1)


@pytest.fixture(scope="module")
def pyramid() -> Network:
    return archdsl.loads(PYRAMID)


def test_it_computes_what_the_module_by_hand_does(pyramid: Network) -> None:
    ours, theirs = archdsl.build(pyramid), Pyramid()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 32, 32)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))


def test_figures_are_those_of_a_hand_calculation(pyramid: Network) -> None:
    figures = archdsl.analyze(pyramid)
    stem = 9 * 3 * 8 * 256 + 9 * 8 * 12 * 64 + 9 * 12 * 16 * 16
    p2 = 16 * 16 * 16 + 12 * 16 * 64 + 9 * 16 * 16 * 64
    p1 = 16 * 10 * 64 + 8 * 10 * 256 + 9 * 10 * 10 * 256
    assert figures.macs == stem + p2 + p1
    # c1, c2, c3, and two convolutions of each block on the longest path.
    assert figures.depth == 7
    assert not faults(PYRAMID)


def test_one_class_serves_both_calls_and_names_its_inputs(pyramid: Network) -> None:
    text = archdsl.emit(pyramid)
    assert text.count("class Fuse(") == 1
    assert "def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:" in text
    assert "self.p2 = Fuse(16, 12, 16)" in text
    assert "self.p1 = Fuse(16, 8, 10)" in text
    built = archdsl.build(pyramid)
    signature = inspect.signature(type(built.get_submodule("p1")))
    assert list(signature.parameters) == ["coarse_channels", "fine_channels", "width"]


def test_json_and_text_keep_the_inputs(pyramid: Network) -> None:
    again = Network.model_validate_json(pyramid.model_dump_json())
    assert skeleton(again) == skeleton(pyramid)
    assert archdsl.emit(again) == archdsl.emit(pyramid)
    block = again.root.children[-1].children[-1]  # type: ignore[union-attr]
    assert isinstance(block, Group)
    assert [port.name for port in block.ports] == ["coarse", "fine"]
    assert block.ports[0].value == block.input


def test_what_is_counted_without_a_graph_is_the_same(pyramid: Network) -> None:
    counted = count_layers(load_text(PYRAMID), SharedLayers(), input=(3, 64, 64))
    assert counted is not None
    whole = elaborate(load_text(PYRAMID), input=(3, 64, 64))
    found = [(use.op.word, use.shape) for use in counted.lines.uses()]
    assert found == [(step.op.word, step.shape) for step in whole.steps()]


# ---- forms of calls ---------------------------------------------------------------

BLOCKS = """
block both<width = 6, act: kind = relu>(one, two) {
    concat { | @two -> act } -> conv 3x3 width
}
block given<unit> {
    a: conv 1x1
    unit { | @a -> relu }
}
block numbered(one, two) seq {
    conv 3x3 4 -> mul { | @two -> conv 1x1 1 }
}
block deep(one, two, three) {
    inner: { add { | @two -> relu | @three }; conv 1x1 (2 * channels) }
    t: both { @two | both<5> { @two | @three } }
    @three -> conv 1x1 (channels + 1)
    concat { | @inner | @t }
}
block picks<first>(one, two) {
    if first { add { @one | @two -> sigmoid } } else { mul { @two | @one } }
}
block through(one, two) { @one -> dropout 0.5 -> side: identity; add { | @two } }
"""

FORMS = {
    "in a branch": "a: conv 3x3 4\nadd { both<4> { | relu } | @a }",
    "behind a call": "both { conv 1x1 | } -> both { relu | conv 3x3 }",
    "as a value": "given<both<width = 3>>\ngiven<both<act = gelu>>\ngiven<numbered>",
    "by a loop": "for i in range(3) { c{i}: conv 1x1 4 }\n"
    "deep { @c{i} for i in range(3) }",
    "repeated": "s: conv 1x1 6\nrelu\nboth { | @s }  x3",
    "with a label that is repeated": "s: conv 1x1 6\nrelu\nu: both { | @s }  x2\n"
    "concat { @u1 | @u2 }",
    "guarded": "both { | relu } if channels > 2\nboth { | relu } if channels == 2",
    "in a seq": "q: seq { conv 3x3 4; numbered { | relu }; both { conv 1x1 | } }",
    "in labelled braces": "q: { s: conv 3x3 4; both { | @input } ; both { | @s } }",
    "numbered": "numbered { | conv 1x1 1 }",
    "in blocks": "deep { conv 1x1 6 | conv 1x1 6 | conv 1x1 6 }",
    "shared": "t: both { | conv 1x1 3 }\nsame t { conv 1x1 3 | @t -> conv 1x1 3 }",
    "shared under a name": "t: both { | relu }\n"
    "conv 1x1 3\nv: same t { | relu }\nadd { @t | @v }",
    "shared and nested": "t: both<3> { | relu }\nsame t { same t { | tanh } | relu }",
    "by parameters": "picks<true> { | conv 1x1 }\npicks<false> { | conv 1x1 }",
    "with training": "through { | conv 1x1 }\nthrough { relu | }",
    "renamed": 't: both { | relu } renamed from "old.t"',
    "in a residual": "residual { both<3> { | relu } }\n"
    "residual<shortcut = optional> { both<channels> { | relu } }",
    "for training": "a: conv 1x1 4\nrelu\n"
    "training output @a -> both { | relu } -> aux: conv 1x1 2",
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_calls(form: str) -> None:
    body = "".join(f"    {line}\n" for line in FORMS[form].splitlines())
    used = [b for b in BLOCKS.split("\nblock ") if b.strip()]
    text = f"arch 1\n{BLOCKS}\nnetwork n {{\n    input 3x8x8\n{body}}}\n"
    assert len(used) == 6
    assert not faults(text)
    # `expand` itself verifies that the text describes this network.
    written = archdsl.expand(archdsl.loads(text))
    assert not faults(written, figures=False)


def test_a_block_of_vectors_and_maps() -> None:
    text = """arch 1
block gated(map, vector) {
    mul { | @vector -> linear channels -> sigmoid -> reshape map }
}
network n {
    input 4x6x6
    conv 3x3 5
    gated { | globalavgpool -> linear 5 }
}
"""
    assert not faults(text)


def test_a_name_that_numbers_its_input_is_read() -> None:
    text = """arch 1
block sum(x0, x1, x2) { for i in range(1, 3) { add { | @x{i} } } }
network n {
    input 4x6x6
    sum { conv 1x1 | relu | tanh }
}
"""
    assert not faults(text)


def test_a_width_is_in_terms_of_each_input() -> None:
    text = """arch 1
block wide(one, two) { @two -> conv 1x1 (3 * channels) -> concat { | @one } }
network n {
    input 4x6x6
    wide { conv 1x1 2 | conv 1x1 5 }
    wide { | conv 1x1 7 }
}
"""
    emitted = archdsl.emit(archdsl.loads(text))
    assert emitted.count("class Wide(") == 1
    assert "nn.Conv2d(two_channels, 3 * two_channels, kernel_size=1)" in emitted
    assert not faults(text)


def test_the_same_weights_are_counted_once() -> None:
    text = """arch 1
block fuse(one, two) { add { | @two } -> conv 3x3 bias=false }
network n {
    input 4x8x8
    a: fuse { | relu }
    same a { | relu }
}
"""
    figures = archdsl.analyze(archdsl.loads(text))
    assert figures.params == 9 * 4 * 4
    assert figures.macs == 2 * 9 * 4 * 4 * 64


# ---- transformations --------------------------------------------------------------


def test_what_keeps_two_inputs_apart_stays() -> None:
    text = """arch 1
block sum(one, two) { add { | @two -> conv 1x1 } }
network n {
    input 4x8x8
    conv 1x1 -> identity
    a: relu
    sum { | @a -> identity }
}
"""
    network = archdsl.loads(text)
    found = RemoveIdentities().apply(network)
    words = [step.op.word for step in found.steps()]
    assert words == ["conv", "relu", "identity", "conv", "add"]


@pytest.mark.parametrize("form", ["in blocks", "shared", "with training", "by a loop"])
def test_transformed_networks_compute_the_same(form: str) -> None:
    body = "".join(f"    {line}\n" for line in FORMS[form].splitlines())
    text = f"arch 1\n{BLOCKS}\nnetwork n {{\n    input 3x8x8\n{body}}}\n"
    network = archdsl.loads(text)
    transform = pipeline(inference=True)
    found = transform.apply(network)
    state = with_statistics(archdsl.build(network)).eval()
    other = archdsl.build(found).eval()
    other.load_state_dict(transform.weights(network, state.state_dict()))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(other(x), state(x), rtol=1e-4, atol=1e-5)


# ---- the editor -------------------------------------------------------------------


def test_an_editor_knows_the_inputs() -> None:
    document = Document(PYRAMID)
    place = PYRAMID.index("@fine") + 2
    found: Any = document.hover(place)
    assert "input `fine`" in found.text
    definition = document.definition(place)
    assert definition is not None
    assert definition.span.start == PYRAMID.index("fine)")
    names = [one.text for one in document.completions(PYRAMID.index("@fine") + 1)]
    assert {"coarse", "fine", "input"} <= set(names)
    block = document.symbols()[0]
    kinds = {child.name: child.kind for child in block.children}
    assert kinds == {
        "width": "parameter",
        "coarse": "input",
        "fine": "input",
        "side": "label",
    }
    call = document.hover(PYRAMID.index("fuse<16>") + 1)
    assert call is not None
    assert "fuse<width>(coarse, fine)" in call.text
