"""The statements of a `forward` method."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from archdsl.backends.torch.nodes import (
    WIDTH,
    Bindings,
    flat,
    kept,
    node_of,
)
from archdsl.ir import Group, Step
from archdsl.passes.flow import Op
from archdsl.passes.written import is_function

INDENT = 8
# A projection that may be missing: its name, and the variable it is applied to.
HOLE = re.compile(r"\x01(\w+)\x02(\w+)\x03")
# The sum of an optional shortcut: its flag, and what stands with it and without it.
OPTIONAL = re.compile(r"\x04(\w+)\x05([^\x05]+)\x05([^\x06]+)\x06")
# Callables that are typed to return a tensor; a module's call is not.
_TENSOR = re.compile(r"(torch\.\w+|F\.relu)\(")
_MAX_INLINE = 40
# A range of channels, whose ends may be expressions.
_RANGE = re.compile(r"\[:, ([^:\]]*):([^:\]]*)\]")
# Names of values that the spec gives none, in the order of preference.
_GENERIC = ("x", "out", "y", "z")

Caller = Callable[[Op], str]
LoopText = Callable[[Op, str], list[str] | None]


class _Pending(NamedTuple):
    """An expression that no variable holds yet."""

    text: str
    variables: frozenset[str]
    op: Op


class Forward:
    """Writes operations as statements, one for each chain of the spec.

    Attributes:
        lines: the statements so far, indented from 0.
        named: values that are called after their label.
        reserved: names that no variable may bear.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        inputs: dict[int, str],
        outputs: Sequence[int],
        caller: Caller,
        inplace: frozenset[int],
        bindings: Bindings,
        loop: LoopText,
    ) -> None:
        self.lines: list[str] = []
        self.ops = ops
        self.inputs = inputs
        self.caller = caller
        self.inplace = inplace
        self.bindings = bindings
        self.loop = loop
        self.names = dict(inputs)
        self.pending: dict[int, _Pending] = {}
        self.left = Counter(value for op in ops for value in op.reads)
        self.left.update(outputs)
        self.named: frozenset[int] = frozenset()
        self.reserved: frozenset[str] = frozenset()

    def run(self, ops: Sequence[Op]) -> None:
        """Write some of the operations."""
        for place, op in enumerate(ops):
            follower = ops[place + 1] if place + 1 < len(ops) else None
            if op.is_loop:
                self._loop(op)
            else:
                self._operation(op, follower)

    # ---- reading and writing values

    def settle(self, value: int) -> str:
        """Return the variable that holds a value, assigning it if need be."""
        if value in self.pending:
            waiting = self.pending.pop(value)
            self._assign(waiting.op, waiting.text, waiting.variables)
        return self.names[value]

    def read(self, value: int) -> tuple[str, frozenset[str]]:
        """Return the text of a value, and the variables it reads."""
        self.left[value] -= 1
        if value in self.pending:
            waiting = self.pending.pop(value)
            return waiting.text, waiting.variables
        name = self.names[value]
        return name, frozenset((name,))

    def _live(self) -> set[str]:
        return {n for v, n in self.names.items() if self.left[v] > 0}

    def _assign(self, op: Op, text: str, variables: frozenset[str]) -> None:
        name = self._variable(op, variables)
        self._take(name, op.output)
        self.lines.append(f"{name} = {text}")

    def _take(self, name: str, value: int) -> None:
        """Let a variable hold another value, once what waits for it is assigned."""
        for other, waiting in list(self.pending.items()):
            if name in waiting.variables:
                self.settle(other)
        self.names = {
            v: n for v, n in self.names.items() if n != name or self.left[v] > 0
        }
        self.names[value] = name

    def _variable(self, op: Op, variables: frozenset[str]) -> str:
        """Return the variable for a value: one that is free, or a new one."""
        live = self._live()
        waiting = frozenset().union(*(p.variables for p in self.pending.values()))
        wanted = self.left[op.output] > 1 or op.output in self.named
        free = op.label not in live and op.label not in self.reserved
        if wanted and free and op.label.isidentifier():
            return op.label
        own = [name for name in _GENERIC if name in variables]
        for name in [*own, *_GENERIC, op.label]:
            if name and name not in live | waiting:
                return name
        number = 2
        while f"y{number}" in live | waiting:
            number += 1
        return f"y{number}"

    # ---- operations

    def _operation(self, op: Op, follower: Op | None) -> None:
        if op.optional or self._crowded(op):
            for value in op.reads:
                self.settle(value)
        texts, variables = [], frozenset[str]()
        for value in op.reads:
            text, read = self.read(value)
            texts.append(text)
            variables |= read
        text = self._text(op, texts)
        if self._may_wait(op, text, follower):
            self.pending[op.output] = _Pending(text, variables, op)
        else:
            self._assign(op, text, variables)

    def _crowded(self, op: Op) -> bool:
        """Return whether an operation's inputs are better put into variables."""
        waiting = [self.pending[v].text for v in op.reads if v in self.pending]
        if not waiting or (op.is_merge and all(_is_simple(t) for t in waiting)):
            return False
        texts = [
            self.pending[v].text if v in self.pending else self.names[v]
            for v in op.reads
        ]
        return len(self._text(op, texts)) > WIDTH - INDENT - len("return ")

    def _may_wait(self, op: Op, text: str, follower: Op | None) -> bool:
        """Return whether a value is written into the expression that reads it."""
        if self.left[op.output] != 1:
            return False
        if follower is None:
            return True
        if op.optional:
            return False
        if op.output in follower.reads and not follower.is_merge:
            return op.statement == follower.statement
        reader = next((o for o in self.ops if op.output in o.reads), None)
        return _is_simple(text) and (reader is None or reader.is_merge)

    def _text(self, op: Op, inputs: list[str]) -> str:
        if op.optional:
            body = inputs[0]
            for one in op.before:
                body = self._text(one, [body])
            return f"\x04{self.caller(op)}\x05{body} + {inputs[1]}\x05{inputs[0]}\x06"
        if op.hole:
            return f"\x01{op.hole}\x02{inputs[0]}\x03"
        if isinstance(op.node, Step) and is_function(op.node):
            return self._function(op, op.node, inputs)
        return f"{self.caller(op)}({', '.join(inputs)})"

    def _function(self, op: Op, step: Step, inputs: list[str]) -> str:
        form = step.op.torch(step.input_shapes, step.shape)
        assert form.function is not None
        template = form.function
        if "{self}" in template:
            template = template.replace("{self}", self.caller(op))
        return function_text(
            template,
            inputs,
            [(n, flat(kept(node_of(v, self.bindings)))) for n, v in form.kwargs],
            form.inplace
            and step.output in self.inplace
            and op.reads[0] not in self.inputs,
        )

    def _loop(self, op: Op) -> None:
        entry = self.settle(op.reads[0])
        self.left[op.reads[0]] -= 1
        live = self._live()
        name = next(n for n in (*_GENERIC, "looped") if n not in live)
        self._take(name, op.output)
        if entry != name:
            self.lines.append(f"{name} = {entry}")
        body = self.loop(op, name)
        assert body is not None
        self.lines += body

    # ---- the end

    def result(self, value: int) -> str:
        """Return the text of an output, once all is written."""
        return self.read(value)[0]

    def finish(self, value: int) -> None:
        """Return one value, in a form whose type a checker knows."""
        text = self.result(value)
        if _TENSOR.match(text) or text == "x":
            self.lines.append(f"return {text}")
        else:
            self.lines += [f"x = {text}", "return x"]
        if self.lines[-1] == "return x" and "x" not in self.inputs.values():
            first = next(n for n, line in enumerate(self.lines) if line[:4] == "x = ")
            self.lines[first] = f"x: Tensor = {self.lines[first][4:]}"


def _is_simple(text: str) -> bool:
    return text.count("(") <= 1 and len(text) <= _MAX_INLINE


def function_text(
    template: str, inputs: list[str], kwargs: list[tuple[str, str]], inplace: bool
) -> str:
    """Return a function of a layer kind, applied to its inputs.

    `{0}` and `{1}` stand for the first and second input, `{*,}`, `{*+}` and `{**}`
    for all of them joined by commas, plus or times signs, and `{name}` for the
    argument of that name; the other arguments follow the first input.
    """
    text = template.replace("{*,}", ", ".join(inputs))
    text = text.replace("{*+}", " + ".join(inputs))
    text = text.replace("{**}", " * ".join(_bracketed(i) for i in inputs))
    extra = ""
    for name, value in kwargs:
        if f"{{{name}}}" in text:
            text = text.replace(f"{{{name}}}", value)
        else:
            extra += f", {name}={value}"
    text = _RANGE.sub(_spaced, text)
    if inplace:
        extra += ", inplace=True"
    if "{1}" in text:
        text = text.replace("{1}", _bracketed(inputs[1]))
    first = inputs[0] if "({0}" in template else _bracketed(inputs[0])
    return text.replace("{0}", first + extra, 1)


def _spaced(match: re.Match[str]) -> str:
    """Set the colon of a range apart if an end is more than a number."""
    low, high = match[1].strip(), match[2].strip()
    if all(not end or end.isdigit() for end in (low, high)):
        return match[0]
    return f"[:, {low + ' ' if low else ''}:{' ' + high if high else ''}]"


def _bracketed(text: str) -> str:
    """Return an operand that may stand beside a method, an index or a product."""
    depth = 0
    for char in text:
        depth += (char in "([{") - (char in ")]}")
        if char == " " and depth == 0:
            return f"({text})"
    return text


def wrap(text: str, indent: int) -> list[str]:
    """Return a statement on as many lines as its width needs."""
    pad = " " * indent
    if indent + len(text) <= WIDTH:
        return [pad + text]
    begin, end = _last_brackets(text)
    if begin < 0:
        return [pad + text]
    head, body, tail = text[: begin + 1], text[begin + 1 : end], text[end:]
    if indent + 4 + len(body) <= WIDTH:
        return [pad + head, f"{pad}    {body}", pad + tail]
    lines = [pad + head]
    for part in _top_level_parts(body):
        lines += wrap(part + ",", indent + 4)
    return [*lines, pad + tail]


def _last_brackets(text: str) -> tuple[int, int]:
    """Return where the last outermost pair of brackets opens and closes."""
    depth, begin, found = 0, -1, (-1, -1)
    for place, char in enumerate(text):
        if char in "([{":
            if depth == 0:
                begin = place
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                found = begin, place
    return found


def _top_level_parts(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    for place, char in enumerate(text):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            parts.append(text[start:place].strip())
            start = place + 1
    return [*parts, text[start:].strip()]


def group_of(op: Op) -> Group:
    """Return the group behind a submodule."""
    assert isinstance(op.node, Group)
    return op.node
