"""What torch executes for a step: its modules, and the functions that they call.

Other tools count these. Nothing here depends on the kind of a layer: everything follows
from the torch form that the kind declares, and from what torch's own modules do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from archdsl.ir import OWNERS, Group, Network, Step
from archdsl.ir.graph import Graph, Node
from archdsl.layer import count
from archdsl.spectral import within
from archdsl.symbolic import is_symbolic
from archdsl.values import (
    Inner,
    Last,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    channels,
    ones,
    sizes,
)

from .flow import Flows, Op, unrolled
from .functions import Module, ShapedCall, called_by, find, parameter_names

# How a step is written: as a submodule, as a torch function in `forward`, or as a
# method of the tensor, such as `mean`, which no tool counts.
CallForm = Literal["module", "function", "method"]


class Executed(NamedTuple):
    """What torch executes for a step.

    Attributes:
        modules: the modules that are called, in order; none for a function.
        functions: the functions that are called, including those called by modules.
        known: whether that is complete; False for a class of another package.
        macs: multiply-accumulates for one sample, as the layer declares them.
        in_order: whether the first input is stored in the order of its axes.
    """

    modules: tuple[ShapedCall, ...] = ()
    functions: tuple[ShapedCall, ...] = ()
    known: bool = True
    macs: int = 0
    in_order: bool = True


def is_function(step: Step) -> bool:
    """Return whether the emitted class calls a function for a step.

    A step that uses a parameter of the block becomes a module, created in the
    constructor, unless torch has no module for it; then the class stores the number
    instead.
    """
    form = step.form
    if form.module is None or is_bare(form):
        return True
    if form.function is None or step.labelled or step.name.isdigit():
        return False
    return bool(form.helper) or not any(is_symbolic(value) for _, value in form.kwargs)


def is_all_modules(ops: Sequence[Op], group: Group) -> bool:
    """Return whether a chain consists of submodules only, as in a Sequential.

    The chain of a network only counts as one if the network is declared with `seq`.
    """
    may = group.role != "network" or group.indexed
    return may and not any(
        isinstance(op.node, Step) and is_function(op.node) for op in unrolled(ops)
    )


def is_bare(form: TorchForm) -> bool:
    """Return whether a form is a bare parameter and a function that uses it."""
    return form.function is not None and "{self}" in form.function


def functions(network: Network) -> frozenset[int]:
    """Return the outputs of the steps that are functions in the emitted module.

    In an `nn.Sequential`, and in a projection that not every call has, everything that
    can be a module is one.
    """
    found, flows = set(), Flows(network.root)
    stack: list[tuple[Step | Group, bool]] = [(network.root, False)]
    while stack:
        node, modules = stack.pop()
        if isinstance(node, Step):
            if not modules and is_function(node):
                found.add(node.output)
            continue
        if node.role in OWNERS:
            modules = flows.is_sequence(node)
        elif node.role == "shortcut" and node.condition is not None:
            modules = True
        stack += [(child, modules) for child in node.children]
    return frozenset(found)


def out_of_order(graph: Graph) -> frozenset[int]:
    """Return the values that are not stored in the order of their axes.

    A permutation does not move data. Element-wise layers, and layers that work on maps
    by channel, keep the memory order of their input; layer norms and linear layers do
    not.
    """
    if not any(isinstance(shape, Last) for shape in graph.shapes.values()):
        return frozenset()
    found: set[int] = set()
    for node in graph.nodes:
        form = node.op.torch(node.input_shapes, node.shape)
        text = f"{form.function} {form.helper}"
        changed = node.inputs[0] in found
        module = form.module and find(within(form.module).name)
        if isinstance(module, Module) and module.ordered:
            changed = False
        elif "F.layer_norm(" in text:
            # The permutation follows the norm, whose output is contiguous.
            changed = True
        elif ".permute(" in text:
            changed = not changed
        if changed and channels(node.shape) > 1 and count(sizes(node.shape)) > 1:
            found.add(node.output)
    return frozenset(found)


def executed(node: Node, form: CallForm) -> Executed:
    """Return what torch executes for a step, in a given form or in its own."""
    from .forms import callees

    op, inputs, output = node.op, node.input_shapes, node.shape
    torch = op.torch(inputs, output)
    macs = op.macs(inputs, output)
    if form == "method":
        return Executed(macs=macs)
    if (
        torch.module is None
        or is_bare(torch)
        or (form == "function" and torch.function is not None)
    ):
        arguments = dict(torch.kwargs)
        names = callees(torch.function or "")
        functions = _calls(names, arguments, inputs[0], output)
        return Executed((), functions, macs=macs)
    return _modules(torch, node.tensors, inputs[0], output, macs)


def _modules(
    torch: TorchForm,
    tensors: tuple[Tensor, ...],
    input: Shape,
    output: Shape,
    macs: int,
) -> Executed:
    from .forms import base, callees

    assert torch.module is not None
    made = within(torch.module)
    derived = base(torch.helper) if torch.helper else ""
    if made is not torch.module:
        # It makes a class that derives from the module's, with parts that own the
        # tensors; what these compute, no tool counts.
        derived, tensors = made.name, ()
    first = made.name
    known = not torch.origin
    # After the module of a global pool, another one removes the spatial axes.
    between = output
    if torch.then and sizes(input):
        between = (channels(input), *ones(len(sizes(input))))
    arguments = _arguments(made)
    call = ShapedCall(first, arguments, input, between, tensors, derived)
    rest = [ShapedCall(c.name, _arguments(c), between, output) for c in torch.then]
    functions: tuple[ShapedCall, ...] = ()
    if torch.helper:
        calls = _calls(callees(torch.helper), arguments, input, output)
        inner = {one.function: one for one in torch.inner}
        functions = tuple([_within(call, inner.get(call.name)) for call in calls])
    elif (function := called_by(first)) is not None:
        functions = _calls((function,) if function else (), arguments, input, between)
    elif known:
        # Without an entry, its counts would be guesses.
        functions = (ShapedCall(first, arguments, input, between),)
    return Executed((call, *rest), functions, known, macs)


def _within(call: ShapedCall, inner: Inner | None) -> ShapedCall:
    """Return a call as a helper makes it."""
    if inner is None:
        return call
    arguments = call.arguments if inner.kwargs is None else dict(inner.kwargs)
    return call._replace(input=inner.reads, arguments=arguments)


def _arguments(call: TorchCall) -> Mapping[str, Any]:
    named = zip(parameter_names(call.name), call.args, strict=False)
    return {**dict(named), **dict(call.kwargs)}


def _calls(
    names: tuple[str, ...], arguments: Mapping[str, Any], input: Shape, output: Shape
) -> tuple[ShapedCall, ...]:
    """Return calls of functions, and the calls that these functions make."""
    calls = tuple([ShapedCall(name, arguments, input, output) for name in names])
    if "F.local_response_norm" in names:
        calls += _normalisation_of_responses(arguments["size"], input)
    return calls


def _normalisation_of_responses(size: int, input: Shape) -> tuple[ShapedCall, ...]:
    """Return the calls of a local response norm: square, padded pool, scale, sum."""
    padded = (input[0] + size - 1, *input[1:])
    return (
        ShapedCall("Tensor.mul", {}, input, input),
        ShapedCall(
            "F.avg_pool3d" if len(input) > 2 else "F.avg_pool2d", {}, padded, input
        ),
        ShapedCall("Tensor.mul", {}, input, input),
        ShapedCall("Tensor.add", {}, input, input),
    )
