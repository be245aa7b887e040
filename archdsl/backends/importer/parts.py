"""Turns a run of a module into a tree of layers within containers.

A container is a call of a module that becomes a block or braces. A module that cannot
become one is dissolved: its parts become parts of the container around it, with dotted
names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from archdsl.backends.importer.blur import blur
from archdsl.backends.importer.calls import ModuleCall, RecordedCall, Recording, late
from archdsl.backends.importer.forms import FoundLayer, layers_of
from archdsl.backends.importer.opaque import Ops
from archdsl.layer import Layer, kind
from archdsl.values import Shape

if TYPE_CHECKING:
    from torch import nn

# The most layers without weights that may move to the enclosing module.
_FEW: Final = 2
# The most inputs, and outputs, of a block.
_MOST_PORTS: Final = 8


@dataclass(eq=False)
class LayerLeaf:
    """A layer.

    Attributes:
        op: the layer.
        path: path of the module that owns its weights, or key of its bare parameter;
            empty without weights.
        reads: values that it reads.
        gives: number of its output.
        keys: keys of the tensors that it reads.
        shared: whether it uses the weights of an earlier layer again.
    """

    op: Layer
    path: str
    reads: tuple[int, ...]
    gives: int
    keys: tuple[str, ...] = ()
    shared: bool = False

    @property
    def outputs(self) -> tuple[int, ...]:
        """The number of its output."""
        return (self.gives,)


@dataclass(eq=False)
class Container:
    """A call of a module, or the network.

    Attributes:
        path: the module's path.
        module: the module.
        reads: its inputs.
        gives: number of its main output.
        extras: numbers of its other outputs.
        given: the values that the module was called with, in order.
        nodes: its layers and containers, in order.
        indexed: whether its parts are numbered, as in a Sequential.
        shared: whether it uses the weights of an earlier call again.
    """

    path: str
    module: nn.Module
    reads: tuple[int, ...]
    gives: int
    nodes: list[LayerTree] = field(default_factory=list)
    indexed: bool = False
    shared: bool = False
    extras: tuple[int, ...] = ()
    given: tuple[int, ...] = ()

    @property
    def outputs(self) -> tuple[int, ...]:
        """Numbers of all its outputs, the main one first."""
        return (self.gives, *self.extras)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all tensors that its layers read."""
        return tuple(key for leaf in layers_in(self.nodes) for key in leaf.keys)


LayerTree = LayerLeaf | Container


class Unsupported(Exception):
    """Something in a module that a spec cannot express."""


def layers_in(nodes: Sequence[LayerTree]) -> Iterator[LayerLeaf]:
    """Yield all layers in some nodes, in order."""
    for node in nodes:
        if isinstance(node, LayerLeaf):
            yield node
        else:
            yield from layers_in(node.nodes)


def is_sequential(module: nn.Module) -> bool:
    """Return whether a module does nothing but run its children in order."""
    from torch import nn

    if not isinstance(module, nn.Sequential):
        return False
    return type(module).forward is nn.Sequential.forward


def is_numbered(module: nn.Module) -> bool:
    """Return whether a module is a Sequential with parts 0, 1, 2 and so on."""
    names = [name for name, _ in module.named_children()]
    return is_sequential(module) and names == [str(n) for n in range(len(names))]


class Builder:
    """Builds the tree of a run.

    Args:
        run: a run in training.
        module: the module, whose `state_dict` gives the order of the parts.
        several: whether a module with several inputs or outputs can be a container.
        dissolved: paths of modules that cannot, of which each call is dissolved.

    Attributes:
        unknown: the first call without a layer kind, outside any module that can be a
            foreign layer.
        shapes: shapes of values, without the batch.
        ops: the foreign layers.
        has_several: whether there is a container with several inputs or outputs.
    """

    def __init__(
        self,
        run: Recording,
        module: nn.Module,
        several: bool = False,
        dissolved: Iterable[str] = (),
    ) -> None:
        self.run = run
        self.module = module
        self.several = several
        self.has_several = False
        self.dissolved = {*dissolved}
        self.ranks = {key: n for n, key in enumerate(module.state_dict())}
        self.shapes: dict[int, Shape] = {n: s[1:] for n, s in run.shapes.items()}
        self.chains: dict[int, tuple[ModuleCall, ...]] = {}
        every: list[RecordedCall] = []
        self._flatten(run.root, (run.root,), every)
        self.calls = late(_needed(every, run.outputs))
        self.users: dict[int, list[RecordedCall | None]] = {
            n: [None] for n in run.outputs
        }
        for call in self.calls:
            for number in call.reads:
                self.users.setdefault(number, []).append(call)
        self.leaves: list[LayerLeaf] = []
        self.homes: dict[int, tuple[ModuleCall, ...]] = {}
        self.unknown: RecordedCall | None = None
        self.ops = Ops()
        # Calls of modules that cannot be foreign layers, by identity.
        self.open: set[int] = set()
        # Blurs are recognised by the values of their buffers.
        self.buffers = dict(module.named_buffers())
        self._match()
        self.readers: dict[int, list[LayerLeaf | None]] = {
            n: [None] for n in run.outputs
        }
        for leaf in self.leaves:
            for number in leaf.reads:
                self.readers.setdefault(number, []).append(leaf)

    def _flatten(
        self,
        frame: ModuleCall,
        chain: tuple[ModuleCall, ...],
        calls: list[RecordedCall],
    ) -> None:
        for item in frame.items:
            if isinstance(item, ModuleCall):
                self._flatten(item, (*chain, item), calls)
            else:
                calls.append(item)
                self.chains[id(item)] = chain

    # ---- from calls to layers

    def _match(self) -> None:
        """Find the layers, from the first call to the last known one."""
        place = 0
        while place < len(self.calls) and self.unknown is None:
            # Padding followed by a blur is not a convolution with padding.
            found = self._layers(place, 8) or self._layers(place, 1)
            if not found:
                place = self._blurred(place) or self._without(place)
                continue
            used = self.calls[place : place + found[0].calls]
            home = _common([self.chains[id(call)] for call in used])
            for one in found:
                if one.gives in self.users:  # some parts of a chunk may be unused
                    self._add(one, home)
            place += len(used)

    def _layers(self, place: int, most: int) -> tuple[FoundLayer, ...]:
        """Return the layers made by the calls from a place on; empty if unknown.

        Args:
            place: the place of the call.
            most: the most calls that they may take.
        """
        some = self.calls[place : place + most]
        found = layers_of(
            some,
            self.shapes,
            self.run.asked,
            lambda number: self._is_one(some[:number]),
        )
        return found if all(map(self._has_tensors, found)) else ()

    def _blurred(self, place: int) -> int:
        """Turn a blur by fixed weights into averages.

        Returns:
            The place of the next call; 0 if there is no blur.
        """
        calls, averages = blur(self.calls[place : place + 2], self.shapes, self.buffers)
        if not calls or not self._is_one(self.calls[place : place + calls]):
            return 0
        conv = self.calls[place + calls - 1]
        (value,), (result,) = conv.reads[:1], conv.gives
        for average in averages:
            gives = max(self.shapes) + 1 if average is not averages[-1] else result
            self._add(
                FoundLayer(average, (value,), gives, 1, ()), self.chains[id(conv)]
            )
            value = gives
        return place + calls

    def _without(self, place: int) -> int:
        """Turn the module of an unknown call into a foreign layer, if possible.

        Returns:
            The place of the call that is next.
        """
        chain = self.chains[id(self.calls[place])]
        for depth in range(len(chain) - 1, 0, -1):
            frame = chain[depth]
            if id(frame) in self.open:
                continue
            op = self.ops.of(frame, self.shapes)
            if op is not None:
                self._replace(chain[: depth + 1], op)
                while place < len(self.calls) and self._is_in(self.calls[place], frame):
                    place += 1
                return place
            self.open.add(id(frame))
        self.unknown = self.calls[place]
        return place

    def _is_in(self, call: RecordedCall, frame: ModuleCall) -> bool:
        return any(one is frame for one in self.chains[id(call)])

    def _replace(self, chain: tuple[ModuleCall, ...], op: Layer) -> None:
        """Replace all layers that were found in a module by a foreign layer.

        Args:
            chain: the calls that lead to that of the module, itself included.
            op: the layer.
        """
        frame = chain[-1]
        self.leaves = [
            leaf
            for leaf in self.leaves
            if not any(one is frame for one in self.homes[id(leaf)])
        ]
        (value,), (result,) = frame.reads, frame.gives
        self.shapes[result] = op.shape(self.shapes[value])
        module = frame.module
        names = [*dict(module.named_parameters()), *dict(module.named_buffers())]
        keys = tuple(f"{frame.path}.{name}" for name in names)
        leaf = LayerLeaf(op, frame.path if keys else "", (value,), result, keys)
        self.leaves.append(leaf)
        self.homes[id(leaf)] = chain

    def _has_tensors(self, one: FoundLayer) -> bool:
        """Return whether the tensors that a layer reads have the names that it
        declares.

        A computed kernel is not a saved tensor.
        """
        tensors = one.op.tensors(*(self.shapes[n] for n in one.reads))
        names = {tensor.name for tensor in tensors}
        return all(
            own.key in self.ranks
            and (names == {""} or _owner(own.key, names) is not None)
            for own in one.owns
        )

    def _add(self, one: FoundLayer, home: tuple[ModuleCall, ...]) -> None:
        inputs = tuple(self.shapes[n] for n in one.reads)
        # Sizes alone do not show whether the channels come last.
        self.shapes[one.gives] = one.op.shape(*inputs)
        keys = tuple(own.key for own in one.owns)
        path = ""
        if keys:
            names = [tensor.name for tensor in one.op.tensors(*inputs)]
            bare = names[:1] == [""]
            path = keys[0] if bare else _owner(keys[0], names) or ""
        leaf = LayerLeaf(one.op, path, one.reads, one.gives, keys)
        self.leaves.append(leaf)
        self.homes[id(leaf)] = home

    def _is_one(self, calls: Sequence[RecordedCall]) -> bool:
        """Return whether several calls may make one layer."""
        if len(calls) == 1:
            return True
        inside = {id(call) for call in calls}
        for call in calls[:-1]:
            for number in call.gives:
                users = self.users.get(number, [])
                if any(user is None or id(user) not in inside for user in users):
                    return False
        chains = [self.chains[id(call)] for call in calls]
        home = _common(chains)
        # The parts of a Sequential keep their numbers.
        return all(c == home for c in chains) or not is_sequential(home[-1].module)

    # ---- from layers to containers

    def tree(self) -> Container:
        """Return the network as a container.

        Raises:
            Unsupported: if a call has no layer kind.
        """
        if self.unknown is not None:
            first = self.unknown
            frame = self.chains[id(first)][-1]
            where = f" in `{frame.path}`" if frame.path else ""
            if where and len(frame.reads) > 1:
                # A foreign layer has one input.
                where += f", which reads {len(frame.reads)} values"
            raise Unsupported(
                f"`{first.name}`{where}, at {first.place}, is not a layer kind"
            )
        nodes = self._nodes(self.run.root, 1, self.leaves)
        run = self.run
        numbered = is_numbered(self.module)
        indexed = numbered and _is_chain(nodes, run.inputs[0], self.module)
        top = Container("", self.module, run.inputs, run.outputs[0], nodes, indexed)
        _mark_shared(top)
        return top

    def consistent(self) -> tuple[Builder, Container]:
        """Return the network, and its builder, with no module that is dissolved in one
        call and a container in another, which might use one of its outputs.

        Raises:
            Unsupported: if a call has no layer kind.
        """
        top = self.tree()
        if self.dissolved.isdisjoint(_paths(top)):
            return self, top
        again = Builder(self.run, self.module, self.several, self.dissolved)
        return again, again.tree()

    def _nodes(
        self, frame: ModuleCall, depth: int, some: Sequence[LayerLeaf]
    ) -> list[LayerTree]:
        """Return the nodes in a call of a module, in order.

        Args:
            frame: the call.
            depth: the number of nested calls up to it, itself included.
            some: the layers in it.
        """
        below: dict[int, list[LayerLeaf]] = {}
        for leaf in some:
            home = self.homes[id(leaf)]
            if len(home) > depth:
                below.setdefault(id(home[depth]), []).append(leaf)
        numbered = is_numbered(frame.module)
        nodes: list[LayerTree] = []
        if numbered:
            for item in frame.items:
                if isinstance(item, ModuleCall):
                    inner = below.pop(id(item), [])
                    nodes += self._part(item, depth + 1, inner, numbered)
        seen: set[int] = set()
        for leaf in some:
            home = self.homes[id(leaf)]
            if len(home) == depth:
                nodes.append(leaf)
            elif id(home[depth]) in below and id(home[depth]) not in seen:
                seen.add(id(home[depth]))
                inner = below[id(home[depth])]
                nodes += self._part(home[depth], depth + 1, inner, numbered)
        _chain_concats(nodes)
        return self._ordered(self._with_long_sums(nodes))

    def _with_long_sums(self, nodes: Sequence[LayerTree]) -> list[LayerTree]:
        """Return nodes with sums of sums as one: a + b + c is a single layer."""
        sums: dict[int, LayerLeaf] = {}
        dropped: set[int] = set()
        for node in nodes:
            if not isinstance(node, LayerLeaf) or node.op.word != "add":
                continue
            first = sums.get(node.reads[0])
            if first is not None and len(self.readers[first.gives]) == 1:
                for value in first.reads:
                    readers = self.readers[value]
                    self.readers[value] = [node if r is first else r for r in readers]
                node.reads = (*first.reads, *node.reads[1:])
                dropped.add(id(first))
            sums[node.gives] = node
        return [node for node in nodes if id(node) not in dropped]

    def _part(
        self, frame: ModuleCall, depth: int, some: Sequence[LayerLeaf], numbered: bool
    ) -> list[LayerTree]:
        """Return a call of a module within another: a container, a layer or parts."""
        if not some:
            if numbered and frame.reads and frame.reads == frame.gives:
                return [_identity(frame.reads[0])]
            return []
        nodes = self._nodes(frame, depth, some)
        first = nodes[0]
        alone = len(nodes) == 1 and isinstance(first, LayerLeaf)
        if alone and first.path in (frame.path, ""):
            return nodes
        few = len(nodes) <= _FEW and not any(node.keys for node in nodes)
        if not numbered and few:
            return nodes
        return self._contained(frame, nodes)

    def _contained(self, frame: ModuleCall, nodes: list[LayerTree]) -> list[LayerTree]:
        """Return a container of some nodes, or the nodes if that is not possible."""
        before, inner = self._without_merges_of_inputs(nodes)
        gives = {leaf.gives for leaf in layers_in(inner)}
        reads = _outer(inner)
        leaving = [
            value
            for node in inner
            for value in node.outputs
            if value not in node.reads and self._is_read_outside(value, gives)
        ]
        prefix = f"{frame.path}."
        own = all(
            leaf.path.startswith(prefix) for leaf in layers_in(inner) if leaf.path
        )
        if not reads or not leaving or not own or frame.path in self.dissolved:
            return nodes
        several = len(reads) > 1 or len(leaving) > 1
        if several and not self._can_have_several(frame, inner, reads, leaving):
            self.dissolved.add(frame.path)
            return nodes
        indexed = is_numbered(frame.module)
        if indexed and not _is_chain(inner, reads[0], frame.module):
            return nodes
        if not indexed and any(
            node.path.removeprefix(prefix)[:1].isdigit() for node in inner if node.keys
        ):
            return nodes  # a name can only be a number after a dot
        if several:
            self.has_several = True
            reads.sort(key=[*frame.reads, *reads].index)
        # The last output needs no name.
        made = Container(
            frame.path,
            frame.module,
            tuple(reads),
            leaving[-1],
            inner,
            indexed,
            extras=tuple(leaving[:-1]),
            given=frame.reads,
        )
        return [*before, made]

    def _can_have_several(
        self,
        frame: ModuleCall,
        nodes: Sequence[LayerTree],
        reads: Sequence[int],
        leaving: Sequence[int],
    ) -> bool:
        """Return whether a module with several inputs or outputs can be a block."""
        from torch import nn

        if not self.several or isinstance(frame.module, nn.Sequential):
            return False
        if max(len(reads), len(leaving)) > _MOST_PORTS:
            return False
        # An output is named by the label of what computes it.
        prefix = f"{frame.path}."
        named = [node for node in nodes if node.gives in leaving[:-1]]
        plain = all("." not in node.path.removeprefix(prefix) for node in named)
        return (
            plain
            and len(named) == len(leaving) - 1
            and any(node.keys for node in nodes)
        )

    def _without_merges_of_inputs(
        self, nodes: list[LayerTree]
    ) -> tuple[list[LayerTree], list[LayerTree]]:
        """Return merges of a container's inputs, and the other nodes.

        They are separated only if the other nodes then have a single input.
        """
        inner, before = list(nodes), list[LayerTree]()
        while len(reads := _outer(inner)) > 1:
            merges = [
                node
                for node in inner
                if isinstance(node, LayerLeaf) and len(node.reads) > 1 and not node.keys
                if set(node.reads) <= set(reads)
            ]
            if not merges:
                return [], nodes
            before.append(merges[0])
            inner.remove(merges[0])
        return before, inner

    def _is_read_outside(self, value: int, inside: set[int]) -> bool:
        readers = self.readers.get(value, [])
        return any(one is None or one.gives not in inside for one in readers)

    def rank(self, node: LayerTree) -> int:
        """Return the place of a node's first tensor in the `state_dict`."""
        found = (self.ranks[key] for key in node.keys if key in self.ranks)
        return min(found, default=len(self.ranks))

    def is_bare(self, node: LayerTree) -> bool:
        """Return whether a node is a parameter of the module itself, which comes before
        the parts of the module anyway.
        """
        return isinstance(node, LayerLeaf) and node.path in self.ranks

    def _ordered(self, nodes: list[LayerTree]) -> list[LayerTree]:
        """Return nodes in an order in which each comes after those that it reads.

        Those with weights come in the order of the `state_dict`, if possible.
        """
        ranked = [
            (self.rank(node), n)
            for n, node in enumerate(nodes)
            if node.keys and not self.is_bare(node)
        ]
        order = [n for _, n in sorted(ranked)]
        given: dict[int, int] = {}
        for n, node in enumerate(nodes):
            for value in node.outputs:
                # A part that changes nothing returns the value of an earlier one.
                given.setdefault(value, n)
        if order == sorted(order) and all(
            given.get(v, -1) < n or v == node.gives
            for n, node in enumerate(nodes)
            for v in node.reads
        ):
            return nodes
        done = _after(nodes, given, (*order, *range(len(nodes))))
        if [n for n in done if n in order] != order:
            done = _after(nodes, given, range(len(nodes)))
        return [nodes[place] for place in done]


def _after(
    nodes: Sequence[LayerTree], given: Mapping[int, int], places: Iterable[int]
) -> list[int]:
    """Return the order of nodes in which each comes after those that it reads from.

    Args:
        nodes: the nodes.
        given: for each value the place of the node that gives it.
        places: the nodes' indices, in the preferred order.
    """
    done: dict[int, None] = {}
    entered: set[int] = set()
    for place in places:
        stack = [(place, False)]
        while stack:
            at, ready = stack.pop()
            if ready:
                done[at] = None
            elif at not in entered:
                entered.add(at)
                stack.append((at, True))
                sources = {given[v] for v in nodes[at].reads if v in given}
                stack += [(n, False) for n in sorted(sources, reverse=True)]
    return list(done)


def _chain_concats(nodes: Sequence[LayerTree]) -> None:
    """Let concatenations that start with an earlier one's inputs read that one."""
    known: dict[tuple[int, ...], int] = {}
    for node in nodes:
        if not isinstance(node, LayerLeaf) or node.op.word != "concat":
            continue
        whole = node.reads
        for length in range(len(whole) - 1, 1, -1):
            if whole[:length] in known:
                node.reads = (known[whole[:length]], *whole[length:])
                break
        known[whole] = node.gives


def _owner(key: str, names: Iterable[str]) -> str | None:
    """Return the path in a key that ends in one of some tensor names."""
    for name in names:
        if f".{key}".endswith(f".{name}"):
            return key[: -len(name)].removesuffix(".")
    return None


def _identity(value: int) -> LayerLeaf:
    """Return a numbered part that changes nothing."""
    found = kind("identity")
    assert found is not None
    return LayerLeaf(found(), "", (value,), value)


def _paths(container: Container) -> Iterator[str]:
    """Yield the paths of the containers in a container."""
    for node in container.nodes:
        if isinstance(node, Container):
            yield node.path
            yield from _paths(node)


def _outer(nodes: Sequence[LayerTree]) -> list[int]:
    """Return the values that nodes read and none of them outputs, each once."""
    given = {v for node in nodes for v in node.outputs if v not in node.reads}
    reads = [n for node in nodes for n in node.reads if n not in given]
    return list(dict.fromkeys(reads))


def _is_chain(nodes: Sequence[LayerTree], start: int, module: nn.Module) -> bool:
    """Return whether each node is one numbered part that reads the one before it."""
    if len(nodes) != len(list(module.children())):
        return False
    value = start
    for node in nodes:
        if node.reads != (value,):
            return False
        value = node.gives
    return True


def _mark_shared(container: Container) -> None:
    """Mark the nodes that use the weights of an earlier one in the same container."""
    seen: set[str] = set()
    for node in container.nodes:
        if not node.keys:
            continue
        node.shared = node.path in seen
        seen.add(node.path)
        if isinstance(node, Container) and not node.shared:
            _mark_shared(node)


def _common(chains: Sequence[tuple[ModuleCall, ...]]) -> tuple[ModuleCall, ...]:
    """Return the calls that contain all of some calls."""
    first, length = chains[0], min(map(len, chains))
    same = 0
    while same < length and all(chain[same] is first[same] for chain in chains):
        same += 1
    return first[:same]


def _needed(
    calls: Sequence[RecordedCall], outputs: Sequence[int]
) -> list[RecordedCall]:
    """Return the calls that the outputs depend on."""
    wanted = set(outputs)
    found: list[RecordedCall] = []
    for call in reversed(calls):
        if wanted.intersection(call.gives):
            wanted.update(call.reads)
            found.append(call)
    return found[::-1]
