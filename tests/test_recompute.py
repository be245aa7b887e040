"""Modules whose backward pass recomputes blocks: the same results with less memory.

Kept memory is measured by torch's tracker; gradients are compared with those of the
module that keeps everything.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archdsl
import archdsl.backends.torch as backend
from archdsl.backends.torch import recomputed
from archdsl.backends.torch.check import UnsafeCode, check_text
from archdsl.backends.torch.style import Style
from archdsl.backends.torch.validate import Miscompiled, parse_module, validate
from archdsl.ir import Network
from archdsl.ir.graph import flatten
from archdsl.passes.memory import memory
from archdsl.passes.recompute import parts
from tests import generated, handmade, manual_specs, optional_specs
from tests.comparing import named_outputs
from tests.test_cli import Run, folder, run
from tests.test_peak import _kept, _made

__all__ = ["folder", "run"]

MIB = 2**20
STYLE = Style(recompute=True)

# Blocks in sequences and loops, and with heads that only training has.
PRESETS = {
    "resnet18": "3x32x32",
    "densenet121": "3x32x32",
    "googlenet": "3x64x64",
}

# Groups without blocks; blocks with random layers, several inputs and shared weights.
SPECS = {
    "groups": """
network Net {
    input 3x16x16
    features: seq { conv 3x3 8; bn; relu; maxpool 2x2 }
    other: { conv 3x3 8 -> bn -> dropout2d 0.2; add { relu | tanh } }
    globalavgpool -> linear 4
}
""",
    "blocks": """
block unit<width> {
    residual {
        conv 3x3 width -> bn -> relu -> dropout 0.2
        conv 3x3 -> stochasticdepth 0.3
    }
}

network Net {
    input left 3x16x16
    input right 3x16x16
    @left -> tower: { conv 3x3 6 -> bn -> unit<6>; unit<6> }
    @right -> other: same tower
    add { @tower | @other }
    unit<6>
    globalavgpool -> linear 4
}
""",
    # Run again, an activation would change what it reads for a second time.
    "activations first": """
block unit<width> seq { leakyrelu 0.2 -> conv 3x3 width -> bn }
block named { first: { leakyrelu 0.2 }; conv 1x1 8 }

network Net {
    input 3x16x16
    conv 3x3 8
    unit<8>  x2
    conv 1x1
    named
    part: { unit<4> }
    globalavgpool -> linear 4
}
""",
}


def trained(module: nn.Module, network: Network, inputs: list[Tensor]) -> Any:
    """Return outputs, gradients and buffers after one step of training."""
    module = module.double().train()
    inputs = [one.clone().requires_grad_() for one in inputs]
    torch.manual_seed(3)  # decides what is dropped
    outputs = named_outputs(network, module(*inputs))
    generator = torch.Generator().manual_seed(4)
    total = sum(
        (one * torch.randn(one.shape, generator=generator, dtype=one.dtype)).sum()
        for one in outputs.values()
    )
    assert isinstance(total, Tensor)
    total.backward()
    gradients = {key: one.grad for key, one in module.named_parameters()}
    gradients |= {f"input {n}": one.grad for n, one in enumerate(inputs)}
    return outputs, gradients, dict(module.named_buffers())


def same(found: Any, wanted: Any, tolerance: float) -> None:
    assert list(found) == list(wanted)
    for key, value in wanted.items():
        if value is None:
            assert found[key] is None, key
        else:
            error = (found[key].double() - value.double()).abs().max()
            assert error <= tolerance * value.double().abs().max().clamp(min=1), key


def compare(network: Network) -> list[str]:
    """Check that recomputation changes no result; return the recomputed parts."""
    plain = backend.build(network)
    again = backend.build(network, recompute=True)
    again.load_state_dict(plain.state_dict(), strict=True)
    generator = torch.Generator().manual_seed(2)
    inputs = [
        torch.randn(2, *port.shape, generator=generator, dtype=torch.float64)
        for port in network.inputs
    ]
    found, wanted = (trained(one, network, inputs) for one in (again, plain))
    for mine, other in zip(found, wanted, strict=True):
        same(mine, other, 1e-10)
    counters = [v for k, v in found[2].items() if k.endswith("num_batches_tracked")]
    assert all(int(one) <= 2 for one in counters)  # 2 if a part is used twice
    with torch.no_grad():
        mine, other = (one.eval()(*inputs) for one in (again, plain))
    same(named_outputs(network, mine), named_outputs(network, other), 1e-10)
    return [part.path for part in parts(flatten(network))]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_train_as_ever(preset: str) -> None:
    assert compare(archdsl.load(preset, input=PRESETS[preset], classes=10))


@pytest.mark.parametrize("name", SPECS)
def test_all_kinds_of_parts_train_as_ever(name: str) -> None:
    assert compare(archdsl.loads(f"arch 1\n{SPECS[name]}"))


def test_random_specs_train_as_ever() -> None:
    number = 0
    for case in range(6):
        for specimens in (generated, manual_specs, optional_specs):
            text = specimens.specimen(case)
            params = manual_specs.params_of(text)
            number += bool(compare(archdsl.loads(text, params=params)))
    assert number > 4


def test_what_is_kept_is_not_overwritten() -> None:
    network = archdsl.loads(f"arch 1\n{SPECS['activations first']}")
    module = _made(lambda: archdsl.build(network, recompute=True))
    graph = flatten(network)
    figures = memory(graph, handmade.cost_of(graph), batch=4, recompute=True)
    assert figures.saved_bytes == _kept(module, network, 4)


@pytest.mark.parametrize("preset", ["densenet121", "vgg11"])
def test_what_is_kept_is_what_the_analysis_says(preset: str) -> None:
    network = archdsl.load(preset)
    module = _made(lambda: archdsl.build(network, recompute=True))
    graph = flatten(network)
    figures = memory(graph, handmade.cost_of(graph), batch=4, recompute=True)
    assert figures.saved_bytes == _kept(module, network, 4)
    if preset == "densenet121":
        # 124.6 MiB without, and 60 with torchvision's own `memory_efficient`.
        assert figures.saved_bytes / 4 < 40 * MIB


def test_without_it_the_text_is_as_ever() -> None:
    network = archdsl.load("resnet18")
    text = archdsl.emit(network, recompute=True)
    assert text.count("(Recomputed, ") == 1 and recomputed.IMPORT in text
    plain = text.replace(f"{recomputed.IMPORT}\n", "").replace("(Recomputed, ", "(")
    plain = plain.replace(recomputed.TEXT.strip() + "\n\n\n", "")
    assert plain == archdsl.emit(network)


def test_networks_without_parts_are_as_ever() -> None:
    text = "arch 1\nnetwork Net {\n    input 3x8x8\n    conv 3x3 4 -> relu\n}\n"
    network = archdsl.loads(text)
    assert archdsl.emit(network, recompute=True) == archdsl.emit(network)


def test_a_module_can_be_pickled_and_copied() -> None:
    module = archdsl.build("resnet18", recompute=True, classes=3, input="3x32x32")
    x = torch.randn(2, 3, 32, 32)
    wanted = module.eval()(x)
    for other in (pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        assert torch.equal(other(x), wanted)
        other.train()(x).sum().backward()


def test_buffers_are_the_same_tensors_after_a_backward_pass() -> None:
    module = archdsl.build("resnet18", recompute=True, classes=3, input="3x32x32")
    before = {key: id(one) for key, one in module.named_buffers()}
    module.train()(torch.randn(2, 3, 32, 32)).sum().backward()
    assert {key: id(one) for key, one in module.named_buffers()} == before
    assert module.get_buffer("layer1.0.bn1.num_batches_tracked") == 1


# ---- validation ---------------------------------------------------------------


@pytest.fixture(scope="module")
def network() -> Network:
    return archdsl.load("resnet18")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("(Recomputed, nn.Sequential)", "(nn.Sequential)"),  # not recomputed
        ("class ResNet(nn.Module)", "class ResNet(Recomputed, nn.Module)"),
        ("(Recomputed, nn.Sequential)", "(nn.Sequential, Recomputed)"),
        ("use_reentrant=False", "use_reentrant=True"),  # not the known class
        ("if again\n", "if not again\n"),
    ],
)
def test_a_text_that_runs_other_parts_again_is_refused(
    network: Network, before: str, after: str
) -> None:
    text = archdsl.emit(network, recompute=True)
    validate(parse_module(text), network, STYLE)
    assert text.count(before) == 1
    with pytest.raises(Miscompiled):
        validate(parse_module(text.replace(before, after)), network, STYLE)


def test_a_text_is_for_one_of_both(network: Network) -> None:
    with pytest.raises(Miscompiled, match="is not run again in the backward pass"):
        validate(parse_module(archdsl.emit(network)), network, STYLE)
    with pytest.raises(Miscompiled, match="is run again in the backward pass"):
        validate(parse_module(archdsl.emit(network, recompute=True)), network)


def test_only_the_very_class_may_do_what_it_does(network: Network) -> None:
    text = archdsl.emit(network, recompute=True)
    check_text(text)
    for before, after in (
        ("value.clone()", "value.detach()"),
        ("from torch.utils.checkpoint import checkpoint", "from os import system"),
        ("class Recomputed(nn.Module)", "class Other(nn.Module)"),
    ):
        with pytest.raises(UnsafeCode):
            check_text(text.replace(before, after))
    with pytest.raises(UnsafeCode):  # without the class, its import is not needed
        check_text(
            archdsl.emit(network).replace("import torch\n", f"{recomputed.IMPORT}\n")
        )


# ---- the command ------------------------------------------------------------------


def test_the_command_writes_such_a_module(run: Run, folder: Path) -> None:
    done = run("compile", "resnet18", "--recompute", "-o", "net.py")
    assert done.code == 0, done.err
    text = Path("net.py").read_text(encoding="utf-8")
    assert text == archdsl.emit("resnet18", recompute=True)
    assert run("compile", "resnet18", "--recompute", "--json").json["recompute"] is True
    done = run("compile", "resnet18", "--recompute", "--inference")
    assert done.code == 2
    assert "--recompute is for training, so it excludes --inference" in done.err
