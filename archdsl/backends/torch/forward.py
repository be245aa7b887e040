"""The statements of a `forward` method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from typing import Any, Final, NamedTuple

from archdsl.backends.torch.layout import WIDTH, flat
from archdsl.backends.torch.nodes import (
    Argument,
    Assign,
    Attribute,
    BinaryExpr,
    Bindings,
    CallExpr,
    ForStatement,
    Invoke,
    LiteralExpr,
    LoopVariable,
    Projection,
    PyExpression,
    PyStatement,
    Return,
    SelfAttribute,
    Shortcut,
    StoredNumber,
    Subscript,
    Var,
    node_of,
)
from archdsl.backends.torch.templates import fill
from archdsl.ir import Group, Step
from archdsl.symbolic import Poly
from archdsl.torch.calls import is_function
from archdsl.torch.flow import Op

INDENT: Final = 8
_MAX_INLINE: Final = 40
# Functions of `torch` whose types do not say that they return a tensor.
_UNTYPED: Final = frozenset({"torch.norm"})
# Names for values without a name in the spec, in order of preference.
_GENERIC: Final = ("x", "out", "y", "z")

# The target of an operation: a submodule, or a parameter of the class.
Caller = Callable[[Op], SelfAttribute | LoopVariable]
# A loop whose iterations read and update a variable.
Loops = Callable[[Op, str], ForStatement | None]


class _Pending(NamedTuple):
    """An expression that is not assigned to a variable yet.

    Attributes:
        value: the expression.
        variables: the variables that it reads.
        op: the operation that it is the output of.
        in_turn: whether it must be computed before anything that follows it.
    """

    value: PyExpression
    variables: frozenset[str]
    op: Op
    in_turn: bool


class Forward:
    """Writes operations as statements, one for each chain of the spec.

    Attributes:
        statements: the statements so far.
        named: values whose variable has the name of their label.
    """

    def __init__(
        self,
        ops: Sequence[Op],
        inputs: dict[int, str],
        outputs: Sequence[int],
        caller: Caller,
        inplace: frozenset[int],
        bindings: Bindings,
        loop: Loops,
    ) -> None:
        self.statements: list[PyStatement] = []
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
        # Modules that are called again, and whose calls have an order.
        again = {op.node.path for op in ops if op.again}
        self._in_turn = {op.node.path for op in ops if _has_turns(op.node)} & again
        self._readers: dict[int, Op] = {}
        for op in ops:
            for value in op.reads:
                self._readers.setdefault(value, op)
        # How many values that are still read a variable holds, and how many
        # expressions that wait read it.
        self._live = Counter(n for v, n in inputs.items() if self.left[v])
        self._waiting: Counter[str] = Counter()
        self._free = _Numbered()

    def run(self, ops: Sequence[Op]) -> None:
        """Write some of the operations."""
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

    def _resume(self, value: int) -> _Pending:
        """Return a pending expression, and remove it from those that are pending."""
        waiting = self.pending.pop(value)
        self._waiting.subtract(waiting.variables)
        for name in waiting.variables:
            self._release(name)
        return waiting

    def read(self, value: int) -> tuple[PyExpression, frozenset[str]]:
        """Return the expression of a value, and the variables it reads."""
        if value in self.pending:
            self.left[value] -= 1
            waiting = self._resume(value)
            return waiting.value, waiting.variables
        name = self.names[value]
        self._used(value)
        return Var(name), frozenset((name,))

    def _used(self, value: int) -> None:
        """Record that a value was read from its variable."""
        self.left[value] -= 1
        if not self.left[value]:
            name = self.names[value]
            self._live[name] -= 1
            self._release(name)

    def _busy(self, name: str) -> bool:
        return self._live[name] > 0 or self._waiting[name] > 0

    def _release(self, name: str) -> None:
        if not self._busy(name):
            self._free.release(name)

    def _assign(
        self, op: Op, value: PyExpression, variables: frozenset[str], avoid: str = ""
    ) -> None:
        name = self._variable(op, variables, avoid)
        self._take(name, op.output)
        self.statements.append(Assign(name, value))

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
        free = not self._live[op.label] and op.label != avoid
        if wanted and free and op.label.isidentifier():
            return op.label
        own = [name for name in _GENERIC if name in variables]
        for name in [*own, *_GENERIC, op.label]:
            if name.isidentifier() and name != avoid and not self._busy(name):
                return name
        return self._free.take(self._busy)

    # ---- operations

    def _operation(self, op: Op, follower: Op | None) -> None:
        if op.optional or self._crowded(op):
            for value in op.reads:
                self.settle(value)
        in_turn = op.node.path in self._in_turn or any(
            [self.pending[v].in_turn for v in op.reads if v in self.pending]
        )
        inputs, variables = [], frozenset[str]()
        for value in op.reads:
            node, read = self.read(value)
            inputs.append(node)
            variables |= read
        made = self._value(op, inputs)
        at_once = follower is None or op.output in follower.reads
        if (at_once or not in_turn) and self._may_wait(op, made, follower):
            self.pending[op.output] = _Pending(made, variables, op, in_turn)
            self._waiting.update(variables)
        else:
            self._assign(op, made, variables)

    def _crowded(self, op: Op) -> bool:
        """Return whether an operation's inputs are more readable in variables."""
        waiting = [self.pending[v].value for v in op.reads if v in self.pending]
        if not waiting or (op.is_merge and all(map(_is_simple, waiting))):
            return False
        inputs = [
            self.pending[v].value if v in self.pending else Var(self.names[v])
            for v in op.reads
        ]
        return len(flat(self._value(op, inputs))) > WIDTH - INDENT - len("return ")

    def _may_wait(self, op: Op, value: PyExpression, follower: Op | None) -> bool:
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
        return _is_simple(value) and (reader is None or reader.is_merge)

    def _value(self, op: Op, inputs: Sequence[PyExpression]) -> PyExpression:
        if op.optional:
            body = inputs[0]
            for one in op.before:
                body = self._value(one, [body])
            there = BinaryExpr("+", (body, inputs[1]))
            return Shortcut(flag_of(self.caller(op)), there, inputs[0])
        if op.hole:
            return Projection(op.hole, inputs[0])
        if isinstance(op.node, Step) and is_function(op.node):
            return self._function(op, op.node, inputs)
        args = tuple([Argument("", node) for node in inputs])
        return Invoke(self.caller(op), args)

    def _function(
        self, op: Op, step: Step, inputs: Sequence[PyExpression]
    ) -> PyExpression:
        form = step.form
        assert form.function is not None
        return fill(
            form.function,
            inputs,
            [(name, self._setting(value)) for name, value in form.kwargs],
            self.caller(op) if form.module is not None else None,
            step.output in self.inplace,
        )

    def _setting(self, value: Any) -> PyExpression:
        """Return an argument of a function; the class stores what it depends on."""
        node = node_of(value, self.bindings)
        number = node.value if isinstance(node, LiteralExpr) else None
        return StoredNumber(number) if isinstance(number, Poly) else node

    def _loop(self, op: Op) -> None:
        entry = self.settle(op.reads[0])
        self._used(op.reads[0])
        known = [n for n in (*_GENERIC, "looped") if not self._live[n]]
        name = known[0] if known else self._free.take(self._busy)
        self._take(name, op.output)
        if entry != name:
            self.statements.append(Assign(name, Var(entry)))
        loop = self.loop(op, name)
        assert loop is not None
        self.statements.append(loop)

    # ---- the end

    def result(self, value: int) -> PyExpression:
        """Return the expression of an output, when everything is written."""
        return self.read(value)[0]

    def finish(self, value: int) -> None:
        """Return one value, in a form whose type a type checker knows."""
        node = self.result(value)
        if node != Var("x") and not _is_typed(node):
            self.statements.append(Assign("x", node))
            node = Var("x")
        self.statements.append(Return(node))
        if node == Var("x") and "x" not in self.inputs.values():
            self._declare("x")

    def _declare(self, name: str) -> None:
        """Declare the type of a variable at its first assignment."""
        for place, one in enumerate(self.statements):
            if isinstance(one, Assign) and one.target == name:
                self.statements[place] = Assign(name, one.value, typed=True)
                return


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


def flag_of(caller: SelfAttribute | LoopVariable) -> str:
    """Return the name of the attribute that says whether a shortcut exists."""
    assert isinstance(caller, SelfAttribute)
    return caller.name


def _is_simple(node: PyExpression) -> bool:
    text = flat(node)
    return text.count("(") <= 1 and len(text) <= _MAX_INLINE


def _is_typed(node: PyExpression) -> bool:
    """Return whether a type checker knows that a value is a tensor; not so for modules'
    outputs.
    """
    match node:
        case CallExpr():
            name = node.function
            return name == "F.relu" or (
                name.startswith("torch.") and name not in _UNTYPED
            )
        case BinaryExpr():
            return _is_typed(node.operands[0])
        case Subscript() | Attribute():
            return _is_typed(node.value)
        case Invoke():
            return _is_typed(node.callee)
        case _:
            return False


def group_of(op: Op) -> Group:
    """Return the group behind a submodule."""
    assert isinstance(op.node, Group)
    return op.node
