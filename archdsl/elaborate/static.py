"""Checks that need no values: what a spec's names mean, wherever they stand.

They also reach the parts that no preset uses, so that nothing is silently wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from archdsl.diagnostics import Diagnostics, did_you_mean
from archdsl.elaborate import foreign
from archdsl.elaborate.evaluate import FUNCTIONS, WORDS_OF_TYPES
from archdsl.elaborate.names import check_definition, check_parameter
from archdsl.elaborate.scope import Fault
from archdsl.layer import kind, words
from archdsl.source import Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import Module

STRUCTURES = ("seq", "residual", "same")


def check(module: Module, prelude: Module, errors: Diagnostics) -> None:
    """Report names that mean nothing, or that cannot be used, in one file."""
    kinds = words()
    presets: set[str] = set()
    for preset in module.file.presets():
        if preset.name in presets or preset.name in module.own:
            errors.add(
                Fault(
                    "A0101", f"`{preset.name}` is defined twice", preset.span
                ).diagnostic()
            )
        presets.add(preset.name)
        _attempt(errors, lambda p=preset: check_parameter(p.name, p.span))
    for item in module.file.items:
        if isinstance(item, t.FunctionDef):
            _check_function(item, module, prelude, errors)
        elif isinstance(item, t.OpDef):
            _attempt(errors, lambda i=item: foreign.check(i, module))
    for definition in module.file.definitions():
        _attempt(
            errors,
            lambda d=definition: check_definition(d.name, d.span, kinds),
        )
        _Definition(definition, module, prelude, errors).check()


def _check_function(
    function: t.FunctionDef, module: Module, prelude: Module, errors: Diagnostics
) -> None:
    header = t.Definition(
        function.name,
        function.params,
        t.Body([], function.span),
        function.span,
        is_network=False,
        indexed=False,
        doc="",
    )
    _Definition(header, module, prelude, errors).check(function.value)


def _attempt(errors: Diagnostics, check: Any) -> None:
    try:
        check()
    except Fault as fault:
        errors.add(fault.diagnostic())


class _Definition:
    """The check of one block or network."""

    def __init__(
        self,
        definition: t.Definition,
        module: Module,
        prelude: Module,
        errors: Diagnostics,
    ) -> None:
        self.definition = definition
        self.module = module
        self.prelude = prelude
        self.errors = errors
        self.used: set[str] = set()
        self.names: dict[str, Span] = {}

    def check(self, value: t.Expr | None = None) -> None:
        """Check parameters, words and names; `value` is what a function computes."""
        for param in self.definition.params:
            self._declare(param)
            if param.default is not None:
                self._expression(param.default)
        bound = frozenset(self.names)
        if value is not None:
            self._expression(value, bound)
        for branch in self.definition.body.branches:
            self._statements(branch.statements, bound)
        for name, span in self.names.items():
            if name not in self.used:
                self._say(
                    "A0105",
                    f"`{name}` of `{self.definition.name}` is never used",
                    span,
                    help="use it, or drop it",
                )

    def _declare(self, param: t.Param) -> None:
        if param.name in self.names:
            self._say("A0101", f"`{param.name}` is declared twice", param.span)
        # Braces arrive under this name.
        if param.name != "body":
            _attempt(self.errors, lambda: check_parameter(param.name, param.span))
        self.names[param.name] = param.span
        if param.type is not None and param.type not in WORDS_OF_TYPES:
            self._say(
                "A0204",
                f"there is no type `{param.type}`",
                param.span,
                help=did_you_mean(param.type, WORDS_OF_TYPES)
                or f"the types are {', '.join(WORDS_OF_TYPES)}",
            )

    def _say(
        self, code: str, message: str, span: Span, help: str | None = None
    ) -> None:
        self.errors.add(Fault(code, message, span, help=help).diagnostic())

    # ---- layers

    def _statements(self, statements: list[t.Statement], bound: frozenset[str]) -> None:
        for statement in statements:
            if isinstance(statement, t.Let):
                self._expression(statement.value, bound)
                _attempt(
                    self.errors,
                    lambda n=statement: check_parameter(n.name, n.span),
                )
                self.names.setdefault(statement.name, statement.span)
                bound |= {statement.name}
            else:
                self._statement(statement, bound)

    def _statement(self, statement: t.Statement, bound: frozenset[str]) -> None:
        match statement:
            case t.Chain():
                self._chain(statement, bound)
            case t.Output():
                self._chain(statement.chain, bound)
            case t.For():
                self._expression(statement.iterable, bound)
                names = statement.targets.all_names()
                self._check_targets(statement.targets)
                self._body(statement.body, bound | set(names))
            case t.If():
                self._if(statement, bound)
            case t.Expect():
                for item in statement.items:
                    if isinstance(item.test, t.Binary):
                        self._expression(item.test.right, bound)
            case t.Init():
                for setting in statement.settings:
                    self._setting(setting.value, bound)
            case t.Input() | t.Let():
                pass

    def _check_targets(self, targets: t.Targets) -> None:
        for name in targets.all_names():
            _attempt(
                self.errors,
                lambda n=name: check_parameter(n, targets.span),
            )

    def _if(self, statement: t.If, bound: frozenset[str]) -> None:
        current: t.Body | t.If | None = statement
        while isinstance(current, t.If):
            self._expression(current.test, bound)
            self._body(current.body, bound)
            current = current.otherwise
        if current is not None:
            self._body(current, bound)

    def _body(self, body: t.Body, bound: frozenset[str]) -> None:
        for branch in body.branches:
            self._statements(branch.statements, bound)

    def _chain(self, chain: t.Chain, bound: frozenset[str]) -> None:
        for step in chain.steps:
            for label in (step.label, step.path if isinstance(step, t.Tap) else None):
                for part in label.parts if label else ():
                    if isinstance(part, t.Expr):
                        self._expression(part, bound)
            for expr in (step.guard, step.repeat):
                if expr is not None:
                    self._expression(expr, bound)
            if isinstance(step, t.Group):
                self._body(step.body, bound)
            elif isinstance(step, t.Call):
                self._call(step, bound)

    def _call(self, call: t.Call, bound: frozenset[str]) -> None:
        self.used.add(call.word)
        if not self._means_layers(call.word, bound):
            known = {*words(), *STRUCTURES, *bound}
            known |= {*self.module.names(), *self.prelude.names()}
            span = call.span
            self._say(
                "A0106",
                f"`{call.word}` is not a layer kind or block",
                Span(span.source, span.start, span.start + len(call.word)),
                help=did_you_mean(call.word, known),
            )
        layer = kind(call.word) if call.word not in bound else None
        for argument in [*(call.angle or []), *call.args]:
            field = layer.fields.get(argument.name or "") if layer else None
            if field is not None and field.type == "choice":
                # A bare word here is one of the field's choices.
                if isinstance(argument.value, t.Name):
                    self.used.add(argument.value.id)
                continue
            if call.word == "residual" and argument.name in ("shortcut", "projection"):
                continue
            if call.word != "same":
                self._expression(argument.value, bound)
        if call.body is not None:
            self._body(call.body, bound)

    def _means_layers(self, word: str, bound: frozenset[str]) -> bool:
        return (
            word in bound
            or word in STRUCTURES
            or word in words()
            or word in self.module.ops
            or self.module.find(word) is not None
            or self.prelude.find(word) is not None
        )

    # ---- expressions

    def _setting(self, expr: t.Expr, bound: frozenset[str]) -> None:
        """Check an `init` value, whose function is a scheme and not looked up."""
        if isinstance(expr, t.Function):
            for arg in expr.args:
                self._expression(arg.value, bound)
        elif not isinstance(expr, t.Name):
            self._expression(expr, bound)

    def _expression(self, expr: t.Expr, bound: frozenset[str] | None = None) -> None:
        known = bound if bound is not None else frozenset(self.names)
        for node, names in _walk(expr, known):
            if isinstance(node, t.Function):
                self._function(node)
            elif isinstance(node, t.Name | t.Partial):
                self._name(node, names)

    def _function(self, node: t.Function) -> None:
        functions = {*FUNCTIONS, *self.module.functions}
        if node.name not in functions:
            self._say(
                "A0104",
                f"there is no function `{node.name}`",
                node.span,
                help=did_you_mean(node.name, functions)
                or f"the functions are {', '.join(sorted(functions))}",
            )

    def _name(self, node: t.Name | t.Partial, bound: frozenset[str]) -> None:
        self.used.add(node.id)
        if (
            node.id in bound
            or node.id == "channels"
            or node.id in words()
            or self.module.find(node.id) is not None
            or self.prelude.find(node.id) is not None
        ):
            return
        self._say(
            "A0104",
            f"`{node.id}` is not a parameter, loop variable, block or layer kind",
            node.span,
            help=did_you_mean(node.id, {*bound, *self.module.names()}),
        )


def _walk(
    expr: t.Expr, bound: frozenset[str]
) -> Iterator[tuple[t.Expr, frozenset[str]]]:
    """Yield an expression and everything below it, with the names known there."""
    stack: list[tuple[Any, frozenset[str]]] = [(expr, bound)]
    while stack:
        node, names = stack.pop()
        if isinstance(node, list):
            stack.extend((item, names) for item in node)
        elif isinstance(node, t.Arg):
            stack.append((node.value, names))
        elif isinstance(node, t.Comprehension):
            inner = names | set(node.targets.all_names())
            stack += [(node.iterable, names), (node.item, inner), (node.test, inner)]
        elif isinstance(node, t.Expr):
            yield node, names
            stack.extend((part, names) for part in vars(node).values())
