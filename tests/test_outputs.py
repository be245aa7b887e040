"""Blocks and labelled braces with several outputs, against modules written by hand."""

from __future__ import annotations

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
from archdsl.ir.graph import flatten
from archdsl.ir.nodes import with_own_outputs
from archdsl.ir.prune import prune
from archdsl.ir.verify import problems
from archdsl.passes.recompute import parts
from archdsl.syntax.loader import load_text
from archdsl.transforms import Backbone, FoldNormsAhead, RemoveIdentities, pipeline
from tests import generated
from tests.comparing import faults, skeleton, with_statistics
from tests.test_peak import _infer, _made, _memory, _train

# The contracting path passes each map before its pool to the expanding one
# (Ronneberger et al. 2015, figure 1).
UNET = """arch 1

# Two convolutions and a pool. The map before the pool is the skip.
block down<width> {
    conv 3x3 width -> bn -> relu
    conv 3x3 width -> bn -> skip: relu
    output @skip
    maxpool 2x2
}

# Enlarge the coarse map, and join the skip.
block up<width>(coarse, skip) {
    convtranspose 2x2 width /2
    concat { @skip | }
    conv 3x3 width -> bn -> relu
}

network UNet {
    input 3x32x32
    down1: down<8>
    down2: down<16>
    bottom: conv 3x3 32 -> relu
    up2: up<16> { | @down2.skip }
    up1: up<8> { | @down1.skip }
    head: conv 1x1 2
}
"""


class Down(nn.Module):
    """The first block, written by hand."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.bn1(self.conv1(x)))
        skip = F.relu(self.bn2(self.conv2(x)))
        return F.max_pool2d(skip, 2), skip


class Up(nn.Module):
    """The second block, written by hand."""

    def __init__(self, coarse: int, width: int) -> None:
        super().__init__()
        self.convtranspose1 = nn.ConvTranspose2d(coarse, width, 2, stride=2)
        self.conv1 = nn.Conv2d(2 * width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        x = torch.cat([skip, self.convtranspose1(coarse)], 1)
        return F.relu(self.bn1(self.conv1(x)))


class UNet(nn.Module):
    """The network, written by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.down1 = Down(3, 8)
        self.down2 = Down(8, 16)
        self.bottom = nn.Conv2d(16, 32, 3, padding=1)
        self.up2 = Up(32, 16)
        self.up1 = Up(16, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x, skip1 = self.down1(x)
        x, skip2 = self.down2(x)
        x = self.up2(F.relu(self.bottom(x)), skip2)
        return self.head(self.up1(x, skip1))


@pytest.fixture(scope="module")
def unet() -> Network:
    return archdsl.loads(UNET)


def net(*statements: str, before: str = "", input: str = "4x8x8") -> str:
    body = "".join(f"    {line}\n" for line in statements)
    return f"arch 1\n{before}\nnetwork Net {{\n    input {input}\n{body}}}\n"


def block(network: Network, path: str) -> Group:
    found = [part for part in network.root.children if part.path == path]
    assert isinstance(found[0], Group)
    return found[0]


def test_it_computes_what_the_module_by_hand_does(unet: Network) -> None:
    ours, theirs = archdsl.build(unet), UNet()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 3, 32, 32)
    for mode in (True, False):
        torch.testing.assert_close(ours.train(mode)(x), theirs.train(mode)(x))


def test_figures_are_those_of_a_hand_calculation(unet: Network) -> None:
    figures = archdsl.analyze(unet)
    down = 9 * (3 * 8 + 8 * 8) * 32**2 + 9 * (8 * 16 + 16 * 16) * 16**2
    bottom, head = 9 * 16 * 32 * 8**2, 8 * 2 * 32**2
    up2 = 4 * 32 * 16 * 8**2 + 9 * 32 * 16 * 16**2
    up1 = 4 * 16 * 8 * 16**2 + 9 * 16 * 8 * 32**2
    assert figures.macs == down + bottom + up2 + up1 + head
    assert figures.depth == 4 + 1 + 4 + 1
    assert not faults(UNET)


def test_the_code_reads_as_by_hand(unet: Network) -> None:
    text = archdsl.emit(unet)
    assert text.count("class Down(") == text.count("class Up(") == 1
    assert "def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:" in text
    assert "return F.max_pool2d(skip, kernel_size=2), skip\n" in text
    assert "x, skip1 = self.down1(x)\n        x, skip2 = self.down2(x)\n" in text
    shape = "N x width x H' x W', and skip N x width x H x W."
    assert f"Shape: N x in_channels x H x W to {shape}" in text


def test_json_and_text_keep_the_outputs(unet: Network) -> None:
    again = Network.model_validate_json(unet.model_dump_json())
    assert skeleton(again) == skeleton(unet)
    assert archdsl.emit(again) == archdsl.emit(unet)
    (port,) = block(again, "down1").extras
    assert (port.name, port.shape) == ("skip", (8, 32, 32))
    assert archdsl.emit(archdsl.loads(archdsl.expand(unet))) == archdsl.emit(unet)


def test_what_is_counted_without_a_graph_is_the_same() -> None:
    counted = count_layers(load_text(UNET), SharedLayers(), input=(3, 64, 64))
    assert counted is not None
    whole = elaborate(load_text(UNET), input=(3, 64, 64))
    found = [(use.op.word, use.shape) for use in counted.lines.uses()]
    assert found == [(step.op.word, step.shape) for step in whole.steps()]


def check_peaks(network: Network) -> None:
    """Check that the analysis has the memory peaks of torch's tracker."""
    module = _made(lambda: archdsl.build(network))
    figures = _memory(network)
    first, later = _train(module, network, 8, "sgd")
    assert figures.first_step_peak.at(8) == first
    assert figures.training_peak.at(8) == later
    assert figures.inference_peak.at(8) == _infer(module, network, 8)


def test_peaks_of_memory_are_those_of_torch(unet: Network) -> None:
    check_peaks(unet)


# ---- forms ------------------------------------------------------------------------

BLOCKS = """
block split<width = 6> {
    conv 3x3 width -> relu
    output conv 1x1 (width // 2) -> low: bn
    output gate: sigmoid
    conv 1x1 width
}
block around { inner: split<4>; output @inner.low; mul { | @inner.gate } }
block given<unit> { u: unit; concat { | @u.low | @u.gate } }
block stages<count> {
    for i in range(count) {
        stage{i}: conv 3x3 4 -> relu
        output @stage{i}
    }
    maxpool 2x2
}
block both(one, two) {
    add { | @two }
    output sum: relu
    output @two -> rest: conv 1x1
    conv 1x1
}
"""

FORMS = {
    "all read": "a: split\nconcat { | @a.low | @a.gate }",
    "in labelled braces": "q: { conv 3x3 4; output s: relu; bn }\nadd { | @q.s }",
    "a bias that a norm behind braces cancels": "q: { output s: conv 3x3; relu }\n"
    "add { @q.s -> bn | }",
    "in unlabelled braces": "{ a: split }\nconcat { | @a.low | @a.gate }",
    "nested": "a: around\nconcat { @a.low -> conv 1x1 | }",
    "as a value": "given<split>\ngiven<split<width = 8>>",
    "by a loop": "a: stages<3>\n"
    "add { | @a.stage{i} -> maxpool 2x2 for i in range(3) }\n"
    "b: stages<1>\nconcat { | @b.stage0 -> maxpool 2x2 }",
    "repeated": "stage: split  x2\nconcat { | @stage{i}.low for i in [1, 2] }\n"
    "concat { | @stage{i}.gate for i in [1, 2] }",
    "repeated by a loop": "for i in range(2) { s{i}: split }\n"
    "concat { | @s{i}.gate for i in range(2) }\nconcat { | @s0.low | @s1.low }",
    "several inputs": "t: relu\nu: both { | conv 1x1 }\nadd { | @u.sum | @u.rest }",
    "several inputs twice": "u: both { | relu }\n"
    "v: same u { | @u.rest -> add { | @u.sum } }\n"
    "add { | @v.sum | @v.rest }",
    "shared": "a: split<4>\nb: same a\nconcat { | @a.low | @b.low }\n"
    "concat { | @a.gate | @b.gate }",
    "shared and nested": "a: around\nconv 1x1 4\nb: same a\n"
    "concat { @a.low | @b.low }\n"
    "concat { | @a | @b }",
    "in a residual": "residual { a: split<4>; mul { | @a.gate -> conv 1x1 1 }"
    "; concat { | @a.low } }",
    "in a branch": "concat { a: split<4>; add { | @a.gate } | relu }\n"
    "concat { | @a.low }",
    "for training": "a: split\nconcat { | @a.gate }\n"
    "training output @a.low -> aux: conv 1x1 2",
    "in training": "training output t: split -> concat { | @t.low | @t.gate }"
    " -> aux: conv 1x1 2\nconv 1x1",
    "outputs of the network": "a: split\noutput @a.low\noutput @a.gate -> g: relu",
    "in a container": "part.0: split\nconcat { | @part.0.low | @part.0.gate }",
    "renamed": 'a: split renamed from "old.a"\nconcat { | @a.low | @a.gate }',
    "on one line": "conv 3x3 -> a: split -> relu -> concat { | @a.low | @a.gate }",
    "names that code has": "a: { conv 1x1; output x: relu; tanh }\n"
    "b: { conv 1x1; output y: relu; tanh }\nc: { conv 1x1; output x: relu; tanh }\n"
    "d: { conv 1x1; output out: relu; tanh }\n"
    "add { @a.x | @b.y | @c.x | @d.out | }",
}


def form(name: str) -> str:
    return net(*FORMS[name].splitlines(), before=BLOCKS)


@pytest.mark.parametrize("name", FORMS)
def test_forms_of_parts(name: str) -> None:
    assert not faults(form(name))
    # `expand` itself verifies that the text describes this network.
    written = archdsl.expand(archdsl.loads(form(name)))
    assert not faults(written, figures=False)


def test_random_specs() -> None:
    for case in range(20):
        text = generated.parted(case)
        found = faults(text, figures=case % 5 == 0)
        assert not found, f"{found} in specimen {case}:\n{text}"
        archdsl.expand(archdsl.loads(text))


# In other forms, several chains become one statement, or only training reads a value.
EXACT = [
    "all read",
    "in labelled braces",
    "nested",
    "as a value",
    "several inputs",
    "in a residual",
    "in a container",
    "on one line",
    "names that code has",
]


@pytest.mark.parametrize("name", EXACT)
def test_peaks_of_forms_are_those_of_torch(name: str) -> None:
    check_peaks(archdsl.loads(form(name)))


@pytest.mark.parametrize("name", FORMS)
def test_transformed_networks_compute_the_same(name: str) -> None:
    network = archdsl.loads(form(name))
    transform = pipeline(inference=True)
    found = transform.apply(network)
    assert not problems(found)
    state = with_statistics(archdsl.build(network)).eval()
    other = archdsl.build(found).eval()
    other.load_state_dict(transform.weights(network, state.state_dict()))
    x = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(other(x), state(x), rtol=1e-4, atol=1e-5)


def test_parts_with_several_outputs_are_run_again_in_the_backward_pass(
    unet: Network,
) -> None:
    found = [part.path for part in parts(flatten(unet))]
    assert found == ["down1", "down2", "up2", "up1"]
    plain = archdsl.build(unet).train()
    again = archdsl.build(unet, recompute=True).train()
    again.load_state_dict(plain.state_dict())
    x = torch.randn(2, 3, 32, 32)
    for module in (plain, again):
        module(x).square().sum().backward()
    for mine, other in zip(again.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


# ---- transformations --------------------------------------------------------------


def test_an_output_that_nothing_reads_any_more_goes() -> None:
    network = archdsl.loads(form("for training"))
    found = prune(network, inference=True)
    assert [port.name for port in block(found, "a").extras] == ["gate"]
    assert not problems(found)
    assert "-> tuple[Tensor, Tensor]:" in archdsl.emit(found)


def test_uses_of_one_part_keep_the_same_outputs() -> None:
    network = archdsl.loads(
        net(
            "a: split<4>",
            "b: same a",
            "concat { | @a.low | @a.gate | @b.gate }",
            "training output @b.low -> aux: conv 1x1 2",
            before=BLOCKS,
        )
    )
    found = prune(network, inference=True)
    assert not problems(found)
    assert "x, _, gate2 = self.a(x)" in archdsl.emit(found)


def test_the_main_output_may_be_the_one_that_goes() -> None:
    network = archdsl.loads(form("all read"))
    found = Backbone(taps=("a.low",)).apply(network)
    assert (block(found, "a").output, block(found, "a").extras) == (
        found.outputs[0].value,
        (),
    )
    assert archdsl.build(found)(torch.randn(1, 4, 8, 8)).shape == (1, 3, 8, 8)


def test_what_keeps_two_outputs_apart_stays() -> None:
    network = archdsl.loads(
        net(
            "a: { conv 1x1; output same_one: identity; identity }",
            "add { | @a.same_one }",
        )
    )
    assert RemoveIdentities().apply(network) == network


def test_outputs_that_become_one_value_are_one() -> None:
    network = archdsl.loads(
        net(
            "a: { conv 1x1 -> m: relu; output n: bn; @m }", "add { | @a.n -> conv 1x1 }"
        )
    )
    found = FoldNormsAhead().apply(network)
    assert block(found, "a").extras == ()
    assert not problems(found)


def test_another_output_takes_the_place_of_a_main_one_from_outside() -> None:
    network = archdsl.loads(form("all read"))
    part = block(network, "a")
    outside = with_own_outputs(part.model_copy(update={"output": part.input}))
    assert outside.output == part.extras[0].value
    assert outside.extras == part.extras[1:]


# ---- the editor -------------------------------------------------------------------


def test_an_editor_knows_the_outputs() -> None:
    document = Document(UNET)
    place = UNET.index("@down2.skip") + len("@down2.s")
    found: Any = document.hover(place)
    assert "16x16x16" in found.text
    definition = document.definition(place)
    assert definition is not None
    assert definition.span.start == UNET.index("skip: relu")
    half = UNET.replace("@down2.skip", "@down2.")
    names = [one.text for one in Document(half).completions(half.index("@down2.") + 7)]
    assert names == ["skip"]
