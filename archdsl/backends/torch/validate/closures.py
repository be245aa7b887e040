"""Compiles emitted code to closures over symbolic values, so that it is parsed only
once.

Each function here takes a node of the syntax tree and returns a closure that evaluates
it in a frame, which holds the local variables. Constructs that emission does not need
are rejected.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from archdsl.backends.torch.validate.runtime import (
    BUILTINS,
    apply,
    assign,
    attribute,
    call_torch,
    index,
    items,
    method,
    put,
    run_constructor,
    truth,
    unpacked,
)
from archdsl.backends.torch.validate.signatures import bound
from archdsl.backends.torch.validate.values import (
    BareParameter,
    Instance,
    OpaqueModule,
    Refused,
    ReshapedParameter,
    TensorValue,
    TorchName,
    refuse,
)

Frame = dict[str, Any]
Closure = Callable[[Frame], Any]
# What Python would raise for such code.
_FAULTS: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Scope:
    """The names visible to some code.

    Attributes:
        locals: names of variables.
        globals: names that the module defines and imports.
    """

    def __init__(self, locals: set[str], globals: Mapping[str, Any]) -> None:
        self.locals = locals
        self.globals = globals


def refused(node: ast.AST, why: str = "") -> Refused:
    """Return an error for code that cannot be evaluated symbolically."""
    error = Refused(why or f"{type(node).__name__} is not understood")
    error.line = getattr(node, "lineno", None)
    return error


# ---- expressions ------------------------------------------------------------------


def expression(node: ast.expr, scope: Scope) -> Closure:
    """Return a closure that evaluates an expression."""
    make = _EXPRESSIONS.get(type(node))
    if make is None:
        raise refused(node)
    return make(node, scope)


def _always(value: Any) -> Closure:
    return lambda _: value


def _constant(node: ast.Constant, _: Scope) -> Closure:
    return _always(node.value)


def _name(node: ast.Name, scope: Scope) -> Closure:
    name = node.id
    if name in scope.locals:
        return operator.itemgetter(name)
    found = scope.globals.get(name, BUILTINS.get(name))
    if found is None:
        raise refused(node, f"the name `{name}` is not known")
    return _always(found)


def dotted(node: ast.expr, scope: Scope) -> TorchName | None:
    """Return the imported name behind a name such as `nn.Conv2d`, if it is one."""
    if isinstance(node, ast.Name):
        if node.id in scope.locals:
            return None
        found = scope.globals.get(node.id)
        return found if type(found) is TorchName else None
    if isinstance(node, ast.Attribute):
        owner = dotted(node.value, scope)
        return (
            None
            if owner is None
            else TorchName(torch_name(f"{owner.name}.{node.attr}"))
        )
    return None


def torch_name(name: str) -> str:
    """Return a dotted torch name as emitted code writes it."""
    for long, brief in (("torch.nn.functional", "F"), ("torch.nn", "nn")):
        if name == long or name.startswith(f"{long}."):
            return brief + name[len(long) :]
    return f"F{name[len('nn.functional') :]}" if name[:13] == "nn.functional" else name


def _attribute(node: ast.Attribute, scope: Scope) -> Closure:
    found = dotted(node, scope)
    if found is not None:
        return _always(found)
    owner, name = expression(node.value, scope), node.attr
    return lambda frame: attribute(owner(frame), name)


def _sequence(node: ast.Tuple | ast.List, scope: Scope) -> Closure:
    parts = _several(node.elts, scope)
    if isinstance(node, ast.Tuple):
        return lambda frame: tuple(parts(frame))
    return parts


def _several(nodes: Sequence[ast.expr], scope: Scope) -> Callable[[Frame], list[Any]]:
    """Return a closure that evaluates expressions, some of which may be starred."""
    if not any(isinstance(node, ast.Starred) for node in nodes):
        parts = [expression(node, scope) for node in nodes]
        return lambda frame: [part(frame) for part in parts]
    mixed = [
        (expression(node.value, scope), True)
        if isinstance(node, ast.Starred)
        else (expression(node, scope), False)
        for node in nodes
    ]

    def run(frame: Frame) -> list[Any]:
        found: list[Any] = []
        for part, starred in mixed:
            if starred:
                found += items(part(frame))
            else:
                found.append(part(frame))
        return found

    return run


def _dict(node: ast.Dict, scope: Scope) -> Closure:
    if None in node.keys:
        raise refused(node)
    keys = _several([key for key in node.keys if key is not None], scope)
    values = _several(node.values, scope)
    return lambda frame: dict(zip(keys(frame), values(frame), strict=True))


_OPERATORS: Final[dict[type, tuple[str, Callable[[Any, Any], Any]]]] = {
    ast.Add: ("+", operator.add),
    ast.Sub: ("-", operator.sub),
    ast.Mult: ("*", operator.mul),
    ast.Div: ("/", operator.truediv),
    ast.FloorDiv: ("//", operator.floordiv),
    ast.Mod: ("%", operator.mod),
}


def _binary(node: ast.BinOp, scope: Scope) -> Closure:
    # A long sum is nested on the left, so it is unrolled from the last term.
    rest: list[tuple[ast.operator, ast.expr]] = []
    left: ast.expr = node
    while isinstance(left, ast.BinOp):
        rest.append((left.op, left.right))
        left = left.left
    first = expression(left, scope)
    if all(isinstance(op, ast.BitOr) for op, _ in rest):
        kinds = [first, *(expression(right, scope) for _, right in reversed(rest))]
        return lambda frame: tuple([kind(frame) for kind in kinds])
    if any(type(op) not in _OPERATORS for op, _ in rest):
        raise refused(node)
    steps = [(*_OPERATORS[type(op)], expression(r, scope)) for op, r in reversed(rest)]

    def run(frame: Frame) -> Any:
        found = first(frame)
        for symbol, compute, right in steps:
            found = _computed(symbol, compute, found, right(frame))
        return found

    return run


def _computed(symbol: str, compute: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    if type(a) is TensorValue or type(b) is TensorValue:
        for one in (a, b):
            if not isinstance(
                one, TensorValue | BareParameter | ReshapedParameter | int | float
            ):
                refuse(f"a tensor {symbol} {type(one).__name__}")
        graph = a.graph if type(a) is TensorValue else b.graph
        return graph.operation((symbol, a, b))
    return compute(a, b)


def _unary(node: ast.UnaryOp, scope: Scope) -> Closure:
    inner = expression(node.operand, scope)
    if isinstance(node.op, ast.Not):
        return lambda frame: not truth(inner(frame))
    if isinstance(node.op, ast.USub):
        if isinstance(node.operand, ast.Constant):
            return _always(-inner({}))
        return lambda frame: -inner(frame)
    raise refused(node)


def _bool(node: ast.BoolOp, scope: Scope) -> Closure:
    parts = [expression(part, scope) for part in node.values]
    ends = isinstance(node.op, ast.Or)

    def run(frame: Frame) -> Any:
        found = None
        for part in parts:
            found = part(frame)
            if truth(found) is ends:
                return found
        return found

    return run


_COMPARISONS: Final[dict[type, Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}


def _compare(node: ast.Compare, scope: Scope) -> Closure:
    first = expression(node.left, scope)
    steps = [
        (_COMPARISONS[type(op)], expression(right, scope))
        for op, right in zip(node.ops, node.comparators, strict=True)
    ]

    def run(frame: Frame) -> bool:
        left = first(frame)
        for test, right in steps:
            other = right(frame)
            if type(left) is TensorValue and other is not None:
                refuse("a tensor is compared")
            if not test(left, other):
                return False
            left = other
        return True

    return run


def _choice(node: ast.IfExp, scope: Scope) -> Closure:
    test = expression(node.test, scope)
    then, other = expression(node.body, scope), expression(node.orelse, scope)
    return lambda frame: then(frame) if truth(test(frame)) else other(frame)


def _text(node: ast.JoinedStr, scope: Scope) -> Closure:
    parts = []
    for part in node.values:
        if isinstance(part, ast.FormattedValue):
            if part.format_spec is not None or part.conversion != -1:
                raise refused(part)
            part = part.value
        parts.append(expression(part, scope))
    return lambda frame: "".join([str(part(frame)) for part in parts])


def _subscript(node: ast.Subscript, scope: Scope) -> Closure:
    owner, place = expression(node.value, scope), expression(node.slice, scope)
    return lambda frame: index(owner(frame), place(frame))


def _slice(node: ast.Slice, scope: Scope) -> Closure:
    ends = [
        _always(None) if end is None else expression(end, scope)
        for end in (node.lower, node.upper, node.step)
    ]
    return lambda frame: slice(*[end(frame) for end in ends])


def _comprehension(node: ast.GeneratorExp | ast.ListComp, scope: Scope) -> Closure:
    (loop, *more) = node.generators
    if more or loop.is_async:
        raise refused(node)
    source = expression(loop.iter, scope)
    names = _names(loop.target)
    inner = Scope(scope.locals | set(names), scope.globals)
    tests = [expression(test, inner) for test in loop.ifs]
    bind, element = _target(loop.target, inner), expression(node.elt, inner)

    def run(frame: Frame) -> list[Any]:
        found, own = [], dict(frame)
        for item in items(source(frame)):
            bind(own, item)
            if all([truth(test(own)) for test in tests]):
                found.append(element(own))
        return found

    return run


# ---- calls --------------------------------------------------------------------------


def _call(node: ast.Call, scope: Scope) -> Closure:
    keywords = []
    for keyword in node.keywords:
        if keyword.arg is None:
            raise refused(node)
        keywords.append((keyword.arg, expression(keyword.value, scope)))
    if len({name for name, _ in keywords}) < len(keywords):
        raise refused(node, "a keyword is given twice")
    args = _several(node.args, scope)
    function = node.func
    torch = dotted(function, scope)
    if torch is not None:
        return _torch_call(node, torch.name, args, keywords, scope)
    if isinstance(function, ast.Attribute):
        if _is_super(function):
            return _base_constructor(function, args, keywords)
        return _method_call(function, node, args, keywords, scope)
    called = expression(function, scope)
    if not keywords:
        return lambda frame: apply(called(frame), args(frame), {})
    return lambda frame: apply(
        called(frame), args(frame), {name: part(frame) for name, part in keywords}
    )


Keywords = list[tuple[str, Closure]]
Several = Callable[[Frame], list[Any]]


def _torch_call(
    node: ast.Call, name: str, args: Several, keywords: Keywords, scope: Scope
) -> Closure:
    given = (*node.args, *(keyword.value for keyword in node.keywords))
    plain = name.startswith("nn.") and not name.startswith(_NO_LAYERS)
    if plain and all(isinstance(one, ast.Constant) for one in given):
        # Its arguments are the same each time.
        named = {keyword: part({}) for keyword, part in keywords}
        found, inplace = bound(name, args({}), named)
        return lambda _: OpaqueModule(name, found, inplace)
    if name in _CONTAINERS:
        if keywords:
            raise refused(node)
        kind = scope.globals[name]
        return lambda frame: kind(*args(frame))
    if name == "collections.OrderedDict":
        make = BUILTINS["dict"]
        return lambda frame: make(*args(frame), **{n: p(frame) for n, p in keywords})
    return lambda frame: call_torch(
        name, args(frame), {n: part(frame) for n, part in keywords}
    )


_CONTAINERS: Final = ("nn.Sequential", "nn.ModuleList", "nn.ModuleDict")
_NO_LAYERS: Final = ("nn.init.", "nn.Parameter", *_CONTAINERS)


def _method_call(
    function: ast.Attribute,
    node: ast.Call,
    args: Several,
    keywords: Keywords,
    scope: Scope,
) -> Closure:
    owner, name = expression(function.value, scope), function.attr
    if keywords:
        return lambda frame: method(
            owner(frame),
            name,
            args(frame),
            {n: part(frame) for n, part in keywords},
        )
    if len(node.args) != 1 or isinstance(node.args[0], ast.Starred):
        return lambda frame: method(owner(frame), name, args(frame), {})
    only = expression(node.args[0], scope)

    def run(frame: Frame) -> Any:
        # Nearly all calls are calls of a layer on one value.
        found = owner(frame)
        if type(found) is Instance:
            child = found.children.get(name)
            if type(child) is OpaqueModule:
                return child.call((only(frame),))
        return method(found, name, [only(frame)], {})

    return run


def _is_super(function: ast.Attribute) -> bool:
    return (
        function.attr == "__init__"
        and isinstance(function.value, ast.Call)
        and isinstance(function.value.func, ast.Name)
        and function.value.func.id == "super"
        and not function.value.args
    )


def _base_constructor(node: ast.AST, args: Several, keywords: Keywords) -> Closure:
    if keywords:
        raise refused(node)

    def run(frame: Frame) -> None:
        run_constructor(frame["self"], args(frame))

    return run


_EXPRESSIONS: Final[dict[type, Callable[[Any, Scope], Closure]]] = {
    ast.Attribute: _attribute,
    ast.BinOp: _binary,
    ast.BoolOp: _bool,
    ast.Call: _call,
    ast.Compare: _compare,
    ast.Constant: _constant,
    ast.Dict: _dict,
    ast.GeneratorExp: _comprehension,
    ast.IfExp: _choice,
    ast.JoinedStr: _text,
    ast.List: _sequence,
    ast.ListComp: _comprehension,
    ast.Name: _name,
    ast.Slice: _slice,
    ast.Subscript: _subscript,
    ast.Tuple: _sequence,
    ast.UnaryOp: _unary,
}


# ---- statements -------------------------------------------------------------------

# None, or the value that the function returns, in a tuple.
CompiledStatement = Callable[[Frame], tuple[Any] | None]


def compile_block(nodes: Iterable[ast.stmt], scope: Scope) -> CompiledStatement:
    """Return a closure that runs statements in order."""
    steps = []
    for node in nodes:
        if isinstance(node, ast.Pass) or _is_docstring(node):
            continue
        make = _STATEMENTS.get(type(node))
        if make is None:
            raise refused(node)
        steps.append((node.lineno, make(node, scope)))

    def run(frame: Frame) -> tuple[Any] | None:
        line = 0
        try:
            for line, step in steps:  # noqa: B007 (it is read if a step fails)
                returned = step(frame)
                if returned is not None:
                    return returned
        except Refused as error:
            error.line = error.line or line
            raise
        except _FAULTS as error:
            failed = Refused(f"{type(error).__name__}: {error}")
            failed.line = line
            raise failed from error
        return None

    return run


def _is_docstring(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _names(node: ast.expr) -> list[str]:
    """Return the variables that a target binds."""
    if isinstance(node, ast.Name):
        return [node.id]
    if isinstance(node, ast.Tuple):
        return [name for part in node.elts for name in _names(part)]
    return []


def _target(node: ast.expr, scope: Scope) -> Callable[[Frame, Any], None]:
    """Return a closure that assigns a value."""
    if isinstance(node, ast.Name):
        return _assigner(node.id)
    if isinstance(node, ast.Tuple):
        parts = [_target(part, scope) for part in node.elts]

        def unpack(frame: Frame, value: Any) -> None:
            for part, item in zip(parts, unpacked(value, len(parts)), strict=True):
                part(frame, item)

        return unpack
    if isinstance(node, ast.Attribute):
        owner, name = expression(node.value, scope), node.attr
        return lambda frame, value: assign(owner(frame), name, value)
    if isinstance(node, ast.Subscript):
        owner, place = expression(node.value, scope), expression(node.slice, scope)
        return lambda frame, value: put(owner(frame), place(frame), value)
    raise refused(node)


def _assigner(name: str) -> Callable[[Frame, Any], None]:
    def run(frame: Frame, value: Any) -> None:
        frame[name] = value

    return run


def _assignment(node: ast.Assign | ast.AnnAssign, scope: Scope) -> CompiledStatement:
    if node.value is None:
        return lambda _: None
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    if len(targets) > 1:
        raise refused(node)
    value = expression(node.value, scope)
    if isinstance(targets[0], ast.Name):
        name = targets[0].id

        def keep(frame: Frame) -> None:
            frame[name] = value(frame)

        return keep
    bind = _target(targets[0], scope)

    def run(frame: Frame) -> None:
        bind(frame, value(frame))

    return run


def _augmented(node: ast.AugAssign, scope: Scope) -> CompiledStatement:
    target = node.target
    if not isinstance(target, ast.Name) or type(node.op) not in _OPERATORS:
        raise refused(node)
    name, more = target.id, expression(node.value, scope)
    symbol, compute = _OPERATORS[type(node.op)]

    def run(frame: Frame) -> None:
        found = frame[name]
        if type(found) is TensorValue:
            refuse(f"`{symbol}=` would write over its tensor")
        frame[name] = compute(found, more(frame))

    return run


def _statement(node: ast.Expr, scope: Scope) -> CompiledStatement:
    value = expression(node.value, scope)

    def run(frame: Frame) -> None:
        value(frame)

    return run


def _return(node: ast.Return, scope: Scope) -> CompiledStatement:
    if node.value is None:
        return lambda _: (None,)
    value = expression(node.value, scope)
    return lambda frame: (value(frame),)


def _for(node: ast.For, scope: Scope) -> CompiledStatement:
    if node.orelse:
        raise refused(node)
    source, bind = expression(node.iter, scope), _target(node.target, scope)
    body = compile_block(node.body, scope)

    def run(frame: Frame) -> tuple[Any] | None:
        for item in items(source(frame)):
            bind(frame, item)
            returned = body(frame)
            if returned is not None:
                return returned
        return None

    return run


def _if(node: ast.If, scope: Scope) -> CompiledStatement:
    test = expression(node.test, scope)
    then, other = compile_block(node.body, scope), compile_block(node.orelse, scope)
    return lambda frame: then(frame) if truth(test(frame)) else other(frame)


_STATEMENTS: Final[dict[type, Callable[[Any, Scope], CompiledStatement]]] = {
    ast.AnnAssign: _assignment,
    ast.Assign: _assignment,
    ast.AugAssign: _augmented,
    ast.Expr: _statement,
    ast.For: _for,
    ast.If: _if,
    ast.Return: _return,
}


# ---- functions --------------------------------------------------------------------


def annotation(node: ast.expr | None, globals: Mapping[str, Any]) -> None:
    """Refuse a type annotation that Python could not evaluate on definition."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        annotation(node.left, globals)
        annotation(node.right, globals)
    elif isinstance(node, ast.Subscript):
        is_type = isinstance(node.value, ast.Name) and node.value.id == "type"
        if not is_type or "type" in globals:
            annotation(node.value, globals)
        annotation(node.slice, globals)
    elif isinstance(node, ast.Tuple):
        for part in node.elts:
            annotation(part, globals)
    elif isinstance(node, ast.Name | ast.Attribute):
        expression(node, Scope(set(), globals))
    elif node is not None and not isinstance(node, ast.Constant):
        raise refused(node)


class CompiledMethod:
    """A method, compiled once; calling it runs it."""

    def __init__(self, node: ast.FunctionDef, globals: Mapping[str, Any]) -> None:
        given = node.args
        if given.vararg or given.kwarg or given.posonlyargs or node.decorator_list:
            raise refused(node)
        outer = Scope(set(), globals)
        annotation(node.returns, globals)
        for arg in (*given.args, *given.kwonlyargs):
            annotation(arg.annotation, globals)
        self.name = node.name
        self.names = [arg.arg for arg in (*given.args, *given.kwonlyargs)]
        self.positional = len(given.args)
        first = len(given.args) - len(given.defaults)
        self.defaults = {
            name: expression(default, outer)({})
            for name, default in zip(
                self.names[first : self.positional], given.defaults, strict=True
            )
        }
        for arg, late in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            if late is not None:
                self.defaults[arg.arg] = expression(late, outer)({})
        self.known = frozenset(self.names)
        if len(self.known) < len(self.names):
            raise refused(node, "an argument has the name of another one")
        variables = assigned(node.body)
        self.run = compile_block(node.body, Scope({*self.names, *variables}, globals))

    def __call__(self, args: list[Any], kwargs: Mapping[str, Any]) -> Any:
        if len(args) > self.positional:
            refuse(f"{self.name} takes {self.positional} values, not {len(args)}")
        frame = dict(zip(self.names, args, strict=False))
        for name, value in kwargs.items():
            if name not in self.known or name in frame:
                refuse(f"`{name}` is not an argument of {self.name}, or is given twice")
            frame[name] = value
        if len(frame) < len(self.names):
            for name in self.names:
                if name not in frame:
                    if name not in self.defaults:
                        refuse(f"{self.name} is called without `{name}`")
                    frame[name] = self.defaults[name]
        returned = self.run(frame)
        return None if returned is None else returned[0]


def assigned(nodes: Iterable[ast.stmt]) -> set[str]:
    """Return the variables that statements assign."""
    found: set[str] = set()
    stack = list(nodes)
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Assign):
            for target in node.targets:
                found.update(_names(target))
        elif isinstance(node, ast.AnnAssign | ast.AugAssign):
            found.update(_names(node.target))
        elif isinstance(node, ast.For):
            found.update(_names(node.target))
            stack += node.body
        elif isinstance(node, ast.If):
            stack += [*node.body, *node.orelse]
    return found
