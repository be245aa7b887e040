"""Whether two networks are the same, apart from their positions in specs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from archdsl.backends.spec.parts import arguments_of
from archdsl.elaborate.foreign import Foreign
from archdsl.ir import Group, Network, Port, Step
from archdsl.ir.graph import plain_layer
from archdsl.layer import Layer
from archdsl.values import Last, Shape


def network_difference(
    network: Network, other: Network, words: Mapping[str, str]
) -> str:
    """Return the first difference between two networks; empty if there is none.

    It compares names and paths, layers with their arguments, connections, shapes,
    groups, sharing, chains, outputs, initialisation and claims, but not spans and the
    parameters of blocks. Values and chains may be numbered differently.

    Args:
        network: the network that was written.
        other: the network that was read from the text.
        words: the names of blocks in `network`, by their names in `other`.
    """
    return next(_Comparison(words).run(network, other), "")


class _Comparison:
    def __init__(self, words: Mapping[str, str]) -> None:
        self.words = words
        self.values: dict[int, int] = {}
        self.chains: dict[int, int] = {}
        self.chained = True  # whether chains are compared here

    def run(self, network: Network, other: Network) -> Iterator[str]:
        """Yield differences, in the order of the parts."""
        if network.name != other.name:
            yield f"the name: {network.name}, and {other.name}"
        yield from self._ports("input", network.inputs, other.inputs)
        yield from self._group(network.root, other.root)
        yield from self._ports("output", network.outputs, other.outputs)
        if network.initializers != other.initializers:
            yield "the initialisation"
        claims = [
            [(c.measure, c.op, c.value) for c in one.expectations]
            for one in (network, other)
        ]
        if claims[0] != claims[1]:
            yield "the claims"

    def _ports(
        self, what: str, ports: Sequence[Port], others: Sequence[Port]
    ) -> Iterator[str]:
        found = [
            [(p.name, _plain(p.shape), p.training) for p in one]
            for one in (ports, others)
        ]
        if found[0] != found[1]:
            yield f"the {what}s"
            return
        for port, other in zip(ports, others, strict=True):
            yield from self._value(f"the {what} {port.name}", port.value, other.value)

    def _value(self, what: str, value: int, other: int) -> Iterator[str]:
        """Compare two values, by the pairs found before."""
        if self.values.setdefault(value, other) != other:
            yield f"{what}: the value {value} is a different one"

    def _group(self, group: Group, other: Group) -> Iterator[str]:
        what = f"{group.role} {group.path or group.word}"
        word = self.words.get(other.word, other.word)
        # A shortcut other than the language's is written out, without a condition.
        written = group.role == "shortcut" and bool(group.children) and not other.name
        pairs = (
            ("role", group.role, other.role),
            ("name", "" if written else group.name, other.name),
            ("path", group.path, other.path),
            ("pattern", group.pattern, other.pattern),
            ("word", group.word, word),
            ("indexed", group.indexed, other.indexed),
            ("documentation", group.doc, other.doc),
            ("input_shape", _plain(group.input_shape), _plain(other.input_shape)),
            ("shape", _plain(group.shape), _plain(other.shape)),
            ("count", int(group.count), int(other.count)),
            ("condition", None if written else group.condition, other.condition),
            ("shared", group.shared, other.shared),
            ("alias", group.alias, other.alias),
            ("renamed_from", group.renamed_from, other.renamed_from),
            ("registered", group.registered, other.registered),
            ("training", group.training, other.training),
            ("number of parts", len(group.children), len(other.children)),
        )
        yield from _unequal(what, pairs)
        yield from self._value(f"{what}, input", group.input, other.input)
        yield from self._ports(f"input of {what}", group.ports, other.ports)
        yield from self._ports(f"output of {what}", group.extras, other.extras)
        around, self.chained = self.chained, self.chained and not written
        for child, its in zip(group.children, other.children, strict=False):
            if isinstance(child, Step):
                its = _merge_alone(its)
            if isinstance(child, Group) and isinstance(its, Group):
                yield from self._group(child, its)
            elif isinstance(child, Step) and isinstance(its, Step):
                yield from self._step(child, its)
            else:
                yield f"{what}: a layer in one, a group in the other"
        self.chained = around
        yield from self._value(f"{what}, output", group.output, other.output)

    def _step(self, step: Step, other: Step) -> Iterator[str]:
        op, its = step.op, other.op
        pairs = (
            ("name", step.name, other.name),
            ("path", step.path, other.path),
            ("pattern", step.pattern, other.pattern),
            ("label", step.labelled, other.labelled),
            ("kind", op.word, its.word),
            ("arguments", _typed(op), _typed(its)),
            ("torch", _declared(step), _declared(other)),
            ("input_shapes", _plain(step.input_shapes), _plain(other.input_shapes)),
            ("shape", _plain(step.shape), _plain(other.shape)),
            ("training", step.training, other.training),
            ("shared", step.shared, other.shared),
            ("alias", step.alias, other.alias),
            ("renamed_from", step.renamed_from, other.renamed_from),
            ("number of inputs", len(step.inputs), len(other.inputs)),
        )
        yield from _unequal(step.path, pairs)
        for value, read in zip(step.inputs, other.inputs, strict=False):
            yield from self._value(step.path, value, read)
        yield from self._value(step.path, step.output, other.output)
        same = self.chains.setdefault(step.statement, other.statement)
        if self.chained and same != other.statement:
            yield f"{step.path}: it is in another chain"


def _merge_alone(part: Step | Group) -> Step | Group:
    """Return the merge of a structure that contains nothing else."""
    if isinstance(part, Group) and part.role == "structure":
        *branches, step = part.children
        if not any(isinstance(b, Step) or b.children for b in branches):
            return step
    return part


def _declared(step: Step) -> Any:
    """Return what a spec declares about a foreign layer."""
    if not isinstance(step.op, Foreign):
        return None
    op, inputs = (
        plain_layer(step.op),
        tuple([_whole(shape) for shape in step.input_shapes]),
    )
    shape = _whole(step.shape)
    facts = op.tensors(*inputs), op.macs(inputs, shape), op.window(inputs, shape)
    return op.torch(inputs, shape), facts


def _whole(shape: Shape) -> Shape:
    return type(shape)(int(size) for size in shape)


def _unequal(what: str, pairs: Sequence[tuple[str, Any, Any]]) -> Iterator[str]:
    for name, one, other in pairs:
        if one != other:
            yield f"{what}, {name}: {one!r}, and {other!r}"


def _plain(value: Any) -> Any:
    """Return shapes without expressions, and whether channels come last."""
    if isinstance(value, tuple):
        return isinstance(value, Last), tuple(_plain(part) for part in value)
    return int(value)


def _typed(op: Layer) -> list[Any]:
    return [(name, *_exactly(value)) for name, value in arguments_of(op).items()]


def _exactly(value: Any) -> tuple[Any, ...]:
    """Return a value with its type, because 1, 1.0 and true are equal."""
    for kind in (bool, int, float):
        if isinstance(value, kind):
            return kind.__name__, kind(value)
    if isinstance(value, tuple):
        return tuple(_exactly(part) for part in value)
    return "", value
