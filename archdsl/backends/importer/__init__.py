"""Reads a PyTorch module back as a spec.

The module is run on the meta device, and its calls are recorded (`calls`). The calls
become layers, found by reading the declarations of the layer kinds backwards (`forms`,
`synonyms`); its submodules become blocks and braces (`parts`, `write`, `spec`). The
result is compared with the module (`proof`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from archdsl.backends.importer.calls import (
    BATCH,
    RecordedCall,
    Recording,
    Untraceable,
    watch,
)
from archdsl.backends.importer.groups import regrouped
from archdsl.backends.importer.parts import Builder, LayerLeaf, Unsupported, layers_in
from archdsl.backends.importer.proof import Proof, prove, prove_source
from archdsl.backends.importer.source import Malformed, NetworkFile
from archdsl.backends.importer.spec import SpecDraft, text_of
from archdsl.backends.importer.structure import structured
from archdsl.backends.importer.write import ContainerWriter
from archdsl.diagnostics import SpecError
from archdsl.ir.state import wanted
from archdsl.layer import kind, words
from archdsl.naming import LANGUAGE_WORDS, refusal
from archdsl.values import Shape

if TYPE_CHECKING:
    from torch import nn

    from archdsl.backends.importer.graph import ImportGraph
    from archdsl.ir import Network

    _Replayed = tuple[Recording, nn.Module]

_T = TypeVar("_T")


class NotImported(ValueError):
    """A module that cannot be written as a spec; the message says why.

    Attributes:
        partial: the part of the spec that was found; empty if there is none.
    """

    def __init__(self, message: str, partial: Imported | None = None) -> None:
        super().__init__(message)
        self.partial = partial


@dataclass(frozen=True)
class Imported:
    """A spec that was read from a module, with a report.

    Attributes:
        text: the spec.
        name: the network's name.
        layers: number of its layers.
        blocks: number of blocks that it defines.
        opaque: number of foreign layers: it is not known what their modules compute.
        compared: what was found to be equal in the module and the one built from the
            spec, such as ``outputs in training at 3x224x224``.
        seconds: time that the import took.
        notes: what was left out or changed, as sentences.
    """

    text: str
    name: str
    layers: int
    blocks: int
    opaque: int
    compared: tuple[str, ...]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def lines(self) -> int:
        """Lines of the spec that are neither empty nor comments."""
        lines = (line.strip() for line in self.text.splitlines())
        return sum(1 for line in lines if line and not line.startswith("#"))

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain data."""
        return {
            "name": self.name,
            "text": self.text,
            "lines": self.lines,
            "layers": self.layers,
            "blocks": self.blocks,
            "opaque": self.opaque,
            "compared": list(self.compared),
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return self.text


def from_module(
    module: nn.Module,
    inputs: Sequence[Shape],
    *,
    name: str = "",
    any_order: bool = False,
) -> Imported:
    """Return a spec that computes the same as a module.

    The module is first run without its weights, then compared with the spec's module
    with them. It is not changed.

    Args:
        module: the module.
        inputs: shapes of its inputs, without the batch.
        name: the name of the network; that of the module's class if empty.
        any_order: whether the `state_dict` may have the same keys in another order. A
            spec cannot change the order of tensors within a layer.

    Raises:
        NotImported: if it cannot be written as a spec, or the spec would not compute
            the same.
        ValueError: if a network cannot have that name.
    """
    start = time.perf_counter()
    if name:
        _checked(name)
    run, heads = _traced(lambda: _watched(module, inputs))

    def proof(network: Network, order: Sequence[int]) -> Proof:
        from archdsl.backends.torch import build

        # Foreign classes may be run here: they are the module's own, and have run
        # already.
        return prove(
            module, build(network, allow_foreign=True), inputs, order, any_order
        )

    origin = f"imported from {type(module).__module__}"
    return _imported(module, run, heads, name, origin, start, proof)


def from_file(
    path: Path,
    inputs: Sequence[Shape] | None = None,
    *,
    name: str = "",
    any_order: bool = False,
) -> Imported:
    """Return a spec that computes the same as a network in a file.

    The file is read as data: no code in it runs.

    Args:
        path: a program of torch.export (`.pt2`), or a model of ONNX (`.onnx`).
        inputs: shapes of its inputs, without the batch, where the file leaves them
            open; None to take the file's.
        name: the name of the network; that of its class, or of the file, if empty.
        any_order: as for `from_module`.

    Raises:
        NotImported: if the file cannot be read, or the network cannot be written as a
            spec, or the spec would not compute the same.
        MissingExtra: if a package that it needs is not installed.
        OSError: if the file cannot be read.
        ValueError: if a network cannot have that name.
    """
    from archdsl.backends.importer.graph import replay

    start = time.perf_counter()
    if name:
        _checked(name)
    source, (run, module) = _traced(lambda: _replayed(path, inputs, replay))

    def proof(network: Network, order: Sequence[int]) -> Proof:
        from archdsl.backends.torch import build

        macs = sum(
            step.op.macs(step.input_shapes, step.shape) for step in network.steps()
        )
        if macs * source.graph.batch > _MOST_MACS:
            return Proof((), "it is too large to be run and compared")
        return prove_source(source, module, build(network), order, any_order)

    shown = "".join(c for c in path.name if c.isprintable())
    found = _imported(module, run, [], name, f"imported from {shown}", start, proof)
    return replace(found, notes=tuple(source.graph.notes))


# Networks with more multiply-accumulates are not run for comparison: on a CPU, that
# would take more than a few minutes.
_MOST_MACS: Final = 10**13


def _replayed(
    path: Path,
    inputs: Sequence[Shape] | None,
    replay: Callable[[ImportGraph], _Replayed],
) -> tuple[NetworkFile, _Replayed]:
    from archdsl.backends.importer import model, program

    is_model = path.suffix.lower() == ".onnx"
    read = model.read_onnx if is_model else program.read_program
    source = read(path, inputs)
    run, module = replay(source.graph)
    return source, (regrouped(run), module)


def _traced(run: Callable[[], _T]) -> _T:
    """Call a function that traces a network.

    Raises:
        NotImported: if the network cannot be traced.
    """
    try:
        return run()
    except (Untraceable, Unsupported, Malformed) as error:
        raise NotImported(str(error)) from error


def _imported(
    module: nn.Module,
    run: Recording,
    heads: Sequence[int],
    name: str,
    origin: str,
    start: float,
    proof: Callable[[Network, Sequence[int]], Proof],
) -> Imported:
    """Return the spec of a recorded module.

    Args:
        module: the module, or bare modules with its names.
        run: the recording of its run.
        heads: outputs that only exist in training.
        name: the name of the network; that of the module's class if empty.
        origin: where it comes from, as the end of a comment.
        start: time at which the import began.
        proof: compares the network of a spec with the module; it is given the places of
            the outputs among those of the run.

    Raises:
        NotImported: if it cannot be written, or would not compute the same.
    """
    called = name or _network_name(type(module).__name__)
    builder = _traced(partial(Builder, run, module, several=True))
    given = heads, called, origin, start, proof
    try:
        return _proven(builder, *given)
    except NotImported:
        if not builder.has_several:
            raise
    # Without blocks that have several inputs or outputs.
    return _proven(_traced(partial(Builder, run, module)), *given)


def _proven(
    builder: Builder,
    heads: Sequence[int],
    called: str,
    origin: str,
    start: float,
    proof: Callable[[Network, Sequence[int]], Proof],
) -> Imported:
    """Return the spec of what a builder builds, compared with the module."""
    spec, found = _traced(lambda: _written(builder, heads, called, origin))
    spec, text = _readable(spec)
    opaque = sum(kind(leaf.op.word) is None for leaf in found)

    def made(compared: tuple[str, ...]) -> Imported:
        seconds = time.perf_counter() - start
        return Imported(
            text, called, len(found), len(spec.blocks), opaque, compared, seconds
        )

    try:
        network = _loaded(text)
    except SpecError as error:
        first = error.diagnostics[0]
        raise NotImported(
            f"the spec that was written has an error: {first.message}", made(())
        ) from error
    order = [builder.run.outputs.index(value) for value in spec.outputs]
    proven = proof(network, order)
    if proven.difference:
        raise NotImported(proven.difference, made(proven.compared))
    return made(proven.compared)


def _written(
    builder: Builder, heads: Sequence[int], called: str, origin: str
) -> tuple[SpecDraft, list[LayerLeaf]]:
    """Return a recorded module as a spec with a block for each call, and its layers.

    Raises:
        Unsupported: if a spec cannot express it.
    """
    builder, top = builder.consistent()
    writer = ContainerWriter(top, builder.run, builder)
    title = f"{type(builder.module).__name__}, {origin}."
    spec = writer.spec(called, title, heads)
    found = list(layers_in(top.nodes))
    spec.ops = builder.ops.used(found)
    return spec, found


def from_family(
    modules: Mapping[str, nn.Module],
    inputs: Sequence[Shape],
    *,
    name: str = "",
    any_order: bool = False,
) -> Imported:
    """Return several modules of one design as one file, with a preset for each.

    Args:
        modules: the modules by the names of their presets, the default one first.
        inputs: as for `from_module`, of all of them.
        name: the name of the network; that of the first module's class if empty.
        any_order: as for `from_module`.

    Raises:
        NotImported: if one cannot be written, or the preset of one would not compute
            the same.
        ValueError: if a network or preset cannot have its name.
    """
    start = time.perf_counter()
    for preset in modules:
        _checked(preset, "preset")
    first = next(iter(modules.values()))
    called = _checked(name) if name else _network_name(type(first).__name__)
    watched = {}
    for preset, module in modules.items():
        with _named(preset):
            watched[preset] = _traced(partial(_watched, module, inputs))
    heads = {preset: heads for preset, (_, heads) in watched.items()}

    def builders(several: bool) -> dict[str, Builder]:
        made = {}
        for preset, (run, _) in watched.items():
            with _named(preset):
                made[preset] = _traced(partial(Builder, run, modules[preset], several))
        return made

    made = builders(True)
    given = heads, inputs, called, start, any_order
    try:
        return _proven_family(made, *given)
    except NotImported:
        if not any(builder.has_several for builder in made.values()):
            raise
    # Without blocks that have several inputs or outputs.
    return _proven_family(builders(False), *given)


def _proven_family(
    builders: Mapping[str, Builder],
    heads: Mapping[str, Sequence[int]],
    inputs: Sequence[Shape],
    called: str,
    start: float,
    any_order: bool,
) -> Imported:
    """Return the file of what some builders build, compared with their modules."""
    from archdsl.backends.importer.family import family_spec
    from archdsl.backends.torch import build

    specs: dict[str, SpecDraft] = {}
    found: list[LayerLeaf] = []
    for preset, builder in builders.items():
        origin = f"imported from {type(builder.module).__module__}"
        given = builder, heads[preset], called, origin
        with _named(preset):
            specs[preset], layers = _traced(partial(_written, *given))
        found += layers
    text = family_spec(specs, called)
    if _difference(text, specs):
        text = family_spec(specs, called, optional=False)
    wrong = _difference(text, specs)
    if wrong:
        raise NotImported(wrong)
    compared: dict[str, None] = {}
    for preset, builder in builders.items():
        own, network = specs[preset], _loaded(text, preset=preset)
        order = [builder.run.outputs.index(value) for value in own.outputs]
        built = build(network, allow_foreign=True)
        proven = prove(builder.module, built, inputs, order, any_order)
        if proven.difference:
            raise NotImported(f"{preset}: {proven.difference}")
        compared |= dict.fromkeys(proven.compared)
    opaque = sum(kind(leaf.op.word) is None for leaf in found)
    blocks = sum(line.startswith("block ") for line in text.splitlines())
    seconds = time.perf_counter() - start
    return Imported(text, called, len(found), blocks, opaque, tuple(compared), seconds)


@contextmanager
def _named(preset: str) -> Iterator[None]:
    """Put the name of a preset before what is said to be wrong with it."""
    try:
        yield
    except NotImported as error:
        raise NotImported(f"{preset}: {error}") from error


def _readable(spec: SpecDraft) -> tuple[SpecDraft, str]:
    """Return a spec with shared blocks, and its text.

    If sharing blocks changed the network, the spec without shared blocks is returned.
    """
    plain = structured(spec, plain=True)
    flat = text_of(plain)
    try:
        # Without expressions, equal layers have equal torch code.
        wanted = _facts(_loaded(flat, False))
    except SpecError:
        return plain, flat
    # With optional parts or without, whichever is shorter.
    both = (structured(spec, optional=optional) for optional in (True, False))
    found = {text_of(one): one for one in both}
    for text in sorted(found, key=lambda text: text.count("\n")):
        try:
            if _facts(_loaded(text, False)) == wanted:
                return found[text], text
        except SpecError:
            continue
    return plain, flat


# Kinds for which the order of two inputs makes no difference.
_COMMUTATIVE: Final = ("add", "mul")


def _facts(network: Network) -> list[Any]:
    """Return everything that determines what a network computes, step by step, and the
    keys of its tensors.
    """
    numbers: dict[int, int] = {}
    for port in network.inputs:
        numbers[port.value] = len(numbers)
    found: list[Any] = []
    for step in network.steps():
        reads = tuple(numbers[value] for value in step.inputs)
        if step.op.word in _COMMUTATIVE and len(reads) == 2:
            reads = tuple(sorted(reads))
        numbers[step.output] = len(numbers)
        weights = step.path if step.op.tensors(*step.input_shapes) else ""
        found.append((step.op.word, step.form, weights, reads, step.shape))
    return [*found, *(tensor.key for tensor in wanted(network))]


def _watched(module: nn.Module, inputs: Sequence[Shape]) -> tuple[Recording, list[int]]:
    """Return a run of the module in training, and the outputs that only exist there.

    Raises:
        Untraceable: if it cannot be run without values.
    """
    from copy import deepcopy

    import torch

    try:
        bare = deepcopy(module).to("meta")
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise Untraceable(f"the module cannot be copied: {text}") from error
    tensors = [torch.empty(BATCH, *shape, device="meta") for shape in inputs]
    run = regrouped(watch(bare.train(), tensors))
    tensors = [torch.empty(BATCH, *shape, device="meta") for shape in inputs]
    calm = regrouped(watch(bare.eval(), tensors))
    if len(set(run.outputs)) != len(run.outputs) or not run.outputs:
        raise Untraceable("the module does not return different tensors")
    lasting = [_source(calm, value) for value in calm.outputs]
    heads = [v for v in run.outputs if _source(run, v) not in lasting]
    if len(run.outputs) - len(heads) != len(calm.outputs):
        raise Untraceable(
            "the outputs in training do not contain all those in evaluation"
        )
    return run, heads


def _source(run: Recording, value: int) -> tuple[str, ...]:
    """Return which modules and function compute a value."""
    path: list[str] = []
    frame = run.root
    while True:
        for item in frame.items:
            if value in item.gives:
                break
        else:
            return tuple(path)
        if isinstance(item, RecordedCall):
            return (*path, item.name)
        path.append(item.path)
        frame = item


def _difference(text: str, specs: Mapping[str, SpecDraft]) -> str:
    """Return an error if a preset of a text is not the network of its spec."""
    for preset, spec in specs.items():
        plain = text_of(structured(spec, plain=True))
        try:
            whole = _facts(_loaded(text, False, preset))
            if whole != _facts(_loaded(plain, False)):
                return f"{preset}: the spec that was written describes another network"
        except SpecError as error:
            why = error.diagnostics[0].message
            return f"{preset}: the spec that was written has an error: {why}"
    return ""


def _checked(name: str, what: str = "network") -> str:
    """Return a name for a network, or a preset.

    Raises:
        ValueError: if the name is not allowed.
    """
    reason = refusal(name, what, LANGUAGE_WORDS)
    reason = reason or ("is a layer kind" if name in words() else "")
    if reason:
        raise ValueError(f"`{name[:100]}` cannot name a {what}: it {reason}")
    return name


def _network_name(text: str) -> str:
    """Return a name for the network of a class."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:80]
    taken = name in words() or bool(refusal(name, "network", LANGUAGE_WORDS))
    return f"Net{name}" if taken else name


def _loaded(text: str, symbolic: bool = True, preset: str | None = None) -> Network:
    from archdsl.elaborate import elaborate
    from archdsl.syntax.loader import load_text

    return elaborate(load_text(text, "<import>"), preset=preset, symbolic=symbolic)
