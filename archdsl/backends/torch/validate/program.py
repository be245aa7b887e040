"""The program that emitted text defines: its classes, the network it builds, its
execution.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from archdsl.backends.torch import recomputed
from archdsl.backends.torch.validate.closures import (
    CompiledMethod,
    Scope,
    annotation,
    assigned,
    compile_block,
    expression,
    refused,
    torch_name,
)
from archdsl.backends.torch.validate.runtime import CONTAINERS, apply, run_constructor
from archdsl.backends.torch.validate.signatures import (
    Signature,
    bound,
    declared,
    signature,
)
from archdsl.backends.torch.validate.values import (
    BareParameter,
    Instance,
    OpaqueModule,
    OperationGraph,
    Record,
    TorchName,
    refuse,
)


class Helper(NamedTuple):
    """A class that a layer kind provides, with everything that identifies it.

    Attributes:
        name: its name in the kind.
        parts: the syntax trees of its text, as `ast.dump` prints them, without the
            class's name.
        doc: its docstring, by which it is found.
        base: name of its base class.
        signature: signature of its constructor, None if it takes any number of
            arguments.
    """

    name: str
    base: str
    parts: frozenset[str]
    doc: str | None
    signature: Signature | None


_HELPERS: dict[tuple[str, str], Helper] = {}


def helper(name: str, text: str) -> Helper:
    """Return the parsed class that a layer kind provides."""
    if (name, text) not in _HELPERS:
        nodes = ast.parse(text).body
        made = next(n for n in nodes if isinstance(n, ast.ClassDef) and n.name == name)
        parts = frozenset(_printed(node) for node in nodes)
        doc = ast.get_docstring(made, clean=False)
        base = ast.unparse(made.bases[0])
        own = _constructor_of(made, base)
        _HELPERS[name, text] = Helper(name, base, parts, doc, own)
    return _HELPERS[name, text]


def _constructor_of(node: ast.ClassDef, base: str) -> Signature | None:
    for part in node.body:
        if isinstance(part, ast.FunctionDef) and part.name == "__init__":
            part.args.args.pop(0)
            passed_on = "super().__init__(*args, **options)" in ast.unparse(part)
            return declared(part.args, signature(base) if passed_on else None)
    return Signature([], []) if base == "nn.Module" else signature(base)


def _printed(node: ast.stmt) -> str:
    """Return the syntax tree of a definition without its name."""
    text = ast.dump(node)
    if isinstance(node, ast.ClassDef):
        return text.replace(f"ClassDef(name={node.name!r}", "ClassDef(name=''", 1)
    return text


class Class:
    """A class of the text, or a torch container.

    Attributes:
        program: the program that it belongs to.
        name: its name.
        container: the torch class that it derives from.
        names: all classes that an instance belongs to.
        again: whether the backward pass runs its instances again.
    """

    def __init__(self, program: Program, name: str, base: str) -> None:
        self.program = program
        self.name = name
        self.container = base
        self.names = (name, base, "nn.Module")
        self.again = False
        self.nodes: dict[str, ast.FunctionDef] = {}
        self.functions: dict[str, CompiledMethod] = {}
        self.used = False

    def function(self, name: str) -> CompiledMethod | None:
        """Return a method that the text defines."""
        found = self.functions.get(name)
        if found is None and name in self.nodes:
            found = CompiledMethod(self.nodes[name], self.program.globals)
            self.functions[name] = found
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Instance:
        """Create an instance."""
        program = self.program
        if program.answered is not None:
            if self is not program.root.kind or args or kwargs:
                refuse("the example makes something else than the network")
            return program.root
        self.used = True
        made = Instance(self)
        constructor = self.function("__init__")
        if constructor is not None:
            constructor([made, *args], kwargs)
        elif kwargs:
            refuse(f"{self.name} takes no keywords")
        else:
            run_constructor(made, list(args))
        if not made.ready:
            refuse(f"{self.name} does not call `super().__init__()`")
        return made


class _Outputs:
    """A named tuple of the text."""

    def __init__(self, node: ast.ClassDef, globals: Mapping[str, Any]) -> None:
        self.name = node.name
        self.defaults: dict[str, Any] = {}
        self.names: list[str] = []
        for part in node.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                annotation(part.annotation, globals)
                self.names.append(part.target.id)
                if part.value is not None:
                    self.defaults[part.target.id] = ast.literal_eval(part.value)
            elif not isinstance(part, ast.Expr):
                raise refused(part)

    def __call__(self, *args: Any, **kwargs: Any) -> Record:
        given = dict(zip(self.names, args, strict=False))
        if len(args) > len(self.names) or not given.keys().isdisjoint(kwargs):
            refuse(f"{self.name} is given too many values")
        given = {**self.defaults, **given, **kwargs}
        if given.keys() != set(self.names):
            refuse(f"{self.name} is not given just its values")
        return Record({name: given[name] for name in self.names})


class _HelperClass:
    """A class that a layer kind provides; its instances are treated as opaque."""

    def __init__(self, kind: Helper) -> None:
        self.kind = kind
        self.name = kind.name

    def __call__(self, *args: Any, **kwargs: Any) -> OpaqueModule:
        found, inplace = bound(self.kind.name, list(args), kwargs, self.kind.signature)
        return OpaqueModule(self.kind.name, found, inplace, self.kind.base)


class Program:
    """The text of a module, and the network that it creates.

    Attributes:
        root: the network.
        modules: all leaf modules by path, in torch's order.
        parameters: bare parameters by path, in the same order.
        containers: all other modules by path.
        asked: whether a run depended on the mode.
        answered: the network, once the example at the end of the text was run.
    """

    root: Instance

    def __init__(self, tree: ast.Module, helpers: Mapping[str, Helper]) -> None:
        self.globals: dict[str, Any] = {
            name: Class(self, name, name) for name in CONTAINERS
        }
        self.training = True
        self.asked = False
        self.answered: Instance | None = None
        self.modules: dict[str, OpaqueModule] = {}
        self.parameters: dict[str, BareParameter] = {}
        self.containers: dict[str, Instance] = {}
        self._example: list[ast.stmt] = []
        self._read(tree, helpers)
        classes = [c for c in self.globals.values() if isinstance(c, Class) and c.nodes]
        if not classes:
            refuse("the text defines no network")
        self.root = classes[-1]()
        self._place()
        self._demand_use()

    def container(self, name: str) -> Class:
        """Return one of torch's containers."""
        found: Class = self.globals[name]
        return found

    def is_training(self) -> bool:
        """Return the mode, and record that it was read."""
        self.asked = True
        return self.training

    # ---- definitions

    def _read(self, tree: ast.Module, helpers: Mapping[str, Helper]) -> None:
        known = {part for one in helpers.values() for part in one.parts}
        docs = {one.doc for one in helpers.values()}
        by_text = {part: one for one in helpers.values() for part in one.parts}
        seen: set[str] = set()
        used: list[Helper] = []
        recomputes = recomputed.has(tree)
        for node in tree.body:
            if recomputes and recomputed.is_import(node):
                continue
            if recomputed.is_class(node):
                self.globals[recomputed.NAME] = TorchName(recomputed.NAME)
            elif isinstance(node, ast.ImportFrom | ast.Import):
                self._import(node)
            elif isinstance(node, ast.ClassDef):
                # Printing is slow, and most classes are not those of a layer kind.
                known_doc = ast.get_docstring(node, clean=False) in docs
                printed = _printed(node) if known_doc else ""
                if (kind := by_text.get(printed)) is not None:
                    self.globals[node.name] = _HelperClass(kind)
                    seen.add(printed)
                    used.append(kind)
                else:
                    self._define(node)
            elif _is_example(node) and not self._example:
                assert isinstance(node, ast.If)
                self._example = node.body
            elif not _is_text(node):
                if (printed := _printed(node)) not in known:
                    raise refused(node)
                seen.add(printed)
        for kind in used:
            if not kind.parts <= seen:
                refuse(f"a part of {kind.name} is missing")

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        origin = "" if isinstance(node, ast.Import) else f"{node.module}."
        if origin == "__future__.":
            return
        for alias in node.names:
            if not origin and "." in alias.name and not alias.asname:
                raise refused(node)
            name = torch_name(f"{origin}{alias.name}")
            self.globals[alias.asname or alias.name] = TorchName(name)

    def _define(self, node: ast.ClassDef) -> None:
        scope = Scope(set(), self.globals)
        bases = [expression(base, scope)({}) for base in node.bases]
        again = len(bases) == 2 and _is_recomputed(bases[0])
        if len(bases) != 1 + again or node.keywords or node.decorator_list:
            raise refused(node)
        base = bases[-1]
        name = getattr(base, "name", "")
        if name == "typing.NamedTuple" and not again:
            self.globals[node.name] = _Outputs(node, self.globals)
            return
        if not isinstance(base, TorchName) or name not in CONTAINERS:
            raise refused(node, f"the base {ast.unparse(node.bases[-1])}")
        made = Class(self, node.name, name)
        made.again = again
        for part in node.body:
            if isinstance(part, ast.FunctionDef):
                made.nodes[part.name] = part
            elif not _is_text(part):
                raise refused(part)
        self.globals[node.name] = made

    # ---- the network

    def _place(self) -> None:
        """Give each module its path."""
        stack: list[tuple[str, OpaqueModule | Instance]] = [("", self.root)]
        seen: set[int] = set()
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                refuse(f"`{module.path}` is registered again, as `{path}`")
            seen.add(id(module))
            module.path = path
            if isinstance(module, OpaqueModule):
                self.modules[path] = module
                continue
            self.containers[path] = module
            before = f"{path}." if path else ""
            for name, parameter in module.parameters.items():
                if id(parameter) in seen:
                    refuse(f"`{parameter.path}` is registered again")
                seen.add(id(parameter))
                parameter.path = f"{before}{name}"
                self.parameters[parameter.path] = parameter
            stack += [
                (f"{before}{name}", child)
                for name, child in reversed(module.children.items())
            ]

    def _demand_use(self) -> None:
        """Refuse classes that are never used, and methods that cannot be evaluated."""
        for found in self.globals.values():
            if isinstance(found, Class) and found.nodes:
                if not found.used:
                    refuse(f"nothing uses the class {found.name}")
                for name in found.nodes:
                    found.function(name)

    def run(self, inputs: int, training: bool) -> tuple[OperationGraph, Any]:
        """Run `forward` in a mode; return its operations and its result."""
        graph = OperationGraph()
        self.training = training
        forward = self.root.kind.function("forward")
        args = [graph.input(place) for place in range(inputs)]
        if forward is None:
            return graph, apply(self.root, args, {})
        if len(forward.names) != inputs + 1:
            refuse(f"`forward` takes {len(forward.names) - 1} inputs, not {inputs}")
        return graph, forward([self.root, *args], {})

    # ---- the example

    def example(self, shapes: Sequence[tuple[int, ...]], result: Any) -> None:
        """Run the example at the end of the text.

        Args:
            shapes: shapes of the network's inputs, with the batch.
            result: the network's result in inference.
        """
        self.answered = self.root
        self.training = True
        self._asked_for = [("torch.randn", *shape) for shape in shapes]
        self._result = result
        scope = Scope(assigned(self._example), self.globals)
        compile_block(self._example, scope)({})

    def answer(self, args: list[Any]) -> Any:
        """Return the network's result for the example's inputs."""
        if args != self._asked_for or self.training:
            refuse("the example runs the network on other inputs, or in training")
        return self._result


def _is_recomputed(base: object) -> bool:
    return isinstance(base, TorchName) and base.name == recomputed.NAME


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


_EXAMPLE: Final = ast.dump(ast.parse("__name__ == '__main__'", mode="eval").body)


def _is_example(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.dump(node.test) == _EXAMPLE
