"""The statements of a `forward` method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

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
    SequenceExpr,
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
from archdsl.torch.statements import GENERIC, Statements

# Functions of `torch` whose types do not say that they return a tensor.
_UNTYPED: Final = frozenset({"torch.norm"})

# The target of an operation: a submodule, or a parameter of the class.
Caller = Callable[[Op], SelfAttribute | LoopVariable]
# A loop whose iterations read and update a variable.
Loops = Callable[[Op, str], ForStatement | None]


class Forward(Statements[PyExpression]):
    """Writes operations as statements, one for each chain of the spec.

    Attributes:
        statements: the statements so far.
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
        super().__init__(ops, inputs, outputs, inplace)
        self.statements: list[PyStatement] = []
        self.caller = caller
        self.bindings = bindings
        self.loop = loop

    def variable(self, name: str) -> PyExpression:
        """Return the expression of a variable."""
        return Var(name)

    def assign(
        self, name: str, value: PyExpression, others: tuple[str, ...] = ()
    ) -> None:
        """Write an assignment."""
        self.statements.append(Assign(name, value, others=others))

    def repeat(self, op: Op, name: str) -> None:
        """Write a loop."""
        loop = self.loop(op, name)
        assert loop is not None
        self.statements.append(loop)

    def value(self, op: Op, inputs: Sequence[PyExpression]) -> PyExpression:
        """Return what an operation makes of its inputs."""
        if op.optional:
            body = inputs[0]
            for one in op.before:
                body = self.value(one, [body])
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

    # ---- the end

    def finish(self, values: Sequence[int]) -> None:
        """Return one value, in a form whose type a type checker knows, or several."""
        if len(values) > 1:
            nodes = tuple([self.result(value) for value in values])
            self.statements.append(Return(SequenceExpr(nodes)))
            return
        node = self.result(values[0])
        if node != Var("x") and not _is_typed(node):
            self.statements.append(Assign("x", node))
            node = Var("x")
        if node == Var("x") and "x" not in self.inputs.values():
            node = self._declared("x")
        self.statements.append(Return(node))

    def _declared(self, name: str) -> Var:
        """Declare the type of a variable at its first assignment, and return it.

        Where that assigns several variables, another variable has the type.
        """
        for place, one in enumerate(self.statements):
            if isinstance(one, Assign) and name in (one.target, *one.others):
                if not one.others:
                    self.statements[place] = Assign(name, one.value, typed=True)
                    break
                free = [n for n in GENERIC if n != name and not self.busy(n)]
                other = free[0] if free else self.spare()
                self.statements.append(Assign(other, Var(name), typed=True))
                return Var(other)
        return Var(name)


def flag_of(caller: SelfAttribute | LoopVariable) -> str:
    """Return the name of the attribute that says whether a shortcut exists."""
    assert isinstance(caller, SelfAttribute)
    return caller.name


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
