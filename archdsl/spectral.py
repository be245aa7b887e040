"""Layers whose weight is divided by an estimate of its largest singular value.

Source: Miyato et al. 2018, "Spectral normalization for generative adversarial
networks", section 2.1 and algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from .layer import Layer, count
from .values import Operations, Saved, Scratch, Shape, Tensor, TorchCall, TorchForm

WRAPPER: Final = "nn.utils.parametrizations.spectral_norm"
_WEIGHT: Final = "parametrizations.weight.original"
_LEFT: Final = "parametrizations.weight.0._u"
_RIGHT: Final = "parametrizations.weight.0._v"
# How often torch iterates when the layer is made, and below which it takes a norm as 0.
_ROUNDS: Final = 15
_EPS: Final = 1e-12


class Spectral(Layer):
    """What spectral norm adds to a kind with a weight; it comes before that as a base.

    The weight is regarded as a matrix with a row for each output. Two unit vectors, a
    left and a right one, estimate its singular vectors. A step of power iteration
    improves them at each run in training.

    Class attributes:
        outputs_at: axis of the weight that has a place for each output.
    """

    outputs_at: ClassVar[int] = 0
    advances = True

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return bias, weight and both vectors, in the order of torch."""
        weight, *bias = super().tensors(*inputs)
        rows, columns = self._sizes(weight.shape)
        return (
            *bias,
            Tensor(_WEIGHT, weight.shape, made_into="weight", older="weight_orig"),
            Tensor(_LEFT, (rows,), trainable=False, running=True, older="weight_u"),
            Tensor(_RIGHT, (columns,), trainable=False, running=True, older="weight_v"),
        )

    def _sizes(self, weight: Shape) -> Shape:
        """Return the rows and columns of a weight as a matrix."""
        rows = weight[self.outputs_at]
        return rows, count(weight) // rows

    def _matrix_of(self, inputs: tuple[Shape, ...]) -> Shape:
        return self._sizes(super().tensors(*inputs)[0].shape)

    # ---- operations

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return those of the kind, and those that make the weight, once a batch."""
        return super().elementwise(inputs, output) + self._dividing(inputs)

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return the same by purpose, in training with the power iteration.

        That is two products of the matrix and a vector, and for both results squares,
        their sum, a root, a maximum and divisions.
        """
        biases = super().elementwise(inputs, output)
        made = self._dividing(inputs)
        if training:
            rows, columns = self._matrix_of(inputs)
            made += 4 * rows * columns + 3 * (rows + columns) + 4
        return Operations(bias=biases, per_batch=made)

    def _dividing(self, inputs: tuple[Shape, ...]) -> int:
        """Return the operations of weight / (left vector . weight . right vector)."""
        rows, columns = self._matrix_of(inputs)
        return 2 * rows * columns + 2 * rows + rows * columns

    # ---- memory

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return that of the kind, the weight, copies of both vectors, and the value.

        A matrix product without a gradient of its input does not keep the weight.
        """
        own = super().saved(inputs, output)
        rows, columns = self._matrix_of(inputs)
        spared = self.spares_weight
        return own._replace(
            batch_elements=0 if spared else rows * columns,
            batch_tracked=rows * columns if spared else 0,
            batch_params=rows + columns + 1,
            what="padded input, weight" if own.own_elements else "weight",
        )

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return that of the kind, and what makes the weight and takes it apart.

        Before its output there are the weight, the vectors and the value, and the
        matrix, if it is no view of the weight.
        """
        found = super().scratch(inputs, output, gradients)
        own = super().saved(inputs, output)
        rows, columns = self._matrix_of(inputs)
        size, vectors = rows * columns, rows + columns + 1
        return found._replace(
            inference=own.own_elements if found.inference is None else found.inference,
            batch_inference=size,
            batch_forward=size if self.spares_weight and not gradients[0] else 0,
            batch_before=size * (2 if self._copies(inputs) else 1) + vectors,
            batch_late=4 * size,
        )

    def _copies(self, inputs: tuple[Shape, ...]) -> bool:
        """Return whether the axes of the weight that become columns stand apart."""
        first, *others = super().tensors(*inputs)[0].shape
        return (
            bool(self.outputs_at)
            and first > 1
            and min(others[0], count(tuple(others[1:]))) > 1
        )

    # ---- torch

    def weight_of(self, own: Mapping[str, Any]) -> Any:
        """Return the weight divided by its largest singular value, as estimated."""
        weight = own[_WEIGHT]
        return weight / (own[_LEFT] @ (self._matrix(weight) @ own[_RIGHT]))

    def settled(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return both vectors after the iterations with which torch starts."""
        matrix = self._matrix(own[_WEIGHT])
        left, right = own[_LEFT] * 0, own[_RIGHT] * 0 + 1
        for _ in range(_ROUNDS):
            left = _unit(matrix @ right)
            right = _unit(matrix.T @ left)
        return {_LEFT: left, _RIGHT: right}

    def _matrix(self, weight: Any) -> Any:
        rows = weight.swapaxes(0, self.outputs_at)
        return rows.reshape(rows.shape[0], -1)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the kind's module, whose weight `spectral_norm` replaces."""
        form = super().torch(inputs, output)
        assert form.module is not None
        return form._replace(module=TorchCall(WRAPPER, (form.module,)))


def within(call: TorchCall) -> TorchCall:
    """Return the call that makes a module, without the one that replaces its weight."""
    if call.name != WRAPPER:
        return call
    (made,) = call.args
    assert isinstance(made, TorchCall)
    return made


def _unit(vector: Any) -> Any:
    return vector / max(float((vector * vector).sum()) ** 0.5, _EPS)
