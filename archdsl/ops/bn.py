"""Batch normalisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from archdsl.layer import Layer, arg, count, given, need_map
from archdsl.values import (
    Kernel,
    Operations,
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    is_map,
    pointwise_kernel,
    ranked,
    sizes,
)


class BatchNorm(Layer):
    """Batch normalisation over each channel: `bn`.

    A convolution or `linear` that only the norm reads has no bias, since the norm
    would cancel it, unless it says `bias=true`.

    Source: Ioffe & Szegedy 2015, algorithm 1.
    """

    word = "bn"
    also = ("batchnormalization",)
    family = "norm"
    absorbs_bias = True
    channelwise = True
    pools_batch = True

    eps: float = arg("float", 1e-5, minimum=1e-12, help="number added to the variance")
    momentum: float = arg(
        "float",
        0.1,
        minimum=0,
        maximum=1,
        help="weight of the newest batch in running statistics",
    )

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        return need_map(inputs[0], self.word) if is_map(inputs[0]) else inputs[0]

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight, bias, running mean and variance (of C each), a counter."""
        shape = (inputs[0][0],)
        return (
            Tensor("weight", shape),
            Tensor("bias", shape),
            Tensor("running_mean", shape, trainable=False, running=True),
            Tensor("running_var", shape, trainable=False, running=True),
            Tensor(
                "num_batches_tracked", (), trainable=False, integer=True, running=True
            ),
        )

    def channel_affine(self, own: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return weight / deviation, and the bias less that of the mean."""
        factors = own["weight"] * (own["running_var"] + float(self.eps)) ** -0.5
        return factors, own["bias"] - own["running_mean"] * factors

    def as_kernel(self, inputs: tuple[Shape, ...], output: Shape) -> Kernel | None:
        """Return a kernel of a single position on each channel."""
        return pointwise_kernel(output, groups=output[0])

    def kernel_of(self, own: Mapping[str, Any]) -> tuple[Any, Any | None]:
        """Return the weight of such a kernel, and the norm's shift as its bias."""
        factors, sums = self.channel_affine(own)
        return factors.reshape(-1, 1, 1, 1), sums

    def normed(self, inputs: tuple[Shape, ...]) -> int:
        """Return the positions of a channel."""
        return count(sizes(inputs[0]))

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return a product and a sum each, the statistics folded into both."""
        return 2 * count(output)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return those of `elementwise`; in training those of the formula.

        For each element the sums of mean and variance, a difference, a square, and
        the products and the sum of scale, weight and bias. For each channel of a batch
        two divisions, the sum with epsilon, a root and its inverse, the product that
        makes the variance unbiased, and two products and a sum for each running
        statistic. The counter takes one more.
        """
        if not training:
            return super().operations(inputs, output, training)
        channels = inputs[0][0]
        return Operations(norm=7 * count(output), per_batch=12 * channels + 1)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, and mean and inverse deviation of each channel."""
        return Saved(input=True, batch_floats=2 * inputs[0][0], what="statistics")

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return the input's gradient if it is not needed: torch computes it anyway."""
        return Scratch(inference=0, backward=0 if gradients[0] else count(output))

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.BatchNorm2d` or the like; `nn.BatchNorm1d` on a vector, too."""
        name = ranked("nn.BatchNorm", output) if is_map(output) else "nn.BatchNorm1d"
        kwargs = given(("eps", self.eps, 1e-5), ("momentum", self.momentum, 0.1))
        return TorchForm(TorchCall(name, (inputs[0][0],), kwargs))
