"""Instance normalisation."""

from __future__ import annotations

from archdsl.layer import Layer, Mismatch, arg, count, given, need_map
from archdsl.values import (
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    Window,
    ranked,
    show_shape,
    sizes,
)


class InstanceNorm(Layer):
    """Normalisation of each channel over all positions of a sample: `instancenorm`.

    Its statistics make each unit depend on the whole input, in inference, too.

    Source: Ulyanov et al. 2016, equation 2.
    """

    word = "instancenorm"
    also = ("instancenormalization",)
    family = "norm"
    gathers = True
    views = True

    affine: bool = arg("bool", False, help="whether it has weight and bias")
    eps: float = arg("float", 1e-5, minimum=1e-12, help="number added to the variance")

    def shape(self, *inputs: Shape) -> Shape:
        """Return the input's shape."""
        places = sizes(need_map(inputs[0], self.word))
        if count(places) == 1:
            raise Mismatch(
                "instancenorm: a single position has no variance",
                help=f"put it where the map is larger than {show_shape(places)}",
            )
        return inputs[0]

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return weight and bias, of C each, if affine."""
        if not self.affine:
            return ()
        shape = (inputs[0][0],)
        return Tensor("weight", shape), Tensor("bias", shape)

    def normed(self, inputs: tuple[Shape, ...]) -> int:
        """Return the positions of a channel."""
        return count(sizes(inputs[0]))

    def cancels_bias(self, inputs: tuple[Shape, ...]) -> bool:
        """Return that it does: each channel is normalised on its own."""
        return True

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the operations of the formula.

        For each element the sums of mean and variance, a difference, a square and a
        product, and a product and a sum more if affine; for each channel two
        divisions, the sum with epsilon, a root and its inverse.
        """
        return (7 if self.affine else 5) * count(output) + 5 * output[0]

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return None: the statistics are those of all positions."""
        return None

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return the input, its statistics, and the weight once for each sample."""
        channels = inputs[0][0]
        return Saved(
            input=True,
            own_params=channels if self.affine else 0,
            own_floats=2 * channels,
            what="statistics",
        )

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return weight and bias once for each sample; see also `bn`.

        The gradients of these copies are summed over the samples at the end.
        """
        copies = inputs[0][0] if self.affine else 0
        unasked = 0 if gradients[0] else count(output)
        inference = 2 * copies + 2 * output[0]
        return Scratch(copies, inference, 2 * copies + unasked, late=2 * copies)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return `nn.InstanceNorm2d`, or that for other axes."""
        kwargs = given(("eps", self.eps, 1e-5), ("affine", self.affine, False))
        name = ranked("nn.InstanceNorm", output)
        return TorchForm(TorchCall(name, (inputs[0][0],), kwargs))
