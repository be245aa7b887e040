"""Modules from `build` and from files under pickle, script, fx and export."""

from __future__ import annotations

import copy
import inspect
import io
import linecache
import multiprocessing
import pickle
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import archdsl
from archdsl.backends.torch import modules
from archdsl.backends.torch.check import UnsafeCode
from tests import presets
from tests.oracle import fill, tensors

SPEC = """arch 1

block unit<count> {
    conv 3x3 -> tanh  x(count)
    residual { conv 3x3 -> stochasticdepth 0.5 }
}

network Net {
    input 3x8x8
    unit<2>
    unit<1>
    training output conv 1x1 2
    conv 1x1 4
    output middle: tanh
    globalavgpool
}
"""
# One of each family of torchvision, and a network that consists of a loop only, each
# with a small input size.
PRESETS = {
    "alexnet": 63,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "efficientnet_v2_s": 32,
    "googlenet": 32,
    "inception_v3": 299,
    "lraspp_mobilenet_v3_large": 64,
    "mnasnet0_5": 32,
    "mobilenet_v3_small": 32,
    "regnet_y_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_1": 32,
    "vgg11_bn": 32,
    "merge_add": 32,
}
both_modes = pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])


def built(text: str = SPEC) -> nn.Module:
    torch.manual_seed(0)
    return archdsl.build(archdsl.loads(text)).eval()


def image(size: int = 8, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, channels, size, size, generator=generator)


def outputs(module: Any, x: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        return tensors(module(x))


# ---- pickles and source ---------------------------------------------------------


def test_saved_and_loaded_as_a_whole() -> None:
    module, file = built(), io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert type(loaded) is type(module)
    torch.testing.assert_close(outputs(loaded, image()), outputs(module, image()))
    file.seek(0)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)


def test_loaded_where_nothing_was_built(tmp_path: Path) -> None:
    module = built()
    torch.save(module, tmp_path / "net.pt")
    torch.save(outputs(module, image()), tmp_path / "outputs.pt")
    program = f"""
import torch
module = torch.load({str(tmp_path / "net.pt")!r}, weights_only=False)
expected = torch.load({str(tmp_path / "outputs.pt")!r})
generator = torch.Generator().manual_seed(0)
with torch.no_grad():
    found = module(torch.randn(2, 3, 8, 8, generator=generator))
torch.testing.assert_close(found, expected)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def run_in_worker(module: nn.Module, x: Tensor, queue: Any) -> None:
    queue.put({name: tensor.numpy() for name, tensor in outputs(module, x).items()})


def test_sent_to_a_worker_process() -> None:
    module = built()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    worker = context.Process(target=run_in_worker, args=(module, image(), queue))
    worker.start()
    found = queue.get(timeout=120)
    worker.join()
    expected = outputs(module, image())
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(torch.from_numpy(found[name]), tensor)


def test_copied_and_pickled_in_part() -> None:
    module = built()
    twin = copy.deepcopy(module)
    assert type(twin) is type(module)
    torch.testing.assert_close(outputs(twin, image()), outputs(module, image()))
    part: nn.Module = module.get_submodule("unit1")
    again = pickle.loads(pickle.dumps(part))
    assert again.state_dict().keys() == part.state_dict().keys()


def test_source_is_found() -> None:
    module = built()
    assert inspect.getsource(type(module)).startswith("class Net(")
    linecache.checkcache()
    assert inspect.getsource(type(module)) in archdsl.emit(archdsl.loads(SPEC))


def test_a_pickle_runs_no_text_that_does_more_than_define_a_network() -> None:
    text = "import os\n\n\nclass Net(os.PathLike):\n    pass\n"
    with pytest.raises(UnsafeCode, match="import of os"):
        modules.unpickled(text, "Net", (), "Net")
    with pytest.raises(UnsafeCode, match="no class Other"):
        modules.unpickled(archdsl.emit(archdsl.loads(SPEC)), "Net", (), "Other")


def test_few_texts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "MAX_KEPT", 3)
    made = [built(SPEC.replace("conv 1x1 4", f"conv 1x1 {n}")) for n in range(1, 7)]
    names = [type(module).__module__ for module in made]
    assert [name in sys.modules for name in names] == [False] * 3 + [True] * 3
    first = pickle.loads(pickle.dumps(made[0]))
    torch.testing.assert_close(outputs(first, image()), outputs(made[0], image()))


# ---- torch's tools --------------------------------------------------------------


@lru_cache(maxsize=1)
def filled(preset: str) -> nn.Module:
    """Return a preset's module with values; cached, as drawing them takes long."""
    with torch.device("meta"):
        module = presets.built(preset)
    fill(module)
    return module


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_under_script(preset: str) -> None:
    """Both modes are compiled: which one a module is in is read when it runs."""
    scripted = torch.jit.script(filled(preset).train())
    assert scripted.training and not scripted.eval().training


@both_modes
@pytest.mark.parametrize("preset", PRESETS)
def test_presets_under_fx(preset: str, training: bool) -> None:
    module = filled(preset).train(training)
    x = image(PRESETS[preset], _channels(preset))
    traced = torch.fx.symbolic_trace(module)
    torch.testing.assert_close(outputs(traced, x), outputs(module, x))


def _channels(preset: str) -> int:
    return int(presets.network(preset).inputs[0].shape[0])


# A body for each helper that is emitted as a class; labels turn functions into modules.
HELPERS = {
    "StochasticDepth": "residual { conv 1x1 4 -> stochasticdepth 0.5 }",
    "StochasticDepth of vectors": """flatten
residual { linear 256 -> stochasticdepth 0.5 }""",
    "Slice": "a: slice 1 3",
    "Scale": "a: scale 0.5",
    "LayerNorm2d": "layernorm",
    "Permute": "a: permute last\nlinear 4\nb: permute first",
    "Reshape": "globalavgpool\na: reshape sequence\nb: reshape map",
    "GroupSum": "a: groupsum 2",
    "Chunk": "a: chunk 2 of=2",
    "InputScale": "conv 1x1 3 -> a: inputscale",
    "ScaledStdConv2d": "wsconv 3x3 gamma=1.7\nwsconv 3x3 /2",
    "SameStdConv2d": "wsconv 3x3 /2 pad=same gamma=1.7\nwsconv 3x3 /2 pad=same",
    "CenterCrop": "c: crop { | maxpool 2x2 }",
}


@both_modes
@pytest.mark.parametrize("body", HELPERS.values(), ids=HELPERS)
def test_helpers_under_script_and_fx(body: str, training: bool) -> None:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"arch 1\n\nnetwork Net {{\n    input 4x8x8\n{lines}}}\n"
    module = built(text).train(training)
    x = image(channels=4)
    expected = outputs(module, x)
    torch.testing.assert_close(outputs(torch.jit.script(module), x), expected)
    torch.testing.assert_close(outputs(torch.fx.symbolic_trace(module), x), expected)


def test_stochastic_depth_draws_what_torchvision_draws() -> None:
    from torchvision.ops import StochasticDepth

    module = built(
        "arch 1\n\nnetwork Net {\n    input 4x8x8\n    stochasticdepth 0.3\n}\n"
    )
    x = torch.randn(64, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    found = outputs(module.train(), x)["output"]
    expected = outputs(StochasticDepth(0.3, "row"), x)["output"]
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)


@both_modes
def test_exported_programs_keep_the_names_of_outputs(training: bool) -> None:
    module = built().train(training)
    program = torch.export.export(module, (image(),))
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file)
    expected = outputs(module, image())
    assert [*expected] == (
        ["output", "middle", "output1"] if training else ["output", "middle"]
    )
    assert [*loaded.call_spec.out_spec.context] == [*expected]
    torch.testing.assert_close(outputs(loaded.module(), image()), expected)
