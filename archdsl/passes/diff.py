"""The differences between two networks: layers by their paths, and checkpoint keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from archdsl.ir import Network
from archdsl.ir.graph import plain_layer
from archdsl.layer import Layer
from archdsl.values import Shape, Tensor, TorchForm

from .analysis import Analysis, LayerFacts

T = TypeVar("T")


class LayerRun(NamedTuple):
    """One run of a layer.

    Attributes:
        name: the layer's path; ``path (run 2)`` if it runs again with the weights of an
            earlier run.
        op: the layer, with plain numbers.
        facts: its figures.
        sources: names of the runs and inputs that it reads, in order.
        tensors: its parameters and buffers; none if they belong to an earlier run.
    """

    name: str
    op: Layer
    facts: LayerFacts
    sources: tuple[str, ...]
    tensors: tuple[Tensor, ...]

    @property
    def output(self) -> Shape:
        """Shape of its output."""
        return self.facts.output

    @property
    def form(self) -> TorchForm:
        """Its form in torch, with all its arguments."""
        return self.op.torch(self.facts.inputs, self.facts.output)

    def as_dict(self) -> dict[str, Any]:
        """Return the run as plain data."""
        return {
            "name": self.name,
            "kind": self.op.word,
            "label": self.op.label(),
            "output": list(self.output),
            "params": self.facts.params,
            "macs": self.facts.macs,
        }


class NetworkDifference(NamedTuple):
    """Something with different values in the two networks.

    Attributes:
        name: what it is the value of.
        old: its value in the first network; None if it has none there.
        new: its value in the second network.
    """

    name: str
    old: Any
    new: Any

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as plain data."""
        return {"name": self.name, "old": _data(self.old), "new": _data(self.new)}


class Change(NamedTuple):
    """A layer of both networks that is not the same in both.

    Attributes:
        old: the layer in the first.
        new: the layer in the second.
        arguments: those that differ, if the kind is the same; ``training`` says whether
            it only runs in training. None stands for a value that a rule decides.
        tensors: shapes of the parameters and buffers that differ.
    """

    old: LayerRun
    new: LayerRun
    arguments: tuple[NetworkDifference, ...]
    tensors: tuple[NetworkDifference, ...]

    @property
    def name(self) -> str:
        """The layer's path."""
        return self.new.name

    def as_dict(self) -> dict[str, Any]:
        """Return the change as plain data."""
        return {
            "name": self.name,
            "old": self.old.as_dict(),
            "new": self.new.as_dict(),
            "arguments": [a.as_dict() for a in self.arguments],
            "tensors": [t.as_dict() for t in self.tensors],
        }


class Keys(NamedTuple):
    """The result of loading a checkpoint of the first network into the second.

    A key is the path of a layer and the name of its tensor, as in `state_dict`. The
    tensors of a foreign layer are unknown; `path.*` stands for all of them.

    Attributes:
        loaded: number of keys that can be loaded.
        missing: keys that only the second network has, in its order.
        unexpected: keys that only the first network has, in its order.
        reshaped: common keys whose tensors differ in shape.
    """

    loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[NetworkDifference, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the keys as plain data."""
        return {
            "loaded": self.loaded,
            "missing": list(self.missing),
            "unexpected": list(self.unexpected),
            "reshaped": [key.as_dict() for key in self.reshaped],
        }


class Diff(NamedTuple):
    """The differences between two networks, with layers matched by their paths.

    Attributes:
        added: layers that only the second one has, in its order.
        removed: layers that only the first one has, in its order.
        changed: layers with another kind, other arguments or other tensors.
        moved: layers of the same kind whose output shapes differ, changed or not.
        rewired: layers and outputs that read different values, or in another order, and
            outputs that only one network has.
        keys: what happens to a checkpoint.
    """

    added: tuple[LayerRun, ...]
    removed: tuple[LayerRun, ...]
    changed: tuple[Change, ...]
    moved: tuple[NetworkDifference, ...]
    rewired: tuple[NetworkDifference, ...]
    keys: Keys

    @property
    def empty(self) -> bool:
        """Whether the networks have the same layers, wired in the same way."""
        parts = self.added, self.removed, self.changed, self.moved, self.rewired
        return not any(parts)

    def as_dict(self) -> dict[str, Any]:
        """Return the diff as plain data."""
        return {
            "added": [run.as_dict() for run in self.added],
            "removed": [run.as_dict() for run in self.removed],
            "changed": [change.as_dict() for change in self.changed],
            "moved": [shape.as_dict() for shape in self.moved],
            "rewired": [sources.as_dict() for sources in self.rewired],
            "keys": self.keys.as_dict(),
        }


def diff(first: Analysis, second: Analysis) -> Diff:
    """Return the differences between two networks, in time linear in their size.

    Initial values are not compared, nor are names that do not occur in paths, such as
    those of blocks and presets.
    """
    old, new = runs(first), runs(second)
    common = [(old[name], run) for name, run in new.items() if name in old]
    same_kind = [(a, b) for a, b in common if a.op.word == b.op.word]
    changes = [_change(a, b) for a, b in common]
    return Diff(
        added=tuple(run for name, run in new.items() if name not in old),
        removed=tuple(run for name, run in old.items() if name not in new),
        changed=tuple(change for change in changes if change is not None),
        moved=tuple(
            NetworkDifference(b.name, a.output, b.output)
            for a, b in same_kind
            if not _equal(a.output, b.output)
        ),
        rewired=(
            *_differences(
                {a.name: a.sources for a, _ in common},
                {b.name: b.sources for _, b in common},
            ),
            *_differences(_outputs(first.network, old), _outputs(second.network, new)),
        ),
        keys=_keys(tensors(old.values()), tensors(new.values())),
    )


def runs(analysis: Analysis) -> dict[str, LayerRun]:
    """Return all runs of a network's layers by name, in order."""
    makers = {port.value: port.name for port in analysis.network.inputs}
    times: Counter[str] = Counter()
    found = {}
    for facts in analysis.layers:
        step = facts.step
        times[step.path] += 1
        count = times[step.path]
        name = step.path if count == 1 else f"{step.path} (run {count})"
        op = plain_layer(step.op)
        found[name] = LayerRun(
            name,
            op,
            facts,
            tuple(makers[value] for value in step.inputs),
            () if step.shared else op.tensors(*facts.inputs),
        )
        makers[step.output] = name
    return found


def tensors(of: Iterable[LayerRun]) -> dict[str, Shape]:
    """Return the shapes of all parameters and buffers by their `state_dict` key."""
    return {
        f"{run.name}.{tensor.name}" if tensor.name else run.name: tensor.shape
        for run in of
        for tensor in run.tensors
    }


def fold(names: Iterable[str], all_names: Iterable[str]) -> dict[str, list[str]]:
    """Replace names by the outermost namespace whose names are all among them.

    A name all of whose namespaces contain other names, too, is kept.

    Args:
        names: dotted names; a subset of `all_names`.
        all_names: all names, once each.
    """
    chosen = list(names)
    sizes = Counter(space for name in all_names for space in _spaces(name))
    found = Counter(space for name in chosen for space in _spaces(name))
    folded: dict[str, list[str]] = {}
    for name in chosen:
        whole = (s for s in _spaces(name) if found[s] == sizes[s] > 1)
        folded.setdefault(next(whole, name), []).append(name)
    return folded


def _spaces(name: str) -> list[str]:
    """Return the namespaces around a name, the outermost first."""
    return [name[:at] for at, sign in enumerate(name) if sign == "."]


def _change(old: LayerRun, new: LayerRun) -> Change | None:
    arguments: Sequence[NetworkDifference] = ()
    if old.op.word == new.op.word:
        arguments = _arguments(old, new)
    shapes = _differences(_by_name(old.tensors), _by_name(new.tensors), _tensor_shape)
    if old.op.word == new.op.word and not arguments and not shapes:
        return None
    return Change(old, new, tuple(arguments), tuple(shapes))


def _arguments(old: LayerRun, new: LayerRun) -> list[NetworkDifference]:
    """Return the arguments that differ, unless they mean the same in torch."""
    trains = [r.facts.step.training for r in (old, new)]
    found = []
    if trains[0] != trains[1]:
        found.append(NetworkDifference("training", *trains))
    if old.op == new.op:
        return found
    forms = old.form, new.form
    if forms[0] == forms[1]:
        return found
    own = _differences(vars(old.op), vars(new.op))
    if not own and forms[0].module and forms[1].module:  # two foreign kinds of one name
        classes = [f"{form.origin}.{form.module.name}" for form in forms if form.module]
        own = [NetworkDifference("torch", *classes)] if classes[0] != classes[1] else []
    return found + own


def _by_name(of: tuple[Tensor, ...]) -> dict[str, Tensor]:
    return {tensor.name: tensor for tensor in of}


def _tensor_shape(tensor: Tensor | None) -> Shape | None:
    return None if tensor is None else tensor.shape


def _same(value: Any) -> Any:
    return value


def _differences(
    old: Mapping[str, T],
    new: Mapping[str, T],
    shown: Callable[[T | None], Any] = _same,
) -> list[NetworkDifference]:
    """Return the entries in which two mappings differ; those only in the first come
    last.
    """
    names = [*new, *(name for name in old if name not in new)]
    return [
        NetworkDifference(name, shown(old.get(name)), shown(new.get(name)))
        for name in names
        if old.get(name) != new.get(name)
    ]


def _equal(old: Shape, new: Shape) -> bool:
    """Return whether two shapes are equal, including the axis of the channels."""
    return old == new and type(old) is type(new)


def _outputs(
    network: Network, own: Mapping[str, LayerRun]
) -> dict[str, tuple[str, ...] | None]:
    """Return what each output of a network reads, by a name that is never a path."""
    makers = {port.value: port.name for port in network.inputs}
    makers |= {run.facts.step.output: name for name, run in own.items()}
    return {
        f"output {port.name}" + (" (training only)" if port.training else ""): (
            makers[port.value],
        )
        for port in network.outputs
    }


def _keys(old: Mapping[str, Shape], new: Mapping[str, Shape]) -> Keys:
    common = [key for key in new if key in old]
    reshaped = [
        NetworkDifference(k, old[k], new[k]) for k in common if old[k] != new[k]
    ]
    return Keys(
        loaded=len(common) - len(reshaped),
        missing=tuple(key for key in new if key not in old),
        unexpected=tuple(key for key in old if key not in new),
        reshaped=tuple(reshaped),
    )


def _data(value: Any) -> Any:
    """Return a value as it is written in JSON."""
    return [_data(part) for part in value] if isinstance(value, tuple) else value
