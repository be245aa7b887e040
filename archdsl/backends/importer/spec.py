"""A spec as a tree that can be compared and changed before it becomes text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from archdsl.layer import REQUIRED, Layer, kind
from archdsl.naming import is_identifier
from archdsl.values import Shape, show_shape


@dataclass(frozen=True)
class Expression:
    """An expression of a block's parameters, as text."""

    text: str


@dataclass(frozen=True)
class Kind:
    """A layer kind as the value of a parameter.

    Attributes:
        word: the kind.
    """

    word: str


# The most layers and calls on one line of braces.
_FEW: Final = 4
# The word of a layer whose kind is a parameter's value; the parameter is its only slot.
ANY: Final = "?"


@dataclass(frozen=True)
class SpecWord:
    """A layer, or a call of a block.

    Attributes:
        word: the kind or block.
        slots: all its arguments by name, defaults included.
        label: its label, empty without one.
        block: whether it is a block.
        inputs: for a block with several inputs, the label of each; empty for the output
            of the part before it.
        flow: its input channels.
        kind: the layer kind, if the spec declares it by `op`.
        guard: for an optional part, whether it is present in each body; later an
            expression.
    """

    word: str
    slots: tuple[tuple[str, Any], ...] = ()
    label: str = ""
    block: bool = False
    inputs: tuple[str, ...] = ()
    flow: int = field(default=0, compare=False)
    kind: type[Layer] | None = field(default=None, compare=False)
    guard: Any = None

    @property
    def declared(self) -> type[Layer] | None:
        """The layer kind, None for a block."""
        return self.kind or kind(self.word)


@dataclass(frozen=True)
class SpecBraces:
    """Braces, which own names with a label, or number them as `seq`.

    A `guard` is that of a `SpecWord`.
    """

    body: SpecBody
    label: str = ""
    indexed: bool = False
    guard: Any = None


@dataclass(frozen=True)
class SpecMerge:
    """A merge or residual of branches; an empty branch is the value itself.

    Attributes:
        word: the kind, or ``residual``.
        branches: the bodies between the bars.
        args: arguments by name.
        label: its label, empty without one.
        changes: whether the shape differs before and after it.
        guard: that of a `SpecWord`.
    """

    word: str
    branches: tuple[SpecBody, ...]
    args: tuple[tuple[str, Any], ...] = ()
    label: str = ""
    changes: bool = field(default=False, compare=False)
    guard: Any = None


@dataclass(frozen=True)
class SpecTap:
    """The output of a labelled layer, or the input (`input`)."""

    name: str


@dataclass(frozen=True)
class SpecSame:
    """An earlier part, with the same weights.

    Attributes:
        part: its label.
        inputs: those of a `SpecWord`.
        label: the label of this use, empty without one.
    """

    part: str
    inputs: tuple[str, ...] = ()
    label: str = ""


@dataclass(frozen=True)
class SpecRegister:
    """The parts of a body that are registered first, on a line of their own.

    Attributes:
        names: their labels.
    """

    names: tuple[str, ...]


# Items without a label or guard.
BareItem = SpecTap | SpecSame | SpecRegister
SpecItem = SpecWord | SpecBraces | SpecMerge | BareItem


@dataclass(frozen=True)
class SpecLine:
    """A chain: items that follow one another on a line.

    Attributes:
        items: in order.
        times: the number of repetitions.
        output: ``output`` or ``training output`` before it, or nothing.
        loop: whether it is repeated by `for`, because its labels need the index.
    """

    items: tuple[SpecItem, ...]
    times: Any = 1
    output: str = ""
    loop: bool = False


@dataclass(frozen=True)
class SpecBody:
    """The contents of braces."""

    lines: tuple[SpecLine, ...] = ()

    def __iter__(self) -> Iterator[SpecLine]:
        return iter(self.lines)


@dataclass
class Block:
    """The definition of a block.

    Attributes:
        name: its name.
        body: its body.
        indexed: whether it numbers its parts.
        title: name of the module's class.
        parameters: names and defaults, None for those that have none.
        kinds: names of the parameters whose values are layer kinds.
        values: expressions that its body defines first, as text by name.
        inputs: input channels of the call from which it was made.
        outputs: its output channels there.
        changes: whether the shape differs before and after it.
        takes: names of its inputs, if it has several.
        gives: names of its outputs besides the main one.
    """

    name: str
    body: SpecBody
    indexed: bool = False
    title: str = ""
    parameters: tuple[tuple[str, Any], ...] = ()
    kinds: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    inputs: int = 0
    outputs: int = 0
    changes: bool = False
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()

    @property
    def interface(self) -> tuple[Any, ...]:
        """What is the same in all calls that may share a block."""
        return self.title, self.indexed, self.takes, self.gives


@dataclass
class SpecDraft:
    """An unfinished spec.

    Attributes:
        name: the name of the network.
        title: its comment.
        inputs: name and shape of each input.
        body: the body of the network.
        blocks: the blocks by name, in order of definition.
        indexed: whether the network numbers its parts.
        ops: declarations of foreign layers.
        outputs: numbers of the outputs, in the order in which they are written.
    """

    name: str
    title: str
    inputs: list[tuple[str, Shape]]
    body: SpecBody
    blocks: dict[str, Block] = field(default_factory=dict)
    indexed: bool = False
    ops: list[str] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)


def text_of(spec: SpecDraft) -> str:
    """Return the text of a spec, in the canonical layout."""
    from archdsl.source import Source
    from archdsl.syntax.format import format_source

    printer = _Printer(spec.blocks)
    parts = ["arch 1", *spec.ops, *map(printer.definition, spec.blocks.values())]
    inputs = [" ".join(f"input {n} {show_shape(s)}".split()) for n, s in spec.inputs]
    body = "\n".join((*inputs, printer.body(spec.body)))
    head = f"network {spec.name}{' seq' if spec.indexed else ''}"
    parts.append(f"# {spec.title}\n{head} {{\n{body}\n}}")
    return format_source(Source("<import>", "\n\n".join(parts) + "\n"))


def family_text(
    inputs: Sequence[tuple[str, Shape]],
    ops: Sequence[str],
    blocks: Mapping[str, Block],
    calls: Mapping[str, Block],
    networks: Sequence[Block],
    presets: Sequence[tuple[str, str, Mapping[str, Any]]],
) -> str:
    """Return the text of a file with several networks, in the canonical layout.

    Args:
        inputs: names and shapes of the inputs, which all networks share.
        ops: declarations of foreign layers.
        blocks: the definitions, by name.
        calls: these blocks, and those that are values of the networks' parameters.
        networks: each as a block.
        presets: for each name, its network and its arguments.
    """
    from archdsl.source import Source
    from archdsl.syntax.format import format_source

    entries = "\n".join(
        " ".join(f"input {n} {show_shape(s)}".split()) for n, s in inputs
    )
    parts = ["arch 1", *ops, *map(_Printer(blocks).definition, blocks.values())]
    for network in networks:
        printer = _Printer(calls)
        head = network.name
        if network.parameters:
            head += f"<{', '.join(name for name, _ in network.parameters)}>"
        seq = " seq" if network.indexed else ""
        body = f"{entries}\n{printer.body(network.body)}"
        parts.append(f"# {network.title}\nnetwork {head}{seq} {{\n{body}\n}}")
    lines = []
    for place, (name, called, given) in enumerate(presets):
        args = ", ".join(value_text(value, True) for value in given.values())
        call = f"{called}<{args}>" if args else called
        lines.append(f"{'' if place else 'default '}preset {name} = {call}")
    parts.append("\n".join(lines))
    return format_source(Source("<import>", "\n\n".join(parts) + "\n"))


class _Printer:
    """Writes trees as text; the formatter lays it out."""

    def __init__(self, blocks: Mapping[str, Block]) -> None:
        self.blocks = blocks

    def definition(self, block: Block) -> str:
        given = []
        for name, default in block.parameters:
            typed = f"{name}: kind" if name in block.kinds else name
            value = "" if default is None else f" = {value_text(default, True)}"
            given.append(typed + value)
        head = block.name + (f"<{', '.join(given)}>" if given else "")
        head += f"({', '.join(block.takes)})" if block.takes else ""
        seq = " seq" if block.indexed else ""
        values = "".join(f"{name} = {text}\n" for name, text in block.values)
        body = f"{values}{self.body(block.body)}"
        return f"# {block.title}\nblock {head}{seq} {{\n{body}\n}}"

    def body(self, body: SpecBody) -> str:
        return "\n".join(map(self.line, body))

    def line(self, line: SpecLine) -> str:
        guard = getattr(line.items[-1], "guard", None)
        if line.times != 1 and guard is not None:
            # A repeated chain is left out as a whole.
            times = value_text(line.times)
            return f"{self.bare(line.items[-1])} x({times}) if {guard.text}"
        text = " -> ".join(self.guarded(line.items))
        if line.loop:
            return f"for i in range({value_text(line.times, True)}) {{\n{text}\n}}"
        if line.output:
            text = f"{line.output} {text}"
        if line.times == 1:
            return text
        times = value_text(line.times)
        # A name would merge with the sign.
        return f"{text} x{times if isinstance(line.times, int) else f'({times})'}"

    def guarded(self, items: Sequence[SpecItem]) -> Iterator[str]:
        """Yield items as text; consecutive ones with the same guard are in braces."""
        for guard, some in groupby(items, lambda item: getattr(item, "guard", None)):
            found = list(some)
            if guard is None or len(found) == 1:
                yield from map(self.item, found)
            else:
                inner = " -> ".join(map(self.bare, found))
                yield f"{{ {inner} }} if {guard.text}"

    def item(self, item: SpecItem) -> str:
        """Return an item with its guard, if it has one."""
        guard = getattr(item, "guard", None)
        return self.bare(item) + ("" if guard is None else f" if {guard.text}")

    def bare(self, item: SpecItem) -> str:
        """Return an item without its guard."""
        match item:
            case SpecTap(name):
                return f"@{name}"
            case SpecSame(part, inputs, label):
                name = part if is_identifier(part) else f'"{part}"'
                return _labelled(label, f"same {name}{_given_to(inputs)}")
            case SpecRegister(names):
                return f"register {', '.join(map(_quoted, names))}"
            case SpecWord():
                text = self.call(item) if item.block else layer_text(item)
                return _labelled(item.label, text)
            case SpecBraces():
                text = self.braces((item.body,))
                return _labelled(item.label, f"seq {text}" if item.indexed else text)
            case SpecMerge():
                text = f"{_head(item)} {self.braces(item.branches)}"
                return _labelled(item.label, text)

    def braces(self, branches: Sequence[SpecBody]) -> str:
        """Return braces, on one line where each branch is a single chain."""
        short = all(map(_is_short, branches))
        space = " " if short else "\n"
        text = f"{space}|{space}".join(self.branch(body, short) for body in branches)
        return f"{{{space}{text}{space}}}"

    def branch(self, body: SpecBody, short: bool) -> str:
        """Return a branch; taps in a loop are that many branches."""
        if is_range(body):
            (line,) = body
            rounds = f"for i in range({value_text(line.times, True)})"
            return f"{self.item(line.items[0])} {rounds}"
        if short:
            # If calls do not fit on one line after all, each gets its own line.
            words = [item for line in body for item in line.items]
            calls = any(isinstance(item, SpecWord) and item.block for item in words)
            apart = calls or any(line.times != 1 for line in body)
            return ("; " if apart else " -> ").join(map(self.line, body))
        return self.body(body)

    def call(self, item: SpecWord) -> str:
        """Return a call of a block; arguments without a default are positional."""
        given = dict(item.slots)
        args = []
        for name, default in self.blocks[item.word].parameters:
            if default is None:
                args.append(value_text(given[name], True))
            elif given[name] != default:
                args.append(f"{name} = {value_text(given[name], True)}")
        given_args = f"<{', '.join(args)}>" if args else ""
        return f"{item.word}{given_args}{_given_to(item.inputs)}"


def is_range(body: SpecBody) -> bool:
    """Return whether a branch is a loop of taps, each of which is a branch."""
    items = [item for line in body if line.loop for item in line.items]
    return len(body.lines) == len(items) == 1 and isinstance(items[0], SpecTap)


def _is_short(body: SpecBody) -> bool:
    """Return whether a body is one chain, or two of a few layers and calls."""
    if not body.lines or is_range(body):
        return True
    if any(line.loop for line in body) or len(body.lines) > 2:
        return False
    items = [item for line in body for item in line.items]
    if len(body.lines) == 2:
        return len(items) <= _FEW and all(isinstance(item, SpecWord) for item in items)
    return all(all(map(_is_short, _inner(item))) for item in items)


def _inner(item: SpecItem) -> tuple[SpecBody, ...]:
    """Return the bodies in an item."""
    match item:
        case SpecBraces():
            return (item.body,)
        case SpecMerge():
            return item.branches
        case SpecWord() | SpecTap() | SpecSame() | SpecRegister():
            return ()


def _head(item: SpecMerge) -> str:
    """Return a merge's word with its arguments."""
    if kind(item.word) is not None:
        given = [f"{k}={value_text(v, brackets=True)}" for k, v in item.args]
        return " ".join((item.word, *given))
    args = ", ".join(f"{k} = {value_text(v, True)}" for k, v in item.args)
    return item.word + (f"<{args}>" if args else "")


def _labelled(label: str, text: str) -> str:
    if not label:
        return text
    return f"{_quoted(label)}: {text}"


def _given_to(inputs: Sequence[str]) -> str:
    """Return the inputs of a block with several, as braces."""
    taps = [f"@{label}" if label else "" for label in inputs]
    return f" {{ {' | '.join(taps)} }}" if inputs else ""


def _quoted(label: str) -> str:
    return f'"{label}"' if "-" in label else label


def layer_text(item: SpecWord) -> str:
    """Return a layer as text, with the arguments that differ from its defaults."""
    if item.word == ANY:
        return value_text(item.slots[0][1])
    known = item.declared
    assert known is not None
    placed: list[tuple[int, str, str]] = []
    stride, named = "", []
    for name, value in item.slots:
        declared = known.fields[name]
        axes = len(value) if isinstance(value, tuple) else 0
        if declared.default is not REQUIRED and value == declared.default_for(axes):
            continue
        if name == "width" and declared.default is None and value == item.flow:
            continue
        if isinstance(value, tuple) and declared.position != 0 and len({*value}) == 1:
            value = value[0]
        text = value_text(value, brackets=True)
        if isinstance(declared.position, int):
            placed.append((declared.position, name, text))
        elif declared.position == "/":
            stride = f"/{text}"
        else:
            named.append(f"{name}={text}")
    placed.sort()
    before = []
    for number, (position, name, text) in enumerate(placed):
        # A sign is only read after `=`.
        if position == number and not text.startswith("-"):
            before.append(text)
        else:
            named.append(f"{name}={text}")
    return " ".join(part for part in (item.word, *before, stride, *named) if part)


def value_text(value: Any, nested: bool = False, *, brackets: bool = False) -> str:
    """Return an argument as text.

    Args:
        value: a number, truth value, word, size or expression.
        nested: whether it is inside `< >`, where expressions need no parentheses.
        brackets: whether expressions need parentheses.
    """
    if isinstance(value, Expression):
        plain = value.text.isidentifier() or nested or not brackets
        return value.text if plain else f"({value.text})"
    if isinstance(value, Kind):
        return value.word
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "x".join(str(int(n)) for n in value)
    # Specs have 1e-6 instead of 1e-06.
    return repr(value).replace("e-0", "e-") if isinstance(value, float) else str(value)
