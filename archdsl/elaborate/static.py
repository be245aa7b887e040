"""Checks that need no values: that the names in a spec are defined and used.

They cover parts that no preset uses, too, so that no mistake stays hidden.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError, did_you_mean
from archdsl.elaborate import foreign, inputs
from archdsl.elaborate.contexts import Budget
from archdsl.elaborate.evaluate import FUNCTIONS, evaluate
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.labels import may_be, may_bear
from archdsl.elaborate.names import (
    check_definition,
    check_function,
    check_parameter,
)
from archdsl.elaborate.resolve import STRUCTURES, unknown_word
from archdsl.elaborate.types import WORDS_OF_TYPES
from archdsl.layer import Field, Layer, all_kinds, kind, words
from archdsl.limits import MAX_NAMES
from archdsl.naming import channels_of_input
from archdsl.resources import specs_dir
from archdsl.source import Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile

# Words that begin a definition, which has no place among layers.
DEFINING = ("arch", "import", "block", "network", "preset", "default", "fn", "op")


def check(module: LoadedFile, prelude: LoadedFile, errors: Diagnostics) -> None:
    """Report undefined names, and names that cannot be used, in a file and its imports.

    Raises:
        SpecError: if there are definitions among layers, as then nothing else is
            certain.
    """
    files = [_File(found, prelude, errors) for found in _reachable(module)]
    for file in files:
        file.check()
    misplaced = [found for file in files for found in file.misplaced]
    if misplaced:
        raise SpecError(misplaced)


def _reachable(module: LoadedFile) -> list[LoadedFile]:
    """Return a file and everything that it imports, directly or not, except the
    library.
    """
    library = specs_dir() / "std"
    found = [module]
    for known in found:
        for _, origin in (pair for part in known.shared() for pair in part.values()):
            own = origin.path is None or not origin.path.is_relative_to(library)
            if own and all(origin is not other for other in found):
                found.append(origin)
    return found


class _File:
    """The check of one file."""

    def __init__(
        self, module: LoadedFile, prelude: LoadedFile, errors: Diagnostics
    ) -> None:
        self.module = module
        self.prelude = prelude
        self.errors = errors
        self.budget = Budget()
        self.used: set[str] = set()
        self.misplaced: list[Diagnostic] = []
        self.calls: dict[str, list[tuple[str, Span]]] = {}

    def check(self) -> None:
        """Check everything in the file."""
        kinds = words()
        self._presets()
        for item in self.module.file.items:
            if isinstance(item, t.FunctionDef):
                self._function(item)
            elif isinstance(item, t.OpDef):
                self._op(item)
        for definition in self.module.file.definitions():
            _attempt(
                self.errors,
                lambda d=definition: check_definition(
                    d.name, d.span, kinds, "network" if d.is_network else "block"
                ),
            )
            self._definition(definition)
        self._recursion()
        self._imports()

    def _presets(self) -> None:
        names: set[str] = set()
        default: t.Preset | None = None
        for preset in self.module.file.presets():
            if preset.name in names or preset.name in self.module.own:
                self._say(
                    "A0101",
                    f"`{preset.name}` is defined twice",
                    preset.span,
                    help="give one of them another name",
                )
            names.add(preset.name)
            _attempt(self.errors, lambda p=preset: check_parameter(p.name, p.span))
            for argument in preset.angle:
                self.used |= _names_in(argument.value)
            if preset.is_default and default is not None:
                self._say(
                    "A0101",
                    "two presets are the default",
                    preset.span,
                    label=f"the first is on line {default.span.line}",
                    help="mark one of them",
                )
            default = preset if preset.is_default else default

    def _function(self, function: t.FunctionDef) -> None:
        name, span = function.name, function.span
        _attempt(self.errors, lambda: check_function(name, span, frozenset(FUNCTIONS)))
        self._definition(_header(function), function.value)

    def _op(self, op: t.OpDef) -> None:
        _attempt(
            self.errors,
            lambda: foreign.check_op(op, self.module, evaluate, self.budget),
        )
        read = [setting.value for setting in op.settings]
        if all(setting.name != "args" for setting in op.settings):
            read += [t.Name(param.span, param.name) for param in op.params]
        known = frozenset([*foreign.NAMES, *(name for name, _ in op.inputs)])
        self._definition(_header(op), t.ListExpr(op.span, read), known)

    def _definition(
        self,
        definition: t.Definition,
        value: t.Expr | None = None,
        known: frozenset[str] = frozenset(),
    ) -> None:
        check = _Definition(definition, self.module, self.prelude, self.errors)
        check.check(value, known)
        self.used |= check.used
        self.misplaced += check.misplaced
        self.calls[definition.name] = check.calls

    def _recursion(self) -> None:
        """Report every call that makes blocks contain themselves."""
        done: set[str] = set()
        for start in self.calls:
            path = dict.fromkeys([start])
            stack = [] if start in done else [iter(self.calls[start])]
            while stack:
                found = next(stack[-1], None)
                if found is None:
                    stack.pop()
                    done.add(path.popitem()[0])
                elif found[0] in path:
                    names = [*path]
                    circle = names[names.index(found[0]) :]
                    self._circle([*circle, found[0]], found[1])
                elif found[0] not in done:
                    path[found[0]] = None
                    stack.append(iter(self.calls.get(found[0], ())))

    def _circle(self, path: list[str], span: Span) -> None:
        self._say(
            "A0108",
            f"`{path[0]}` calls itself",
            span,
            label=" -> ".join(path[:8]) if len(path) > 2 else "",
            help="the language has no recursion; repeat with `x` or `for`",
        )

    def _imports(self) -> None:
        for item in self.module.file.items:
            for name, span in item.names if isinstance(item, t.Import) else ():
                if name not in self.used:
                    self._say(
                        "A0105",
                        f"`{name}` is imported and never used",
                        span,
                        help="use it, or drop it",
                    )

    def _say(
        self,
        code: str,
        message: str,
        span: Span,
        label: str = "",
        help: str | None = None,
    ) -> None:
        self.errors.add(Diagnostic(code, message, span, label=label, help=help))


def _header(definition: t.FunctionDef | t.OpDef) -> t.Definition:
    """Return the name and parameters of a function or op, in the form of a block's."""
    return t.Definition(
        definition.name,
        definition.params,
        t.Body([], definition.span),
        definition.span,
        is_network=False,
        indexed=False,
        doc="",
    )


def _attempt(errors: Diagnostics, check: Any) -> bool:
    """Return whether a check passes; record its message if not."""
    try:
        check()
    except Fault as fault:
        errors.add(fault.diagnostic())
        return False
    return True


class _Definition:
    """The check of one block or network."""

    def __init__(
        self,
        definition: t.Definition,
        module: LoadedFile,
        prelude: LoadedFile,
        errors: Diagnostics,
    ) -> None:
        self.definition = definition
        self.module = module
        self.prelude = prelude
        self.errors = errors
        self.used: set[str] = set()
        self.names: dict[str, Span] = {}
        self.helps: dict[str, str] = {}
        self.misplaced: list[Diagnostic] = []
        self.calls: list[tuple[str, Span]] = []
        self.tapped: list[t.Label] = []

    def check(
        self, value: t.Expr | None = None, known: frozenset[str] = frozenset()
    ) -> None:
        """Check parameters, words and names.

        Args:
            value: the expression of a function, or of an op.
            known: names that it can use besides the parameters.
        """
        for param in self.definition.params:
            self._declare(param)
            if param.default is not None:
                self._expression(param.default)
        if self.definition.inputs and not _attempt(
            self.errors, lambda: inputs.check_inputs(self.definition)
        ):
            self.used |= self.names.keys() & {n for n, _ in self.definition.inputs}
        for _, span in self.definition.inputs[:1]:
            self._check_number([*self.names, *self.definition.inputs], span)
        bound = frozenset(self.names)
        if value is not None:
            self._expression(value, bound | known)
        self._body(self.definition.body, bound)
        self._check_inputs()
        for name, span in self.names.items():
            if name not in self.used:
                self._say(
                    "A0105",
                    f"`{name}` of `{self.definition.name}` is never used",
                    span,
                    help=self.helps.get(name, "use it, or drop it"),
                )

    def _check_inputs(self) -> None:
        """Report inputs of a block that nothing reads; the first flows in."""
        for name, span in self.definition.inputs[1:]:
            if not any(may_be(label, name) for label in self.tapped):
                self._say(
                    "A0105",
                    f"the input `{name}` of `{self.definition.name}` is never used",
                    span,
                    help=f"read it by `@{name}`, or drop it",
                )

    def _declare(self, param: t.Param) -> None:
        if param.name in self.names:
            self._say("A0101", f"`{param.name}` is declared twice", param.span)
        # Braces arrive under this name.
        if param.name != "body" and not _attempt(
            self.errors, lambda: check_parameter(param.name, param.span)
        ):
            # If another name is read instead, an unused name is not a second mistake.
            self.used.add(param.name)
        self.names[param.name] = param.span
        self._check_number(self.names, param.span)
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
                self._let(statement)
                bound |= {statement.name}
                self._check_number(bound, statement.span)
            else:
                self._statement(statement, bound)

    def _let(self, statement: t.Let) -> None:
        name, value = statement.name, statement.value
        if name in [channels_of_input(one) for one, _ in self.definition.inputs]:
            _attempt(self.errors, lambda: inputs.refuse_channels(name, statement.span))
        self.names.setdefault(name, statement.span)
        if isinstance(value, t.Name) and kind(value.id) is not None:
            self.helps[name] = f"to name a layer, write `{name}: {value.id}`"

    def _check_number(self, names: Collection[object], span: Span) -> None:
        if len(names) > MAX_NAMES:
            message = f"a block has more than {MAX_NAMES} names for values"
            raise SpecError([Diagnostic("A0908", message, span)])

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
                self._check_number(names, statement.span)
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
            case t.Register():
                for label in statement.names:
                    self._label(label, bound)
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
            names: frozenset[str] = frozenset()
            if branch.each is not None:
                self._expression(branch.each.iterable, bound)
                names = frozenset(branch.each.targets.all_names())
                self._check_targets(branch.each.targets)
                self._check_number(names, branch.each.span)
            self._statements(branch.statements, bound | names)

    def _chain(self, chain: t.Chain, bound: frozenset[str]) -> None:
        for step in chain.steps:
            path = step.path if isinstance(step, t.Tap) else None
            if path is not None:
                self.tapped.append(path)
            for label in (step.label, path, *(step.renamed or ())):
                if label is not None:
                    self._label(label, bound)
            for expr in (step.guard, step.repeat):
                if expr is not None:
                    self._expression(expr, bound)
            if isinstance(step, t.BracedGroup):
                self._body(step.body, bound)
            elif isinstance(step, t.Call):
                self._call(step, bound)

    def _label(self, label: t.Label, bound: frozenset[str]) -> None:
        for part in label.parts:
            if isinstance(part, t.Expr):
                self._expression(part, bound)

    def _call(self, call: t.Call, bound: frozenset[str]) -> None:
        self.used.add(call.word)
        if not self._means_layers(call.word, bound):
            if call.word in DEFINING:
                return self._misplace(call)
            known = {*bound, *self.module.names(), *self.prelude.names()}
            fault = unknown_word(call, known)
            if not call.args and may_bear(self.definition, call.word):
                fault.help = f"to read the labelled value, write `@{call.word}`"
            self.errors.add(fault.diagnostic())
        elif self._is_own_block(call.word, bound):
            self.calls.append((call.word, call.span))
        layer = kind(call.word) if call.word not in bound else None
        for argument in [*(call.angle or []), *call.args]:
            field = _field_of(layer, argument, call.args) if layer else None
            word = argument.value.id if isinstance(argument.value, t.Name) else ""
            if field and (field.type == "choice" or word in field.choices):
                # A bare word here is one of the field's choices.
                self.used.add(word)
                continue
            if call.word in bound and _is_choice(call.word, argument, bound):
                continue
            if call.word == "residual" and argument.name in ("shortcut", "projection"):
                continue
            if call.word != "same":
                self._expression(argument.value, bound)
        if call.body is not None:
            self._body(call.body, bound)

    def _is_own_block(self, word: str, bound: frozenset[str]) -> bool:
        # A block that bears the name of a layer kind is refused for that.
        return word not in bound and word in self.module.own and word not in words()

    def _misplace(self, call: t.Call) -> None:
        span = call.span
        self.misplaced.append(
            Diagnostic(
                "A0001",
                f"`{call.word}` is not expected here",
                Span(span.source, span.start, span.start + len(call.word)),
                help="it belongs at the top level of a file; is a `}` missing above?",
            )
        )

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
        """Check an `init` value; its function is a scheme, so it is not looked up."""
        if isinstance(expr, t.FunctionCall):
            for arg in expr.args:
                self._expression(arg.value, bound)
        elif not isinstance(expr, t.Name):
            self._expression(expr, bound)

    def _expression(self, expr: t.Expr, bound: frozenset[str] | None = None) -> None:
        known = bound if bound is not None else frozenset(self.names)
        for node, names in _walk(expr, known):
            if isinstance(node, t.FunctionCall):
                self._function(node)
            elif isinstance(node, t.Comprehension):
                self._check_targets(node.targets)
            elif isinstance(node, t.Name | t.Partial):
                self._name(node, names)

    def _function(self, node: t.FunctionCall) -> None:
        self.used.add(node.name)
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
            or node.id in self.module.ops
            or self.module.find(node.id) is not None
            or self.prelude.find(node.id) is not None
        ):
            return
        self._say(
            "A0104",
            f"`{node.id}` is not a parameter, loop variable, block or layer kind",
            node.span,
            help=did_you_mean(node.id, {*bound, *self.module.names(), "true", "false"}),
        )


def _field_of(layer: type[Layer], argument: t.Arg, args: list[t.Arg]) -> Field | None:
    """Return the field that an argument sets, by name or by position."""
    if argument.name is not None:
        return layer.fields.get(argument.name)
    for place, other in enumerate(a for a in args if a.name is None):
        if other is argument:
            found = [f for f in layer.fields.values() if f.position == place]
            return found[0] if found else None
    return None


def _is_choice(word: str, argument: t.Arg, bound: frozenset[str]) -> bool:
    """Return whether a bare word may be a choice of the kind that a word stands for.

    A parameter may stand for any kind.
    """
    value = argument.value
    if not isinstance(value, t.Name) or value.id in bound:
        return False
    own = kind(word)
    some = all_kinds() if word in bound else [own] if own else []
    return any(
        value.id in field.choices
        for each in some
        for name, field in each.fields.items()
        if argument.name in (None, name)
    )


def _names_in(expr: t.Expr) -> set[str]:
    """Return the names of values, blocks and functions that an expression uses."""
    found = set()
    for node, _ in _walk(expr, frozenset()):
        if isinstance(node, t.Name | t.Partial):
            found.add(node.id)
        elif isinstance(node, t.FunctionCall):
            found.add(node.name)
    return found


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
            yield node, names
            inner = names | set(node.targets.all_names())
            stack += [(node.iterable, names), (node.item, inner), (node.test, inner)]
        elif isinstance(node, t.Expr):
            yield node, names
            parts: Iterable[Any] = vars(node).values()
            if isinstance(node, t.Partial):
                parts = [a for a in node.args if not _is_choice(node.id, a, names)]
            stack.extend((part, names) for part in parts)
