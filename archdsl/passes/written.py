"""What torch executes for a step: its modules, and the functions that they call.

Other tools count these. Nothing here depends on the kind of a layer: everything follows
from the torch form that the kind declares, and from what torch's own modules do.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple

from archdsl.ir import OWNERS, Group, Network, Step
from archdsl.layer import count
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
    without_axes,
)

from .flow import Flows
from .graph import Graph, Node

# As a submodule; as a function of torch in `forward`; or as a method of the tensor,
# such as `mean`, which no tool counts.
Form = Literal["module", "function", "method"]


class Call(NamedTuple):
    """A call of a module or function.

    Attributes:
        name: name of the class or function, such as ``nn.Conv2d`` or ``F.relu``; see
            `calls.called`.
        arguments: by name; those that are missing have torch's defaults.
        input: shape of the first input.
        output: shape of the output.
        tensors: the parameters and buffers of a module.
        base: base class of a class in the emitted text, such as ``nn.Conv2d``.
    """

    name: str
    arguments: Mapping[str, Any]
    input: Shape
    output: Shape
    tensors: tuple[Tensor, ...] = ()
    base: str = ""

    @property
    def has_bias(self) -> bool:
        """Whether a convolution or linear layer adds a bias."""
        return bool(self.arguments.get("bias", True))

    @property
    def is_affine(self) -> bool:
        """Whether a norm scales and shifts its normalised values."""
        default = not self.name.startswith(("nn.InstanceNorm", "F.instance_norm"))
        given = self.arguments.get("affine", default)
        return bool(self.arguments.get("elementwise_affine", given))


class Written(NamedTuple):
    """What torch executes for a step.

    Attributes:
        modules: the modules that are called, in order; none for a function.
        functions: the functions that are called, including those called by modules.
        known: whether that is complete; False for a class of another package.
        macs: multiply-accumulates for one sample, as the layer declares them.
        in_order: whether the first input is stored in the order of its axes.
    """

    modules: tuple[Call, ...] = ()
    functions: tuple[Call, ...] = ()
    known: bool = True
    macs: int = 0
    in_order: bool = True


class _Module(NamedTuple):
    """The functions that a torch module calls, and the names of its arguments."""

    function: str
    arguments: tuple[str, ...]


def _module(function: str, arguments: str = "") -> _Module:
    return _Module(function, tuple(arguments.split()))


_NORM: Final = "num_features eps momentum affine track_running_stats"
_CONV: Final = "in_channels out_channels kernel_size stride padding"
# Names without a number of axes are for any number, and `{axes}` is that of the module.
_MODULES: Final[Mapping[str, _Module]] = {
    "nn.AdaptiveAvgPool": _module("F.adaptive_avg_pool{axes}", "output_size"),
    "nn.AdaptiveMaxPool": _module("F.adaptive_max_pool{axes}", "output_size"),
    "nn.AlphaDropout": _module("F.alpha_dropout"),
    "nn.AvgPool": _module("F.avg_pool{axes}"),
    "nn.BatchNorm": _module("F.batch_norm", _NORM),
    "nn.ChannelShuffle": _module("F.channel_shuffle"),
    "nn.Conv": _module("F.conv{axes}", f"{_CONV} dilation groups bias"),
    "nn.ConvTranspose": _module(
        "F.conv_transpose{axes}", f"{_CONV} output_padding groups bias dilation"
    ),
    "nn.Dropout": _module("F.dropout{axes}"),
    "nn.ELU": _module("F.elu"),
    "nn.Flatten": _module(""),
    "nn.GELU": _module("F.gelu"),
    "nn.GroupNorm": _module("F.group_norm", "num_groups num_channels eps affine"),
    "nn.Hardsigmoid": _module("F.hardsigmoid"),
    "nn.Hardswish": _module("F.hardswish"),
    "nn.Identity": _module(""),
    "nn.InstanceNorm": _module("F.instance_norm", _NORM),
    "nn.LayerNorm": _module(
        "F.layer_norm", "normalized_shape eps elementwise_affine bias"
    ),
    "nn.LeakyReLU": _module("F.leaky_relu"),
    "nn.Linear": _module("F.linear", "in_features out_features bias"),
    "nn.LocalResponseNorm": _module("F.local_response_norm", "size alpha beta k"),
    "nn.MaxPool": _module("F.max_pool{axes}"),
    "nn.Mish": _module("F.mish"),
    "nn.PReLU": _module("F.prelu", "num_parameters init"),
    "nn.PixelShuffle": _module("F.pixel_shuffle"),
    "nn.PixelUnshuffle": _module("F.pixel_unshuffle"),
    "nn.ReLU": _module("F.relu"),
    "nn.ReflectionPad": _module("F.pad"),
    "nn.ReplicationPad": _module("F.pad"),
    "nn.CircularPad": _module("F.pad"),
    "nn.ReLU6": _module("F.hardtanh"),
    "nn.SELU": _module("F.selu"),
    "nn.SiLU": _module("F.silu"),
    "nn.Sigmoid": _module("torch.sigmoid"),
    "nn.Softmax": _module("F.softmax", "dim"),
    "nn.Tanh": _module("torch.tanh"),
    "nn.Upsample": _module("F.interpolate", "size scale_factor mode align_corners"),
    "nn.ZeroPad": _module("F.pad"),
}


def _module_of(name: str) -> _Module | None:
    """Return what a torch module calls, None if it is not known."""
    general = without_axes(name)
    found = _MODULES.get(name) or _MODULES.get(general)
    if found is None or "{" not in found.function:
        return found
    return found._replace(function=found.function.format(axes=name[len(general) :]))


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
        if form.module is not None and form.module.name in _ORDERING:
            changed = False
        elif "F.layer_norm(" in text:
            changed = True  # it permutes what the norm has made contiguous
        elif ".permute(" in text:
            changed = not changed
        if changed and channels(node.shape) > 1 and count(sizes(node.shape)) > 1:
            found.add(node.output)
    return frozenset(found)


# Modules whose output is in memory order.
_ORDERING: Final = ("nn.LayerNorm", "nn.Linear", "nn.Softmax")


def written(node: Node, form: Form) -> Written:
    """Return what torch executes for a step, in a given form or in its own."""
    from .calls import called

    op, inputs, output = node.op, node.input_shapes, node.shape
    torch = op.torch(inputs, output)
    macs = op.macs(inputs, output)
    if form == "method":
        return Written(macs=macs)
    if (
        torch.module is None
        or is_bare(torch)
        or (form == "function" and torch.function is not None)
    ):
        arguments = dict(torch.kwargs)
        names = called(torch.function or "")
        functions = _calls(names, arguments, inputs[0], output)
        return Written((), functions, macs=macs)
    return _modules(torch, node.tensors, inputs[0], output, macs)


def _modules(
    torch: TorchForm,
    tensors: tuple[Tensor, ...],
    input: Shape,
    output: Shape,
    macs: int,
) -> Written:
    from .calls import base, called

    assert torch.module is not None
    first = torch.module.name
    derived = base(torch.helper) if torch.helper else ""
    known = not torch.origin
    # The module after that of a global pool removes the axes of its single unit.
    between = output
    if torch.then and sizes(input):
        between = (channels(input), *ones(len(sizes(input))))
    arguments = _arguments(torch.module)
    call = Call(first, arguments, input, between, tensors, derived)
    rest = [Call(c.name, _arguments(c), between, output) for c in torch.then]
    functions: tuple[Call, ...] = ()
    if torch.helper:
        calls = _calls(called(torch.helper), arguments, input, output)
        inner = {one.function: one for one in torch.inner}
        functions = tuple([_within(call, inner.get(call.name)) for call in calls])
    elif module := _module_of(first):
        function = module.function
        functions = _calls((function,) if function else (), arguments, input, between)
    elif known:
        # A torch module's calls must be listed above, or its counts would be guesses.
        functions = (Call(first, arguments, input, between),)
    return Written((call, *rest), functions, known, macs)


def _within(call: Call, inner: Inner | None) -> Call:
    """Return a call as a helper makes it."""
    if inner is None:
        return call
    arguments = call.arguments if inner.kwargs is None else dict(inner.kwargs)
    return call._replace(input=inner.reads, arguments=arguments)


def _arguments(call: TorchCall) -> Mapping[str, Any]:
    module = _module_of(call.name)
    names = module.arguments if module else ()
    return {**dict(zip(names, call.args, strict=False)), **dict(call.kwargs)}


def _calls(
    names: tuple[str, ...], arguments: Mapping[str, Any], input: Shape, output: Shape
) -> tuple[Call, ...]:
    """Return calls of functions, and the calls that these make."""
    calls = tuple([Call(name, arguments, input, output) for name in names])
    if "F.local_response_norm" in names:
        calls += _normalisation_of_responses(arguments["size"], input)
    return calls


def _normalisation_of_responses(size: int, input: Shape) -> tuple[Call, ...]:
    """Return how torch composes it: squares, a padded pool, a scale and a sum."""
    padded = (input[0] + size - 1, *input[1:])
    return (
        Call("Tensor.mul", {}, input, input),
        Call("F.avg_pool3d" if len(input) > 2 else "F.avg_pool2d", {}, padded, input),
        Call("Tensor.mul", {}, input, input),
        Call("Tensor.add", {}, input, input),
    )
