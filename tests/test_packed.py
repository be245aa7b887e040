"""`archdsl compile --inference`: convolutions that call oneDNN on a CPU.

The expected outputs come from the same network and weights without packing. Calls of
oneDNN are counted by torch's dispatcher.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.utils._python_dispatch import TorchDispatchMode

import archdsl
from archdsl.backends.torch.modules import module_of, network_class
from archdsl.transforms import Pack, pipeline
from tests.comparing import with_statistics
from tests.optional_specs import specimen
from tests.test_cli import Run, folder, run

__all__ = ["folder", "run"]

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="torch is built without oneDNN"
)

PRESETS = ["resnet18", "googlenet", "repvgg_a0", "mobilenet_v2", "mobilenet_v3_small"]
NET = """arch 1
network Net {
    input 3x12x12
    conv 3x3 8 -> relu6
    conv 3x3 8 groups=4 -> silu
    conv 3x3 12 /2 pad=0 dilation=2 -> hardswish
    conv 1x1 8 -> relu
    conv 1x1 4
    globalavgpool
    linear 3
}
"""


class Calls(TorchDispatchMode):
    """Counts calls of oneDNN's fused convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.count += "_convolution_pointwise" in str(func)
        return func(*args, **(kwargs or {}))


def counted(module: nn.Module, x: Tensor) -> tuple[Tensor, int]:
    with torch.no_grad(), Calls() as calls:
        found = module(x)
    return found, calls.count


def both(source: str, input: str | None = None) -> tuple[nn.Module, nn.Module]:
    """Return a network for inference without and with packing, with equal weights."""
    load = archdsl.loads if "\n" in source else archdsl.load
    network = pipeline(inference=True).apply(load(source, input=input))
    torch.manual_seed(0)
    plain = with_statistics(archdsl.build(network)).eval()
    packed = archdsl.build(network, inference=True).eval()
    assert list(packed.state_dict()) == list(plain.state_dict())
    packed.load_state_dict(plain.state_dict())
    return plain, packed


def close(found: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= tolerance * wanted.abs().max()


@pytest.mark.parametrize("name", PRESETS)
def test_all_convolutions_call_one_dnn_and_compute_the_same(name: str) -> None:
    plain, packed = both(name, "3x64x64")
    x = torch.randn(2, 3, 64, 64)
    found, calls = counted(packed, x)
    wanted, none = counted(plain, x)
    close(found, wanted)
    convolutions = sum(isinstance(one, nn.Conv2d) for one in plain.modules())
    assert (calls, none) == (convolutions, 0)
    # Another size, and then double precision, for which oneDNN is not called.
    x = torch.randn(1, 3, 80, 72)
    close(counted(packed, x)[0], counted(plain, x)[0])
    found, calls = counted(packed.double(), x.double())
    close(found, counted(plain.double(), x.double())[0], 1e-12)
    assert calls == 0


def test_activations_are_part_of_their_convolution() -> None:
    plain, packed = both(NET)
    activations = [
        one.activation for one in packed.modules() if isinstance(one, nn.Conv2d)
    ]
    assert activations == ["relu6", "silu", "hardswish", "relu", "none"]
    x = 4 * torch.randn(3, 3, 12, 12)
    found, calls = counted(packed, x)
    assert calls == 5
    with torch.no_grad():
        close(found, plain(x))
    close(packed(x), plain(x))  # with gradients


@pytest.mark.parametrize(
    "body",
    [
        "conv 3x3 4 -> elu",
        "a: conv 3x3 4 -> relu\n    add { | @a }",
        "a: conv 3x3 4\n    relu -> conv 3x3 4\n    output @a",
    ],
)
def test_what_others_need_too_stays(body: str) -> None:
    text = f"arch 1\nnetwork Net {{\n    input 3x8x8\n    {body}\n}}\n"
    network = archdsl.loads(text)
    made = Pack().apply(network)
    assert [s.op.word for s in made.steps()] == [s.op.word for s in network.steps()]


def test_in_a_seq_an_identity_takes_the_place_of_an_activation() -> None:
    body = "seq { conv 3x3 8 -> bn -> relu -> conv 3x3 8 -> relu -> maxpool 2x2 }"
    plain, packed = both(f"arch 1\nnetwork Net {{\n    input 3x8x8\n    {body}\n}}\n")
    (sequence,) = packed.children()
    kinds = [type(one).__name__ for one in sequence.children()]
    layer = ["PackedConv2d", "Identity"]
    assert kinds == [*layer, "Identity", *layer, "MaxPool2d"]
    x = torch.randn(1, 3, 8, 8)
    close(counted(packed, x)[0], counted(plain, x)[0])


def test_blocks_with_optional_parts() -> None:
    """One class serves calls with different code, and says defaults in some of them."""
    for case in range(16):
        plain, packed = both(specimen(case))
        x = torch.randn(2, 4, 16, 16)
        with torch.no_grad():
            close(packed(x), plain(x), 1e-3)


def test_only_plain_convolutions_are_packed() -> None:
    lines = ["conv 3x3 4 pad=same /2", "convtranspose 2x2 4 /2", "conv 3x3 4"]
    body = "\n    ".join(lines)
    _, packed = both(f"arch 1\nnetwork Net {{\n    input 3x8x8\n    {body}\n}}\n")
    kinds = [type(one).__name__ for one in packed.children()]
    assert kinds == ["SameConv2d", "ConvTranspose2d", "PackedConv2d"]
    _, packed = both("arch 1\nnetwork Net {\n    input 3x8\n    conv 3 4\n}\n")
    assert [type(one).__name__ for one in packed.children()] == ["Conv1d"]


def test_weights_may_change_at_any_time() -> None:
    plain, packed = both(NET)
    x = torch.randn(2, 3, 12, 12)

    def compare() -> None:
        found, calls = counted(packed, x)
        assert calls == 5
        close(found, counted(plain, x)[0])

    compare()
    for one in plain.parameters():
        nn.init.normal_(one)
    packed.load_state_dict(plain.state_dict())
    compare()
    for module in (plain, packed):
        for one in module.parameters():
            with torch.no_grad():
                one.mul_(0.5)
    compare()
    for module in (plain, packed):
        for one in module.parameters():
            one.data.add_(0.25)
        module.eval()
    compare()
    assert all(name.count("packed") == 0 for name in packed.state_dict())


WAYS: dict[str, Callable[[nn.Module, Tensor], nn.Module]] = {
    "deepcopy": lambda module, _: copy.deepcopy(module),
    "pickle": lambda module, _: pickle.loads(pickle.dumps(module)),
    "script": lambda module, _: torch.jit.script(module),
    "trace": lambda module, x: torch.jit.trace(module, x),
    "fx": lambda module, _: fx.symbolic_trace(module),
    "export": lambda module, x: torch.export.export(module, (x,)).module(),
    "compile": lambda module, _: torch.compile(module, backend="eager", fullgraph=True),
    "channels last": lambda module, _: module.to(memory_format=torch.channels_last),
}


@pytest.mark.parametrize("way", WAYS)
def test_clients_see_an_ordinary_module(way: str) -> None:
    plain, packed = both(NET)
    x = torch.randn(2, 3, 12, 12)
    with torch.no_grad():
        packed(x)  # packs the weights
        other = WAYS[way](packed, x)
        close(other(x), plain(x))
        close(packed(x), plain(x))
    with torch.inference_mode():
        close(packed(x), plain(x))


def test_in_bfloat16_as_well() -> None:
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("oneDNN does not compute in bfloat16 here")
    plain, packed = both(NET)
    x = torch.randn(2, 3, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        found, calls = counted(packed, x)
        wanted, _ = counted(plain, x)
    assert calls == 5 and found.dtype == wanted.dtype
    close(found.float(), wanted.float(), 0.02)
    close(counted(packed, x)[0], counted(plain, x)[0])  # in float32 again
    x = x.bfloat16()
    found, calls = counted(packed.bfloat16(), x)
    close(found.float(), counted(plain.bfloat16(), x)[0].float(), 0.02)
    assert calls == 5


def test_gradients_and_other_dtypes_are_torchs_own() -> None:
    plain, packed = both(NET)
    x = torch.randn(2, 3, 12, 12)
    with Calls() as calls:
        packed(x).sum().backward()
    plain(x).sum().backward()
    for one, other in zip(plain.parameters(), packed.parameters(), strict=True):
        close(other.grad, one.grad)  # type: ignore[arg-type]
    with torch.no_grad(), Calls() as more, torch.autocast("cpu", torch.float16):
        close(packed(x).float(), plain(x).float(), 0.02)
    with torch.inference_mode():
        made = archdsl.build(archdsl.loads(NET), inference=True).eval()
        made(x)  # inference tensors have no version counter
    assert calls.count == more.count == 0


def test_the_command(run: Run, folder: Path) -> None:
    Path("net.arch").write_text(NET, encoding="utf-8")
    call = ("compile", "net.arch", "--inference")
    packed = run(*call).out
    assert 'PackedConv2d(3, 8, kernel_size=3, padding=1, activation="relu6")' in packed
    for options in (
        ["--no-packed"],
        ["-O1"],
        ["--passes", "fold-norms"],
        ["--modules"],
    ):
        assert "Packed" not in run(*call, *options).out
    assert "PackedConv2d(3, 8" in run(*call, "-O1", "--packed").out
    assert run(*call, "--json").json["packed"] is True
    assert run("compile", "net.arch", "--json").json["packed"] is False
    made = network_class(module_of(packed, "Net"))().eval()
    assert counted(made, torch.randn(1, 3, 12, 12))[1] == 5
    for options, message in (
        (["--packed"], "--packed is for --inference"),
        (["--inference", "--modules", "--packed"], "--packed is not for --modules"),
    ):
        done = run("compile", "net.arch", *options)
        assert done.code == 2 and message in done.err
