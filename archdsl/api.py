"""The package as functions: load a network, then analyse, emit, build or draw it."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .diagnostics import Diagnostic, SpecError, did_you_mean
from .limits import MAX_FILE_BYTES, MAX_INTEGER
from .resources import shipped_presets, shipped_specs

if TYPE_CHECKING:
    from torch import nn  # noqa: TID251 (only its name is needed)

    from .ir import Network
    from .passes.analysis import Analysis
    from .passes.compare import Comparison
    from .passes.devices import Device
    from .source import Span
    from .syntax.loader import Module

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
) -> Network:
    """Return the network that a spec describes.

    Args:
        spec: path of a file, ``path:preset``, the name of a shipped spec or preset
            (``googlenet``, ``resnet:resnet18``, ``resnet18``), or ``-`` for stdin.
        preset: which of the spec's presets; its default one when left out.
        params: values of the network's parameters, by name: numbers, truth values,
            lists, strings, sizes as ``"3x3"``, names of blocks and layer kinds.
        input: shape of the input without the batch: ``"3x224x224"`` or its sizes.
        symbolic: whether numbers keep the expressions that code generation writes.

    Raises:
        SpecError: with all that is wrong with the spec.
        ValueError: if `input` is no shape, or two different presets are asked for.
    """
    module, named = open_spec(spec)
    if preset and named and preset != named:
        raise ValueError(f"{spec} names a preset, and another is asked for: {preset}")
    return elaborate_module(
        module, preset=preset or named, params=params, input=input, symbolic=symbolic
    )


def loads(
    text: str,
    *,
    name: str = "<text>",
    preset: str | None = None,
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    symbolic: bool = True,
) -> Network:
    """Return the network that a spec's text describes.

    Args:
        text: of the spec; it can import the library, but no files.
        name: the file name that errors show.
        preset: as for `load`.
        params: as for `load`.
        input: as for `load`.
        symbolic: as for `load`.

    Raises:
        SpecError: with all that is wrong with the spec.
        ValueError: if `input` is no shape.
    """
    from .syntax.loader import load_text

    return elaborate_module(
        load_text(text, name),
        preset=preset,
        params=params,
        input=input,
        symbolic=symbolic,
    )


def analyze(
    network: Network,
    *,
    batch: int = 1,
    dtype: str = "float32",
    optimizer: str = "sgd",
    mode: str = "eval",
    recompute: bool = False,
    tool: str | None = None,
    device: str | Device | None = None,
    budget: int | None = None,
) -> Analysis:
    """Return the network's parameters, MACs, receptive fields, memory and the rest.

    Args:
        network: what `load` returned.
        batch: samples at a time, for memory and bytes moved.
        dtype: of parameters and activations, for memory and bytes moved.
        optimizer: whose state the memory counts.
        mode: whose operations are counted, ``eval`` or ``train``.
        recompute: whether blocks are run again in the backward pass, for memory.
        tool: one whose way of counting is applied, too, such as ``fvcore``.
        device: whose time is estimated, such as ``a100-sxm-40gb``, or one of
            `archdsl.passes.devices`.
        budget: bytes of memory, for which to look for the largest batch.

    Raises:
        ValueError: if one of these is none, or the device has no rate for the dtype.
    """
    from .passes.analysis import analyze as run

    if isinstance(device, str):
        from .passes.devices import device as find

        device = find(device)
    return run(
        network,
        batch=batch,
        dtype=dtype,
        optimizer=optimizer,
        mode=mode,
        recompute=recompute,
        tool=tool,
        device=device,
        budget=budget,
    )


def compare(
    networks: Sequence[Network],
    *,
    names: Sequence[str] | None = None,
    batch: int = 1,
    dtype: str = "float32",
    optimizer: str = "sgd",
) -> Comparison:
    """Return networks side by side, and what differs in structure from the first.

    Args:
        networks: two or more, the one to compare with first.
        names: what to call each; the networks' own names when left out.
        batch: samples at a time, for the memory.
        dtype: of parameters and activations, for the memory.
        optimizer: whose state the memory counts.

    Raises:
        ValueError: if there are less than two networks, or not a name for each.
    """
    from .passes.compare import compare as run

    return run(networks, names=names, batch=batch, dtype=dtype, optimizer=optimizer)


def emit(network: Network) -> str:
    """Return the text of a Python module that defines the network in PyTorch."""
    from .backends.torch import emit as run

    return run(network)


def build(network: Network, *, allow_foreign: bool = False) -> nn.Module:
    """Return the network as a PyTorch module, freshly initialised.

    Args:
        network: what `load` returned.
        allow_foreign: whether the Python modules that the spec's `op`s name may be
            imported, and so run.

    Raises:
        ImportError: if torch, or a module of an `op`, is not installed.
        archdsl.backends.torch.ForeignCode: if an `op` names a module, and none is
            allowed.
    """
    from .backends.torch import build as run

    return run(network, allow_foreign=allow_foreign)


def render(
    network: Network,
    path: Spec | None = None,
    *,
    format: str | None = None,
    fold: bool = True,
) -> str:
    """Draw the network, and return the drawing's dot source.

    Args:
        network: what `load` returned.
        path: the file to write, if any.
        format: ``svg``, ``png``, ``pdf`` or ``dot``; the suffix of `path` tells it
            when left out.
        fold: whether repeats are drawn once, with their number.

    Raises:
        archdsl.backends.diagram.MissingExtra: if no layout engine is installed.
        archdsl.backends.diagram.UnknownFormat: if there is no such format.
    """
    from .backends.diagram import render as run

    return run(network, None if path is None else Path(path), format=format, fold=fold)


def format(text: str, *, name: str = "<text>") -> str:
    """Return a spec's text in the canonical layout.

    Args:
        text: of the spec.
        name: the file name that errors show.

    Raises:
        SpecError: if it does not parse.
    """
    from .source import Source
    from .syntax.format import format_source

    return format_source(Source(name, text))


# ---- what a SPEC names ------------------------------------------------------


def open_spec(spec: Spec) -> tuple[Module, str | None]:
    """Return the file that a spec names, loaded, and the preset it names.

    An existing file wins over a shipped name, and a whole name over `NAME:PRESET`.

    Raises:
        SpecError: if there is no such file or name, or it does not load.
    """
    from .syntax.loader import load_file

    path, preset = find_spec(spec)
    return (load_stdin() if path is None else load_file(path)), preset


def find_spec(spec: Spec) -> tuple[Path | None, str | None]:
    """Return the file (None for stdin) and the preset that a spec names.

    Raises:
        SpecError: if there is no such file or name.
    """
    text = os.fspath(spec)
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
    # `C:\net.arch` and `12:30.arch` end in no identifier, so they name a file.
    if not colon or not _IDENTIFIER.fullmatch(preset):
        raise SpecError([_not_found(text)])
    if head == "-":
        return None, preset
    found = _find_file(head)
    if found is None:
        raise SpecError([_not_found(head if len(head) > 1 else text)])
    return found, preset


def _find_file(text: str) -> Path | None:
    """Return the file of a path or of a shipped spec's name."""
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
            near = [str(p) for p in path.parent.glob("*.arch")]
        message = f"there is no file `{text}`"
        return Diagnostic("A0501", message, help=did_you_mean(text, near))
    names = [*shipped_specs(), *shipped_presets()]
    return Diagnostic(
        "A0501",
        f"there is no file or shipped network `{text}`",
        help=did_you_mean(text, names) or "`archdsl list` shows what is shipped",
    )


def load_stdin() -> Module:
    """Return the spec on standard input, loaded; it cannot import files.

    Raises:
        SpecError: if it does not load.
    """
    from .syntax.loader import Loader, decode

    data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
    return Loader(None).load(decode("<stdin>", data), None)


def elaborate_module(
    module: Module,
    *,
    preset: str | None = None,
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    symbolic: bool = True,
) -> Network:
    """Return a network of a loaded file; the arguments are those of `load`."""
    from .elaborate import elaborate

    given = {name: as_value(module, v) for name, v in (params or {}).items()}
    return elaborate(
        module,
        preset=preset,
        params=given,
        input=None if input is None else as_shape(input),
        symbolic=symbolic,
    )


def as_shape(given: str | Sequence[int]) -> tuple[int, ...]:
    """Return an input's sizes, as numbers or written ``3x224x224``.

    Raises:
        ValueError: if they are no shape of an input.
    """
    if isinstance(given, str) and not _SHAPE.fullmatch(given):
        raise ValueError(f"`{given}` is not a shape such as 3x224x224")
    sizes = given.split("x") if isinstance(given, str) else given
    shape = tuple(int(size) for size in sizes)
    shown = "x".join(map(str, shape))
    if len(shape) not in (1, 3):
        raise ValueError(
            f"`{shown}` is not a shape of an input: channels x height x width, or "
            "the length of a vector"
        )
    if not all(1 <= size <= MAX_INTEGER for size in shape):
        raise ValueError(f"`{shown}`: a size is from 1 to {MAX_INTEGER:,}")
    return shape


def as_value(module: Module, value: object) -> object:
    """Return a parameter's value so that text can stand for more than a string."""
    from .layer import kind
    from .syntax import tree

    if isinstance(value, str):
        span = _whole(value)
        if _DIMS.fullmatch(value):
            return tree.DimsLiteral(span, tuple(map(int, value.split("x"))))
        if value in module.names() or kind(value):
            return tree.Name(span, value)
    elif isinstance(value, list | tuple):
        return tuple(as_value(module, item) for item in value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a parameter of a network cannot be {value}")
    elif not isinstance(value, int | float | tree.Expr):
        raise TypeError(f"a parameter of a network cannot be {value!r}")
    return value


def _whole(text: str) -> Span:
    from .source import Source, Span

    return Span(Source("<params>", text), 0, len(text))
