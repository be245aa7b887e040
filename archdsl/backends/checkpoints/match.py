"""Matching the tensors of a checkpoint to those of a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import Final, NamedTuple

from archdsl.ir import Network
from archdsl.ir.state import Wanted, wanted
from archdsl.values import Tensor

from .checkpoint import Checkpoint, Held
from .older import OldNames
from .rules import Rules, maps, shipped_rules

# The most parts of a prefix such as ``module.`` (one) or ``model.net.`` (two).
_LONGEST_PREFIX: Final = 3


class Reshaped(NamedTuple):
    """A tensor whose shape differs from the network's.

    Attributes:
        tensor: the network's tensor.
        name: its name in the checkpoint.
        shape: its sizes there.
    """

    tensor: Wanted
    name: str
    shape: tuple[int, ...]


class Suggestion(NamedTuple):
    """A module of the checkpoint that may be a module of the network by another name.

    Attributes:
        source: its name in the checkpoint.
        target: its name in the network.
        names: its tensors' names in the checkpoint, by the network's keys.
        among: the number of unmatched modules with these shapes. If there is only one,
            it must be this one; if there are more, they are paired in order.
    """

    source: str
    target: str
    names: Mapping[str, str]
    among: int


class Match(NamedTuple):
    """The result of matching a checkpoint to a network.

    Attributes:
        checkpoint: the checkpoint.
        prefix: the prefix that its names have and the network's have not.
        rules: the rules that rename its tensors, if any.
        older: whether it has the older names of `renamed from` in the spec.
        names: the checkpoint's name of each tensor that fits, by the network's key.
        filled: counters of batch norms that it lacks; they start at 0.
        left_out: tensors of the network that are not to be loaded.
        missing: tensors of the network that it lacks.
        reshaped: tensors that have another shape there.
        extra: names in the checkpoint that the network has no place for.
        suggestions: modules that may correspond although their names differ.
        adapted: weights of first convolutions to be adapted to other input channels.
    """

    checkpoint: Checkpoint
    prefix: str
    rules: Rules | None
    older: bool
    names: Mapping[str, str]
    filled: tuple[Wanted, ...]
    left_out: tuple[Wanted, ...]
    missing: tuple[Wanted, ...]
    reshaped: tuple[Reshaped, ...]
    extra: tuple[str, ...]
    suggestions: tuple[Suggestion, ...]
    adapted: tuple[Reshaped, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every tensor that the network is to load was found."""
        return not (self.missing or self.reshaped)

    def with_adapted_input(self, network: Network) -> Match:
        """Return the match, with first convolutions adapted to other input channels.

        Their weights may only differ in the number of input channels.
        """
        inputs = {port.value for port in network.inputs}
        taken = [one for one in self.reshaped if _reads_other_channels(one, inputs)]
        return self._replace(
            reshaped=tuple([one for one in self.reshaped if one not in taken]),
            adapted=tuple(taken),
        )

    def with_suggestions(self, *, by_order: bool) -> Match:
        """Return the match, with suggestions accepted.

        Args:
            by_order: also accept those where several modules have the same shapes.
        """
        taken = [one for one in self.suggestions if by_order or one.among == 1]
        names = dict(self.names)
        for one in taken:
            names.update(one.names)
        used = set(names.values())
        return self._replace(
            names=names,
            filled=tuple([one for one in self.filled if one.key not in names]),
            missing=tuple([one for one in self.missing if one.key not in names]),
            extra=tuple([name for name in self.extra if name not in used]),
            suggestions=tuple([one for one in self.suggestions if one not in taken]),
        )


def _reads_other_channels(one: Reshaped, inputs: set[int]) -> bool:
    step, here, there = one.tensor.step, one.tensor.shape, one.shape
    if step.op.family != "conv" or not inputs.intersection(step.inputs):
        return False
    # A grouped convolution cannot be adapted: each group reads only some channels.
    whole = len(here) == len(there) > 2 and here[1] == int(step.input_shapes[0][0])
    return whole and (here[0], *here[2:]) == (there[0], *there[2:])


def match(
    network: Network,
    checkpoint: Checkpoint,
    *,
    rules: Rules | None = None,
    leave_out: Sequence[str] = (),
) -> Match:
    """Match the tensors of a checkpoint to those that a network needs.

    A prefix shared by most names is removed if more tensors match without it. Without
    `rules`, the shipped ones are tried. Older names, from `renamed from` in the spec,
    are used if more tensors match by them than by today's names.

    Args:
        network: the network.
        checkpoint: the checkpoint.
        rules: rules that rename the checkpoint's tensors.
        leave_out: paths of the network's layers and blocks that keep their initial
            weights.

    Raises:
        ValueError: if there are no weights at a path of `leave_out`, or two tensors
            would get the same name.
    """
    tensors = wanted(network)
    _check_paths(leave_out, tensors)
    kept = [one for one in tensors if not _is_below(one.key, leave_out)]
    known = [None, *map(shipped_rules, maps())] if rules is None else [rules]
    older = OldNames(network)
    ways = [
        _Renaming(prefix, one, old)
        for one in known
        for old in ((None, older) if older else (None,))
        for prefix in _prefixes(checkpoint.tensors)
    ]
    way = max(ways, key=lambda way: _fitting(kept, checkpoint, way.names(checkpoint)))
    way.check(checkpoint)
    return _matched(kept, tensors, checkpoint, way)


def _with_names(
    tensors: Iterable[Wanted], checkpoint: Checkpoint, names: Mapping[str, str]
) -> Iterator[Wanted]:
    """Yield tensors, those of an `op` by their names in the checkpoint.

    The spec only says how many elements they have together. If the checkpoint has
    another number there, they are not yielded by name.
    """
    for one in tensors:
        below = one.key.removesuffix("*")
        if below == one.key:
            yield one
            continue
        held = {
            key: checkpoint.tensors[name].shape
            for key, name in names.items()
            if key.startswith(below)
        }
        declared = one.step.op.tensors(*one.step.input_shapes)
        if sum(map(prod, held.values())) == sum([each.elements for each in declared]):
            for key, shape in held.items():
                named = Tensor(key.removeprefix(below), shape)
                yield Wanted(key, named, one.step)
        else:
            yield one


def _matched(
    kept: Sequence[Wanted],
    tensors: Sequence[Wanted],
    checkpoint: Checkpoint,
    way: _Renaming,
) -> Match:
    names = way.names(checkpoint)
    kept = [*_with_names(kept, checkpoint, names)]
    tensors = [*_with_names(tensors, checkpoint, names)]
    found: dict[str, str] = {}
    filled: list[Wanted] = []
    missing: list[Wanted] = []
    reshaped: list[Reshaped] = []
    for one in kept:
        name = names.get(one.key)
        if name is None:
            (filled if one.counter else missing).append(one)
        elif checkpoint.tensors[name].shape == one.shape:
            found[one.key] = name
        else:
            reshaped.append(Reshaped(one, name, checkpoint.tensors[name].shape))
    keys = {one.key for one in tensors}
    # An empty key: the rules drop this tensor on purpose.
    extra = tuple([name for key, name in names.items() if key and key not in keys])
    left = {one.key for one in tensors} - {one.key for one in kept}
    return Match(
        checkpoint,
        way.prefix,
        way.rules,
        way.older is not None,
        found,
        tuple(filled),
        tuple([one for one in tensors if one.key in left]),
        tuple(missing),
        tuple(reshaped),
        extra,
        tuple(_suggestions([*missing, *filled], extra, checkpoint.tensors)),
    )


# ---- names


class _Renaming(NamedTuple):
    """A way to turn names of a checkpoint into those of a network.

    Attributes:
        prefix: the prefix to remove.
        rules: rules for the rest, if any.
        older: the older names in the network's spec, if they are to be used.
    """

    prefix: str
    rules: Rules | None
    older: OldNames | None

    def rename(self, name: str) -> str:
        """Return the network's name for a checkpoint's; empty to leave it out."""
        key = name.removeprefix(self.prefix)
        if self.rules is not None:
            key = self.rules.rename(key)
        return key if self.older is None else self.older.rename(key)

    def names(self, checkpoint: Checkpoint) -> dict[str, str]:
        """Return a checkpoint's names by their new ones; the first of two wins."""
        found: dict[str, str] = {}
        for name in checkpoint.tensors:
            found.setdefault(self.rename(name), name)
        return found

    def check(self, checkpoint: Checkpoint) -> None:
        """Refuse two names that get the same new name.

        Raises:
            ValueError: naming both.
        """
        if self.rules is None and self.older is None:
            return
        names = self.names(checkpoint)
        who = "the rules name" if self.older is None else "the spec and the rules name"
        if self.rules is None:
            who = "`renamed from` names"
        for name in checkpoint.tensors:
            key = self.rename(name)
            if key and names[key] != name:
                raise ValueError(f"{who} both `{names[key]}` and `{name}` `{key}`")


def _prefixes(names: Iterable[str]) -> list[str]:
    """Return the empty prefix, and those that more than half of the names have."""
    counts: Counter[str] = Counter()
    total = 0
    for name in names:
        total += 1
        parts = name.split(".")[:-1][:_LONGEST_PREFIX]
        counts.update(f"{'.'.join(parts[: n + 1])}." for n in range(len(parts)))
    return ["", *(prefix for prefix, n in counts.items() if n * 2 > total)]


def _fitting(
    tensors: Sequence[Wanted], checkpoint: Checkpoint, names: Mapping[str, str]
) -> tuple[int, int]:
    """Return how many tensors are there in the same shape, and how many in any."""
    named = _with_names(tensors, checkpoint, names)
    held = [(one, names[one.key]) for one in named if one.key in names]
    same = sum(checkpoint.tensors[name].shape == one.shape for one, name in held)
    return same, len(held)


def _check_paths(paths: Sequence[str], tensors: Sequence[Wanted]) -> None:
    for path in paths:
        if not any(_is_below(one.key, [path]) for one in tensors):
            raise ValueError(f"the network has no weights at `{path}`")


def _is_below(key: str, paths: Sequence[str]) -> bool:
    return any(key == path or key.startswith(f"{path}.") for path in paths)


# ---- suggestions

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


def _suggestions(
    lacking: Sequence[Wanted], extra: Sequence[str], held: Mapping[str, Held]
) -> list[Suggestion]:
    """Pair modules without a match whose tensors have equal names and shapes.

    If several have the same ones, there must be equally many on both sides; they are
    paired in order.
    """
    targets: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    for one in lacking:
        own = targets.setdefault(one.module, {})
        own[one.key.rpartition(".")[2]] = one.key, one.shape
    sources: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {}
    for name in extra:
        module, _, last = name.rpartition(".")
        sources.setdefault(module, {})[last] = name, held[name].shape
    found = []
    there, here = _by_shapes(sources), _by_shapes(targets)
    for shapes, modules in here.items():
        partners = there.get(shapes, [])
        if shapes and len(partners) == len(modules):
            for source, target in zip(partners, modules, strict=True):
                names = {
                    key: sources[source][last][0]
                    for last, (key, _) in targets[target].items()
                    if last in sources[source]  # all but a counter must be
                }
                found.append(Suggestion(source, target, names, len(modules)))
    order = {module: place for place, module in enumerate(targets)}
    return sorted(found, key=lambda one: order[one.target])


def _by_shapes(
    modules: Mapping[str, Mapping[str, tuple[str, tuple[int, ...]]]],
) -> dict[_Shapes, list[str]]:
    found: dict[_Shapes, list[str]] = {}
    for module, tensors in modules.items():
        shapes = tuple(
            sorted(
                (last, shape)
                for last, (_, shape) in tensors.items()
                if last != "num_batches_tracked"
            )
        )
        found.setdefault(shapes, []).append(module)
    return found
