"""Layers in the text of the spec, and edits of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from archdsl.source import Source
from archdsl.syntax import tree as t

from .rule import Edit


class WrittenCall(NamedTuple):
    """A call in its chain.

    Attributes:
        call: the call.
        chain: the chain that contains it.
        place: its index there.
        body: the statements that contain the chain.
    """

    call: t.Call
    chain: t.Chain
    place: int
    body: t.Branch

    @property
    def source(self) -> Source:
        """The text that contains it."""
        return self.call.span.source

    @property
    def is_plain(self) -> bool:
        """Whether it consists of a word and its arguments alone."""
        call = self.call
        extra = (call.label, call.renamed, call.repeat, call.guard, call.angle)
        return all(part is None for part in (*extra, call.body))

    def argument(self, name: str, place: int | None = None) -> t.Arg | None:
        """Return an argument by name, or by its index among the positional ones."""
        unnamed = [arg for arg in self.call.args if arg.name is None]
        for arg in self.call.args:
            if arg.name == name:
                return arg
        if place is not None and place < len(unnamed):
            return unnamed[place]
        return None

    def is_before(self, word: str) -> bool:
        """Whether a call of a word always follows it in its chain."""
        steps = self.chain.steps[self.place + 1 :]
        after = steps[0] if steps else None
        return isinstance(after, t.Call) and after.word == word and not after.guard

    # ---- edits

    def with_argument(self, text: str) -> Edit:
        """Return an edit that appends an argument."""
        return Edit(self.call.span.end, self.call.span.end, f" {text}")

    def without_argument(self, arg: t.Arg) -> Edit:
        """Return an edit that removes an argument and the space before it."""
        text, start = self.source.text, arg.span.start
        while text[start - 1] in " \t":
            start -= 1
        return Edit(start, arg.span.end, "")

    def with_value(self, arg: t.Arg, text: str) -> Edit:
        """Return an edit that changes the value of an argument."""
        return Edit(arg.value.span.start, arg.value.span.end, text)

    def replaced(self, text: str) -> Edit:
        """Return an edit that replaces the call by other text."""
        return Edit(self.call.span.start, self.call.span.end, text)

    def removed(self) -> Edit | None:
        """Return an edit that removes the call, None if other text depends on it."""
        if not self.is_plain:
            return None
        steps, at = self.chain.steps, self.place
        text = self.source.text
        if len(steps) == 1:
            return _without_statement(self)
        if at == 0:
            edit = Edit(self.call.span.start, _start(steps[1]), "")
        else:
            edit = Edit(_end(steps[at - 1]), self.call.span.end, "")
        return None if "#" in text[edit.start : edit.end] else edit


def is_fixed(written: WrittenCall) -> bool:
    """Return whether a call's arguments are literals, without parameters."""
    values = [arg.value for arg in written.call.args]
    return all(isinstance(value, t.Literal | t.DimsLiteral) for value in values)


def _without_statement(written: WrittenCall) -> Edit | None:
    """Return an edit that removes a statement with a single call, and its line."""
    text, span = written.source.text, written.call.span
    begin = text.rfind("\n", 0, span.start) + 1
    end = text.find("\n", span.end)
    end = len(text) if end < 0 else end + 1
    if text[begin : span.start].strip() == text[span.end : end].strip() == "":
        return Edit(begin, end, "")
    rest = text[span.end : end].lstrip(" \t")
    if rest.startswith(";"):
        after = text.index(";", span.end) + 1
        while text[after : after + 1] in (" ", "\t"):
            after += 1
        return Edit(span.start, after, "")
    ahead = text[begin : span.start].rstrip(" \t")
    if ahead.endswith(";"):
        return Edit(begin + len(ahead) - 1, span.end, "")
    return None


def _start(step: t.ChainStep) -> int:
    if step.label is None:
        return step.span.start
    return step.label.span.start - int(step.label.quoted)


def _end(step: t.ChainStep) -> int:
    body = step.body if isinstance(step, t.Call) else None
    ends = [part.span.end for part in (step.guard, step.repeat, body) if part]
    # Older names are followed by a quote.
    ends += [name.span.end + 1 for name in step.renamed or ()]
    return max(step.span.end, *ends) if ends else step.span.end


# ---- all of a file ----------------------------------------------------------


def written(file: t.File) -> Iterator[WrittenCall]:
    """Yield every call of a file in its chain."""
    for branch in _branches(file):
        for chain in _chains(branch):
            for place, step in enumerate(chain.steps):
                if isinstance(step, t.Call):
                    yield WrittenCall(step, chain, place, branch)


def _branches(file: t.File) -> Iterator[t.Branch]:
    """Yield every branch of every body of a file."""
    stack = [definition.body for definition in file.definitions()]
    while stack:
        body = stack.pop()
        for branch in body.branches:
            yield branch
            stack += _bodies(branch)


def _bodies(branch: t.Branch) -> Iterator[t.Body]:
    for statement in branch.statements:
        if isinstance(statement, t.For):
            yield statement.body
        elif isinstance(statement, t.If):
            yield from bodies_of(statement)
    for chain in _chains(branch):
        for step in chain.steps:
            if isinstance(step, t.Call | t.BracedGroup) and step.body is not None:
                yield step.body


def bodies_of(statement: t.If) -> Iterator[t.Body]:
    """Yield the bodies among which an `if` selects."""
    current: t.Body | t.If | None = statement
    while isinstance(current, t.If):
        yield current.body
        current = current.otherwise
    if current is not None:
        yield current


def _chains(branch: t.Branch) -> Iterator[t.Chain]:
    for statement in branch.statements:
        if isinstance(statement, t.Chain):
            yield statement
        elif isinstance(statement, t.Output):
            yield statement.chain
