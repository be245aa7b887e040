"""Parameters of a block itself that a single function reads, one for each channel."""

from __future__ import annotations

from typing import ClassVar

from .layer import Layer, arg
from .values import Last, Shape, Tensor, TorchCall, TorchForm, channels, ones, sizes


class Trained(Layer):
    """Base of the kinds that are a bare parameter.

    Class attributes:
        sign_in_torch: the operator between the parameter and the input.
    """

    sign_in_torch: ClassVar[str] = ""

    family = "norm"
    autocast = "wide"

    form: str | None = arg(
        "choice",
        None,
        choices=("vector", "batch", "scalar", "single"),
        help="sizes of the parameter: `vector` for (C), `batch` for (1, C, 1, 1), "
        "`scalar` for () and `single` for (1)",
    )

    def start(self) -> float:
        """Return the value of each number at the start."""
        raise NotImplementedError(self.word)

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return the parameter: (C, 1, 1) or the like, (C) with channels last."""
        return (Tensor("", self._sizes(inputs[0])),)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a parameter and a product or sum."""
        start = TorchCall("torch.full", (list(self._sizes(inputs[0])), self.start()))
        after = _after(inputs[0])
        own = "{self}"
        if self.form == "vector" and after:
            own += f".view{(1, -1, *after)}"
        function = f"{own} {self.sign_in_torch} {{0}}"
        return TorchForm(TorchCall("nn.Parameter", (start,)), function)

    def _sizes(self, shape: Shape) -> Shape:
        """Return the sizes of the parameter."""
        if self.form in ("scalar", "single"):
            return () if self.form == "scalar" else (1,)
        before = (1,) if self.form == "batch" else ()
        after = () if self.form == "vector" else _after(shape)
        if isinstance(shape, Last) and before:
            return (*before, *ones(len(sizes(shape))), channels(shape))
        return (*before, channels(shape), *after)


def _after(shape: Shape) -> Shape:
    """Return a size for each axis that comes after the channels."""
    return () if isinstance(shape, Last) else ones(len(sizes(shape)))
