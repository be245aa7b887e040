"""What a spec has to say about one namespace of a network.

The tree of the IR becomes chains of items, as they would be written: calls of layers
and blocks, merges, residuals, repeats, and taps (references to a label) where a layer
reads a value other than the one before it. Names that result from counting are marked,
since they need no label.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from archdsl.conditions import LabelTemplate
from archdsl.ir import Group, Network, Parameter, Port, Step
from archdsl.ir.graph import plain_layer
from archdsl.layer import Layer
from archdsl.naming import channels_of_input
from archdsl.symbolic import poly_of
from archdsl.values import channels

# The name of a residual's projection; from the second one on, with a number.
_PROJECTION: Final = "downsample"
# A value that does not matter, such as the rate of a dropout that is left out.
ANY: Final[Any] = type("_Any", (), {"__repr__": lambda _: "ANY"})()


class Unwritable(ValueError):
    """A network that no spec describes, with the reason."""


@dataclass(eq=False)
class PartName:
    """The name of a part.

    Attributes:
        text: as in the IR.
        pattern: the name in terms of the block's parameters; empty if it uses none.
    """

    text: str
    pattern: LabelTemplate = ()

    def followed_by(self, more: str) -> PartName:
        """Return the name with something appended."""
        pattern = (*self.pattern, more) if more and self.pattern else self.pattern
        return PartName(self.text + more, pattern) if more else self


@dataclass(eq=False)
class ChainItem:
    """One element of a chain.

    Attributes:
        key: its form; only items of the same form can be written as one.
        values: its arguments and the like, by name; equal forms have the same names.
        channels: the input channels; None where they are not needed.
        bodies: the contents of each pair of braces, or each branch: a list of copies,
            of which a repeat may have none or several.
        name: the name of the part; None if it has none.
        older: names of the part in older checkpoints.
        implied: whether a part without a label would get that name.
        tapped: whether something refers to its label.
        part: the part of the network, if it stands for one.
    """

    key: tuple[Any, ...]
    values: dict[str, Any] = field(default_factory=dict)
    channels: int | None = None
    bodies: list[list[ItemChains]] = field(default_factory=list)
    name: PartName | None = None
    older: list[PartName] = field(default_factory=list)
    implied: bool = False
    tapped: bool = False
    part: Step | Group | None = None


@dataclass(eq=False)
class ItemChain:
    """Items joined by arrows.

    Attributes:
        items: in order.
        output: for an additional output, whether it exists in training only.
    """

    items: list[ChainItem]
    output: bool | None = None


ItemChains = list[ItemChain]


def own_parameters(group: Group) -> list[Parameter]:
    """Return the parameters of a block that its spec declares."""
    inputs = {channels_of_input(port.name) for port in group.ports[1:]}
    return [p for p in group.parameters if p.name not in {"in_channels", *inputs}]


class NetworkFacts:
    """Facts about parts that depend on the whole network.

    Attributes:
        unsaid: outputs of layers that have a bias exactly if the language's default is
            one.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self._readers: dict[int, list[tuple[Step, int, tuple[int, ...]]]] = {}
        self._made: list[tuple[Step, int, tuple[int, ...]]] = []
        self._leaving = {port.value for port in network.outputs}
        self._producers = {step.output: step for step in network.steps()}
        self._visit(network.root, 0, ())
        needed = {
            step.path
            for step, block, copies in self._made
            if self._needs(step, block, copies)
        }
        self.unsaid = {
            step.output
            for step, _, _ in self._made
            if arguments_of(step.op)["bias"] == (step.path in needed)
        }

    def is_automatic(self, body: Group, short: Group) -> bool:
        """Return whether a shortcut is the one that the language makes for a body.

        It may not be, in a transformed network.
        """
        if not short.children:
            return True
        ops = [plain_layer(step.op) for step in short.steps()]
        inner = short.children[0]
        is_projection = isinstance(inner, Group) and inner.name == short.name
        if not (is_projection and ops and {"stride", "bias"} <= vars(ops[0]).keys()):
            return False
        on_the_way = main_path(self._producers, body.input, body.output)
        norms = [
            plain_layer(step.op) for step in on_the_way if step.op.family == "norm"
        ]
        return ops[1:] == norms[:1] and arguments_of(ops[0])["bias"] == (not norms)

    def _visit(self, group: Group, block: int, copies: tuple[int, ...]) -> None:
        for child in group.children:
            if isinstance(child, Step):
                entry = child, block, copies
                for value in child.inputs:
                    self._readers.setdefault(value, []).append(entry)
                found = child.op.fields.get("bias")
                if found is not None and found.default is None:
                    self._made.append(entry)
            elif child.role == "block":
                self._leaving.update(child.outputs)
                self._visit(child, id(child), ())
            elif child.role == "copy":
                self._visit(child, block, (*copies, id(child)))
            else:
                self._visit(child, block, copies)

    def _needs(self, step: Step, block: int, copies: tuple[int, ...]) -> bool:
        """Return whether a layer has a bias unless the spec says otherwise."""
        readers = self._readers.get(step.output, [])
        return (
            step.output in self._leaving
            or not readers
            or not all(
                reader.op.absorbs_bias
                and around == block
                and inside[: len(copies)] == copies
                for reader, around, inside in readers
            )
        )


class _Space:
    """The names of one namespace, as a reader of the spec counts them.

    Attributes:
        indexed: whether parts are named by their index.
        ports: the additional outputs of its owner.
        said: those of them that have been written.
        taken: the names so far.
        counts: for each word, the number of parts without a label.
        labels: for each label, its value, the item that has it, and what follows the
            item's name in the label.
    """

    def __init__(self, indexed: bool, ports: Sequence[Port] = ()) -> None:
        self.indexed = indexed
        self.ports = ports
        self.said: list[Port] = []
        self.taken: set[str] = set()
        self.counts: dict[str, int] = {}
        self.labels: dict[str, tuple[int, ChainItem | None, str]] = {}

    def number(self, word: str, unless: str | None = None) -> str:
        """Return the name of the next part without a label, and count the part.

        Args:
            word: the word of the part.
            unless: the name of the part; if it is not the next one by number, the part
                has a label and is not counted.
        """
        key = "" if self.indexed else word
        count = self.counts.get(key, 0)
        if not self.indexed:
            while f"{word}{count + 1}" in self.taken:
                count += 1
        name = str(count) if self.indexed else f"{word}{count + 1}"
        if unless in (None, name) or self.indexed:
            self.counts[key] = count + 1
        return name

    def claim(self, name: str) -> None:
        """Mark a name as used, and that of its container."""
        self.taken |= {name, name.partition(".")[0]}

    def let_read(self, name: str, part: Step | Group, item: ChainItem) -> None:
        """Record a label for a part and for its additional outputs."""
        self.labels[name] = part.output, item, ""
        for port in part.extras if isinstance(part, Group) else ():
            self.labels[f"{name}.{port.name}"] = port.value, item, f".{port.name}"


class Reader:
    """Turns the parts of a block or network into chains.

    Args:
        facts: about the whole network.
        words: the names of blocks, by the id of their group.
        further: arguments that calls need in addition to the network's, likewise.
        group: the block, or the network's root.
    """

    def __init__(
        self,
        facts: NetworkFacts,
        words: dict[int, str],
        further: dict[int, dict[str, Any]],
        group: Group,
    ) -> None:
        self.facts = facts
        self.words = words
        self.further = further
        self.group = group
        self.is_root = group.role == "network"
        ports = facts.network.outputs[1:] if self.is_root else group.extras
        self.spaces = [_Space(group.indexed, ports)]
        self.entry = group.input

    def body(self) -> ItemChains:
        """Return the contents of the block or network."""
        inputs = self.facts.network.inputs if self.is_root else self.group.ports
        for port in inputs:
            if port.name != "x" or len(inputs) > 1:
                self.spaces[0].labels[port.name] = port.value, None, ""
        return self._whole(self.group)

    def _whole(self, group: Group) -> ItemChains:
        """Return the contents of a namespace, with its outputs."""
        chains = self._body(group.children, group.input, group.output, outer=True)
        last = [self._output(port) for port in self.spaces[-1].ports]
        return [*_registered(group), *chains, *filter(None, last)]

    # ---- statements

    def _body(
        self,
        children: Sequence[Step | Group],
        start: int,
        end: int,
        outer: bool = False,
    ) -> ItemChains:
        """Return the chains within braces.

        Args:
            children: the parts.
            start: the input value.
            end: the output value.
            outer: whether outputs of the namespace can be written here.
        """
        chains: ItemChains = []
        current = start
        segments = list(_segments(children))
        if outer and self._is_network:
            segments = self._outputs_together(segments)
        for place, segment in enumerate(segments):
            after = segments[place + 1] if place + 1 < len(segments) else None
            following = end if after is None else _entry(after[0])
            port = self._port(segment, following) if outer else None
            if port is not None:
                chains += self._outputs_before(port)
            before = current
            items, current = self._chain(segment, current, outer)
            if port is None:
                chains.append(ItemChain(items))
            else:
                chains.append(ItemChain(items, port.training))
                self.spaces[-1].said.append(port)
                items[-1].tapped = not self._is_network
                current = before
        if current != end:
            chains.append(ItemChain([self._tap(end)]))
        return chains

    def _chain(
        self, segment: _Segment, current: int, outer: bool
    ) -> tuple[list[ChainItem], int]:
        items: list[ChainItem] = []
        for one in segment:
            if isinstance(one, list):
                flat = [part for inner in one for part in _parts(inner)]
                start = _entry(one[0][0])
                if start is not None and start != current:
                    items.append(self._tap(start))
                    current = start
                end = flat[-1].output
                body = self._body(flat, current, end, outer)
                items.append(ChainItem(("inline",), bodies=[[body]]))
                current = end
                continue
            needed = _entry(one)
            if needed is not None and needed != current:
                items.append(self._tap(needed))
            if isinstance(one, Step) and one.op.arity != 1 and not one.shared:
                items.append(self._bare_merge(one, current))
            else:
                items.append(self._item(one, outer))
            current = one.output
        return items, current

    def _tap(self, value: int) -> ChainItem:
        """Return a tap of a value.

        Raises:
            Unwritable: if no label stands for it.
        """
        found = self._tap_if_any(value)
        if found is None:
            raise Unwritable(f"no label refers to the value {value}")
        return found

    def _tap_if_any(self, value: int) -> ChainItem | None:
        for depth, space in reversed(list(enumerate(self.spaces))):
            inner = self.spaces[depth + 1 :]
            for label, (known, item, more) in space.labels.items():
                if known != value or any(label in one.labels for one in inner):
                    continue
                if item is not None:
                    item.tapped = True
                name = item.name if item is not None else None
                path = PartName(label) if name is None else name.followed_by(more)
                return ChainItem(("tap",), {"path": path})
        if value == self.entry:
            return ChainItem(("tap",), {"path": PartName("input")})
        return None

    # ---- outputs

    @property
    def _is_network(self) -> bool:
        """Whether these are the network's own statements."""
        return self.is_root and len(self.spaces) == 1

    def _outputs_together(self, segments: list[_Segment]) -> list[_Segment]:
        """Join the parts of each training output, which may begin with braces."""
        values = {port.value for port in self.facts.network.outputs if port.training}
        found: list[_Segment] = []
        run: list[_Segment] = []
        for segment in segments:
            if not _parts(segment)[0].training:
                found += [*run, segment]
                run = []
                continue
            run.append(segment)
            if _parts(segment)[-1].output in values:
                first: _Segment = [run[:-1]] if len(run) > 1 else []
                found.append([*first, *run[-1]])
                run = []
        return [*found, *run]

    def _port(self, segment: _Segment, following: int | None) -> Port | None:
        """Return the additional output that a chain computes."""
        last = _parts(segment)[-1]
        space, root = self.spaces[-1], self._is_network
        for port in space.ports:
            leaves = port.value == last.output != following
            named = port.training == last.training if root else port.name == last.name
            if leaves and named and port not in space.said:
                return port
        return None

    def _outputs_before(self, port: Port) -> ItemChains:
        """Return the outputs to write before one, to keep their order."""
        ports = self.spaces[-1].ports
        before = ports[: ports.index(port)]
        same = [one for one in before if one.training == port.training]
        return list(filter(None, map(self._output, same)))

    def _output(self, port: Port) -> ItemChain | None:
        """Return the output statement of a value, unless it has been written."""
        if port in self.spaces[-1].said:
            return None
        self.spaces[-1].said.append(port)
        tap = self._tap(port.value)
        if tap.values["path"].text.rpartition(".")[2] != port.name:
            tap.name = PartName(port.name)
        return ItemChain([tap], port.training)

    # ---- parts

    def _item(self, part: Step | Group, outer: bool) -> ChainItem:
        if part.shared:
            return self._again(part)
        if isinstance(part, Step):
            return self._layer(part)
        match part.role:
            case "block":
                return self._block(part)
            case "group":
                return self._group(part)
            case "repeat":
                copies = [
                    self._body(_children(copy), copy.input, copy.output, outer)
                    for copy in part.children
                    if isinstance(copy, Group)
                ]
                return self._of(part, ("repeat",), {"count": part.count}, [copies])
            case "guard":
                inner = self._body(part.children, part.input, part.output)
                copies = [inner] if part.children else []
                return self._of(part, ("guard",), {"test": part.condition}, [copies])
            case _:
                return self._structure(part)

    def _of(
        self,
        part: Group,
        key: tuple[Any, ...],
        values: dict[str, Any],
        bodies: list[list[ItemChains]],
    ) -> ChainItem:
        flowing = channels(part.input_shape) if part.input_shape else None
        return ChainItem(key, values, flowing, bodies, part=part)

    def _named(self, item: ChainItem, part: Step | Group, word: str) -> ChainItem:
        """Give an item its name, and record its label."""
        space = self.spaces[-1]
        item.name = PartName(part.name, part.pattern)
        item.older = [PartName(old.name, old.pattern) for old in part.renamed_from]
        if isinstance(part, Step):
            item.implied = not part.labelled and part.name == space.number(word)
        else:
            item.implied = part.name == space.number(word, unless=part.name)
        space.claim(part.name)
        if not space.indexed:
            space.let_read(part.name, part, item)
        return item

    def _again(self, part: Step | Group) -> ChainItem:
        item = ChainItem(("same", part.name), part=part)
        for space in self.spaces[-1:]:
            known = space.labels.get(part.name)
            if known is not None and known[1] is not None:
                known[1].tapped = True
        if part.alias != part.name:
            item.name = PartName(part.alias)
            self.spaces[-1].claim(part.alias)
            self.spaces[-1].let_read(part.alias, part, item)
        return item

    def _layer(self, step: Step) -> ChainItem:
        item = ChainItem(
            ("layer",), self._arguments(step), channels(step.input_shapes[0]), part=step
        )
        return self._named(item, step, step.op.word)

    def _arguments(self, step: Step) -> dict[str, Any]:
        found = {"word": type(step.op), **arguments_of(step.op)}
        if step.output in self.facts.unsaid:
            found["bias"] = ANY
        return found

    def _bare_merge(self, step: Step, current: int) -> ChainItem:
        """Return a merge of existing values, which networks made in code may have."""
        branches: list[list[ItemChains]] = [
            [[ItemChain([self._tap(value)])] if value != current else []]
            for value in step.inputs
        ]
        key = "merge", type(step.op), len(branches)
        item = ChainItem(key, dict(vars(step.op)), None, branches, part=step)
        self.spaces[-1].number(step.op.word)
        return item

    def _block(self, group: Group) -> ChainItem:
        word = self.words[id(group)]
        values = {p.name: p.value for p in own_parameters(group)}
        values.update(self.further[id(group)])
        item = self._of(group, ("call", word), values, [])
        return self._named(item, group, word)

    def _group(self, group: Group) -> ChainItem:
        if group.word not in ("", "seq"):
            return self._structure(group, owned=True)
        item = self._of(group, ("braces", group.indexed), {}, [])
        # Groups are numbered in the order in which they begin, so before their
        # contents.
        self._named(item, group, group.word or "group")
        space = self.spaces[-1]
        # The contents cannot refer to their own group.
        space.labels = {k: v for k, v in space.labels.items() if v[1] is not item}
        self.spaces.append(_Space(group.indexed, group.extras))
        item.bodies = [[self._whole(group)]]
        self.spaces.pop()
        if not space.indexed:
            space.let_read(group.name, group, item)
        return item

    def _fed(self, group: Group, last: Step | Group) -> ChainItem:
        """Return the call of a block with several inputs, a branch for each.

        A foreign layer can have several inputs, too.
        """
        bodies = [[self._branch(one)] for one in group.children[:-1]]
        item = self._item(last, False)
        item.bodies = bodies
        item.channels = channels(group.input_shape)
        return item

    def _structure(self, group: Group, owned: bool = False) -> ChainItem:
        last = group.children[-1] if group.children else group
        if last.shared if isinstance(last, Step) else last.ports:
            return self._fed(group, last)
        item = self._of(group, (), {}, [])
        labels = self.spaces[-1].labels
        if owned:
            self._named(item, group, group.word)
            own = labels.pop(group.name, None)
            self.spaces.append(_Space(group.indexed))
        if group.word == "residual":
            self._residual(group, item)
        else:
            self._merge(group, item)
        if owned:
            for copies in item.bodies[:1]:
                copies[0] = [*_registered(group), *copies[0]]
            self.spaces.pop()
            if own is not None:
                labels[group.name] = own
        return item

    def _merge(self, group: Group, item: ChainItem) -> None:
        *branches, step = group.children or (group,)
        if not isinstance(step, Step) or step.op.arity == 1:
            raise Unwritable(f"{group.path}: a structure must end with a merge")
        item.bodies = [[self._branch(branch)] for branch in branches]
        item.key = "merge", type(step.op), len(branches)
        item.values = dict(vars(step.op))
        if item.name is None and (step.labelled or step.op.tensors(*step.input_shapes)):
            self._named(item, step, step.op.word)
        else:
            self.spaces[-1].number(step.op.word)

    def _branch(self, branch: Step | Group) -> ItemChains:
        if not isinstance(branch, Group):
            raise Unwritable(f"{branch.path}: only branches can stand here")
        if not branch.children and branch.output == branch.input:
            # A tapped value carries an expression of its own.
            sides = (branch.input_shape, branch.shape)
            flowing, read = (poly_of(channels(shape)) for shape in sides)
            tap = self._tap_if_any(branch.output) if flowing != read else None
            if tap is not None:
                return [ItemChain([tap])]
        return self._body(branch.children, branch.input, branch.output)

    def _residual(self, group: Group, item: ChainItem) -> None:
        by_role = {child.role: child for child in _groups(group)}
        if "branch" not in by_role or by_role.keys().isdisjoint(
            ("structure", "shortcut")
        ):
            raise Unwritable(f"{group.path}: a residual needs a body and a shortcut")
        item.bodies = [[self._branch(by_role["branch"])]]
        if "structure" in by_role:
            sum_ = by_role["structure"]
            ops = [child.op for child in sum_.children if isinstance(child, Step)]
            for op in ops:
                self.spaces[-1].number(op.word)
            drop = ANY if not ops else vars(ops[0])["p"] if len(ops) > 1 else 0.0
            item.key = "residual", "optional"
            item.values = {"drop": drop}
            return
        short = by_role["shortcut"]
        if short.name and self.facts.is_automatic(by_role["branch"], short):
            self._projected(group, short, item)
        elif short.children or short.output != short.input:
            item.key = "residual", "written"
            item.bodies.append([self._branch(short)])
        else:
            item.key = "residual", "identity"
        self.spaces[-1].number("add")

    def _projected(self, group: Group, short: Group, item: ChainItem) -> None:
        name = f"{_PROJECTION}1" if short.name == _PROJECTION else short.name
        space = self.spaces[-1]
        if _PROJECTION in space.taken and _PROJECTION not in space.counts:
            space.counts[_PROJECTION] = 1  # a label took the first projection's name
        implied = space.number(_PROJECTION, unless=name) == name
        before = group.children[0] is short
        item.key = "residual", _mode(short), before
        item.values = {"projection": ANY if implied else short.name}
        if short.children:
            self.spaces[-1].claim(short.name)


def _registered(group: Group) -> ItemChains:
    """Return the `register` statement, if there is one."""
    patterns = {part.name: part.pattern for part in group.parts()}
    names = [PartName(name, patterns.get(name, ())) for name in group.registered]
    values = {str(place): name for place, name in enumerate(names)}
    key = "register", len(names)
    return [ItemChain([ChainItem(key, values)])] if names else []


def _mode(short: Group) -> str:
    """Return the option of a residual that gives a shortcut not written out."""
    if short.condition is not None or not short.children:
        return "auto"
    conv = next(
        child for child in _groups(short)[0].children if isinstance(child, Step)
    )
    stride = poly_of(max(vars(conv.op)["stride"]))
    before, after = channels(short.input_shape), channels(short.shape)
    decides = stride.number is None or poly_of(before) != poly_of(after)
    if short.input_shape == short.shape or (stride.number in (None, 1) and decides):
        return "projection"
    return "auto"


# ---- chains of the parts' statements ---------------------------------------------


def arguments_of(op: Layer) -> dict[str, Any]:
    """Return a layer's arguments.

    Networks made in code may leave `bias` undecided; then it is true.
    """
    found = dict(vars(op))
    if "bias" in found:
        found["bias"] = found["bias"] is not False
    return found


def main_path(producers: Mapping[int, Step], start: int, end: int) -> Iterator[Step]:
    """Yield the steps from a value back to an earlier one, following first inputs."""
    while end != start and end in producers:
        yield producers[end]
        end = producers[end].inputs[0]


_Segment = list[Any]  # of parts and, for braces, lists of segments


def _segments(children: Sequence[Step | Group]) -> Iterator[_Segment]:
    """Yield the parts of each chain; braces are lists of chains."""
    numbers = [_statement(child) for child in children]
    start = 0
    while start < len(children):
        number = numbers[start]
        end = start
        if number is not None:
            end = len(numbers) - 1 - numbers[::-1].index(number)
        segment: _Segment = []
        between: list[Step | Group] = []
        for child, own in zip(
            children[start : end + 1], numbers[start : end + 1], strict=True
        ):
            if own != number:
                between.append(child)
                continue
            if between:
                segment.append(list(_segments(between)))
                between = []
            segment.append(child)
        yield segment
        start = end + 1


def _statement(part: Step | Group) -> int | None:
    """Return the number of a part's chain; None if it is a statement of its own."""
    if isinstance(part, Group) and part.role == "repeat":
        return None
    return part.statement


def _parts(segment: _Segment) -> list[Step | Group]:
    """Return the parts of a chain, including those in braces."""
    found: list[Step | Group] = []
    for one in segment:
        if isinstance(one, list):
            found += [part for inner in one for part in _parts(inner)]
        else:
            found.append(one)
    return found


def _entry(part: Any) -> int | None:
    """Return the input value of a part; None if it does not matter."""
    while isinstance(part, list):
        part = part[0]
    if isinstance(part, Step):
        return part.inputs[0] if part.op.arity == 1 else None
    entry: int = part.input
    return entry


def _children(group: Group) -> tuple[Step | Group, ...]:
    return group.children


def _groups(group: Group) -> list[Group]:
    return [child for child in group.children if isinstance(child, Group)]
