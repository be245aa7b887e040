"""The counts of other tools: our prediction equals the tool's own total exactly.

The tests use a small network of each family; `benchmarks/bench_accuracy.py` compares
all networks at their published sizes.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module, metadata
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch import Tensor, nn

import archdsl
from archdsl.cli import main
from archdsl.ir.graph import Graph, flatten
from archdsl.layer import Layer
from archdsl.resources import shipped_specs
from archdsl.torch.calls import functions
from archdsl.torch.counting import TOOLS, count
from archdsl.values import Shape, TorchCall, TorchForm
from tests import presets
from tests.counters import COUNTERS, ULTRALYTICS, torchvision_forms
from tests.handmade import Interpreted, Sketch, chain, example
from tests.oracle import CASES, Case, macs_of
from tests.strategies import sketches
from tests.test_ops_emitted import PROBES, Probe, built, input_of, network_of

# One network of each family in which something special is counted.
FAMILIES = (
    "alexnet",
    "vgg11_bn",
    "googlenet_no_aux",
    "resnet18",
    "densenet121",
    "squeezenet1_1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mnasnet0_5",
    "shufflenet_v2_x0_5",
    "inception_v3_no_aux",
    "efficientnet_b0",
    "convnext_tiny",
)
# The other tools switch a module to evaluation mode.
KEEP_THE_MODE = ("fvcore", "torchinfo")

every_family = pytest.mark.parametrize(
    "case", [CASES[i] for i in FAMILIES], ids=FAMILIES
)


def small(case: Case) -> archdsl.Network:
    """Return our network for a small input."""
    return case.load("x".join(map(str, case.batch[1:])))


def filled(module: nn.Module) -> nn.Module:
    """Allocate a module from the meta device; the values do not matter."""
    return module.to_empty(device="cpu").eval()


def totals(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return the total of each tool."""
    return {tool: run(module, *inputs)[""] for tool, run in COUNTERS.items()}


def predicted(graph: Graph, **options: Any) -> dict[str, int]:
    """Return the predicted total of each tool."""
    return {tool: count(graph, tool, **options).total for tool in COUNTERS}


def test_every_tool_has_its_oracle() -> None:
    assert TOOLS.keys() == {"mac", *COUNTERS}


@every_family
def test_of_the_emitted_module(case: Case) -> None:
    network = small(case)
    with torch.device("meta"):
        module = archdsl.build(network)
    found = totals(filled(module), torch.zeros(1, *case.batch[1:]))
    assert predicted(flatten(network)) == found


@every_family
def test_of_torchvision(case: Case) -> None:
    graph = flatten(small(case))
    with torch.device("meta"):
        module = case.reference()
    found = totals(filled(module), torch.zeros(1, *case.batch[1:]))
    assert predicted(graph, forms=torchvision_forms(case.model, graph)) == found


@pytest.mark.parametrize("id", ["alexnet", "googlenet", "resnet50", "vgg19"])
def test_macs_at_the_published_size(id: str) -> None:
    case = CASES[id]
    with torch.device("meta"):
        module = case.reference().eval()
        found = macs_of(module, torch.empty(1, 3, case.size, case.size))
    assert count(flatten(case.load()), "mac").total == found[""]


def test_of_auxiliary_heads() -> None:
    """They only count for the tools that leave a module in training mode."""
    case = CASES["googlenet"]
    graph = flatten(small(case))
    with torch.device("meta"):
        module = case.reference()
    filled(module).train()
    for tool in KEEP_THE_MODE:
        evaluated, trained = (count(graph, tool, mode).total for mode in (False, True))
        assert evaluated < trained
        found = COUNTERS[tool](module, torch.zeros(1, *case.batch[1:]))
        assert found[""] == trained
    for tool in COUNTERS.keys() - set(KEEP_THE_MODE):
        assert count(graph, tool, training=True) == count(graph, tool)


@pytest.mark.parametrize("tool", ["fvcore", "torchinfo", "thop", "calflops"])
@pytest.mark.parametrize("id", ["googlenet_no_aux", "densenet121", "convnext_tiny"])
def test_of_each_layer(id: str, tool: str) -> None:
    """The per-module figures of a tool equal the predicted ones."""
    case = CASES[id]
    network = small(case)
    graph = flatten(network)
    called = functions(network)
    with torch.device("meta"):
        module = archdsl.build(network)
    found = COUNTERS[tool](filled(module), torch.zeros(1, *case.batch[1:]))
    rows = list(zip(graph.nodes, count(graph, tool).layers, strict=True))
    modules = {n.step.path: c for n, c in rows if n.output not in called}
    # torchinfo does not list modules with parts, such as that of a global pool.
    compared = modules.keys() & found.keys()
    assert len(compared) > 0.9 * len(modules)
    assert {p: modules[p] for p in compared} == {p: found[p] for p in compared}


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES)
def test_of_every_kind_in_every_form(probe: Probe) -> None:
    """As a function, in a Sequential, and with arguments from a block."""
    found = totals(built(probe).eval(), torch.rand(1, *input_of(probe.sort)))
    assert predicted(flatten(network_of(probe))) == found


def test_what_calflops_fails_at_is_not_counted() -> None:
    network = archdsl.loads(
        "arch 1\nnetwork Net { input 3x8x8; upsample 1x2 mode=bilinear }\n"
    )
    with pytest.raises(TypeError):
        COUNTERS["calflops"](archdsl.build(network).eval(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(archdsl.SpecError, match="with a factor for each axis"):
        count(flatten(network), "calflops")


def _refuses(tool: str, graph: Graph, training: bool) -> bool:
    """Return whether a tool, or torch, does not accept a module."""
    for node in graph.nodes:
        arguments, sizes = vars(node.op), node.input_shapes[0][1:]
        word = node.op.word
        # torch refuses statistics of a single number.
        if word == "bn" and training and set(sizes) <= {1}:
            return True
        # Handmade modules get two factors or sizes. calflops raises two factors to a
        # power, and counts one size differently from two.
        if tool == "calflops" and word == "upsample":
            size = arguments["size"]
            return size is None or len(set(size)) == 1
    return False


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sketches(), st.booleans())
def test_of_random_networks(sketch: Sketch, training: bool) -> None:
    # fvcore's trace lacks values that nothing reads, which a spec cannot have.
    steps = list(sketch.network().steps())
    read = {value for step in steps for value in step.inputs}
    ends = [step.output for step in steps if step.output not in read]
    assume(ends)
    network = sketch.network(*ends)
    graph, module = flatten(network), Interpreted(network)
    inputs = example(network)
    assume(_runs(module.eval(), inputs))
    for tool, run in COUNTERS.items():
        mode = training and tool in KEEP_THE_MODE
        if not _refuses(tool, graph, mode):
            counted = count(graph, tool, mode, forms=lambda _: "module")
            assert counted.total == run(module.train(mode), *inputs)[""], tool
            assert counted.total == sum(counted.layers)
            assert len(counted.layers) == len(graph.nodes)


def _runs(module: nn.Module, inputs: list[Tensor]) -> bool:
    """Return whether torch runs it: instance norm needs more than one position."""
    try:
        with torch.no_grad():
            module(*inputs)
    except ValueError:
        return False
    return True


def test_of_weights_used_twice() -> None:
    """They count each time they are used."""
    network = archdsl.load("siamese")
    with torch.device("meta"):
        module = archdsl.build(network)
    images = [torch.zeros(1, 1, 105, 105)] * 2
    assert predicted(flatten(network)) == totals(filled(module), *images)


def test_of_a_bias_over_positions() -> None:
    """ptflops loses a bias if the map is only permuted."""
    last, first = ("permute", {"channels": "last"}), ("permute", {"channels": "first"})
    linear = ("linear", {"width": 5})
    for layers in (
        (last, linear),
        (last, "relu", linear),
        (last, "layernorm", linear),
        ("layernorm", last, linear),
        (last, linear, first, ("conv", {"kernel": (3, 3)}), last, linear),
    ):
        network = chain((8, 4, 3), *layers)
        found = totals(Interpreted(network).eval(), *example(network))
        assert predicted(flatten(network), forms=lambda _: "module") == found


FOREIGN = """arch 1
op mine<width> {
    torch = "some.Class"
    shape = [width, in_height, in_width]
    macs = channels * width * in_height * in_width
}
network Foreign {
    input 3x8x8
    mine 4
    conv 3x3 2
}
"""


def test_of_foreign_layers() -> None:
    """The inside of a class is unknown, so the MACs declared in the spec count."""
    graph = flatten(archdsl.loads(FOREIGN))
    declared = 3 * 4 * 64
    expected = {tool: declared for tool in TOOLS} | {"calflops": 2 * declared}
    assert {tool: count(graph, tool).layers[0] for tool in TOOLS} == expected


@pytest.mark.parametrize("name", sorted(shipped_specs()))
def test_which_layers_are_functions(name: str) -> None:
    """All other layers are submodules, at their paths."""
    network = presets.network(name)
    with torch.device("meta"):
        modules = dict(presets.built(name).named_modules())
    own = [step for step in network.steps() if not step.shared]
    expected = {step.output for step in own if step.path not in modules}
    found = functions(network)
    assert {step.output for step in own if step.output in found} == expected


PARAMETER_OF_A_BLOCK = """arch 1
block unit<k> {
    conv 3x3 4 -> maxpool (k)
}
network Net {
    input 3x16x16
    unit<k = 2> -> unit<k = 3>
}
"""


def test_what_reads_a_parameter_is_a_module() -> None:
    """In a network whose numbers have no expressions, it is a function."""
    symbolic = archdsl.loads(PARAMETER_OF_A_BLOCK)
    plain = archdsl.loads(PARAMETER_OF_A_BLOCK, symbolic=False)
    assert not functions(symbolic)
    assert len(functions(plain)) == 2
    for network in (symbolic, plain):
        module = archdsl.build(network).eval()
        assert predicted(flatten(network)) == totals(module, torch.zeros(1, 3, 16, 16))


class Product(Layer):
    """A merge that no counting convention knows."""

    word = "product"
    family = "merge"
    arity = None
    form: ClassVar[TorchForm]

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        return self.form


_OWN_CLASS = """
class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.multiplied(x, y)

    def multiplied(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.einsum("ncij,ncjk->ncik", x.relu(), y)
"""
# The tools that do not look at functions.
MODULES_ALONE = {"mac", "torchinfo", "thop"}
UNHEARD: dict[str, tuple[TorchForm, set[str]]] = {
    "torch.matmul": (TorchForm(None, "torch.matmul({0}, {1})"), MODULES_ALONE),
    "operator.matmul": (TorchForm(None, "{0} @ {1}"), MODULES_ALONE),
    "Tensor.matmul": (TorchForm(None, "{0}.relu().matmul({1})"), MODULES_ALONE),
    "torch.einsum": (
        TorchForm(TorchCall("Product"), helper=_OWN_CLASS),
        MODULES_ALONE,
    ),
    "nn.Bilinear": (
        TorchForm(TorchCall("nn.Bilinear", (6, 6, 6))),
        {"mac", "torchinfo"},
    ),
}


@pytest.mark.parametrize("name", UNHEARD)
@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_convention_does_not_know_has_no_count(tool: str, name: str) -> None:
    kind = type("Product", (Product,), {"form": UNHEARD[name][0]})
    sketch = Sketch((4, 6, 6))
    sketch.add("conv", kernel=(3, 3))
    sketch.add(kind(), 1, 1)
    graph = flatten(sketch.network())
    form = "function" if UNHEARD[name][0].module is None else "module"
    if tool in UNHEARD[name][1]:
        assert count(graph, tool, forms=lambda _: form).layers[1] == 0
        return
    with pytest.raises(archdsl.SpecError, match="it is not known how") as caught:
        count(graph, tool, forms=lambda _: form)
    (error,) = caught.value.diagnostics
    # The first that it calls, of several.
    assert error.code == "A0703" and VERSIONS[tool] in error.message
    assert f"`{name}`" in error.message or "`Tensor.relu`" in error.message


@cache
def plain_graph(probe: Probe) -> Graph:
    return flatten(archdsl.loads(probe.text, symbolic=False))


@pytest.mark.parametrize("tool", TOOLS)
def test_every_convention_knows_every_kind_in_every_form(tool: str) -> None:
    for probe in PROBES.values():
        graph = plain_graph(probe)
        for form in ("module", "function"):
            count(graph, tool, forms=lambda _, form=form: form)


VERSIONS = {
    tool: import_module(f"archdsl.torch.counting.{tool}").VERSION for tool in TOOLS
}


@pytest.mark.parametrize("tool", sorted(TOOLS.keys() - {"mac"}))
def test_the_version_is_that_of_the_oracle(tool: str) -> None:
    name, _, version = VERSIONS[tool].partition(" ")
    path = [str(ULTRALYTICS)] if tool == "ultralytics_thop" else sys.path
    (found,) = {d.version for d in metadata.distributions(name=name, path=path)}
    assert Version(found) == Version(version)


def test_both_thops_of_a_transposed_convolution_by_hand() -> None:
    """4x6x6 to 8x12x12 by 2x2 at stride 2: thop multiplies by the outputs instead."""
    layer = ("convtranspose", {"kernel": (2, 2), "width": 8, "stride": (2, 2)})
    graph = flatten(chain((4, 6, 6), layer))
    assert count(graph, "thop").total == 8 * 12 * 12 * 4 * (2 * 2)
    assert count(graph, "ultralytics_thop").total == 4 * 6 * 6 * 8 * (2 * 2)
    assert count(graph, "mac").total == 4 * 6 * 6 * 8 * (2 * 2)


def test_padding_at_a_stride() -> None:
    """A helper class pads, and then calls a function that the tools know."""
    network = archdsl.loads(
        "arch 1\nnetwork N {\n    input 3x9x8\n    conv 3x3 4 /2 pad=same\n"
        "    maxpool 2x2 /1 pad=same -> conv 4x4 2 /3 pad=same groups=2\n}\n"
    )
    module = archdsl.build(network).eval()
    assert predicted(flatten(network)) == totals(module, torch.zeros(1, 3, 9, 8))


def test_no_such_tool() -> None:
    with pytest.raises(KeyError):
        count(flatten(chain((3, 4, 4), "relu")), "abacus")


def test_the_page_about_them(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the tools' own totals for the emitted module and for torchvision's."""
    assert main(["explain", "counts"]) == 0
    page = capsys.readouterr().out
    assert all(len(line) <= 100 for line in page.splitlines())
    assert all(f"\n{tool}: " in page for tool in TOOLS)
    case = CASES["resnet50"]
    with torch.device("meta"):
        ours, theirs = case.build().eval(), case.reference().eval()
        x = torch.empty(1, 3, case.size, case.size)
    for tool in ("torchinfo", "thop", "ptflops"):
        assert f"{COUNTERS[tool](ours, x)['']:,}" in page
    assert f"{COUNTERS['thop'](theirs, x)['']:,} for thop" in page
