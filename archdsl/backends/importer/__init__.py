"""Reads a PyTorch module back as a spec.

The module is run on the meta device and watched (`calls`). What it calls becomes
layers, by the declarations of the layer kinds read backwards (`forms`, `synonyms`), and
its submodules become blocks and braces (`parts`, `write`, `spec`). The result is
compared with the module (`proof`).
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archdsl.backends.importer.calls import BATCH, Call, Run, Untraceable, watch
from archdsl.backends.importer.groups import regrouped
from archdsl.backends.importer.parts import Builder, Unknown, leaves
from archdsl.backends.importer.proof import Proof, prove
from archdsl.backends.importer.spec import Spec, text_of
from archdsl.backends.importer.structure import structured
from archdsl.backends.importer.write import Writer
from archdsl.diagnostics import SpecError
from archdsl.layer import kind, words
from archdsl.naming import LANGUAGE_WORDS, refusal
from archdsl.values import Shape

if TYPE_CHECKING:
    from torch import nn

    from archdsl.ir import Network


class NotImported(ValueError):
    """A module that cannot be written as a spec; the message says what stops it.

    Attributes:
        partial: the spec that was found nevertheless; empty if there is none.
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
        layers: how many layers it has.
        blocks: how many blocks it defines.
        opaque: how many of the layers are foreign, as nothing is known of what their
            modules compute.
        compared: what was found to be equal in the module and the one built from the
            spec, such as ``outputs in training at 3x224x224``.
        seconds: how long it took.
    """

    text: str
    name: str
    layers: int
    blocks: int
    opaque: int
    compared: tuple[str, ...]
    seconds: float

    @property
    def lines(self) -> int:
        """Lines of the spec that are neither empty nor comments."""
        lines = (line.strip() for line in self.text.splitlines())
        return sum(1 for line in lines if line and not line.startswith("#"))

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "name": self.name,
            "text": self.text,
            "lines": self.lines,
            "layers": self.layers,
            "blocks": self.blocks,
            "opaque": self.opaque,
            "compared": list(self.compared),
            "seconds": round(self.seconds, 3),
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
    """Return the spec of a module, which computes the same.

    The module is run, without its weights, and compared with its spec, with them. It is
    not changed.

    Args:
        module: the module.
        inputs: shapes of its inputs, without the batch.
        name: of the network; that of the module's class if empty.
        any_order: whether the `state_dict` may have the same keys in another order. A
            spec registers parts in the order in which they run; some modules do not.

    Raises:
        NotImported: if it cannot be written as a spec, or the spec would not compute
            the same.
        ValueError: if a network cannot have that name.
    """
    called = _checked(name) if name else _network_name(type(module).__name__)
    start = time.perf_counter()
    try:
        run, heads = _watched(module, inputs)
        builder = Builder(run, module)
        top = builder.tree()
        writer = Writer(top, run, builder.shapes)
        title = f"{type(module).__name__}, imported from {type(module).__module__}."
        spec = writer.spec(called, title, heads)
        spec.ops = builder.ops.used(leaves(top.nodes))
    except (Untraceable, Unknown) as error:
        raise NotImported(str(error)) from error
    spec, text = _readable(spec)
    layers = sum(1 for _ in leaves(top.nodes))
    opaque = sum(kind(leaf.op.word) is None for leaf in leaves(top.nodes))

    def made(compared: tuple[str, ...]) -> Imported:
        seconds = time.perf_counter() - start
        return Imported(
            text, called, layers, len(spec.blocks), opaque, compared, seconds
        )

    try:
        network = _loaded(text)
    except SpecError as error:
        found = error.diagnostics[0]
        raise NotImported(
            f"the spec that was found is wrong: {found.message}", made(())
        ) from error
    proof = _proof(module, network, inputs, run, spec.outputs, any_order)
    if proof.difference:
        raise NotImported(proof.difference, made(proof.compared))
    return made(proof.compared)


def _readable(spec: Spec) -> tuple[Spec, str]:
    """Return a spec with shared blocks, and its text.

    If it is not the same network as the spec without them, that one is returned.
    """
    plain, shared = structured(spec, plain=True), structured(spec)
    flat, text = text_of(plain), text_of(shared)
    try:
        # Without expressions, equal layers are written in torch alike.
        same = _facts(_loaded(text, False)) == _facts(_loaded(flat, False))
    except SpecError:
        same = False
    return (shared, text) if same else (plain, flat)


def _facts(network: Network) -> list[Any]:
    """Return what a network computes, step by step."""
    numbers: dict[int, int] = {}
    for port in network.inputs:
        numbers[port.value] = len(numbers)
    found: list[Any] = []
    for step in network.steps():
        reads = tuple(numbers[value] for value in step.inputs)
        numbers[step.output] = len(numbers)
        weights = step.path if step.op.tensors(*step.input_shapes) else ""
        found.append((step.op.word, step.form, weights, reads, step.shape))
    return found


def _watched(module: nn.Module, inputs: Sequence[Shape]) -> tuple[Run, list[int]]:
    """Return a run of the module in training, and the outputs that only training has.

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
            "the outputs in training are not those in evaluation and more"
        )
    return run, heads


def _source(run: Run, value: int) -> tuple[str, ...]:
    """Return which modules and function give a value."""
    path: list[str] = []
    frame = run.root
    while True:
        for item in frame.items:
            if value in item.gives:
                break
        else:
            return tuple(path)
        if isinstance(item, Call):
            return (*path, item.name)
        path.append(item.path)
        frame = item


def _checked(name: str) -> str:
    """Return a name for a network.

    Raises:
        ValueError: if none can have it.
    """
    reason = refusal(name, "network", LANGUAGE_WORDS)
    reason = reason or ("is a layer kind" if name in words() else "")
    if reason:
        raise ValueError(f"`{name[:100]}` cannot name a network: it {reason}")
    return name


def _network_name(text: str) -> str:
    """Return a name for the network of a class."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")[:80]
    taken = name in words() or bool(refusal(name, "network", LANGUAGE_WORDS))
    return f"Net{name}" if taken else name


def _loaded(text: str, symbolic: bool = True) -> Network:
    from archdsl.elaborate import elaborate
    from archdsl.syntax.loader import load_text

    return elaborate(load_text(text, "<import>"), symbolic=symbolic)


def _proof(
    module: nn.Module,
    network: Network,
    inputs: Sequence[Shape],
    run: Run,
    written: Sequence[int],
    any_order: bool,
) -> Proof:
    """Compare the module with the one built from its spec."""
    from archdsl.backends.torch import build

    # Their classes are the module's own, which has run already.
    built = build(network, allow_foreign=True)
    order = [run.outputs.index(value) for value in written]
    return prove(module, built, inputs, order, any_order)
