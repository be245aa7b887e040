"""The package as functions: load a network, then analyse, emit, build or draw it."""

from __future__ import annotations

import math
import operator
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import display
from .diagnostics import Diagnostic, SpecError, did_you_mean
from .limits import MAX_FILE_BYTES, MAX_INTEGER
from .passes.setting import DEFAULT
from .resources import shipped_presets, shipped_specs

if TYPE_CHECKING:
    from torch import nn  # noqa: TID251 (only its name is needed)

    from .backends.diagram import Options
    from .backends.exported import Exported
    from .backends.importer import Imported
    from .backends.plot import Plot
    from .ir import Network
    from .linter.check import Advice, Report
    from .passes.analysis import Analysis
    from .passes.compare import Comparison
    from .passes.devices import Device
    from .passes.lean import Lean
    from .passes.recompute import RecomputeChoice
    from .syntax.loader import LoadedFile

Spec = str | os.PathLike[str]

_SHAPE = re.compile(r"[0-9]{1,10}(x[0-9]{1,10})*")
_DIMS = re.compile(r"[0-9]{1,9}(x[0-9]{1,9})+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def load(
    spec: Spec,
    *,
    preset: str | None = None,
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    symbolic: bool = True,
    **values: object,
) -> Network:
    """Return the network that a spec describes: ``load("resnet50", classes=10)``.

    Args:
        spec: path of a file, ``path:preset``, the name of a shipped spec or preset
            (``googlenet``, ``resnet:resnet18``, ``resnet18``), or ``-`` for stdin. A
            ``.json`` file holds one network, as `Network.model_dump_json` writes it.
        preset: which of the spec's presets to load; the default one if omitted.
        params: values of the network's parameters, by name: numbers, truth values,
            lists or text. Text is read as by ``-D``: ``"32"`` is a number, ``"3x3"`` is
            a size, ``"[2, 2]"`` is a list, and a word is a block, a layer kind or
            otherwise a string. Text in additional quotes is always a string.
        input: shape of the input without the batch: ``"3x224x224"``, or a sequence of
            sizes.
        symbolic: whether numbers keep their expressions, which code generation needs.
        **values: more parameters, as in `params`.

    Raises:
        SpecError: with all errors in the spec.
        TypeError: if an argument has the wrong type or is given twice.
        ValueError: if `input` is not a shape, or two different presets are asked for.
    """
    check_types(preset=preset, params=params, symbolic=symbolic)
    given = _together(params, values)
    path, named = find_spec(spec)
    if path is not None and path.suffix == ".json":
        return _load_exchanged(path, preset or named, given, input)
    module, named = open_spec(spec)
    if preset and named and preset != named:
        raise ValueError(f"{spec} names a preset, but `preset` is another: {preset}")
    return elaborate_module(
        module, preset=preset or named, params=given, input=input, symbolic=symbolic
    )


def loads(
    text: str,
    *,
    name: str = "<text>",
    preset: str | None = None,
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    symbolic: bool = True,
    **values: object,
) -> Network:
    """Return the network that the text of a spec describes.

    Args:
        text: the spec; it can import libraries, but no files.
        name: the file name to show in errors.
        preset: as for `load`.
        params: as for `load`.
        input: as for `load`.
        symbolic: as for `load`.
        **values: more parameters, as in `params`.

    Raises:
        SpecError: with all errors in the spec.
        TypeError: if an argument has the wrong type or is given twice.
        ValueError: if `input` is not a shape.
    """
    from .syntax.loader import load_text

    check_types(text=text, name=name, preset=preset, params=params, symbolic=symbolic)

    return elaborate_module(
        load_text(text, name),
        preset=preset,
        params=_together(params, values),
        input=input,
        symbolic=symbolic,
    )


def analyze(
    network: Network | Spec,
    *,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    optimizer: str = DEFAULT.optimizer,
    mode: str = DEFAULT.mode,
    recompute: bool = DEFAULT.recompute,
    tool: str | None = DEFAULT.tool,
    device: str | Device | None = DEFAULT.device,
    budget: int | None = DEFAULT.budget,
) -> Analysis:
    """Return the network's parameters, MACs, receptive fields, memory and other
    figures.

    Args:
        network: a network from `load`, or what `load` accepts: ``"resnet50"``.
        batch: batch size, for memory and memory traffic.
        dtype: data type of parameters and activations, for memory and memory traffic.
        optimizer: optimiser whose state is counted as memory.
        mode: ``eval`` or ``train``: the mode whose operations are counted.
        recompute: whether the backward pass recomputes blocks, for memory.
        tool: a tool whose count to compute as well, such as ``fvcore``.
        device: a device for which to estimate the time, such as ``a100-sxm-40gb``, or
            one from `archdsl.passes.devices`.
        budget: bytes of memory for which to find the largest batch.

    Raises:
        SpecError: if `network` names a spec with errors.
        TypeError: if an argument has the wrong type.
        ValueError: if an argument has an unknown value, or the device has no rate for
            the dtype.
    """
    from .passes.analysis import analyze as run

    check_types(batch=batch, dtype=dtype, optimizer=optimizer, mode=mode)
    check_types(recompute=recompute, tool=tool, budget=budget)
    return run(
        as_network(network),
        batch=batch,
        dtype=dtype,
        optimizer=optimizer,
        mode=mode,
        recompute=recompute,
        tool=tool,
        device=None if device is None else _as_device(device),
        budget=budget,
    )


def compare(
    networks: Sequence[Network | Spec],
    *,
    names: Sequence[str] | None = None,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    optimizer: str = DEFAULT.optimizer,
) -> Comparison:
    """Return networks side by side, and how their structure differs from the first
    one's.

    Args:
        networks: two or more, as for `analyze`. All are compared with the first.
        names: a name for each to show; the networks' own names if omitted.
        batch: batch size, for memory.
        dtype: data type of parameters and activations, for memory.
        optimizer: optimiser whose state is counted as memory.

    Raises:
        SpecError: if one of `networks` names a spec with errors.
        TypeError: if an argument has the wrong type.
        ValueError: if there are fewer than two networks, or the number of names
            differs.
    """
    from .passes.compare import compare as run

    check_types(batch=batch, dtype=dtype, optimizer=optimizer)
    if isinstance(networks, str | bytes) or not isinstance(networks, Sequence):
        raise _wrong("networks", "a list of networks", networks)
    _check_names(names)
    given = [as_network(network) for network in networks]
    return run(given, names=names, batch=batch, dtype=dtype, optimizer=optimizer)


def lean(
    network: Network | Spec,
    budget: int,
    *,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    optimizer: str = DEFAULT.optimizer,
    device: str | Device | None = DEFAULT.device,
) -> Lean:
    """Return the cheapest blocks to recompute so that a training step fits into memory.

    `emit` and `build` take its `parts` as `recompute`.

    Args:
        network: as for `analyze`.
        budget: bytes of memory that the step's peak must not exceed.
        batch: images of a step.
        dtype: data type of parameters and activations.
        optimizer: optimiser whose state is counted as memory.
        device: the device whose roofline gives the cost; without one, operations are
            counted.

    Raises:
        archdsl.passes.lean.DoesNotFit: if no choice that was found fits.
        SpecError: if `network` names a spec with errors.
        TypeError: if an argument has the wrong type.
        ValueError: if an argument has an unknown value, or the device has no rate for
            the dtype.
    """
    from .passes.lean import lean as run

    if budget is None:
        raise _wrong("budget", "an integer", budget)
    check_types(budget=budget)
    facts = analyze(network, batch=batch, dtype=dtype, optimizer=optimizer)
    return run(facts.memory, budget, None if device is None else _as_device(device))


def emit(
    network: Network | Spec,
    *,
    as_modules: bool = False,
    recompute: bool | Collection[str] = False,
    inference: bool = False,
) -> str:
    """Return the source of a Python module that defines the network in PyTorch.

    Args:
        network: as for `analyze`.
        as_modules: whether activations, pools and dropouts become modules, too, which
            hooks see. None of them then overwrites its input, as hooks may keep it.
        recompute: whether the backward pass runs blocks again, so that only their
            inputs are kept for it, as `analyze(recompute=True)` counts; or the paths of
            the blocks to run again, as from `lean`.
        inference: whether the module is for inference, as that of `archdsl compile
            --inference`: on a CPU, convolutions call oneDNN, activations included,
            unless these are to be modules. It is best for a network without norms, as
            `archdsl.transforms.pipeline` makes.

    Raises:
        SpecError: if `network` names a spec with errors.
        TypeError: if it is not a network, or another argument has the wrong type.
        ValueError: if one of the paths is not a block that can be recomputed.
    """
    from .backends.torch import emit as run

    check_types(as_modules=as_modules, inference=inference)
    return run(
        as_network(network),
        as_modules=as_modules,
        recompute=_as_again(recompute),
        inference=inference,
        packed=inference and not as_modules,
    )


def backbone(
    network: Network | Spec,
    *,
    taps: Sequence[str] = (),
    strides: Sequence[int] = (),
    head: bool = True,
) -> Network:
    """Return the part of a network that computes some of its features.

    Its layers keep their paths, so that checkpoints of the whole network fit.

    Args:
        network: as for `analyze`.
        taps: paths of layers and blocks whose outputs become those of the network, in
            this order.
        strides: strides such as 8, 16 and 32, whose last maps become outputs, too.
        head: False to end with the last map, before the global pool and classifier.

    Raises:
        SpecError: if `network` names a spec with errors.
        TypeError: if it is not a network, or another argument has the wrong type.
        ValueError: if there is no such part, or the network cannot be cut there.
    """
    from .transforms import Backbone

    _check_names(taps, "taps")
    check_types(head=head)
    if isinstance(strides, str | bytes) or not all(type(n) is int for n in strides):
        raise _wrong("strides", "a list of integers", strides)
    if any(n < 1 for n in strides):
        raise ValueError("`strides` must be 1 or more")
    return Backbone(tuple(taps), tuple(strides), head).apply(as_network(network))


def build(
    network: Network | Spec,
    *,
    allow_foreign: bool = False,
    weights: str | os.PathLike[str] | None = None,
    as_modules: bool = False,
    recompute: bool | Collection[str] = False,
    inference: bool = False,
    preset: str | None = None,
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    **values: object,
) -> nn.Module:
    """Return a network as a PyTorch module, freshly initialised or with weights.

    ``build("resnet50", classes=10)`` also loads the network.

    Args:
        network: as for `analyze`.
        allow_foreign: whether the Python modules that the spec's `op`s name may be
            imported, which runs their code.
        weights: a checkpoint to load, in any format that `archdsl weights` reads:
            safetensors or a file of `torch.save`. No code in it is run.
        as_modules: as for `emit`.
        recompute: as for `emit`.
        inference: as for `emit`.
        preset: as for `load`, if `network` names a spec.
        params: as for `load`, if `network` names a spec.
        input: as for `load`, if `network` names a spec.
        **values: more parameters, as in `params`.

    Raises:
        ImportError: if torch, a class that an `op` names, or what reads the weights
            cannot be imported.
        archdsl.backends.torch.ForeignCode: if an `op` names a module, and
            `allow_foreign` is not set.
        SpecError: if `network` names a spec with errors, or `weights` is not a
            checkpoint.
        TypeError: if `network` is not a network, an argument has the wrong type or is
            given twice, or there are parameters for a network that is already loaded.
        ValueError: if `input` is not a shape, two different presets are asked for, or
            the weights are not those of the network.
    """
    from .backends.torch import build as run
    from .ir import Network

    check_types(
        allow_foreign=allow_foreign,
        as_modules=as_modules,
        inference=inference,
        preset=preset,
        params=params,
    )
    again = _as_again(recompute)
    given = _together(params, values)
    if not (given or preset or input is not None):
        chosen = as_network(network)
    elif isinstance(network, Network):
        raise TypeError(
            f"{network.name} is already loaded: give parameters, preset and input to "
            "`load`"
        )
    else:
        chosen = load(as_spec(network), preset=preset, params=given, input=input)
    module = run(
        chosen,
        allow_foreign=allow_foreign,
        as_modules=as_modules,
        recompute=again,
        inference=inference,
        packed=inference and not as_modules,
    )
    if weights is not None:
        _load_weights(module, chosen, Path(_as_path("weights", weights)))
    return module


def _load_weights(module: nn.Module, network: Network, path: Path) -> None:
    from .backends.checkpoints import match, read_weights, state_dict

    found = match(network, read_weights(path))
    if not found.complete:
        lacking = [one.key for one in found.missing]
        lacking += [one.tensor.key for one in found.reshaped]
        more = f" and {len(lacking) - 1:,} more" if len(lacking) > 1 else ""
        raise ValueError(
            f"{path} is not a checkpoint of {network.name}: it lacks {lacking[0]}"
            f"{more}; `archdsl weights` says what fits"
        )
    module.load_state_dict(state_dict(found))


def from_module(
    module: nn.Module,
    input: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
    *,
    name: str | None = None,
    any_order: bool = False,
) -> Imported:
    """Return the spec of a PyTorch module, after checking that both compute the same.

    The module is run, first without values, and not changed. Module classes become
    blocks, and layers keep their names, so that its checkpoints load.

    Args:
        module: the module.
        input: shape of the input without the batch, or a list of shapes if there are
            several inputs.
        name: the name of the network; that of the module's class if omitted.
        any_order: whether the `state_dict` may have the same keys in another order,
            that in which the layers run.

    Raises:
        archdsl.backends.importer.NotImported: if it cannot be written as a spec, or the
            spec does not compute the same.
        ImportError: if torch is not installed.
        TypeError: if an argument has the wrong type.
        ValueError: if `input` is not a shape.
    """
    from torch import nn as torch_nn  # noqa: TID251

    from .backends.importer import from_module as run

    if name is not None:
        check_types(name=name)
    if not isinstance(module, torch_nn.Module):
        raise _wrong("module", "a torch.nn.Module", module)
    check_types(any_order=any_order)
    return run(module, _shapes(input), name=name or "", any_order=any_order)


def from_family(
    modules: Mapping[str, nn.Module],
    input: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
    *,
    name: str | None = None,
    any_order: bool = False,
) -> Imported:
    """Return several PyTorch modules of one design as one file, with a preset for each.

    Blocks are shared. Where the networks have the same form, what differs becomes a
    parameter. Each preset is compared with its module, as `from_module` does.

    Args:
        modules: the modules by the names of their presets, the default one first.
        input: shape of the input, or of several, as for `from_module`; all have it.
        name: the name of the network; that of the first module's class if omitted.
        any_order: as for `from_module`.

    Raises:
        archdsl.backends.importer.NotImported: if one cannot be written as a spec, or
            its preset does not compute the same.
        ImportError: if torch is not installed.
        TypeError: if an argument has the wrong type.
        ValueError: if `input` is not a shape, there is no module, or a name is one that
            a preset cannot have.
    """
    from torch import nn as torch_nn  # noqa: TID251

    from .backends.importer import from_family as run

    if name is not None:
        check_types(name=name)
    check_types(any_order=any_order)
    if not isinstance(modules, Mapping):
        raise _wrong("modules", "a mapping of names to modules", modules)
    if not modules:
        raise ValueError("`modules` has no module, so there is nothing to write")
    for key, module in modules.items():
        if not isinstance(key, str):
            raise _wrong("modules", "a mapping of names to modules", key)
        if not isinstance(module, torch_nn.Module):
            raise _wrong(f"modules[{key[:40]!r}]", "a torch.nn.Module", module)
    return run(modules, _shapes(input), name=name or "", any_order=any_order)


def from_file(
    path: str | Path,
    input: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]] | None = None,
    *,
    name: str | None = None,
    any_order: bool = False,
) -> Imported:
    """Return the spec of a network in a file, if both compute the same.

    The file is a torch.export program (`.pt2`) or an ONNX model (`.onnx`). It is read
    as data: no code in it runs.

    Args:
        path: the file.
        input: as for `from_module`, for files that leave sizes open.
        name: the name of the network; that of its class, or of the file, if omitted.
        any_order: as for `from_module`.

    Raises:
        archdsl.backends.importer.NotImported: if the file cannot be read, or the
            network cannot be written as a spec, or the spec does not compute the same.
        ImportError: if a package that it needs is not installed.
        OSError: if the file cannot be read.
        TypeError: if an argument has the wrong type.
        ValueError: if `input` is not a shape, or no network can have that name.
    """

    from .backends.importer import from_file as run

    if name is not None:
        check_types(name=name)
    check_types(any_order=any_order)
    if not isinstance(path, str | Path):
        raise _wrong("path", "a path", path)
    sizes = None if input is None else _shapes(input)
    return run(Path(path), sizes, name=name or "", any_order=any_order)


def _shapes(given: Any) -> list[tuple[int, ...]]:
    """Return the shapes of one input or several."""
    several = isinstance(given, Sequence) and not isinstance(given, str | bytes)
    if several and given and all(isinstance(one, str | Sequence) for one in given):
        return [as_shape(one) for one in given]
    return [as_shape(given)]


def export_onnx(
    network: Network | Spec,
    path: Spec | None = None,
    *,
    weights: Mapping[str, Any] | Spec | None = None,
    seed: int | None = None,
    opset: int = 18,
    fold: bool = True,
    batch: int | None = None,
    fixed_size: bool = False,
    int8: str | os.PathLike[str] | None = None,
    crop: float = 0.875,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
) -> Exported:
    """Return a network in evaluation mode as an ONNX model, and write it to a file.

    It is made from the network itself, without torch, and checked by onnx. The inputs
    and outputs have the names of the spec, and the tensors those of the layers.

    Args:
        network: as for `analyze`.
        path: the file to write, if any.
        weights: the network's `state_dict`, of arrays or torch tensors, or the path of
            a ``.safetensors``, ``.npz`` or ``.pt`` file that holds it.
        seed: for random weights instead, which serve to measure speed.
        opset: version of ONNX's operators.
        fold: whether batch norms are folded into neighbouring layers, and parallel
            convolutions whose outputs are added are merged.
        batch: the batch size; None for any.
        fixed_size: whether height and width must be those of the spec; otherwise they
            may be any, if all layers allow that.
        int8: a folder of images, for an int8 model: the ranges of activations are
            measured on them. `Exported.int8` says what changes.
        crop: share of the shorter side of these images that is kept.
        mean: mean to subtract from their channels, whose values are from 0 to 1; if
            empty, that of ImageNet for three channels, otherwise 0.
        std: standard deviation to then divide them by; if empty, as for the mean,
            otherwise 1.

    Raises:
        archdsl.backends.extras.MissingExtra: if a library is not installed.
        archdsl.backends.onnx.WrongWeights: if the weights do not fit.
        OSError: if a file cannot be read or written.
        SpecError: if `network` names a spec with errors, or a layer has no form in
            ONNX.
        TypeError: if an argument has the wrong type.
        ValueError: if both weights and a seed are given, or neither is, an argument is
            out of bounds, or there are no images that fit.
    """
    from .backends import onnx

    check_types(opset=opset, fixed_size=fixed_size)
    folder = None if int8 is None else Path(_as_path("int8", int8))
    looks = _looks(crop, mean, std)
    name = Path("model.onnx" if path is None else _as_path("path", path))

    def run(network: Network, weights: Mapping[str, Any], **options: Any) -> Exported:
        options = {"opset": opset, "fixed_size": fixed_size, **options}
        made = onnx.export(network, weights, path=name, **options)
        if folder is None:
            return made
        from .backends.targets.quantise import quantised

        return quantised(made, network, folder, **looks)

    return _exported(run, network, path, weights, seed, fold, batch)


def export_torch(
    network: Network | Spec,
    path: Spec | None = None,
    *,
    weights: Mapping[str, Any] | Spec | None = None,
    seed: int | None = None,
    fold: bool = True,
    batch: int | None = None,
) -> Exported:
    """Return a network in evaluation mode as a torch.export program.

    Auxiliary heads are left out. Height and width are those of the spec.

    Args:
        network: as for `analyze`.
        path: the file to write, if any; torch wants it to end in ``.pt2``.
        weights: as for `export_onnx`.
        seed: as for `export_onnx`.
        fold: as for `export_onnx`.
        batch: the batch size; None for any.

    Raises:
        archdsl.backends.extras.MissingExtra: if torch or NumPy is not installed.
        archdsl.backends.onnx.WrongWeights: if the weights do not fit.
        OSError: if a file cannot be read or written.
        SpecError: if `network` names a spec with errors, or a layer is foreign code.
        TypeError: if an argument has the wrong type.
        ValueError: if both weights and a seed are given, or neither is, or an argument
            is out of bounds.
    """
    from .backends.targets import program

    return _exported(program.export, network, path, weights, seed, fold, batch)


def export_executorch(
    network: Network | Spec,
    path: Spec | None = None,
    *,
    weights: Mapping[str, Any] | Spec | None = None,
    seed: int | None = None,
    fold: bool = True,
    batch: int | None = None,
) -> Exported:
    """Return a network in evaluation mode as a program of ExecuTorch, in float32.

    Args:
        network: as for `analyze`.
        path: the file to write, if any.
        weights: as for `export_onnx`.
        seed: as for `export_onnx`.
        fold: as for `export_onnx`.
        batch: the batch size, which is fixed; None for 1.

    Raises:
        Exception: those of `export_torch`.
    """
    from .backends.targets import executorch

    return _exported(executorch.export, network, path, weights, seed, fold, batch)


def export_openvino(
    network: Network | Spec,
    path: Spec | None = None,
    *,
    weights: Mapping[str, Any] | Spec | None = None,
    seed: int | None = None,
    fold: bool = True,
    batch: int | None = None,
    fixed_size: bool = False,
) -> Exported:
    """Return a network in evaluation mode as a model of OpenVINO, in float32.

    Args:
        network: as for `analyze`.
        path: the file to write, if any, which ends in ``.xml``; that of the weights is
            beside it, and ends in ``.bin``.
        weights: as for `export_onnx`.
        seed: as for `export_onnx`.
        fold: as for `export_onnx`.
        batch: the batch size; None for any.
        fixed_size: as for `export_onnx`.

    Raises:
        archdsl.backends.extras.MissingExtra: if a library is not installed.
        archdsl.backends.onnx.WrongWeights: if the weights do not fit.
        OSError: if a file cannot be read or written.
        SpecError: if `network` names a spec with errors, or a layer has no form in
            ONNX.
        TypeError: if an argument has the wrong type.
        ValueError: if both weights and a seed are given, or neither is, or an argument
            is out of bounds.
    """
    from .backends.targets import openvino

    check_types(fixed_size=fixed_size)
    run = partial(openvino.export, fixed_size=fixed_size)
    return _exported(run, network, path, weights, seed, fold, batch)


def _exported(
    run: Callable[..., Exported],
    network: Network | Spec,
    path: Spec | None,
    weights: Mapping[str, Any] | Spec | None,
    seed: int | None,
    fold: bool,
    batch: int | None,
) -> Exported:
    """Return what an exporter makes of a network, once its arguments are checked.

    It is written to a file, if one is given.
    """
    check_types(fold=fold)
    if batch is not None:
        check_types(batch=batch)
    file = None if path is None else Path(_as_path("path", path))
    network, given = _with_weights(network, weights, seed)
    made = run(network, given, fold=fold, batch=batch)
    if file is not None:
        made.save(file)
    return made


def _with_weights(
    network: Network | Spec, weights: Mapping[str, Any] | Spec | None, seed: int | None
) -> tuple[Network, Mapping[str, Any]]:
    """Return a network and its weights: those given, from a file, or random ones."""
    from .backends import onnx

    if (weights is None) == (seed is None):
        raise ValueError("give either `weights`, or a `seed` for random ones")
    network = as_network(network)
    if seed is not None:
        check_types(seed=seed)
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must be from 0 to {2**32 - 1:,}, not {seed}")
        return network, onnx.drawn(network, seed)
    if not isinstance(weights, Mapping):
        return network, onnx.read_tensors(Path(_as_path("weights", weights)))
    if not all(isinstance(key, str) for key in weights):
        raise TypeError("weights must be tensors by name, or the path of a file")
    return network, weights


def _looks(crop: float, mean: Sequence[float], std: Sequence[float]) -> dict[str, Any]:
    """Return how images are prepared, as the options of a `Preparation`.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if one is out of bounds.
    """
    if isinstance(crop, bool) or not isinstance(crop, int | float):
        raise _wrong("crop", "a number", crop)
    if not 0.01 <= crop <= 1:
        raise ValueError(f"`crop` must be from 0.01 to 1, not {crop}")
    for name, numbers in (("mean", mean), ("std", std)):
        given: Any = numbers
        if isinstance(given, str | bytes) or not (
            isinstance(given, Sequence)
            and all(isinstance(n, int | float) for n in given)
        ):
            raise _wrong(name, "a list of numbers", numbers)
        if any(not abs(n) < 1e6 or (name == "std" and n == 0) for n in numbers):
            raise ValueError(f"`{name}` has a number that is out of bounds")
    return {"crop": crop, "mean": mean, "deviation": std}


def render(
    network: Network | Spec,
    path: Spec | None = None,
    *,
    format: str | None = None,
    fold: bool = True,
    options: Options | None = None,
    warn: Callable[[str], None] | None = None,
) -> str:
    """Draw the network, and return the dot source of the drawing.

    Without options, the picture fits an A4 page, as with the command.

    Args:
        network: as for `analyze`.
        path: the file to write, if any.
        format: ``svg``, ``png``, ``pdf`` or ``dot``; if omitted, the suffix of `path`
            decides.
        fold: whether to draw repeats once, with their count.
        options: the options of the command, such as ``archdsl.Options(theme="dark",
            depth=1)``.
        warn: called with each warning about the picture, for example that its text is
            too small for a page.

    Raises:
        archdsl.backends.diagram.MissingExtra: if no layout engine is installed.
        archdsl.backends.diagram.UnknownPart: if there is no such block or path.
        archdsl.backends.diagram.UnknownFormat: if there is no such format.
        OSError: if the file cannot be written.
        SpecError: if `network` names a spec with errors, or cannot be drawn this way.
        TypeError: if an argument has the wrong type.
        ValueError: if an option has a value that is not allowed.
    """
    from .backends.diagram import Options
    from .backends.diagram import render as run

    check_types(format=format, fold=fold, warn=warn)
    looks = Options() if options is None else options
    if not isinstance(looks, Options):
        raise _wrong("options", "an `archdsl.Options`", looks)
    file = None if path is None else Path(_as_path("path", path))
    network = as_network(network)
    return run(network, file, format=format, fold=fold, options=looks, warn=warn)


def plot(
    networks: Network | Spec | Sequence[Network | Spec],
    *,
    show: str | None = None,
    names: Sequence[str] | None = None,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    optimizer: str = DEFAULT.optimizer,
    recompute: bool = DEFAULT.recompute,
    device: str | Device | None = DEFAULT.device,
    runs: int = 1,
) -> Plot:
    """Return a chart of the figures of networks, which is displayed in notebooks.

    Args:
        networks: one or several, as for `analyze`.
        show: ``compare``, ``costs``, ``fields``, ``gradients``, ``memory``, ``paths``
            or ``roofline``. The default is ``costs`` for one network and ``compare``
            for several.
        names: a name for each to show; if omitted, the name it was given by, or its
            own.
        batch: batch size, for memory and roofline.
        dtype: data type of parameters and activations, for memory and roofline.
        optimizer: optimiser whose state is counted as memory.
        recompute: whether the backward pass recomputes blocks, for memory.
        device: the device, for roofline.
        runs: number of runs of each network in torch, only for gradients, with seeds
            0, 1 and so on.

    Raises:
        ImportError: if `show` is ``gradients`` and torch is not installed.
        SpecError: if one of `networks` names a spec with errors.
        TypeError: if an argument has the wrong type.
        ValueError: if there is no such chart, or nothing to draw; or if `runs` is given
            for a chart other than gradients.
    """
    from .backends.plot import PlottedNetwork
    from .backends.plot import plot as run

    check_types(show=show, runs=runs)
    _check_names(names)
    given: list[Any] = [networks]
    if isinstance(networks, list | tuple):
        given = [*networks]
    kind = show or ("costs" if len(given) == 1 else "compare")
    if runs > 1 and kind != "gradients":
        raise ValueError(f'`runs` is for show="gradients", not {kind}')
    if names is not None and len(names) != len(given):
        raise ValueError(f"there are {len(given)} networks, but {len(names)} names")
    subjects = []
    for place, one in enumerate(given):
        network = as_network(one)
        name = one if isinstance(one, str) else network.name
        analysis = analyze(
            network,
            batch=batch,
            dtype=dtype,
            optimizer=optimizer,
            recompute=recompute,
            device=device,
        )
        measured = None
        if kind == "gradients":
            from .backends.torch.gradients import gradient_norms

            measured = gradient_norms(network, seeds=range(runs))
        label = names[place] if names is not None else name
        subjects.append(PlottedNetwork(label, analysis, measured))
    return run(subjects, kind)


def expand(network: Network | Spec) -> str:
    """Return the text of a spec that describes one network, with everything written
    out.

    Imports, conditions, functions and computed lists are replaced by their results.
    Blocks and repeats stay, and so do the parameters that still decide something. The
    text is read again before it is returned: it describes the same network.

    Args:
        network: as for `analyze`.

    Raises:
        SpecError: if `network` names a spec with errors.
        TypeError: if it is not a network.
        Unwritable: a ValueError, if no spec can describe the network. That only happens
            to networks made in code.
    """
    from .backends.spec import write_spec

    return write_spec(as_network(network))


def format(text: str, *, name: str = "<text>") -> str:
    """Return the text of a spec in the canonical layout.

    Args:
        text: the spec.
        name: the file name to show in errors.

    Raises:
        SpecError: if it cannot be parsed.
        TypeError: if an argument is not a string.
    """
    check_types(text=text, name=name)
    from .source import Source
    from .syntax.format import format_source

    return format_source(Source(name, text))


def list_models(include: str = "*") -> list[str]:
    """Return the names of the shipped networks, each of which `load` accepts.

    Args:
        include: a pattern that the names must match, such as ``"resnet*"``.

    Raises:
        TypeError: if `include` is not a string.
    """
    from fnmatch import fnmatchcase

    check_types(include=include)
    presets: dict[str, list[str]] = {}
    for preset, spec in shipped_presets().items():
        presets.setdefault(spec, []).append(preset)
    names = [name for spec in shipped_specs() for name in presets.get(spec, [spec])]
    return [name for name in names if fnmatchcase(name, include)]


def lint(
    spec: Spec,
    *,
    select: str | Iterable[str] = (),
    ignore: str | Iterable[str] = (),
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    **values: object,
) -> tuple[Advice, ...]:
    """Return the advice about all networks of a spec, in the order of its text.

    ``str`` of a piece of advice is what `archdsl lint` prints.

    Args:
        spec: as for `load`; if it names a preset, only that one is checked.
        select: codes or names of the rules to apply, such as ``"W0101"``; all if
            omitted.
        ignore: codes or names of rules to leave out.
        params: as for `load`.
        input: as for `load`.
        **values: more parameters, as in `params`.

    Raises:
        SpecError: with all errors in the spec.
        TypeError: if an argument has the wrong type or is given twice.
        ValueError: if there is no such rule, or `input` is not a shape.
    """
    from .linter.rule import chosen_rules

    check_types(params=params)
    parameters = _together(params, values) or {}
    shape = None if input is None else as_shape(input)
    wanted, unwanted = (
        [word for text in texts(name, given) for word in text.replace(",", " ").split()]
        for name, given in (("select", select), ("ignore", ignore))
    )
    codes = chosen_rules(wanted, unwanted)
    module, preset = open_spec(spec)
    return lint_module(module, preset, parameters, shape, codes).advice


# ---- checks of arguments ----------------------------------------------------

_WANTED: dict[str, tuple[Any, str]] = {
    **dict.fromkeys(("text", "name", "preset", "dtype", "optimizer"), (str, "a text")),
    **dict.fromkeys(("mode", "tool", "format", "show"), (str, "a text")),
    **dict.fromkeys(("batch", "budget", "runs"), (int, "an integer")),
    **dict.fromkeys(("symbolic", "recompute", "fold"), (bool, "true or false")),
    "fixed_size": (bool, "true or false"),
    "opset": (int, "an integer"),
    **dict.fromkeys(("allow_foreign", "as_modules", "head"), (bool, "true or false")),
    **dict.fromkeys(("any_order", "inference"), (bool, "true or false")),
    "params": (Mapping, "values by the names of parameters"),
    # those of a sweep
    **dict.fromkeys(("include", "where"), (str, "a text")),
    **dict.fromkeys(("top", "sample", "seed", "jobs"), (int, "an integer")),
    **dict.fromkeys(("everything", "restart"), (bool, "true or false")),
    "journal": (str | os.PathLike, "a text or a path"),
    **dict.fromkeys(("progress", "warn"), (Callable, "a function")),
    "ray": (bool | str, "true, false, or an address"),
}
_OPTIONAL = frozenset(
    {"preset", "params", "tool", "budget", "format", "where", "top", "sample", "jobs"}
    | {"journal", "progress", "show", "warn"}
)
_POSITIVE = frozenset({"batch", "runs", "top", "sample", "jobs"})


def _as_again(recompute: object) -> RecomputeChoice:
    """Return what is recomputed, if that can be.

    Raises:
        TypeError: if it is neither true or false nor paths.
    """
    if isinstance(recompute, bool):
        return recompute
    if isinstance(recompute, str | bytes) or not isinstance(recompute, Collection):
        raise _wrong("recompute", "true, false, or paths of blocks", recompute)
    _check_names(list(recompute), "recompute")
    return frozenset(recompute)


def check_types(**given: object) -> None:
    """Check the types of arguments, so that mistakes are reported here and not deep
    inside.

    Raises:
        TypeError: saying what the argument must be.
        ValueError: if it must be at least 1, and is not.
    """
    for name, value in given.items():
        if value is None and name in _OPTIONAL:
            continue
        wanted, words = _WANTED[name]
        right = isinstance(value, wanted)
        if not right or (wanted is int and isinstance(value, bool)):
            raise _wrong(name, words, value)
        if name == "params" and isinstance(value, Mapping):
            for each in value:
                if not isinstance(each, str):
                    raise _wrong(name, words, each)
        if name in _POSITIVE and isinstance(value, int) and value < 1:
            raise ValueError(f"`{name}` must be 1 or more, not {value}")


def _check_names(names: Sequence[str] | None, argument: str = "names") -> None:
    """Check that names are a list of strings.

    Raises:
        TypeError: if they are not.
    """
    texts = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if names is not None and not (texts and all(isinstance(n, str) for n in names)):
        raise _wrong(argument, "a list of texts", names)


def _wrong(name: str, words: str, value: object) -> TypeError:
    return TypeError(f"`{name}` must be {words}, not {type(value).__name__}")


def _together(
    params: Mapping[str, object] | None, values: Mapping[str, object]
) -> Mapping[str, object]:
    """Return parameters given both as a mapping and by keyword, merged.

    Raises:
        TypeError: if one is given in both ways.
    """
    if not values or not params:
        return params or values
    for name in values:
        if name in params:
            raise TypeError(f"`{_short(name)}` is given twice, in `params` and by name")
    return {**params, **values}


def texts(name: str, given: object) -> list[str]:
    """Return a string, or a sequence of strings, as a list.

    Raises:
        TypeError: if it is neither.
    """
    parts = [given] if isinstance(given, str) else given
    if not isinstance(parts, Iterable) or isinstance(parts, bytes | Mapping):
        raise _wrong(name, "a text or a list of texts", given)
    found = list(parts)
    for part in found:
        if not isinstance(part, str):
            raise _wrong(name, "a text or a list of texts", part)
    return found


def as_spec(given: object) -> Spec:
    """Return the SPEC as text.

    Raises:
        TypeError: if it is not a string or path.
    """
    if not isinstance(given, str | os.PathLike):
        raise _wrong("network", "what `load` returns, or what it takes", given)
    return given


def _as_path(name: str, value: object) -> str:
    """Return a path as text.

    Raises:
        TypeError: if it is not a path, or is a path in bytes.
    """
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise _wrong(name, "a text or a path", value)
    return text


def _as_device(given: str | Device) -> Device:
    from .passes.devices import Device, device

    if isinstance(given, str):
        return device(given)
    if not isinstance(given, Device):
        raise _wrong("device", "the name of a device, or a Device", given)
    return given


def as_network(given: Network | Spec) -> Network:
    """Return a network; load it if it is given by name.

    Raises:
        SpecError: if the spec has errors.
        TypeError: if it is not a network.
    """
    from .ir import Network

    if isinstance(given, Network):
        return given
    return load(as_spec(given))


# ---- finding and loading a SPEC ---------------------------------------------


def _load_exchanged(
    path: Path, preset: str | None, params: Mapping[str, object], input: object
) -> Network:
    """Return the network of a JSON file.

    Raises:
        SpecError: with all that is wrong with it, or if something is to be changed.
    """
    from .ir import Network
    from .ir.verify import InvalidNetwork
    from .limits import MAX_NETWORK_BYTES
    from .syntax.loader import read_bytes

    data = read_bytes(path, str(path), MAX_NETWORK_BYTES)
    if preset or params or input is not None:
        what = "presets" if preset else "parameters" if params else "other input"
        raise SpecError(
            [
                Diagnostic(
                    "A0505",
                    f"{path} holds one network, which has no {what}",
                    help="load the spec instead, and write that network: `archdsl "
                    "expand SPEC -D name=value -o net.json`",
                )
            ]
        )
    try:
        return Network.model_validate_json(data)
    except InvalidNetwork as error:
        found = [f"{path}: {one}" for one in error.problems[:_MOST_SHOWN]]
        raise SpecError([Diagnostic("A0505", each) for each in found]) from None


# Of what is wrong with one file.
_MOST_SHOWN = 20


def open_spec(spec: Spec) -> tuple[LoadedFile, str | None]:
    """Return the loaded file that a SPEC refers to, and the preset that it names.

    An existing file takes precedence over a shipped name, and a complete name over
    `NAME:PRESET`.

    Raises:
        SpecError: if there is no such file or name, or it cannot be loaded.
    """
    from .syntax.loader import load_file

    path, preset = find_spec(spec)
    if path is not None and path.suffix == ".json":
        message = f"{path} is a network as JSON, but this needs a spec"
        help = f"`archdsl expand {path}` prints a spec of the network"
        raise SpecError([Diagnostic("A0505", message, help=help)])
    return (load_stdin() if path is None else load_file(path)), preset


def find_spec(spec: Spec) -> tuple[Path | None, str | None]:
    """Return the file (None for stdin) and the preset that a SPEC refers to.

    Raises:
        SpecError: if there is no such file or name.
    """
    text = _as_path("spec", spec)
    if not isinstance(spec, str):
        return Path(text), None
    found = _find_file(text)
    if found is not None:
        return found, None
    if text == "-":
        return None, None
    if text in shipped_presets():
        return shipped_specs()[shipped_presets()[text]], text
    head, colon, preset = text.rpartition(":")
    # `C:\net.arch` and `12:30.arch` do not end in an identifier, so they are files.
    if not colon or not _IDENTIFIER.fullmatch(preset):
        raise SpecError([_not_found(text)])
    if head == "-":
        return None, preset
    found = _find_file(head)
    if found is None:
        raise SpecError([_not_found(head if len(head) > 1 else text)])
    return found, preset


def _find_file(text: str) -> Path | None:
    """Return the file with a path, or of a shipped spec."""
    if text != "-" and os.path.exists(text) and not os.path.isdir(text):
        return Path(text)
    return shipped_specs().get(text)


def _not_found(text: str) -> Diagnostic:
    if os.path.isdir(text):
        return Diagnostic("A0501", f"{text} is a folder, not a spec")
    if text in shipped_presets():
        message = f"`{text}` is a preset, which has no presets of its own"
        return Diagnostic("A0501", message)
    path = Path(text)
    if path.suffix == ".arch" or len(path.parts) > 1:
        near = []
        if os.path.isdir(path.parent):
            # A broken link is not a file, either.
            near = [str(p) for p in path.parent.glob("*.arch") if p.exists()]
        message = f"there is no file `{text}`"
        return Diagnostic("A0501", message, help=did_you_mean(text, near))
    names = [*shipped_specs(), *shipped_presets()]
    return Diagnostic(
        "A0501",
        f"there is no file or shipped network `{text}`",
        help=did_you_mean(text, names) or "`archdsl list` shows what is shipped",
    )


def load_stdin() -> LoadedFile:
    """Load the spec on standard input; it cannot import files.

    Raises:
        SpecError: if it cannot be loaded.
    """
    from .syntax.loader import Loader, decode

    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    return Loader(None).load(decode("<stdin>", data), None)


def elaborate_module(
    module: LoadedFile,
    *,
    preset: str | None = None,
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    symbolic: bool = True,
) -> Network:
    """Return a network of a loaded file; for the arguments, see `load`."""
    from .elaborate import elaborate

    given = {}
    for name, value in (params or {}).items():
        if not isinstance(name, str):
            raise _wrong("params", "values by the names of parameters", name)
        given[name] = as_value(module, value)
    return elaborate(
        module,
        preset=preset,
        params=given,
        input=None if input is None else as_shape(input),
        symbolic=symbolic,
    )


def elaborate_all(
    module: LoadedFile,
    names: Sequence[str],
    *,
    params: Mapping[str, object] | None = None,
    input: Sequence[int] | None = None,
    spec: str = "",
) -> list[Network]:
    """Return several networks of a loaded file, which error messages call `spec`.

    Raises:
        SpecError: with the errors of all of them.
    """
    from .variants import Allowance

    networks = []
    allowance = Allowance(spec or module.file.source.name, names)
    errors: dict[object, Diagnostic] = {}
    for name in names:
        try:
            networks.append(
                elaborate_module(
                    module, preset=name, params=params, input=input, symbolic=False
                )
            )
        except SpecError as error:
            for each in error.diagnostics:
                errors.setdefault((each.code, each.message, each.span), each)
            continue
        allowance.take(networks[-1])
    if errors:
        raise SpecError(errors.values())
    return networks


def lint_module(
    module: LoadedFile,
    preset: str | None,
    params: Mapping[str, object],
    input: tuple[int, ...] | None,
    codes: Collection[str] | None,
    spec: str = "",
) -> Report:
    """Return the advice about one preset of a loaded file, or about all its networks.

    Raises:
        SpecError: with the errors of all of them.
    """
    from .linter.check import lint as run
    from .variants import variants

    names = [preset] if preset else variants(module)
    return run(
        module.file,
        elaborate_all(module, names, params=params, input=input, spec=spec),
        imported=module.files(),
        codes=codes,
        complete=not (preset or params or input),
    )


def as_shape(given: str | Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of an input, given as numbers or as ``3x224x224``.

    Raises:
        TypeError: if it is neither.
        ValueError: if it is not the shape of an input.
    """
    from .values import MOST_AXES

    if isinstance(given, str) and not _SHAPE.fullmatch(given):
        raise ValueError(f"`{_short(given)}` is not a shape such as 3x224x224")
    if isinstance(given, str):
        shape = tuple(map(int, given.split("x")))
    else:
        try:
            if isinstance(given, bytes | Mapping):
                raise TypeError
            shape = tuple(operator.index(size) for size in given)
        except TypeError:
            words = "a shape such as 3x224x224, or its sizes"
            raise TypeError(f"`input` must be {words}, not {given!r}") from None
    shown = "x".join(map(str, shape))
    if not 1 <= len(shape) <= MOST_AXES + 1:
        raise ValueError(
            f"`{shown}` is not a shape of an input: channels x height x width, one or "
            "three sizes in place of these two, or the length of a vector"
        )
    if not all(1 <= size <= MAX_INTEGER for size in shape):
        raise ValueError(f"`{shown}`: a size is from 1 to {MAX_INTEGER:,}")
    return shape


def as_value(module: LoadedFile, value: object) -> object:
    """Return the value of a parameter; text is parsed as by ``-D``.

    Raises:
        TypeError: if no parameter can have a value of this type.
        ValueError: if it is not a finite number.
    """
    from .syntax import tree

    if isinstance(value, str):
        return _read_value(module, value)
    if isinstance(value, list | tuple):
        return tuple(as_value(module, item) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a parameter of a network cannot be {value}")
    if isinstance(value, int | float | tree.Expr):
        return value
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        shown = _short(repr(value))
        raise TypeError(f"a parameter of a network cannot be {shown}") from None


def _read_value(module: LoadedFile, text: str) -> object:
    """Return the value of a text: that of an expression if it is one, else a string."""
    from .layer import kind
    from .source import Source, Span
    from .syntax import tree

    source = Source("<params>", text)
    span = Span(source, 0, len(text))
    if _DIMS.fullmatch(text):
        return tree.DimsLiteral(span, tuple(map(int, text.split("x"))))
    if text in module.names() or kind(text):
        return tree.Name(span, text)
    if _IDENTIFIER.fullmatch(text) and text not in ("true", "false"):
        return text
    from .syntax.parser import check_characters, check_nesting, parse_expression

    try:
        check_characters(source)
        check_nesting(source)
        return parse_expression(source, text, 0, argument=True)
    except SpecError:
        return text


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:76]} ..."


# ---- results as text --------------------------------------------------------


def _table(analysis: Analysis) -> str:
    from .backends.table import report

    return report(analysis.network, analysis.facts)


def _side_by_side(comparison: Comparison) -> str:
    from .backends.comparison import comparison_text

    return comparison_text(comparison)


def _tables(analysis: Analysis) -> str:
    from .backends.html import html

    return html(analysis)


def _picture(network: Network) -> str | None:
    """Return a network as svg; None without a layout engine, or if it is too large."""
    from .backends.diagram import Drawing
    from .backends.extras import MissingExtra

    try:
        return Drawing(network).image("svg").decode()
    except (MissingExtra, SpecError):
        return None


display.shows("Analysis", _table)
display.shows("Analysis", _tables, "html")
display.shows("Comparison", _side_by_side)
display.shows("Network", _picture, "svg")
