"""Fuse convolutions with the activations after them, by oneDNN."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from archdsl.ir import Network, Step
from archdsl.layer import Layer, arg, given, kind
from archdsl.ops.conv import Conv
from archdsl.transforms.base import Transformation, without_layers
from archdsl.values import Last, Operations, Shape, TorchForm

# For each activation that oneDNN can fuse: its name there, and its scalars.
_FUSED: Final[Mapping[str, tuple[str, list[float]]]] = {
    "none": ("none", []),
    "relu": ("relu", []),
    "relu6": ("hardtanh", [0.0, 6.0]),
    "silu": ("swish", []),
    "hardswish": ("hardswish", []),
}
_ENTRIES: Final = "".join(
    [f'        "{word}": ("{name}", {own}),\n' for word, (name, own) in _FUSED.items()]
)
_HELPER: Final = f'''
class PackedConv2d(nn.Conv2d):
    """A convolution fused with the activation after it.

    In inference on a CPU, in float32 or bfloat16, both are one call of oneDNN, which
    uses a reordered copy of the weight. Otherwise, torch's usual functions are called.
    Changes of the weight's `data` are not noticed: call `eval()` after them.
    """

    # oneDNN's name of each activation, and its scalars.
    FUSED = {{
{_ENTRIES}    }}

    def __init__(self, *args: int, activation: str = "none", **options: Any) -> None:
        super().__init__(*args, **options)
        self.activation = activation
        self.packed = None

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting():
            if self.can_pack():
                return self.fused(x)
        places = self.stride, self.padding, self.dilation, self.groups
        x = F.conv2d(x, self.weight, self.bias, *places)
        if self.activation == "relu":
            x = F.relu(x)
        elif self.activation == "relu6":
            x = F.relu6(x)
        elif self.activation == "silu":
            x = F.silu(x)
        elif self.activation == "hardswish":
            x = F.hardswish(x)
        return x

    def can_pack(self) -> bool:
        return (
            not torch.compiler.is_compiling()
            and not torch.jit.is_tracing()
            and isinstance(self.weight, nn.Parameter)  # not a tracer's placeholder
            and self.weight.device.type == "cpu"
            and not self.weight.is_inference()
            and not torch.is_grad_enabled()
            and torch.backends.mkldnn.is_available()
            and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
            and hasattr(torch.ops.mkldnn, "_reorder_convolution_weight")
            and self.is_fast(self.dtype())
        )

    def is_fast(self, dtype: torch.dtype) -> bool:
        if dtype == torch.bfloat16:
            return torch.ops.mkldnn._is_mkldnn_bf16_supported()
        return dtype == torch.float32

    def dtype(self) -> torch.dtype:
        if torch.is_autocast_enabled("cpu"):
            return torch.get_autocast_dtype("cpu")
        return self.weight.dtype

    def fused(self, x: Tensor) -> Tensor:
        places = self.padding, self.stride, self.dilation, self.groups
        weight, bias, dtype = self.weight.detach(), self.bias, self.dtype()
        # An order that is best for one input size can be 100 times slower for another.
        known = weight.data_ptr(), weight._version, x.shape, dtype
        if self.packed is None or self.packed[0] != known:
            reorder = torch.ops.mkldnn._reorder_convolution_weight
            self.packed = known, reorder(weight.to(dtype), *places, x.shape)
        if torch.is_autocast_enabled("cpu"):
            x, bias = x.to(dtype), None if bias is None else bias.to(dtype)
        call, fused = torch.ops.mkldnn._convolution_pointwise, self.FUSED
        return call(x, self.packed[1], bias, *places, *fused[self.activation], "")

    def train(self, mode: bool = True) -> "PackedConv2d":
        self.packed = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {{**vars(self), "packed": None}}  # it cannot be copied or saved
'''


class PackedConv(Conv):
    """A convolution with the activation after it; specs cannot contain this kind."""

    activation: str = arg("choice", "none", choices=(*_FUSED,), help="what follows")

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions of the bias, and the activation's operations."""
        return super().elementwise(inputs, output) + self._behind(output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return the operations by purpose."""
        bias = super().elementwise(inputs, output)
        return Operations(bias=bias, activation=self._behind(output))

    def _behind(self, output: Shape) -> int:
        activation = kind(self.activation)
        return 0 if activation is None else activation().elementwise((output,), output)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a module of the class above."""
        call = super().torch(inputs, output).module
        assert call is not None
        own = given(("activation", self.activation, "none"))
        call = call._replace(name="PackedConv2d", kwargs=(*call.kwargs, *own))
        return TorchForm(call, helper=_HELPER)


@dataclass(frozen=True)
class Pack(Transformation):
    """Fuse each convolution with the activation that is the only reader of its output.

    On a CPU, the emitted module calls oneDNN in channels-last format; weights stay the
    same. Only two-dimensional convolutions whose padding is given by numbers are
    packed, with the activations that oneDNN can fuse. In a `seq`, an `identity` takes
    the place of an activation.

    The network is only for `emit`: other backends do not support these convolutions.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network with packed convolutions."""
        behind = _behind(network)
        ops: dict[int, Layer] = {}
        for step in network.steps():
            if step.path not in behind:
                continue
            activation = behind[step.path]
            word = "none" if activation is None else activation.op.word
            ops[step.output] = PackedConv(**vars(step.op), activation=word)
        fused = [activation for activation in behind.values() if activation is not None]
        return without_layers(network, fused, ops)


def _behind(network: Network) -> dict[str, Step | None]:
    """Return the activation after each convolution that can be packed, by its path.

    It is None if no activation can be fused.
    """
    uses = Counter(step.path for step in network.steps())
    readers: defaultdict[int, list[Step | None]] = defaultdict(list)
    for step in network.steps():
        for value in step.inputs:
            readers[value].append(step)
    for port in network.outputs:
        readers[port.value].append(None)

    def activation(step: Step) -> Step | None:
        while len(readers[step.output]) == 1:
            (reader,) = readers[step.output]
            if reader is None or uses[reader.path] > 1 or reader.training:
                break
            step = reader
            if not step.op.passes(step.input_shapes, step.shape):
                return step if step.op.word in _FUSED else None
        return None

    return {
        step.path: activation(step)
        for step in network.steps()
        if _is_able(step) and uses[step.path] == 1
    }


def _is_able(step: Step) -> bool:
    """Return whether a convolution can be packed."""
    return (
        type(step.op) is Conv
        and len(step.op.kernel) == 2
        and not isinstance(step.op.pad, str)
        and step.op.pad_mode == "zeros"
        and not isinstance(step.shape, Last)
        and not step.training
    )
