"""A spec as a tree that can be compared and changed before it is text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Word:
    """A layer, or a call of a block.

    Attributes:
        word: the kind or block.
        args: arguments by name with their place, as in `archdsl.layer.Field`.
        label: its label, empty without one.
        block: whether it is a block.
        op: what kind of thing the arguments belong to, for a layer.
    """

    word: str
    args: tuple[tuple[str, Any], ...] = ()
    label: str = ""
    block: bool = False


@dataclass(frozen=True)
class Braces:
    """Braces, which own names with a label, or number them as `seq`."""

    body: Body
    label: str = ""
    indexed: bool = False


@dataclass(frozen=True)
class Merge:
    """A merge or residual of branches; an empty branch is the value itself."""

    word: str
    branches: tuple[Body, ...]
    args: tuple[tuple[str, Any], ...] = ()
    label: str = ""


@dataclass(frozen=True)
class Tap:
    """The output of a labelled layer, or what flows in (`input`)."""

    name: str


@dataclass(frozen=True)
class Same:
    """An earlier part, with the same weights."""

    label: str


Item = Word | Braces | Merge | Tap | Same


@dataclass(frozen=True)
class Line:
    """A chain: items that follow one another on a line.

    Attributes:
        items: in order.
        times: how often it is repeated.
        output: ``output`` or ``training output`` before it, or nothing.
    """

    items: tuple[Item, ...]
    times: Any = 1
    output: str = ""


@dataclass(frozen=True)
class Body:
    """What stands in braces."""

    lines: tuple[Line, ...] = ()

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)


@dataclass
class Block:
    """The definition of a block.

    Attributes:
        name: its name.
        body: its body.
        indexed: whether it numbers its parts.
        title: the class that it was.
        parameters: names and defaults, None for those that have none.
    """

    name: str
    body: Body
    indexed: bool = False
    title: str = ""
    parameters: list[tuple[str, Any]] = field(default_factory=list)


# ---- text -------------------------------------------------------------------------


def body_text(body: Body) -> str:
    """Return the lines of a body; their layout is left to the formatter."""
    return "\n".join(map(line_text, body))


def line_text(line: Line) -> str:
    """Return a chain."""
    text = " -> ".join(map(item_text, line.items))
    if line.output:
        text = f"{line.output} {text}"
    if line.times == 1:
        return text
    shown = line.times if isinstance(line.times, int) else f"({line.times})"
    return f"{text} x{shown}"


def item_text(item: Item) -> str:
    """Return a layer, block, merge or tap."""
    match item:
        case Tap(name):
            return f"@{name}"
        case Same(label):
            return f"same {label}"
        case Word():
            return _labelled(item.label, _word_text(item))
        case Braces():
            text = f"{{\n{body_text(item.body)}\n}}"
            return _labelled(item.label, f"seq {text}" if item.indexed else text)
        case Merge():
            branches = "\n|\n".join(body_text(branch) for branch in item.branches)
            args = ", ".join(f"{k} = {value_text(v)}" for k, v in item.args)
            head = item.word + (f"<{args}>" if args else "")
            return _labelled(item.label, f"{head} {{\n{branches}\n}}")


def _labelled(label: str, text: str) -> str:
    if not label:
        return text
    shown = f'"{label}"' if "-" in label else label
    return f"{shown}: {text}"


def _word_text(item: Word) -> str:
    if item.block:
        args = ", ".join(
            _block_argument(value)
            if name.isdigit()
            else f"{name} = {_block_argument(value)}"
            for name, value in item.args
        )
        return item.word + (f"<{args}>" if args else "")
    parts = [item.word]
    for name, value in item.args:
        text = value_text(value)
        if name.isdigit():
            parts.append(text)
        elif name == "/":
            parts.append(f"/{text}")
        else:
            parts.append(f"{name}={text}")
    return " ".join(parts)


def _block_argument(value: Any) -> str:
    return value_text(value, nested=True)


def value_text(value: Any, *, nested: bool = False) -> str:
    """Return an argument; expressions, which are strings, stand in parentheses."""
    if isinstance(value, Expression):
        simple = value.text.isidentifier() or nested
        return value.text if simple else f"({value.text})"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "x".join(str(int(n)) for n in value)
    if isinstance(value, float):
        return repr(value)
    return str(value)


@dataclass(frozen=True)
class Expression:
    """An expression of parameters, as text."""

    text: str
