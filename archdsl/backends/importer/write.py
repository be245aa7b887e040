"""Writes a tree of layers as a spec: classes become blocks, and merges get branches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, Final

from archdsl.backends.importer.calls import Recording
from archdsl.backends.importer.parts import (
    Builder,
    Container,
    LayerLeaf,
    LayerTree,
    Unsupported,
    layers_in,
)
from archdsl.backends.importer.spec import (
    Block,
    SpecBody,
    SpecBraces,
    SpecDraft,
    SpecItem,
    SpecLine,
    SpecMerge,
    SpecRegister,
    SpecSame,
    SpecTap,
    SpecWord,
)
from archdsl.ir.registration import in_order, in_torch_order
from archdsl.layer import Layer, kind, words
from archdsl.naming import LABEL_RESERVED, attributes_of, refusal
from archdsl.values import channels

# Kinds that are written on the line of the layer before them.
_FOLLOW: Final = frozenset(("norm", "activation", "dropout"))


# ---- merges with branches -----------------------------------------------------------


@dataclass(eq=False)
class JoinedBranches:
    """A merge together with branches that only it reads.

    Attributes:
        leaf: the merge.
        reads: the one value that all branches read.
        branches: the nodes of each branch.
    """

    leaf: LayerLeaf
    reads: tuple[int, ...]
    branches: list[list[WrittenPart]]

    @property
    def gives(self) -> int:
        """The number of its output."""
        return self.leaf.gives

    @property
    def outputs(self) -> tuple[int, ...]:
        """The number of its output."""
        return self.leaf.outputs


WrittenPart = LayerLeaf | Container | JoinedBranches


def join_merges(
    nodes: Sequence[LayerTree], outputs: Sequence[int]
) -> list[WrittenPart]:
    """Return nodes in which merges contain their branches, where that is possible."""
    parts: list[WrittenPart] = list(nodes)
    readers: Counter[int] = Counter(v for node in nodes for v in set(node.reads))
    readers.update(outputs)
    for node in nodes:
        if isinstance(node, LayerLeaf) and len(node.reads) > 1 and node.op.arity != 1:
            made = _join(node, parts, readers)
            if made is not None:
                inside = {id(part) for branch in made.branches for part in branch}
                # A merge stands where the last of its parts stood, since parts with
                # weights determine the order.
                held = [part for part in parts if id(part) in inside]
                place = held[-1] if held else node
                parts = [made if part is place else part for part in parts]
                inside.add(id(node))
                parts = [part for part in parts if id(part) not in inside]
                readers[made.reads[0]] -= sum(1 for b in made.branches if b)
                readers[made.reads[0]] += 0 if any(not b for b in made.branches) else 1
    return parts


def _join(
    merge: LayerLeaf, parts: Sequence[WrittenPart], readers: Counter[int]
) -> JoinedBranches | None:
    producers = {part.gives: part for part in parts}
    places = {id(part): n for n, part in enumerate(parts)}
    branches: list[list[WrittenPart]] = []
    starts: set[int] = set()
    if len(set(merge.reads)) < len(merge.reads):
        return None
    for value in merge.reads:
        branch: list[WrittenPart] = []
        while readers[value] == 1 and value in producers:
            part = producers[value]
            if len(set(part.reads)) != 1 or (
                isinstance(part, LayerLeaf | Container)
                and (part.shared or len(part.outputs) > 1)
            ):
                break
            branch.append(part)
            value = part.reads[0]
        starts.add(value)
        branches.append(branch[::-1])
    if len(starts) != 1 or sum(1 for branch in branches if not branch) > 1:
        return None
    order = [places[id(part)] for branch in branches for part in branch]
    if merge.op.word in ("add", "mul"):
        branches.sort(
            key=lambda branch: places[id(branch[0])] if branch else len(parts)
        )
        order = [places[id(part)] for branch in branches for part in branch]
    weighted = [n for n in order if _has_keys(parts[n])]
    if weighted != sorted(weighted):
        return None
    if merge.op.word == "add" and len(branches) == 2 and all(branches):
        # The deeper branch comes first: in a residual, the second one is the shortcut.
        branches.sort(key=_depth, reverse=True)
    return JoinedBranches(merge, (starts.pop(),), branches)


def _depth(branch: Sequence[WrittenPart]) -> int:
    """Return the number of layers with weights in a branch."""
    leaves = [leaf for part in branch for leaf in _leaves(part)]
    return sum(1 for leaf in leaves if leaf.keys)


def _leaves(part: WrittenPart) -> Iterator[LayerLeaf]:
    if isinstance(part, JoinedBranches):
        for branch in part.branches:
            for inner in branch:
                yield from _leaves(inner)
    else:
        yield from layers_in([part])


def _has_keys(part: WrittenPart) -> bool:
    if isinstance(part, JoinedBranches):
        return any(_has_keys(inner) for branch in part.branches for inner in branch)
    return bool(part.keys)


# ---- from containers to a spec ------------------------------------------------------


class ContainerWriter:
    """Writes the containers of a network.

    Args:
        builder: has made the top.
    """

    def __init__(self, top: Container, run: Recording, builder: Builder) -> None:
        self.top = top
        self.run = run
        self.builder = builder
        self.shapes = builder.shapes
        self.blocks: dict[str, Block] = {}
        # The blocks of containers, by identity.
        self._made: dict[int, Block] = {}
        readers: Counter[int] = Counter()
        for leaf in layers_in(top.nodes):
            readers.update(set(leaf.reads))
        readers.update(run.outputs)
        self.readers = readers
        self.consumers: dict[int, list[tuple[LayerLeaf, Container]]] = {}
        self._note(top, top)

    def _note(self, container: Container, block: Container) -> None:
        """Record the readers of each value, and the block that contains it."""
        for node in container.nodes:
            if isinstance(node, LayerLeaf):
                for value in node.reads:
                    self.consumers.setdefault(value, []).append((node, block))
            else:
                inner = block if _is_inline(node) else node
                self._note(node, inner)

    def spec(self, name: str, title: str, training: Sequence[int]) -> SpecDraft:
        """Return the network as a spec.

        Args:
            name: its name.
            title: its comment.
            training: numbers of the outputs that only exist in training.
        """
        values = self.run.inputs
        names = (
            [""] if len(values) == 1 else [f"input{n + 1}" for n in range(len(values))]
        )
        outputs = [v for v in self.run.outputs if v not in training]
        scope = _Scope(self, self.top, self.top, names)
        body = scope.network(outputs, list(training))
        inputs = [
            (given, self.shapes[v]) for given, v in zip(names, values, strict=True)
        ]
        written = [*outputs, *scope.heads]
        return SpecDraft(
            name,
            title,
            inputs,
            body,
            self.blocks,
            indexed=self.top.indexed,
            outputs=written,
        )

    def block(self, container: Container) -> Block:
        """Return the block of a container; each call has its own."""
        if id(container) not in self._made:
            self._made[id(container)] = self._block(container)
        return self._made[id(container)]

    def _block(self, container: Container) -> Block:
        takes = _names_of_inputs(container) if len(container.reads) > 1 else ()
        scope = _Scope(self, container, container, takes or [""])
        body = scope.body()
        cls = type(container.module)
        title = f"{cls.__name__}, of {cls.__module__}."
        # A class's name has no space, so it cannot be this one.
        name = f"{cls.__name__} {len(self.blocks)}"
        before = self.shapes[container.reads[0]]
        after = self.shapes[container.gives]
        self.blocks[name] = Block(
            name,
            body,
            container.indexed,
            title,
            inputs=int(channels(before)),
            outputs=int(channels(after)),
            changes=before != after,
            takes=tuple(takes),
            gives=tuple([scope.tapped[value] for value in container.extras]),
        )
        return self.blocks[name]


def _names_of_inputs(container: Container) -> list[str]:
    """Return names for a container's inputs: those in its module, if they will do."""
    known = [*signature(type(container.module).forward).parameters][1:]
    labels = {_label(node, container).partition(".")[0] for node in container.nodes}
    names: dict[int, str] = {}
    if len(known) == len(container.given):
        for value, name in zip(container.given, known, strict=True):
            taken = name in labels | words()
            if not taken and not refusal(name, "label", LABEL_RESERVED):
                names[value] = name
    if names.keys() >= {*container.reads}:
        return [names[value] for value in container.reads]
    return [f"input{n + 1}" for n in range(len(container.reads))]


def _label(node: LayerTree, container: Container) -> str:
    """Return a node's name in its container."""
    prefix = f"{container.path}." if container.path else ""
    return node.path.removeprefix(prefix)


def registered_first(written: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the parts that must be registered first, for the keys to be in order.

    Args:
        written: the prefixes of the keys of all parts, in the order of the text.
        wanted: the same in the order of the `state_dict`.
    """
    places = {begin: place for place, begin in enumerate(in_torch_order(written))}
    count = len(wanted)
    while count and (
        count == len(wanted) or places[wanted[count - 1]] < places[wanted[count]]
    ):
        count -= 1
    names = [begin.rstrip(".") for begin in wanted]
    # The first of several parts of one container may be enough.
    while count and in_torch_order(
        in_order(written, lambda begin: begin.rstrip("."), names[: count - 1])
    ) == [*wanted]:
        count -= 1
    return tuple(_by_containers(names[:count], [w.rstrip(".") for w in written]))


def _by_containers(names: Sequence[str], written: Sequence[str]) -> Iterator[str]:
    """Yield names, with a container's name for all its parts if these are in order."""
    place = 0
    while place < len(names):
        container = names[place].rpartition(".")[0]
        inside = [one for one in written if one.startswith(f"{container}.")]
        whole = len(inside) > 1 and names[place : place + len(inside)] == inside
        yield container if whole else names[place]
        place += len(inside) if whole else 1


def _is_inline(container: Container) -> bool:
    """Return whether a container is written in place, as braces or `seq`."""
    from torch import nn

    return type(container.module) is nn.Sequential


@dataclass
class _Names:
    """The names of a namespace: its labels, and how many layers of each kind it has."""

    taken: set[str]
    counts: Counter[str] = field(default_factory=Counter)


class _Scope:
    """The body of a container."""

    def __init__(
        self,
        writer: ContainerWriter,
        container: Container,
        block: Container,
        inputs: Sequence[str],
    ) -> None:
        self.writer = writer
        self.container = container
        self.block = block
        self.inputs = dict(zip(container.reads, inputs, strict=True))
        self.tapped: dict[int, str] = {}
        # Outputs of training, in the order in which they are written.
        self.heads: list[int] = []
        # Nodes with weights, in the order in which they are written.
        self.written: list[LayerTree] = []
        taken = {
            self._label(node).partition(".")[0] for node in container.nodes if node.keys
        }
        self.names = _Names(taken)

    def body(self) -> SpecBody:
        """Return the body of a container within the network."""
        return self.network(self.container.outputs, ())

    def network(self, outputs: Sequence[int], training: Sequence[int]) -> SpecBody:
        """Return the body of the network."""
        container = self.container
        parts = join_merges(container.nodes, (*outputs, *training))
        start = container.reads[0]
        lines = self._lines(parts, start, outputs[0], outputs[1:], training)
        return self._body(lines)

    def _body(self, lines: Sequence[SpecLine]) -> SpecBody:
        """Return a body with a `register` line, if it needs one."""
        builder = self.writer.builder
        ordered = sorted(self.written, key=builder.rank)
        begins = {
            node.path: name if builder.is_bare(node) else f"{name}."
            for node in self.written
            for name in (self._label(node),)
        }
        first = registered_first(
            [begins[node.path] for node in self.written],
            [begins[node.path] for node in ordered],
        )
        said = [SpecLine((SpecRegister(first),))] if first else []
        return SpecBody((*said, *lines))

    # ---- lines

    def _lines(
        self,
        parts: Sequence[WrittenPart],
        start: int,
        end: int,
        others: Sequence[int] = (),
        training: Sequence[int] = (),
    ) -> list[SpecLine]:
        """Return the lines of some nodes.

        Args:
            parts: the nodes.
            start: the input.
            end: the output.
            others: further outputs.
            training: outputs that only exist in training.
        """
        heads = self._heads(parts, training)
        inside = {id(part) for head in heads.values() for part in head}
        main = [part for part in parts if id(part) not in inside]
        self._find_taps(parts, start, end, (*others, *training), heads)
        flow = start
        lines: list[SpecLine] = []
        pending = dict(heads)
        for part in parts:
            owner = next(
                (v for v, head in pending.items() if head and part is head[0]), None
            )
            if owner is not None:
                self.heads.append(owner)
                lines += self._head(pending.pop(owner), "training output")
            if part not in main:
                continue
            before = self._before(part, flow)
            item = self._item(part, flow)
            follows = isinstance(part, LayerLeaf) and _follows(part.op)
            last = lines[-1] if lines else None
            if before is None and follows and last and _takes(last, item):
                lines[-1] = replace(last, items=(*last.items, item))
            else:
                lines.append(
                    SpecLine((*([before] if before else ()), item, *self._end(part)))
                )
            flow = part.gives
        for value in others:
            lines.append(SpecLine((SpecTap(self.tapped[value]),), output="output"))
        if flow != end:
            lines.append(SpecLine((self._tap(end),)))
        return lines

    def _heads(
        self, parts: Sequence[WrittenPart], training: Sequence[int]
    ) -> dict[int, list[WrittenPart]]:
        """Return the nodes that only an output of training needs, as chains."""
        producers = {part.gives: part for part in parts}
        reads = Counter(v for part in parts for v in set(part.reads))
        heads: dict[int, list[WrittenPart]] = {}
        for value in training:
            head: list[WrittenPart] = []
            at = value
            while at in producers and reads[at] == (0 if at == value else 1):
                part = producers[at]
                head.insert(0, part)
                if len(part.reads) != 1:
                    raise Unsupported("a training output is not a chain of layers")
                at = part.reads[0]
            heads[value] = head
        return heads

    def _head(self, head: Sequence[WrittenPart], output: str) -> list[SpecLine]:
        items: list[SpecItem] = [self._tap(head[0].reads[0])]
        flow = head[0].reads[0]
        for part in head:
            items.append(self._item(part, flow))
            flow = part.gives
        return [SpecLine(tuple(items), output=output)]

    # ---- taps

    def _find_taps(
        self,
        parts: Sequence[WrittenPart],
        start: int,
        end: int,
        outputs: Sequence[int],
        heads: Mapping[int, Sequence[WrittenPart]],
    ) -> None:
        """Find the values that are not only read by the next part, and name them."""
        inside = {id(part) for head in heads.values() for part in head}
        wanted: set[int] = {head[0].reads[0] for head in heads.values() if head}
        wanted.update(v for v in outputs if v not in heads)
        flow = start
        for part in parts:
            if id(part) in inside:
                continue
            wanted.update(v for v in part.reads if v != flow)
            if len(part.reads) > 1 and part.reads.count(flow) > 1:
                wanted.add(flow)
            flow = part.gives
        if flow != end:
            wanted.add(end)
        for part in parts:
            found = [v for v in part.outputs if v in wanted and v not in self.inputs]
            name = self._tap_name(part) if found else ""
            for value in found:
                self.tapped[value] = name
                if value != part.gives and isinstance(part, Container):
                    others = self.writer.block(part).gives
                    self.tapped[value] += f".{others[part.extras.index(value)]}"

    def _tap_name(self, part: WrittenPart) -> str:
        leaf = part.leaf if isinstance(part, JoinedBranches) else part
        label = (
            self._label(leaf)
            if not isinstance(part, JoinedBranches) and leaf.keys
            else ""
        )
        if label and not getattr(leaf, "shared", False):
            return label
        word = leaf.op.word if isinstance(leaf, LayerLeaf) else "part"
        base = {"add": "sum", "mul": "product"}.get(word, word)
        number = 1
        while f"{base}_{number}" in self.names.taken:
            number += 1
        name = f"{base}_{number}"
        self.names.taken.add(name)
        return name

    def _tap(self, value: int) -> SpecTap:
        if value in self.tapped:
            return SpecTap(self.tapped[value])
        if value in self.inputs:
            return SpecTap(self.inputs[value] or "input")
        raise Unsupported("a value is read from outside its module")

    def _before(self, part: WrittenPart, flow: int) -> SpecTap | None:
        """Return the tap that a node begins with, unless it reads the previous one."""
        if len(set(part.reads)) > 1 or part.reads[0] == flow:
            return None
        return self._tap(part.reads[0])

    # ---- items

    def _item(self, part: WrittenPart, flow: int) -> SpecItem:
        if isinstance(part, JoinedBranches):
            return self._merge(part)
        if part.keys and not part.shared:
            self.written.append(part)
        if isinstance(part, Container):
            return self._container(part, flow)
        if len(part.reads) > 1:
            branches = tuple(
                SpecBody(() if v == flow else (SpecLine((self._tap(v),)),))
                for v in part.reads
            )
            label = self.tapped.get(part.gives, "")
            name = label or self._unlabelled(part.op.word)
            return SpecMerge(part.op.word, branches, merge_arguments(part.op), name)
        if part.shared:
            return self._again(part)
        label = self._name(part, part.op.word)
        if "." in label and self.writer.builder.is_bare(part):
            owner = part.path.rpartition(".")[0]
            raise Unsupported(
                f"`{part.path}` is a parameter of `{owner}`, whose parts a spec can "
                "only name if they are modules; give it a module of its own, whose "
                "`forward` applies it"
            )
        flow = channels(self.writer.shapes[part.reads[0]])
        own = type(part.op) if kind(part.op.word) is None else None
        slots = self._slots(part)
        return SpecWord(part.op.word, slots, label, flow=int(flow), kind=own)

    def _slots(self, leaf: LayerLeaf) -> tuple[tuple[str, Any], ...]:
        """Return all arguments of a layer; defaults from its input become numbers."""
        op = self._with_bias(leaf)
        slots = {name: getattr(op, name) for name in op.fields}
        if "width" in slots and slots["width"] is None:
            slots["width"] = int(channels(self.writer.shapes[leaf.gives]))
        return tuple(slots.items())

    def _with_bias(self, leaf: LayerLeaf) -> Layer:
        """Return a layer with a bias by the language's rule, if that is equivalent."""
        op = leaf.op
        if "bias" not in op.fields:
            return op
        readers = self.writer.consumers.get(leaf.gives, [])
        count = self.writer.readers[leaf.gives]
        cancelled = (
            count == 1
            and len(readers) == 1
            and readers[0][0].op.absorbs_bias
            and readers[0][1] is self.block
        )
        has_bias = getattr(op, "bias", None) is not False
        value = None if has_bias != cancelled else has_bias
        return op.replace(bias=value)

    def _merge(self, part: JoinedBranches) -> SpecItem:
        leaf = part.leaf
        bodies = []
        for branch in part.branches:
            bodies.append(SpecBody(tuple(self._branch(branch, part.reads[0]))))
        label = "" if self._end(part) else self.tapped.get(leaf.gives, "")
        if leaf.op.word == "add" and len(bodies) == 2:
            return self._residual(part, bodies, label)
        return SpecMerge(
            leaf.op.word,
            tuple(bodies),
            merge_arguments(leaf.op),
            label or self._unlabelled(leaf.op.word),
        )

    def _end(self, part: WrittenPart) -> tuple[SpecItem, ...]:
        """Return an `identity` for a label that would be part of keys on a merge."""
        name = self.tapped.get(part.gives, "")
        inside = name and isinstance(part, JoinedBranches) and _has_keys(part)
        return (SpecWord("identity", (), name),) if inside else ()

    def _residual(
        self, part: JoinedBranches, bodies: Sequence[SpecBody], label: str
    ) -> SpecItem:
        name = label or self._unlabelled("residual")
        shapes = self.writer.shapes
        changes = shapes[part.reads[0]] != shapes[part.gives]
        body, shortcut = bodies
        branches = (body, shortcut) if shortcut.lines else (body,)
        return SpecMerge("residual", branches, (), name, changes)

    def _branch(self, branch: Sequence[WrittenPart], start: int) -> list[SpecLine]:
        lines: list[SpecLine] = []
        flow = start
        for part in branch:
            item = self._item(part, flow)
            follows = isinstance(part, LayerLeaf) and _follows(part.op)
            if lines and follows and _takes(lines[-1], item):
                lines[-1] = replace(lines[-1], items=(*lines[-1].items, item))
            else:
                lines.append(SpecLine((item,)))
            flow = part.gives
        return lines

    def _container(self, part: Container, flow: int) -> SpecItem:
        if part.shared:
            return self._again(part, self._inputs(part, flow))
        if _is_inline(part):
            scope = _Scope(self.writer, part, self.block, ["input"])
            scope.inputs = {}
            body = scope.body()
            label = "" if self.container.indexed else self._label(part)
            self.names.taken.add(label)
            return SpecBraces(body, label, part.indexed)
        block = self.writer.block(part)
        label = "" if self.container.indexed else self._own_label(part)
        width = int(channels(self.writer.shapes[part.reads[0]]))
        inputs = self._inputs(part, flow)
        return SpecWord(block.name, (), label, True, inputs, flow=width)

    def _again(self, part: LayerTree, inputs: tuple[str, ...] = ()) -> SpecSame:
        """Return another use of an earlier part."""
        return SpecSame(self._label(part), inputs, self.tapped.get(part.gives, ""))

    def _inputs(self, part: Container, flow: int) -> tuple[str, ...]:
        """Return the label of each input of a block with several."""
        if len(part.reads) == 1:
            return ()
        reads = ["" if v == flow else self._tap(v).name for v in part.reads]
        return tuple(reads)

    def _own_label(self, part: Container) -> str:
        """Return a container's label; without weights, it needs none."""
        if not part.keys:
            return self.tapped.get(part.gives, "")
        label = self._label(part)
        _check_label(label, part.path)
        return label

    # ---- names

    def _label(self, node: LayerTree) -> str:
        """Return a node's name in its container."""
        return _label(node, self.container)

    def _unlabelled(self, word: str) -> str:
        """Count a part without weights; return a label if its counted name is taken."""
        if self.container.indexed:
            return ""
        self.names.counts[word] += 1
        name = f"{word}{self.names.counts[word]}"
        if name not in self.names.taken:
            return ""
        self.names.counts[word] -= 1
        number = 1
        while f"{word}_{number}" in self.names.taken:
            number += 1
        self.names.taken.add(f"{word}_{number}")
        return f"{word}_{number}"

    def _name(self, node: LayerTree, word: str) -> str:
        """Return the label that a node needs; empty if its counted name is correct."""
        if self.container.indexed:
            return ""
        if not node.keys:
            return self.tapped.get(node.gives, "") or self._unlabelled(word)
        label = self._label(node)
        counted = label == f"{word}{self.names.counts[word] + 1}"
        if counted and node.gives not in self.tapped:
            self.names.counts[word] += 1
            return ""
        _check_label(label, node.path)
        return label


def _follows(op: Layer) -> bool:
    """Return whether a layer is written on the line of the one before it."""
    return op.family in _FOLLOW or op.word == "identity"


def _takes(line: SpecLine, item: SpecItem) -> bool:
    """Return whether a norm, activation or dropout is written on the line before it."""
    last = line.items[-1]
    if line.output or isinstance(last, SpecBraces):
        return False
    word = item.declared if isinstance(item, SpecWord) else None
    is_norm = word is not None and word.family == "norm"
    return not (is_norm and isinstance(last, SpecWord) and last.block)


def _check_label(label: str, path: str) -> None:
    plain = label.replace("-", "_")
    for name in attributes_of(plain):
        reason = refusal(name, "label", LABEL_RESERVED)
        if reason:
            raise Unsupported(f"`{path}` cannot be named: `{name}` {reason}")


def merge_arguments(op: Layer) -> tuple[tuple[str, Any], ...]:
    """Return the arguments of a merge that are not its defaults."""
    return tuple(
        (name, getattr(op, name))
        for name, declared in op.fields.items()
        if getattr(op, name) != declared.default
    )
