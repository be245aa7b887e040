"""Emitted text with a random mistake, and whether it makes a difference in torch.

Each case is a number, the seed of a kind of mistake and a place for it, which are the
same in every run.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from archdsl.ir import Network


class Injected(NamedTuple):
    """A text with a mistake.

    Attributes:
        kind: the kind of mistake.
        text: the text with the mistake.
    """

    kind: str
    text: str


# A function that makes a mistake at one place of a tree.
Edit = Callable[[], None]


def inject(text: str, seed: str) -> Injected:
    """Return a text with one mistake."""
    random = Random(seed)
    while True:
        kind = random.choice(list(KINDS))
        tree = ast.parse(text)
        edits = list(KINDS[kind](tree, random))
        if edits:
            random.choice(edits)()
            wrong = ast.unparse(tree)
            if wrong != _plain(text):
                return Injected(kind, wrong)


@cache
def _plain(text: str) -> str:
    """Return a text in the layout of those with mistakes."""
    return ast.unparse(ast.parse(text))


# ---- places -----------------------------------------------------------------------


def _classes(tree: ast.Module) -> Iterator[ast.ClassDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node


def _functions(tree: ast.Module, name: str) -> Iterator[ast.FunctionDef]:
    for owner in _classes(tree):
        for part in owner.body:
            if isinstance(part, ast.FunctionDef) and part.name == name:
                yield part


def _bodies(function: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the blocks of statements in a function."""
    for node in ast.walk(function):
        for field in ("body", "orelse"):
            found = getattr(node, field, None)
            if isinstance(found, list) and found:
                yield found


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node


def _forward_calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls of layers and functions in `forward`."""
    for forward in _functions(tree, "forward"):
        for call in _calls(forward):
            if call.args and isinstance(call.func, ast.Attribute):
                yield call


def _set(owner: Any, field: str, value: Any) -> Edit:
    return lambda: setattr(owner, field, value)


def _put(items: list[Any], place: int, value: Any) -> Edit:
    return lambda: items.__setitem__(place, value)


def _swap(items: list[Any], one: int, other: int) -> Edit:
    def edit() -> None:
        items[one], items[other] = items[other], items[one]

    return edit


def _become(node: ast.AST, other: ast.AST) -> Edit:
    """Return an edit that replaces a node by another one."""

    def edit() -> None:
        new = copy.deepcopy(other)
        node.__class__ = new.__class__
        node.__dict__.clear()
        node.__dict__.update(new.__dict__)

    return edit


def _same(one: ast.AST, other: ast.AST) -> bool:
    return ast.dump(one) == ast.dump(other)


# ---- kinds of mistakes --------------------------------------------------------------


def swapped_arguments(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for call in _calls(tree):
        for n in range(len(call.args) - 1):
            if not _same(call.args[n], call.args[n + 1]):
                yield _swap(call.args, n, n + 1)


def left_out_call(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for call in _forward_calls(tree):
        if not isinstance(call.args[0], ast.List):
            yield _become(call, call.args[0])


def call_made_twice(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for call in _forward_calls(tree):
        if not isinstance(call.args[0], ast.List):
            yield _twice(call)


def _twice(call: ast.Call) -> Edit:
    def edit() -> None:
        call.args[0] = copy.deepcopy(call)

    return edit


def other_number(tree: ast.Module, random: Random) -> Iterator[Edit]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            other = random.choice((1, 2, 3, 2 * node.value, node.value + 1))
            yield _set(node, "value", other)


def other_flag(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, bool):
            yield _set(node, "value", not node.value)


def left_out_keyword(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for call in _calls(tree):
        for n in range(len(call.keywords)):
            yield _set(call, "keywords", call.keywords[:n] + call.keywords[n + 1 :])


def new_keyword(tree: ast.Module, random: Random) -> Iterator[Edit]:
    options = {"stride": 2, "padding": 1, "groups": 1, "bias": False, "dilation": 2}
    for call in _calls(tree):
        name = getattr(call.func, "attr", "")
        if "Conv" in name or "Pool" in name or "pool2d" in name:
            option = random.choice(list(options))
            if option not in [keyword.arg for keyword in call.keywords]:
                value = ast.Constant(options[option])
                more = [*call.keywords, ast.keyword(option, value)]
                yield _set(call, "keywords", more)


def other_default(tree: ast.Module, random: Random) -> Iterator[Edit]:
    for function in _functions(tree, "__init__"):
        for default in function.args.defaults:
            if isinstance(default, ast.Constant):
                yield _set(default, "value", random.choice((1, 2, 3, True, 0.5)))


def other_submodule(tree: ast.Module, random: Random) -> Iterator[Edit]:
    for forward in _functions(tree, "forward"):
        used = [c.func for c in _calls(forward) if isinstance(c.func, ast.Attribute)]
        names = sorted({f.attr for f in used if _is_self(f.value)})
        for function in used:
            if _is_self(function.value):
                yield _set(function, "attr", random.choice(names))


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def all_children(tree: ast.Module, _: Random) -> Iterator[Edit]:
    loop = ast.parse("for layer in self.children():\n    x = layer(x)").body[0]
    for forward in _functions(tree, "forward"):
        for n, node in enumerate(forward.body):
            if isinstance(node, ast.Assign):
                yield _put(forward.body, n, loop)


def reordered_outputs(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for forward in _functions(tree, "forward"):
        for node in ast.walk(forward):
            if isinstance(node, ast.Dict):
                yield _swap(node.values, 0, len(node.values) - 1)
                yield _swap(node.keys, 0, len(node.keys) - 1)
                yield _both_swapped(node)


def _both_swapped(node: ast.Dict) -> Edit:
    def edit() -> None:
        node.keys.reverse()
        node.values.reverse()

    return edit


def swapped_operands(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for forward in _functions(tree, "forward"):
        for node in ast.walk(forward):
            if isinstance(node, ast.BinOp) and not _same(node.left, node.right):
                yield _swap_sides(node)
            elif isinstance(node, ast.List):
                for n, (one, other) in enumerate(pairwise(node.elts)):
                    if not _same(one, other):
                        yield _swap(node.elts, n, n + 1)


def _swap_sides(node: ast.BinOp) -> Edit:
    def edit() -> None:
        node.left, node.right = node.right, node.left

    return edit


def other_operator(tree: ast.Module, random: Random) -> Iterator[Edit]:
    operators = (ast.Add, ast.Mult, ast.Sub, ast.FloorDiv)
    for node in ast.walk(tree):
        if isinstance(node, ast.BinOp):
            yield _set(node, "op", random.choice(operators)())


def renamed_attribute(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for owner in _classes(tree):
        own = [
            node
            for node in ast.walk(owner)
            if isinstance(node, ast.Attribute) and _is_self(node.value)
        ]
        for name in sorted({node.attr for node in own if _is_stored(node)}):
            alike = [node for node in own if node.attr == name]

            def edit(alike: list[ast.Attribute] = alike) -> None:
                for node in alike:
                    node.attr = f"{node.attr}_new"

            yield edit


def _is_stored(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def renamed_part(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for call in _calls(tree):
        if getattr(call.func, "id", "") == "OrderedDict":
            for keyword in call.keywords:
                yield _set(keyword, "arg", f"{keyword.arg}_new")
        elif getattr(call.func, "attr", "") == "add_module":
            name = call.args[0]
            parts = name.values if isinstance(name, ast.JoinedStr) else [name]
            if isinstance(parts[0], ast.Constant):
                yield _set(parts[0], "value", f"new_{parts[0].value}")


def other_mode(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for forward in _functions(tree, "forward"):
        for body in _bodies(forward):
            for n, node in enumerate(body):
                if isinstance(node, ast.If) and "training" in ast.dump(node.test):
                    yield _set(node, "test", ast.Constant(True))
                    yield _set(node, "test", ast.UnaryOp(ast.Not(), node.test))
                    yield _put(body, n, ast.Pass())


def other_range(tree: ast.Module, random: Random) -> Iterator[Edit]:
    for call in _calls(tree):
        if getattr(call.func, "id", "") == "range":
            by = random.choice((-1, 1))
            more = ast.BinOp(call.args[-1], ast.Add(), ast.Constant(by))
            yield _put(call.args, len(call.args) - 1, more)


def swapped_statements(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for name in ("__init__", "forward"):
        for function in _functions(tree, name):
            for body in _bodies(function):
                for n in range(len(body) - 1):
                    yield _swap(body, n, n + 1)


def swapped_parts(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for call in _calls(tree):
        if getattr(call.func, "id", "") == "OrderedDict":
            for n in range(len(call.keywords) - 1):
                yield _swap(call.keywords, n, n + 1)


def left_out_statement(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for name in ("__init__", "forward"):
        for function in _functions(tree, name):
            for body in _bodies(function):
                for n in range(len(body)):
                    yield _put(body, n, ast.Pass())


_OTHERS = {
    "ReLU": ("SiLU", "Identity", "ReLU6"),
    "relu": ("silu", "relu6", "gelu"),
    "BatchNorm2d": ("InstanceNorm2d",),
    "Conv2d": ("ConvTranspose2d",),
    "max_pool2d": ("avg_pool2d",),
    "MaxPool2d": ("AvgPool2d",),
    "Dropout": ("Dropout2d", "AlphaDropout"),
    "adaptive_avg_pool2d": ("adaptive_max_pool2d",),
    "sigmoid": ("tanh",),
    "flatten": ("squeeze",),
}


def other_kind(tree: ast.Module, random: Random) -> Iterator[Edit]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in _OTHERS:
            yield _set(node, "attr", random.choice(_OTHERS[node.attr]))


def other_class(tree: ast.Module, random: Random) -> Iterator[Edit]:
    names = [owner.name for owner in _classes(tree)]
    for call in _calls(tree):
        if isinstance(call.func, ast.Name) and call.func.id in names:
            yield _set(call.func, "id", random.choice(names))


def shared_module(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for function in _functions(tree, "__init__"):
        made = [n for n in function.body if isinstance(n, ast.Assign)]
        made = [n for n in made if isinstance(n.targets[0], ast.Attribute)]
        for one, other in pairwise(made):
            target = copy.deepcopy(one.targets[0])
            target.ctx = ast.Load()
            yield _set(other, "value", target)


def other_variable(tree: ast.Module, random: Random) -> Iterator[Edit]:
    for name in ("__init__", "forward"):
        for function in _functions(tree, name):
            read = [n for n in ast.walk(function) if isinstance(n, ast.Name)]
            stored = {n.id for n in read if isinstance(n.ctx, ast.Store)}
            known = sorted(stored | {a.arg for a in function.args.args[1:]})
            for node in read:
                if isinstance(node.ctx, ast.Load) and node.id in known:
                    yield _set(node, "id", random.choice(known))


def other_condition(tree: ast.Module, _: Random) -> Iterator[Edit]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If | ast.IfExp) and node not in tree.body:
            yield _set(node, "test", ast.UnaryOp(ast.Not(), node.test))
        elif isinstance(node, ast.BoolOp):
            op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield _set(node, "op", op)


def other_start(tree: ast.Module, random: Random) -> Iterator[Edit]:
    for call in _calls(tree):
        if "init" in getattr(getattr(call.func, "value", None), "attr", ""):
            name = random.choice(("ones_", "zeros_"))
            yield _become(
                call,
                ast.Call(
                    ast.parse(f"nn.init.{name}", mode="eval").body, call.args[:1], []
                ),
            )


KINDS: dict[str, Callable[[ast.Module, Random], Iterator[Edit]]] = {
    kind.__name__: kind
    for kind in (
        all_children,
        call_made_twice,
        left_out_call,
        left_out_keyword,
        left_out_statement,
        new_keyword,
        other_class,
        other_condition,
        other_default,
        other_flag,
        other_kind,
        other_mode,
        other_number,
        other_operator,
        other_range,
        other_start,
        other_submodule,
        other_variable,
        renamed_attribute,
        renamed_part,
        reordered_outputs,
        shared_module,
        swapped_arguments,
        swapped_operands,
        swapped_parts,
        swapped_statements,
    )
}  # fmt: skip


# ---- comparison in torch
# ----------------------------------------------------------------


def made(text: str) -> nn.Module:
    """Return the module of a text, with weights from a fixed seed."""
    scope: dict[str, Any] = {"__name__": "wrong"}
    exec(compile(text, "<wrong>", "exec", dont_inherit=True), scope)
    classes = [
        v
        for v in scope.values()
        if isinstance(v, type) and v.__module__ == "wrong" and issubclass(v, nn.Module)
    ]
    torch.manual_seed(0)
    module: nn.Module = classes[-1]()
    return module


def alike(text: str, other: str, network: Network) -> bool:
    """Return whether the modules of two texts are equivalent.

    Their weights must have the same names, order and initial values; in both modes,
    their outputs must have the same names and values, and running statistics must be
    the same.
    """
    one, two = made(text), made(other)
    inputs = [torch.rand(2, *map(int, port.shape)) for port in network.inputs]
    for training in (True, False):
        weights = [list(module.state_dict().items()) for module in (one, two)]
        if not _equal(*weights):
            return False
        results = []
        for module in (one, two):
            torch.manual_seed(1)
            with torch.no_grad():
                found = module.train(training)(*[value.clone() for value in inputs])
            named = {"": found} if isinstance(found, Tensor) else found
            results.append(list(named.items()))
        if not _equal(*results):
            return False
    return True


def _equal(ones: list[tuple[str, Any]], others: list[tuple[str, Any]]) -> bool:
    return len(ones) == len(others) and all(
        name == other
        and (
            found is value
            if found is None or value is None
            else torch.equal(found, value)
        )
        for (name, found), (other, value) in zip(ones, others, strict=True)
    )
