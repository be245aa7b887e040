"""Matches the calls of a module's run with the layers of the network."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from archdsl.backends.torch.layout import flat
from archdsl.backends.torch.nodes import LiteralExpr, Var
from archdsl.backends.torch.templates import fill
from archdsl.ir.graph import Graph, Node

from .trace import Event, Numbering, Trace, intercept

if TYPE_CHECKING:
    from torch import nn


class Matched(NamedTuple):
    """A layer, and what it did in a run.

    Attributes:
        node: the layer.
        number: number of its output tensor; None if no call of the run matches.
        shape: shape of that tensor, with the batch.
        macs: multiply-accumulates counted in torch.
    """

    node: Node
    number: int | None
    shape: tuple[int, ...] = ()
    macs: int = 0


class RunMatch(NamedTuple):
    """The layers of a network in a run.

    Attributes:
        layers: the layers that run in that mode, in order.
        rest: names of the calls that do not belong to a layer.
        numbers: tensor numbers of the network's values, if they are known.
    """

    layers: tuple[Matched, ...]
    rest: tuple[str, ...]
    numbers: Mapping[int, int]


def layer_paths(module: nn.Module, graph: Graph) -> set[str]:
    """Return the paths of the layers that are submodules."""
    known = {path for path, _ in module.named_modules()}
    return {node.step.path for node in graph.nodes} & known


def match_run(
    graph: Graph, run: Trace, functions: dict[int, Steps], *, training: bool
) -> RunMatch:
    """Follow the network's values through a run, and return what its layers did.

    A layer's call is identified by its callable and by the tensors that it reads, which
    must be the outputs of the layers before it.

    Args:
        graph: the network's.
        run: of its module.
        functions: the calls of layers that are functions, by output value. Those that
            are found out here are added, for the network's next run.
        training: whether the run was in training.
    """
    calls = {_key(event): event for event in run.events}
    modules = {event.name for event in run.events if event.is_module}
    numbers = {value: n for n, value in enumerate(graph.inputs)}
    shapes = {n: (2, *graph.shapes[value]) for value, n in numbers.items()}
    found: list[Matched] = []
    taken: set[Hashable] = set()
    for node in graph.run(training):
        read = tuple([numbers[v] for v in node.inputs if v in numbers])
        if len(read) < len(node.inputs):
            found.append(Matched(node, None))
            continue
        if node.step.path in modules:
            steps = _module(node, read)
        else:
            steps = functions.get(node.output) or _function(node)
            functions[node.output] = steps
        known, macs = list(read), 0
        for call in steps.calls:
            key = _key(call._replace(reads=tuple([known[n] for n in call.reads])))
            event = calls.get(key)
            if event is None:
                break
            taken.add(key)
            macs += event.macs
            known += event.gives
            shapes.update(zip(event.gives, event.shapes, strict=True))
        if steps.result < len(known):
            number = numbers[node.output] = known[steps.result]
            found.append(Matched(node, number, shapes[number], macs))
        else:
            found.append(Matched(node, None))
    rest = [event.name for key, event in calls.items() if key not in taken]
    return RunMatch(tuple(found), tuple(rest), numbers)


def _key(event: Event) -> Hashable:
    return event.name, event.is_module, event.reads, event.options


class Steps(NamedTuple):
    """The calls of a layer, with its inputs numbered from 0.

    Attributes:
        calls: in order; their outputs continue the numbering.
        result: number of the layer's output.
    """

    calls: tuple[Event, ...]
    result: int


def _module(node: Node, read: tuple[int, ...]) -> Steps:
    inputs = tuple(range(len(read)))
    return Steps((Event(node.step.path, True, inputs, (), (), ()),), len(read))


def _function(node: Node) -> Steps:
    """Return the calls that a layer's function makes, by running it separately."""
    import torch
    from torch.nn import functional

    form = node.op.torch(node.input_shapes, node.shape)
    if form.function is None:
        return Steps((), len(node.inputs))  # it should be a submodule, and is not
    shapes = node.input_shapes
    inputs = [torch.empty(2, *shape, device="meta") for shape in shapes]
    scope: dict[str, Any] = {f"x{n}": tensor for n, tensor in enumerate(inputs)}
    for tensor in node.tensors:
        scope["own"] = torch.nn.Parameter(torch.empty(tensor.shape, device="meta"))
    names = [Var(f"x{n}") for n in range(len(inputs))]
    settings = [(name, LiteralExpr(repr(value))) for name, value in form.kwargs]
    code = flat(fill(form.function, names, settings, Var("own"), False))
    numbering, calls = Numbering(inputs), []

    def note(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        output, event = numbering.function(func, args, kwargs)
        if event is not None:
            calls.append(event)
        return output

    with torch.no_grad(), intercept(note):
        result = eval(code, {"torch": torch, "F": functional, **scope})
    return Steps(tuple(calls), numbering.read([result])[0])
