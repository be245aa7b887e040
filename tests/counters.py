"""Other counting tools, as references for how they count.

Each takes a module and its inputs, and returns its own total. On the meta device,
fvcore cannot trace, and ptflops' module backend and calflops count more: there, torch
replaces kernels by Python code, which calls functions that these tools patch.

The tools run without their dependencies: what they import but do not need for counting
(downloads, progress bars, tables) is replaced by stand-ins.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, MutableSequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

import tests.oracle  # noqa: F401 (ptflops imports torchvision, which it makes loadable)
from archdsl.ir.graph import Graph, Node
from archdsl.torch.calls import CallForm

_UNUSED = {
    "fvcore": ("iopath.common.file_io", "tabulate", "termcolor", "tqdm"),
    "calflops": ("accelerate.utils", "huggingface_hub.utils", "timm", "transformers"),
}


class _Anything(ModuleType):
    """A module that has every name."""

    __path__: MutableSequence[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return mock.MagicMock(name=name)


@cache
def tool(name: str) -> Any:
    """Import a tool, with stand-ins for what it can count without."""
    before: dict[str, ModuleType | None] = {}
    for module in _UNUSED.get(name.partition(".")[0], ()):
        parts = module.split(".")
        for path in (".".join(parts[: n + 1]) for n in range(len(parts))):
            # Other tests may have loaded the real one.
            before.setdefault(path, sys.modules.get(path))
            sys.modules[path] = _Anything(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = importlib.import_module(name)
    for path, real in before.items():
        if real is None:
            del sys.modules[path]
        else:
            sys.modules[path] = real
    return found


class Refused(Exception):
    """A tool that fails on a module."""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress a tool's prints, and irrelevant warnings."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def fvcore(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return what fvcore counts for every submodule by path, the total under ``""``.

    It traces the module in its current mode.
    """
    with _quiet(), torch.no_grad():
        counts = tool("fvcore.nn").FlopCountAnalysis(module, inputs).by_module()
    return {path: _whole(count) for path, count in counts.items()}


def torchinfo(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return what torchinfo counts for every layer that it lists, by path.

    It sums the layers without parts; a layer used twice is listed twice. The module
    keeps its mode; by itself, torchinfo would switch to evaluation.
    """
    mode = "train" if module.training else "eval"
    with _quiet():
        found = tool("torchinfo").summary(
            module, input_data=list(inputs), mode=mode, verbose=0
        )
    paths = {id(part): path for path, part in module.named_modules()}
    counts: dict[str, int] = {}
    for info in found.summary_list:
        if info.is_leaf_layer:
            path = paths[info.layer_id]
            counts[path] = counts.get(path, 0) + info.macs
    counts[""] = found.total_mult_adds
    return counts


def thop(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return what thop counts for every layer by path, in evaluation mode."""
    return _thop(tool("thop"), module, inputs)


# ultralytics-thop has the same module name as thop, so it has a folder of its own.
ULTRALYTICS = Path(sys.prefix) / "ultralytics"


@cache
def _ultralytics() -> Any:
    """Import ultralytics-thop instead of thop, and restore thop afterwards."""
    ours = {n: m for n, m in sys.modules.items() if n.partition(".")[0] == "thop"}
    with (
        mock.patch.dict(sys.modules),
        mock.patch.object(sys, "path", [str(ULTRALYTICS), *sys.path]),
    ):
        for name in ours:
            del sys.modules[name]
        found = importlib.import_module("thop")
    assert found.__file__ is not None and Path(found.__file__).is_relative_to(
        ULTRALYTICS
    )
    return found


def ultralytics_thop(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return what ultralytics-thop counts for every layer, in evaluation mode."""
    return _thop(_ultralytics(), module, inputs)


def _thop(
    counter: Any, module: nn.Module, inputs: tuple[Tensor, ...]
) -> dict[str, int]:
    with _quiet():
        total, _, parts = counter.profile(
            module, inputs, verbose=False, ret_layer_info=True
        )
    counts: dict[str, int] = {}
    stack = [("", parts)]
    while stack:
        prefix, inner = stack.pop()
        for name, (count, _, below) in inner.items():
            counts[prefix + name] = _whole(count)
            stack.append((f"{prefix}{name}.", below))
    counts[""] = _whole(total)
    return counts


def ptflops(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return the total of ptflops' default backend, which counts ATen's operators."""
    return _ptflops(module, inputs, "aten")


def ptflops_module(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return the total of ptflops' backend that counts modules and functions."""
    return _ptflops(module, inputs, "pytorch")


def _ptflops(
    module: nn.Module, inputs: tuple[Tensor, ...], backend: str
) -> dict[str, int]:
    names = list(inspect.signature(module.forward).parameters)
    batch = inputs[0] if len(inputs) == 1 else dict(zip(names, inputs, strict=True))
    with _quiet(), torch.no_grad():
        total, _ = tool("ptflops").get_model_complexity_info(
            module,
            (1,),
            print_per_layer_stat=False,
            as_strings=False,
            input_constructor=lambda _: batch,
            backend=backend,
        )
    if total is None:
        raise Refused("ptflops gave no figure")
    return {"": _whole(total)}


def calflops(module: nn.Module, *inputs: Tensor) -> dict[str, int]:
    """Return what calflops counts for every submodule by path, in evaluation mode.

    As in `calculate_flops`, which also needs a parameter to find the device.
    """
    counter = tool("calflops.calculate_pipline")
    training = module.training
    pipeline = counter.CalFlopsPipline(module, False, 2.0)
    with _quiet(), torch.no_grad():
        module.eval()
        pipeline.start_flops_calculate()
        try:
            module(*inputs)
            counts = {
                path: _whole(tool("calflops.utils").get_module_flops(part))
                for path, part in module.named_modules()
            }
        finally:
            pipeline.end_flops_calculate()
            counter.module_flop_count.clear()
            counter.module_mac_count.clear()
            module.train(training)
    return counts


def _whole(count: Any) -> int:
    assert count == int(count)
    return int(count)


COUNTERS: Mapping[str, Callable[..., dict[str, int]]] = {
    "fvcore": fvcore,
    "torchinfo": torchinfo,
    "thop": thop,
    "ultralytics_thop": ultralytics_thop,
    "ptflops": ptflops,
    "ptflops_module": ptflops_module,
    "calflops": calflops,
}


# ---- how torchvision writes its networks -------------------------------------------


def torchvision_forms(model: str, graph: Graph) -> Callable[[Node], CallForm]:
    """Return the form in which torchvision writes each layer of a network.

    It uses modules where possible, except for a few calls in `forward`; the lighter
    networks end in `x.mean([2, 3])`.
    """
    last = {node.op.family: node.output for node in graph.nodes}

    def form(node: Node) -> CallForm:
        family, in_block = node.op.family, "." in node.step.path
        at_end = node.output == last[family]
        if model.startswith(("mnasnet", "shufflenet")) and family == "pool" and at_end:
            return "method"
        if model.startswith("densenet"):
            called = family in ("activation", "pool") and at_end
        elif model == "mobilenet_v2":
            called = family == "pool" and at_end
        elif model == "googlenet":
            called = family == "activation"
        elif model == "inception_v3":
            called = family == "activation" or (family == "pool" and in_block)
        else:
            called = False
        return "function" if called else "module"

    return form
