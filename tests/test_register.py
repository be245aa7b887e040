"""`register`: a `state_dict` in another order than that in which layers run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import archdsl
from archdsl.backends.importer import NotImported, from_module
from archdsl.backends.spec import write_spec
from archdsl.elaborate.layer_counts import SharedLayers, count_layers
from archdsl.ir import Group, Network
from archdsl.ir.registration import in_order, in_torch_order
from archdsl.ir.state import wanted
from archdsl.syntax.loader import load_text
from archdsl.transforms import pipeline
from tests.comparing import differences
from tests.executor import keys

IMAGE = [(3, 32, 32)]


class Bottleneck(nn.Module):
    """ResNetV2's block as timm has it: the projection is registered before the norm
    that it reads (He et al. 2016, figure 4e).
    """

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        inner = width // 4
        self.downsample = None
        if stride != 1 or channels != width:
            self.downsample = nn.Conv2d(channels, width, 1, stride, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.norm1(x))
        short = x if self.downsample is None else self.downsample(active)
        x = self.conv1(active)
        x = self.conv2(F.relu(self.norm2(x)))
        return self.conv3(F.relu(self.norm3(x))) + short


class ResNetV2(nn.Module):
    """A small one; the last norm is registered before the head, and the stem last."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(64)
        self.blocks = nn.Sequential(
            Bottleneck(16, 32), Bottleneck(32, 32), Bottleneck(32, 64, 2)
        )
        self.head = nn.Linear(64, 10)
        self.stem = nn.Conv2d(3, 16, 3, 2, 1, bias=False)

    def forward(self, x: Tensor) -> Any:
        x = F.relu(self.norm(self.blocks(self.stem(x))))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


SPEC = """arch 1

block bottleneck<width, stride = 1> {
    register downsample, norm1, conv1, norm2, conv2, norm3, conv3
    changes = stride != 1 or channels != width
    norm1: bn -> active: relu
    if changes {
        downsample: conv 1x1 width /stride bias=false
    }
    @active -> conv1: conv 1x1 (width // 4) bias=false
    norm2: bn -> relu -> conv2: conv 3x3 /stride bias=false
    norm3: bn -> relu -> conv3: conv 1x1 width bias=false
    if changes { add { | @downsample } } else { add { | @input } }
}

network Net {
    register norm, blocks, head
    input 3x32x32
    stem: conv 3x3 16 /2 bias=false
    blocks: seq {
        bottleneck<32>
        bottleneck<32>
        bottleneck<64, stride = 2>
    }
    norm: bn -> relu
    globalavgpool
    head: linear 10
}
"""


def same(module: nn.Module, network: Network) -> None:
    """Check keys, their order, shapes, and outputs in both modes."""
    built = archdsl.build(network)
    theirs, ours = module.state_dict(), built.state_dict()
    assert list(ours) == list(theirs) == [one.key for one in wanted(network)]
    assert list(ours) == list(keys(network))
    assert (
        dict(built.named_parameters()).keys() == dict(module.named_parameters()).keys()
    )
    built.load_state_dict(theirs, strict=True)
    x = torch.randn(2, *network.inputs[0].shape)
    for training in (True, False):
        mine, its = built.train(training)(x), module.train(training)(x)
        torch.testing.assert_close(mine, its)


def spec(*lines: str, before: str = "", input: str = "3x8x8") -> str:
    body = "".join(f"    {line}\n" for line in (f"input {input}", *lines))
    return f"arch 1\n\n{before}network Net {{\n{body}}}\n"


def order(*lines: str, **more: str) -> list[str]:
    """Return the parts of a network in the order of its checked `state_dict`."""
    network = archdsl.loads(spec(*lines, **more))
    assert not differences(network, archdsl.build(network))
    found = [one.key for one in wanted(network)]
    assert found == list(archdsl.build(network).state_dict())
    return list(dict.fromkeys(key.rpartition(".")[0] or key for key in found))


def test_a_network_as_timm_registers_it() -> None:
    module = ResNetV2()
    network = archdsl.loads(SPEC)
    same(module, network)
    # The three calls only differ in order.
    assert archdsl.emit(network).count("class Bottleneck") <= 2


def test_it_is_imported_with_its_order() -> None:
    module = ResNetV2()
    found = from_module(module, IMAGE)
    assert "order" in found.compared[0]
    assert "register downsample\n" in found.text
    assert "register norm, blocks, head\n" in found.text
    same(module, archdsl.loads(found.text))


def test_it_is_imported_from_a_program(tmp_path: Path) -> None:
    module = ResNetV2().eval()
    program = torch.export.export(module, (torch.randn(2, *IMAGE[0]),))
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    found = archdsl.from_file(path)
    assert "register norm, blocks, head\n" in found.text


def test_the_order_of_tensors_within_a_layer_cannot_be_said() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.zeros(4))
            self.weight = nn.Parameter(torch.randn(4, 3, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight, self.bias)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.odd = Odd()

        def forward(self, x: Tensor) -> Any:
            return F.relu(self.odd(x))

    with pytest.raises(NotImported, match=r"a different order: `odd\.weight`"):
        from_module(Net(), IMAGE)
    found = from_module(Net(), IMAGE, any_order=True)
    assert found.compared[0] == "names and shapes of the state_dict"


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["register conv2", "conv 3x3 4", "conv 3x3"], ["conv2", "conv1"]),
        (["conv 3x3 4", "conv 3x3; register conv2"], ["conv2", "conv1"]),
        (
            ["register bn1, conv2", "conv 3x3 4 -> bn", "conv 3x3"],
            ["bn1", "conv2", "conv1"],
        ),
        # Counting goes on through braces, merges and repeats.
        (
            [
                "register conv3, conv2",
                "{ conv 3x3 4 }",
                "concat { conv 1x1 4 | conv 3x3 4 }",
            ],
            ["conv3", "conv2", "conv1"],
        ),
        (["register c2", "c{}: conv 3x3 4  x3"], ["c2", "c1", "c3"]),
        (
            ["for i in range(3) { register n{i}; c{i}: conv 3x3 4 -> n{i}: bn }"],
            ["n0", "n1", "n2", "c0", "c1", "c2"],
        ),
        (
            ["if true { register a }", "conv 3x3 4", "a: conv 3x3"],
            ["a", "conv1"],
        ),
        (['register "a-b"', "conv 3x3 4", '"a-b": conv 3x3'], ["a-b", "conv1"]),
        # The parts of a container stay together.
        (
            [
                "register b.1, conv1",
                "conv 3x3 4 -> b.0: conv 3x3 -> b.1: conv 3x3 -> bn",
            ],
            ["b.1", "b.0", "conv1", "bn1"],
        ),
        (
            ["register b", "conv 3x3 4 -> b.0: conv 3x3 -> b.1: conv 3x3"],
            ["b.0", "b.1", "conv1"],
        ),
        (
            [
                "register b.1, b",
                "conv 3x3 4 -> b.0: bn -> b.1: bn -> bn -> b.2: bn",
            ],
            ["b.1", "b.0", "b.2", "conv1", "bn1"],
        ),
        # A module's own factors come before its parts, in any case.
        (
            ["register conv2", "conv 3x3 4 -> layerscale", "conv 3x3"],
            ["layerscale1", "conv2", "conv1"],
        ),
        (
            ["register layershift1", "conv 3x3 4 -> layerscale -> layershift"],
            ["layershift1", "layerscale1", "conv1"],
        ),
        # A second use does not move a shared part.
        (
            ["register b", "a: conv 3x3 3", "b: conv 3x3", "same a"],
            ["b", "a"],
        ),
        (
            ["g: { register conv2; conv 3x3; conv 3x3 }", "same g"],
            ["g.conv2", "g.conv1"],
        ),
        (
            ["register bn1", "m: add { register conv2; conv 3x3 | conv 1x1 }", "bn"],
            ["bn1", "m.conv2", "m.conv1"],
        ),
        (
            ["register downsample", "residual { conv 3x3 4 -> bn }", "bn"],
            ["downsample.0", "downsample.1", "conv1", "bn1", "bn2"],
        ),
        (["register conv1, bn1", "bn -> conv 3x3 4"], ["conv1", "bn1"]),
    ],
)
def test_the_named_parts_come_first(lines: list[str], found: list[str]) -> None:
    assert order(*lines) == found


def test_heads_of_training_are_registered_where_the_spec_says() -> None:
    lines = ("register aux", "a: conv 3x3 4", "training output @a -> aux: conv 1x1 2")
    assert order(*lines, "conv 3x3") == ["aux", "a", "conv1"]


BLOCK = """block unit<width, stride = 1, norm = true> {
    register downsample, bn1
    residual {
        conv 3x3 width /stride
        bn if norm
    }
}

"""


def test_calls_of_a_block_may_lack_what_others_have() -> None:
    lines = ("unit<3>", "unit<8, stride = 2>", "unit<8, norm = false>")
    found = order(*lines, before=BLOCK)
    assert found == [
        *("unit1.bn1", "unit1.conv1"),
        *("unit2.downsample.0", "unit2.downsample.1", "unit2.bn1", "unit2.conv1"),
        "unit3.conv1",
    ]
    # A projection keeps its place, even if some calls have none.
    text = archdsl.emit(archdsl.loads(spec("unit<3>", "unit<8>", before=BLOCK)))
    assert text.count("class Unit") == 1
    assert text.index("self.downsample") < text.index("self.bn1 =")


def test_another_order_is_another_class() -> None:
    block = """block unit<first = false> {
    if first { register conv2 }
    conv 3x3 -> conv 1x1
}

"""
    lines = ("unit", "unit<true>", "unit")
    text = archdsl.emit(archdsl.loads(spec(*lines, before=block)))
    assert text.count("class Unit") == 2
    found = order(*lines, before=block)
    assert found[2:4] == ["unit2.conv2", "unit2.conv1"]


def test_blocks_with_several_inputs() -> None:
    block = """block fuse<width>(a, b) {
    register side
    conv 3x3 width
    add { | @b -> side: conv 1x1 width }
}

"""
    found = order("fuse<4> { | conv 1x1 3 }", before=block)
    assert found == ["conv1", "fuse1.side", "fuse1.conv1"]


def test_what_is_gone_has_no_place() -> None:
    network = archdsl.loads(SPEC)
    folded = pipeline(inference=True).apply(network)
    blocks = [group for group in groups(folded.root) if group.role == "block"]
    names = "downsample", "norm1", "conv1", "conv2", "conv3"
    # The first projection is merged with `conv1`, as both are 1x1.
    assert [group.registered for group in blocks] == [(), (), names]
    assert not differences(folded, archdsl.build(folded))
    backbone = archdsl.backbone(network, taps=["blocks.1"])
    assert not differences(backbone, archdsl.build(backbone))


def groups(group: Group) -> list[Group]:
    inner = [child for child in group.children if isinstance(child, Group)]
    return [group, *(one for child in inner for one in groups(child))]


def test_it_is_written_out_and_exchanged() -> None:
    network = archdsl.loads(SPEC)
    again = archdsl.loads(write_spec(network))
    assert [one.key for one in wanted(again)] == [one.key for one in wanted(network)]
    read = Network.model_validate_json(network.model_dump_json())
    assert [group.registered for group in groups(read.root)] == [
        group.registered for group in groups(network.root)
    ]


def test_orders_are_those_of_torch() -> None:
    assert in_order(["a", "b.x", "c", "b.y"], str, ["c", "b"]) == [
        *("c", "b.x", "b.y"),
        "a",
    ]
    assert in_torch_order(["m.b", "p", "n.q", "m.a.x", "m.c"]) == [
        *("p", "m.b", "m.c", "m.a.x"),
        "n.q",
    ]


def test_counts_without_the_graph_leave_it_to_the_graph() -> None:
    text = spec("register conv2", "conv 3x3 4  x(n)").replace("Net {", "Net<n = 2> {")
    module = load_text(text, "net.arch")
    assert count_layers(module, SharedLayers(), params={"n": 3}) is None
    assert archdsl.loads(text, params={"n": 3}).root.registered == ("conv2",)
    with pytest.raises(archdsl.SpecError, match="no part of this body is named"):
        archdsl.loads(text, params={"n": 1})
