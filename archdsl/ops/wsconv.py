"""Convolution by a standardised weight."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from archdsl.convolution import MISSING, PADS, Convolution
from archdsl.layer import Mismatch, arg, count, given
from archdsl.values import (
    Inner,
    Kernel,
    Operations,
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    ones,
    ranked,
)

# The class, with or without a gain, and with or without padding by the input's size.
_HELPER: Final = '''
class {name}(nn.Conv{axes}d):
    """{about}."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
{arguments}        eps: float = 1e-6,
    ) -> None:
        window = (kernel_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, *window, groups, bias)
{fields}        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
{forward}
    def standardised(self) -> Tensor:
        # A batch of one sample, whose channels are the filters.
        filters = self.weight.reshape(1, self.out_channels, -1)
{norm}        return filters.reshape(self.weight.shape)
{missing}'''
_FORWARD: Final = """\
        weight, s, p, d = self.standardised(), self.stride, self.padding, self.dilation
        return F.conv{axes}d(x, weight, self.bias, s, p, d, self.groups)
"""
_SAME: Final = """\
{pads}        weight = self.standardised()
        return F.conv{axes}d(x, weight, self.bias, s, 0, d, self.groups)
"""
_PLAIN: Final = """\
        filters = F.batch_norm(
            filters, None, None, training=True, momentum=0.0, eps=self.eps
        )
"""
_GAIN: Final = """\
        self.gain = nn.Parameter(torch.ones(out_channels, {ones}))
        self.scale = gamma * self.weight[0].numel() ** -0.5
"""
_GAINED: Final = """\
        gain = (self.gain * self.scale).reshape(-1)
        filters = F.batch_norm(
            filters, None, None, gain, training=True, momentum=0.0, eps=self.eps
        )
"""


class WSConv(Convolution):
    """Convolution by a standardised weight: `wsconv 3x3 64 /2`.

    The weights of each filter are shifted and scaled to mean 0 and variance 1 before
    they are used. With `gamma`, they are then multiplied by a trained gain of the
    filter, and by gamma / sqrt(weights of a filter); gamma is chosen by the activation
    before it, 1.7139 for `relu`. The other arguments are those of `conv`.

    For inference, the standardised weight can be computed once; ONNX models contain it.

    Source: Qiao et al. 2019, "Micro-batch training with batch-channel normalization and
    weight standardization", section 3; with a gain, Brock et al. 2021,
    "High-performance large-scale image recognition without normalization", equation 1.
    """

    word = "wsconv"
    baked = "conv"
    also = ("stdconv", "scaledstdconv", "standardizedconv", "weightstandardization")

    gamma: float | None = arg(
        "float", None, help="factor of a trained gain; by default, there is no gain"
    )
    eps: float = arg("float", 1e-6, minimum=1e-12, help="number added to the variance")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the width, and the size along each axis."""
        found = super().shape(*inputs)
        if count(super().tensors(*inputs)[0].shape[1:]) == 1:
            raise Mismatch(
                "wsconv: its filters have a single weight, which has no variance",
                help="use `conv`, a larger kernel, or fewer groups",
            )
        return found

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return those of `conv`, and gain (out, 1, 1) or the like."""
        own = super().tensors(*inputs)
        if self.gamma is None:
            return own
        gain = (own[0].shape[0], *ones(len(self.kernel) + 1))
        return (*own, Tensor("gain", gain))

    def weight_of(self, own: Mapping[str, Any]) -> Any:
        """Return the standardised weight."""
        weight = own["weight"]
        rows = weight.reshape(weight.shape[0], -1)
        rows = rows - rows.mean(1).reshape(-1, 1)
        variance = (rows * rows).mean(1).reshape(-1, 1)
        rows = rows * (variance + float(self.eps)) ** -0.5
        if self.gamma is not None:
            scale = float(self.gamma) * int(rows.shape[1]) ** -0.5
            rows = rows * (own["gain"].reshape(-1, 1) * scale)
        return rows.reshape(weight.shape)

    def as_kernel(self, inputs: tuple[Shape, ...], output: Shape) -> Kernel | None:
        """Return its kernel, unless the padding depends on the size."""
        if isinstance(self.pad, str):
            return None
        pads = tuple(before for before, _ in self.pads(inputs[0][1:]))
        return Kernel(self.kernel, self.stride, pads, self.dilation, self.groups)

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the additions of the bias, and those of the weight, once a batch."""
        biases = super().elementwise(inputs, output)
        return biases + self._standardising(inputs, output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return the same by purpose: those of the weight are made once a batch."""
        biases = super().elementwise(inputs, output)
        return Operations(bias=biases, per_batch=self._standardising(inputs, output))

    def _standardising(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the operations of the formula.

        For each weight the sums of mean and variance, a difference, a square and the
        product with the inverse deviation; for each filter two divisions, the sum with
        epsilon, a root and its inverse. A gain takes a product each.
        """
        gain = self.gamma is not None
        return (5 + gain) * self._weights(inputs) + (5 + gain) * output[0]

    def _weights(self, inputs: tuple[Shape, ...]) -> int:
        return count(self.tensors(*inputs)[0].shape)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return that of `conv`, and the weight with its statistics and its gain."""
        own = super().saved(inputs, output)
        gain = output[0] if self.gamma is not None else 0
        return own._replace(
            batch_elements=self._weights(inputs),
            batch_params=gain,
            batch_floats=2 * output[0],
            what="padded input, weight" if own.own_elements else "weight",
        )

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the scratch of `conv`, and in inference the standardised weight.

        Before the output, there are also its statistics and the gain. The gradient of
        the gain follows from that of the standardised weight.
        """
        found = super().scratch(inputs, output, gradients)
        padded, weights = self.copied(inputs[0]), self._weights(inputs)
        parts = 3 if self.gamma is not None else 2
        return found._replace(
            inference=padded,
            batch_inference=weights,
            before=padded if self.pads_apart else 0,
            batch_before=weights + parts * output[0],
            late=output[0] if self.gamma is not None else 0,
        )

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a class of its own."""
        axes, gained = len(self.kernel), self.gamma is not None
        kwargs = self.arguments(inputs)
        if gained:
            kwargs += given(("gamma", self.gamma, 1.0))
        kwargs += given(("eps", self.eps, 1e-6))
        name = f"{'Scaled' if gained else ''}StdConv{axes}d"
        about = (
            f"A convolution by {'scaled and ' if gained else ''}standardised filters"
        )
        forward, missing = _FORWARD, ""
        if self.pads_apart:
            name, forward, missing = f"Same{name}", _SAME, MISSING
            about += ", padded to size / stride outputs"
        text = _HELPER.format(
            name=name,
            axes=axes,
            about=about,
            arguments="        gamma: float = 1.0,\n" if gained else "",
            fields=_GAIN.format(ones=", ".join("1" * (axes + 1))) if gained else "",
            forward=forward.format(axes=axes, pads=PADS[axes]),
            norm=_GAINED if gained else _PLAIN,
            missing=missing,
        )
        filters = (output[0], self._weights(inputs) // output[0])
        norm = (("affine", gained), ("training", True))
        inner = [Inner("F.batch_norm", filters, norm)]
        if self.pads_apart:
            inner.append(Inner(ranked("F.conv", output), self.with_pads(inputs[0])))
        call = TorchCall(name, (inputs[0][0], output[0]), kwargs)
        return TorchForm(call, helper=text, inner=tuple(inner))
