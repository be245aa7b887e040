"""How many bytes a network needs, by purpose."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from archdsl.ir.graph import Graph
from archdsl.torch.inplace import copying, inplace

from .costs import Cost
from .dtypes import COUNTER_BYTES, item_bytes
from .optimizers import OPTIMIZERS, OptimizerName, check_optimizer, state_bytes
from .peak import InUse, Peak, inference_peak, training_peak, training_timeline
from .plain import Groups, Plain, all_values
from .recompute import Part, RecomputeChoice, parts, read_again
from .saved import SAMPLE, Kept, SavedTensor, bytes_of, homes, kept, saved_tensors
from .setting import DEFAULT
from .strides import Gaps, gaps
from .tape import Tape
from .tape import tape as new_tape

__all__ = ["OPTIMIZERS", "Memory", "OptimizerName", "memory"]


@dataclass(frozen=True)
class Memory:
    """Bytes for one batch; each figure is computed on demand.

    Attributes:
        graph: the network.
        cost: cost of the network.
        batch: batch size.
        dtype: data type of parameters and activations.
        optimizer: ``sgd``, ``momentum`` or ``adam``.
        recompute: whether the backward pass recomputes blocks, so that only the inputs
            of each are kept, or the paths of those; see `recompute.parts`.
    """

    graph: Graph
    cost: Cost
    batch: int
    dtype: str
    optimizer: str
    recompute: RecomputeChoice

    # ---- allocated all the time

    @property
    def param_bytes(self) -> int:
        """All parameters, including those of auxiliary heads."""
        return self.cost.params * self._item

    @property
    def buffer_bytes(self) -> int:
        """All buffers; counters are 64-bit integers."""
        cost = self.cost
        floats = cost.buffers - cost.counters
        return floats * self._item + cost.counters * COUNTER_BYTES

    @property
    def gradient_bytes(self) -> int:
        """Gradients of the trainable parameters."""
        return self.cost.trainable * self._item

    @property
    def optimizer_bytes(self) -> int:
        """What the optimiser keeps between steps.

        Nothing for SGD, one momentum per parameter, or Adam's two moments and a step
        count per tensor, which is a 32-bit float.
        """
        return state_bytes(self.gradient_bytes, self.cost.tensors, self.optimizer)

    # ---- kept for the backward pass

    @cached_property
    def saved(self) -> tuple[SavedTensor, ...]:
        """The distinct tensors that autograd keeps, each with its first holder.

        Of the copies that torch only makes because of a map's memory order, those of a
        flatten are included, and those of a kernel's backward pass are not.
        """
        graph = self.graph
        return saved_tensors(graph, self._keeps, self.homes, self._item, self._again)

    @cached_property
    def homes(self) -> dict[int, int]:
        """For every value, the one in whose memory training stores it."""
        graph, copied = self.graph, self._gaps.copied
        return homes(graph, graph.nodes, self._reused, training=True, copied=copied)

    @property
    def saved_bytes(self) -> int:
        """All of them, between the forward and the backward pass of training.

        Parameters and buffers are not included.
        """
        return bytes_of(self._saved_size, self.batch)

    @property
    def _saved_size(self) -> int:
        return sum([tensor.size for tensor in self.saved])

    def saved_by_layer(self) -> dict[str, list[dict[str, str | int]]]:
        """Return the tensors for which each layer is the first holder, as plain data,
        by path.
        """
        found: dict[str, list[dict[str, str | int]]] = {}
        for tensor in self.saved:
            entry = tensor.as_dict(self.batch)
            found.setdefault(tensor.holders[0], []).append(entry)
        return found

    @cached_property
    def autocast_saved(self) -> tuple[SavedTensor, ...]:
        """What is kept under autocast to bfloat16, with 32-bit parameters.

        It does not depend on the dtype or on recomputation.
        """
        from .autocast import autocast_saved

        return autocast_saved(self.graph, self._reused, self._gaps)

    @property
    def autocast_saved_bytes(self) -> int:
        """All of that, including copies of the weights."""
        return bytes_of(sum([n.size for n in self.autocast_saved]), self.batch)

    # ---- peaks

    @cached_property
    def inference_peak(self) -> Peak:
        """Peak memory of a forward pass in inference."""
        return inference_peak(self.tape, self.fixed_bytes)

    @cached_property
    def training_peak(self) -> Peak:
        """Peak memory of a training step.

        It is a step after the first one, so the optimiser's state exists.
        """
        return training_peak(
            self.tape,
            self.fixed_bytes,
            optimizer=self.optimizer,
            recompute=self.recompute,
        )

    @cached_property
    def first_step_peak(self) -> Peak:
        """The same for the first step, which creates the optimiser's state."""
        return training_peak(
            self.tape,
            self.fixed_bytes,
            optimizer=self.optimizer,
            recompute=self.recompute,
            first=True,
        )

    @cached_property
    def timeline(self) -> tuple[InUse, ...]:
        """Memory in use over the course of a training step."""
        return training_timeline(
            self.tape,
            self.fixed_bytes,
            self.batch,
            optimizer=self.optimizer,
            recompute=self.recompute,
        )

    @property
    def inference_bytes(self) -> int:
        """Parameters, buffers and the peak of the forward pass."""
        return self.inference_peak.at(self.batch)

    @property
    def forward_peak_bytes(self) -> int:
        """Peak memory of activations in a forward pass in inference."""
        return self.inference_bytes - self.fixed_bytes

    @property
    def training_peak_bytes(self) -> int:
        """Peak memory of a training step, for this batch."""
        return self.training_peak.at(self.batch)

    @property
    def training_bytes(self) -> int:
        """Everything that is held at the end of a training step's forward pass."""
        return (
            self.fixed_bytes
            + self.gradient_bytes
            + self.optimizer_bytes
            + self.saved_bytes
        )

    def fits(self, budget: int, *, training: bool = True) -> int:
        """Return the largest batch whose peak fits into a number of bytes.

        It is 0 if not even one sample fits.
        """
        peak = self.training_peak if training else self.inference_peak
        return peak.fits(budget)

    @property
    def facts(self) -> Plain[Memory]:
        """The result of `as_dict`, computed on demand."""
        return Plain(self, _GROUPS)

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return all_values(self, _GROUPS)

    def _setting(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "dtype": self.dtype,
            "optimizer": self.optimizer,
            "recompute": bool(self.recompute),
        }

    def _held(self) -> dict[str, Any]:
        size = self._saved_size
        return {
            "param_bytes": self.param_bytes,
            "buffer_bytes": self.buffer_bytes,
            "gradient_bytes": self.gradient_bytes,
            "optimizer_bytes": self.optimizer_bytes,
            "saved_bytes": self.saved_bytes,
            "saved_sample_bytes": size // SAMPLE,
            "saved_fixed_bytes": size % SAMPLE,
        }

    def _peaks(self) -> dict[str, Any]:
        return {
            "forward_peak_bytes": self.forward_peak_bytes,
            "inference_bytes": self.inference_bytes,
            "training_bytes": self.training_bytes,
            "inference_peak": self.inference_peak.as_dict(self.batch),
            "training_peak": self.training_peak.as_dict(self.batch),
        }

    # ---- shared by several

    @property
    def _item(self) -> int:
        return item_bytes(self.dtype)

    @property
    def fixed_bytes(self) -> int:
        """Parameters and buffers."""
        return self.param_bytes + self.buffer_bytes

    @cached_property
    def _keeps(self) -> dict[int, Kept]:
        return kept(self.graph, self._item, gaps=self._gaps.inside)

    @cached_property
    def _gaps(self) -> Gaps:
        return gaps(self.graph, self._reused, self.batch)

    @cached_property
    def _again(self) -> tuple[Part, ...]:
        """What the backward pass runs again."""
        return parts(self.graph, self.recompute)

    @cached_property
    def _overwritten(self) -> frozenset[int]:
        return inplace(self.graph, read_again=read_again(self._again))

    @cached_property
    def _reused(self) -> frozenset[int]:
        """Those of them that need no memory of their own in training."""
        return self._overwritten - self._copying

    @cached_property
    def _copying(self) -> frozenset[int]:
        return copying(self.graph, self._overwritten)

    @cached_property
    def tape(self) -> Tape:
        """What its layers allocate, keep and free."""
        copied = self._gaps.copied
        written = self._overwritten, self._copying
        return new_tape(self.graph, self._item, self._keeps, *written, copied)


# Values that are computed together, by their keys, in the order of the JSON.
_GROUPS: Final[Groups[Memory]] = {
    ("batch", "dtype", "optimizer", "recompute"): Memory._setting,
    (
        *("param_bytes", "buffer_bytes", "gradient_bytes", "optimizer_bytes"),
        *("saved_bytes", "saved_sample_bytes", "saved_fixed_bytes"),
    ): Memory._held,
    ("autocast_saved_bytes",): lambda memory: {
        "autocast_saved_bytes": memory.autocast_saved_bytes
    },
    (
        *("forward_peak_bytes", "inference_bytes", "training_bytes"),
        *("inference_peak", "training_peak"),
    ): Memory._peaks,
}


def memory(
    graph: Graph,
    cost: Cost,
    *,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    optimizer: str = DEFAULT.optimizer,
    recompute: RecomputeChoice = DEFAULT.recompute,
) -> Memory:
    """Return the memory of a network with a given cost.

    Raises:
        ValueError: if the batch, dtype or optimiser is invalid.
    """
    if batch < 1:
        raise ValueError(f"batch must be 1 or more, not {batch}")
    item_bytes(dtype)
    check_optimizer(optimizer)
    return Memory(graph, cost, batch, dtype, optimizer, recompute)
