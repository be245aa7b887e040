"""Which operations of a `forward` are one statement, and which variable holds what.

The emitter writes these statements. How long they keep values alive decides how much
memory a module needs, so that the analysis asks for them, too, without writing any.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from heapq import heappop, heappush
from typing import Any, Final, Generic, NamedTuple, TypeVar

from archdsl.ir import Group, Step

from .calls import is_function
from .flow import Op

# What stands for an expression.
E = TypeVar("E")

# Letters of a line that returns an expression, and of one that is inlined in another.
_MAX_RETURNED: Final = 73
_MAX_INLINE: Final = 40
# Names for values without a name in the spec, in order of preference.
GENERIC: Final = ("x", "out", "y", "z")
_HOLE: Final = re.compile(r"\{([^{}]*)\}")


class Size(NamedTuple):
    """About how long the text of an expression is.

    Whole numbers count as one letter, so that calls of a block that only differ in
    these have the same statements.

    Attributes:
        letters: its length.
        calls: opening parentheses in it.
    """

    letters: int
    calls: int

    @property
    def is_simple(self) -> bool:
        """Whether it is short enough to be an operand of another expression."""
        return self.calls <= 1 and self.letters <= _MAX_INLINE


class _Pending(NamedTuple, Generic[E]):
    """An expression that is not assigned to a variable yet.

    Attributes:
        value: the expression.
        size: its size.
        variables: the variables that it reads.
        op: the operation that it is the output of.
        in_turn: whether it must be computed before anything that follows it.
    """

    value: E
    size: Size
    variables: frozenset[str]
    op: Op
    in_turn: bool


class Statements(Generic[E]):
    """Turns operations into statements, one for each chain of the spec.

    Args:
        ops: the operations.
        inputs: for each argument's value, its variable.
        outputs: values that are returned.
        inplace: outputs of the steps that overwrite what they read.

    Attributes:
        named: values whose variable has the name of their label.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        inputs: dict[int, str],
        outputs: Sequence[int],
        inplace: frozenset[int],
    ) -> None:
        self.inputs = inputs
        self.inplace = inplace
        self.names = dict(inputs)
        self.pending: dict[int, _Pending[E]] = {}
        self.left = Counter(value for op in ops for value in op.reads)
        self.left.update(outputs)
        self.named: frozenset[int] = frozenset()
        # Modules that are called again, and whose calls have an order.
        again = {op.node.path for op in ops if op.again}
        self._in_turn = {
            op.node.path for op in ops if op.node.path in again and _has_turns(op.node)
        }
        self._readers: dict[int, Op] = {}
        for op in ops:
            for value in op.reads:
                self._readers.setdefault(value, op)
        # How many values that are still read a variable holds, and how many
        # expressions that wait read it.
        self._live = Counter(n for v, n in inputs.items() if self.left[v])
        self._waiting: Counter[str] = Counter()
        self._free = _Numbered()
        # How often each name of another output occurs, and the variables for these.
        self._extra_names = Counter(name for op in ops for _, name in op.extras)
        self._kept: set[str] = set()

    # ---- what becomes of them

    def variable(self, name: str) -> E:
        """Return the expression of a variable."""
        raise NotImplementedError

    def value(self, op: Op, inputs: Sequence[E]) -> E:
        """Return what an operation makes of its inputs."""
        raise NotImplementedError

    def assign(self, name: str, value: E, others: tuple[str, ...] = ()) -> None:
        """Assign an expression to a variable, and its other outputs to others."""
        raise NotImplementedError

    def repeat(self, op: Op, name: str) -> None:
        """Run a loop, each of whose iterations reads and updates a variable."""
        raise NotImplementedError

    def run(self, ops: Sequence[Op]) -> None:
        """Turn some of the operations into statements."""
        for place, op in enumerate(ops):
            follower = ops[place + 1] if place + 1 < len(ops) else None
            if op.is_loop:
                self._loop(op)
            else:
                self._operation(op, follower)

    # ---- reading and writing values

    def settle(self, value: int, avoid: str = "") -> str:
        """Return the variable that holds a value; assign it if necessary."""
        if value in self.pending:
            waiting = self._resume(value)
            self._assign(waiting.op, waiting.value, waiting.variables, avoid)
        return self.names[value]

    def _resume(self, value: int) -> _Pending[E]:
        """Return a pending expression, and remove it from those that are pending."""
        waiting = self.pending.pop(value)
        self._waiting.subtract(waiting.variables)
        for name in waiting.variables:
            self._release(name)
        return waiting

    def read(self, value: int) -> tuple[E, frozenset[str]]:
        """Return the expression of a value, and the variables it reads."""
        if value in self.pending:
            self.left[value] -= 1
            waiting = self._resume(value)
            return waiting.value, waiting.variables
        name = self.names[value]
        self._used(value)
        return self.variable(name), frozenset((name,))

    def result(self, value: int) -> E:
        """Return the expression of an output, when everything is written."""
        return self.read(value)[0]

    def _used(self, value: int) -> None:
        """Record that a value was read from its variable."""
        self.left[value] -= 1
        if not self.left[value]:
            name = self.names[value]
            self._live[name] -= 1
            self._release(name)

    def busy(self, name: str) -> bool:
        """Return whether a variable cannot have another value yet."""
        return self._holds(name) or self._waiting[name] > 0

    def spare(self) -> str:
        """Return the name of another variable."""
        return self._free.take(self.busy)

    def _holds(self, name: str) -> bool:
        """Return whether a variable holds a value that must stay in it."""
        return self._live[name] > 0 or name in self._kept

    def _release(self, name: str) -> None:
        if not self.busy(name):
            self._free.release(name)

    def _assign(
        self, op: Op, value: E, variables: frozenset[str], avoid: str = ""
    ) -> None:
        read = self.left[op.output] or not op.extras
        name = self._variable(op, variables, avoid) if read else "_"
        self._take(name, op.output)
        others = tuple([self._extra(extra, word) for extra, word in op.extras])
        self.assign(name, value, others)

    def _extra(self, value: int, word: str) -> str:
        """Return the variable for another output of a call: its name, with a number if
        several calls have an output of that name. It keeps its value.
        """
        if not self.left[value]:
            return "_"
        taken = {*GENERIC, *self.inputs.values()}
        number, name = 0, word
        if self._extra_names[word] > 1 or name in taken:
            number, name = 1, f"{word}1"
        while self.busy(name) or name in taken:
            number += 1
            name = f"{word}{number}"
        self._kept.add(name)
        self._take(name, value)
        return name

    def _take(self, name: str, value: int) -> None:
        """Reuse a variable for another value; first assign expressions that read it."""
        if self._waiting[name]:
            readers = [v for v, p in self.pending.items() if name in p.variables]
            for other in readers:
                self.settle(other, avoid=name)
        self.names[value] = name
        if self.left[value]:
            self._live[name] += 1

    def _variable(self, op: Op, variables: frozenset[str], avoid: str) -> str:
        """Return the variable for a value: one that is free, or a new one."""
        wanted = self.left[op.output] > 1 or op.output in self.named
        free = not self._holds(op.label) and op.label != avoid
        if wanted and free and op.label.isidentifier():
            return op.label
        own = [name for name in GENERIC if name in variables]
        for name in [*own, *GENERIC, op.label]:
            if name.isidentifier() and name != avoid and not self.busy(name):
                return name
        return self.spare()

    # ---- operations

    def _operation(self, op: Op, follower: Op | None) -> None:
        size = self._size(op)
        if op.optional or self._crowded(op, size):
            for value in op.reads:
                self.settle(value)
            size = self._size(op)
        in_turn = op.node.path in self._in_turn or any(
            [self.pending[v].in_turn for v in op.reads if v in self.pending]
        )
        inputs, variables = [], frozenset[str]()
        for value in op.reads:
            one, read = self.read(value)
            inputs.append(one)
            variables |= read
        made = self.value(op, inputs)
        at_once = follower is None or op.output in follower.reads
        if op.extras:
            self._assign(op, made, variables)
        elif (at_once or not in_turn) and self._may_wait(op, size, follower):
            self.pending[op.output] = _Pending(made, size, variables, op, in_turn)
            self._waiting.update(variables)
        else:
            self._assign(op, made, variables)

    def _crowded(self, op: Op, size: Size) -> bool:
        """Return whether an operation's inputs are more readable in variables."""
        if size.letters <= _MAX_RETURNED:
            return False
        waiting = [self.pending[v].size for v in op.reads if v in self.pending]
        return bool(waiting) and not (
            op.is_merge and all([size.is_simple for size in waiting])
        )

    def _size(self, op: Op) -> Size:
        """Return the size of what an operation makes of its inputs as they are."""
        sizes = [
            self.pending[v].size if v in self.pending else Size(len(self.names[v]), 0)
            for v in op.reads
        ]
        return _size_of(op, sizes, op.output in self.inplace)

    def _may_wait(self, op: Op, size: Size, follower: Op | None) -> bool:
        """Return whether a value is inlined into the expression that reads it."""
        if self.left[op.output] != 1:
            return False
        if follower is None:
            return True
        if op.optional:
            return False
        if op.output in follower.reads and not follower.is_merge:
            return op.statement == follower.statement
        reader = self._readers.get(op.output)
        return size.is_simple and (reader is None or reader.is_merge)

    def _loop(self, op: Op) -> None:
        entry = self.settle(op.reads[0])
        self._used(op.reads[0])
        known = [n for n in (*GENERIC, "looped") if not self._holds(n)]
        name = known[0] if known else self.spare()
        self._take(name, op.output)
        if entry != name:
            self.assign(name, self.variable(entry))
        self.repeat(op, name)


def _has_turns(node: Step | Group) -> bool:
    """Return whether the order of a module's calls matters, at least in training.

    It does if it draws random numbers, keeps running statistics or other buffers that
    training changes, or is foreign.
    """
    steps = (node,) if isinstance(node, Step) else node.steps()
    return any(
        step.op.family == "dropout"
        or step.op.pools_batch
        or step.op.advances
        or step.op.opaque()
        for step in steps
    )


class _Numbered:
    """Additional variable names: the first free one of y2, y3 and so on."""

    def __init__(self) -> None:
        self._next = 2
        self._numbers: dict[str, int] = {}
        self._released: list[int] = []

    def release(self, name: str) -> None:
        """Return a name to the free ones, if it is one of these."""
        if name in self._numbers:
            heappush(self._released, self._numbers[name])

    def take(self, busy: Callable[[str], bool]) -> str:
        """Return a name that is free."""
        while self._released:
            name = f"y{heappop(self._released)}"
            if not busy(name):
                return name
        while busy(name := f"y{self._next}"):
            self._next += 1
        self._numbers[name] = self._next
        self._next += 1
        return name


# ---- sizes -------------------------------------------------------------------------


def _size_of(op: Op, inputs: Sequence[Size], in_place: bool) -> Size:
    if not op.optional and isinstance(op.node, Step) and is_function(op.node):
        return _of_function(op.node, inputs, in_place)
    name = op.hole or op.node.name
    called = _joined(inputs, ", ")
    # Of a name such as `layers.0`, the text is `layers["0"]`.
    letters = len(f"self.{name}()") + 3 * name.count(".") + called.letters
    return Size(letters, 1 + called.calls)


# The placeholders for all inputs, and what is written between them.
_BETWEEN: Final = {"*,": ", ", "*+": " + ", "**": " * "}


def _of_function(step: Step, inputs: Sequence[Size], in_place: bool) -> Size:
    form = step.form
    assert form.function is not None
    parts: dict[str, Size] = {}
    letters, calls, holes = _template(form.function)
    for name, value in form.kwargs:
        parts[name] = text = _of_value(value)
        if name not in holes:
            letters += len(f", {name}=") + text.letters
            calls += text.calls
    letters += len(", inplace=True") if in_place else 0
    for hole in holes:
        if hole in _BETWEEN:
            text = _joined(inputs, _BETWEEN[hole])
        elif hole.isdigit():
            text = inputs[int(hole)]
        else:
            text = parts[hole] if hole != "self" else Size(len(step.name) + 5, 0)
        letters += text.letters
        calls += text.calls
    return Size(letters, calls)


def _joined(inputs: Sequence[Size], between: str) -> Size:
    if len(inputs) == 1:
        return inputs[0]
    letters = sum([size.letters for size in inputs]) + len(between) * (len(inputs) - 1)
    return Size(letters, sum([size.calls for size in inputs]))


def _of_value(value: Any) -> Size:
    if isinstance(value, tuple) and len(set(value)) == 1:
        return _of_value(value[0])  # equal numbers are written once
    if isinstance(value, tuple):
        inner = _joined([_of_value(one) for one in value], ", ")
        return Size(inner.letters + 2, inner.calls + 1)
    if isinstance(value, int) and not isinstance(value, bool):
        return Size(1, 0)
    return Size(len(repr(value)), 0)


@lru_cache(maxsize=1024)
def _template(text: str) -> tuple[int, int, tuple[str, ...]]:
    """Return the letters and parentheses of a function's text without its
    placeholders, and these.
    """
    rest = _HOLE.sub("", text)
    return len(rest), rest.count("("), tuple(_HOLE.findall(text))
