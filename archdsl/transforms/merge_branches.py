"""Merge parallel convolutions whose outputs are added."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import gcd
from typing import Any, NamedTuple

from archdsl.ir import Network, Step
from archdsl.ir.prune import prune
from archdsl.ir.rewrite import rewrite
from archdsl.layer import Layer, count
from archdsl.transforms.base import Transformation, numbered
from archdsl.transforms.recipe import TensorOrigin, as_before, zeros
from archdsl.values import Kernel, pointwise_kernel


@dataclass(frozen=True)
class MergeBranches(Transformation):
    """Merge convolutions with the same input whose outputs are added.

    They are merged into the largest one. A smaller kernel equals a larger one with
    zeros around it; a norm, or the input itself, equals a 1x1 kernel on each channel.
    So the units of RepVGG, MobileOne and RepGhost become single convolutions, once
    `FoldNorms` has folded their norms into the convolutions. The network is then for
    inference, since norms use running statistics.

    A branch is merged if only the sum reads it, and if its kernel lies within the
    largest one: with the same stride, and paddings that fit. The largest convolution
    keeps its path, gets a bias, and does no more work than before. In a `seq`, whose
    parts are named by number, nothing is merged.

    Source: Ding et al. 2021, "RepVGG: making VGG-style convnets great again", section
    3.3.
    """

    def rewrite(self, network: Network) -> Network:
        """Return the network with merged branches."""
        ops: dict[int, Layer] = {}
        left: dict[int, Sequence[int]] = {}
        for one in merges(network):
            ops[one.target.output] = one.target.op.replace(bias=True)
            merged = {step.output for step in one.steps}
            merged |= {one.target.inputs[0]} if one.itself else set()
            before = left.get(one.total.output, one.total.inputs)
            left[one.total.output] = [n for n in before if n not in merged]
        if not ops:
            return network
        gone = [total for total, rest in left.items() if len(rest) == 1]
        return prune(rewrite(network, ops, gone, left))

    def recipe(self, network: Network) -> dict[str, TensorOrigin]:
        """Return from which old tensors each new one comes."""
        found = as_before(self.rewrite(network))
        for one in merges(network):
            found |= one.recipe()
        return found


class MergedBranches(NamedTuple):
    """Branches that become one.

    Attributes:
        total: the sum that reads them.
        target: the convolution that the others are merged into.
        steps: the other layers.
        itself: number of branches that are the input itself.
    """

    total: Step
    target: Step
    steps: tuple[Step, ...]
    itself: int

    def recipe(self) -> dict[str, TensorOrigin]:
        """Return where the convolution's weight and bias come from."""
        keys: list[str] = []
        owners = (self.target, *self.steps)
        for step in owners:
            keys += [f"{step.path}.{name}" for name in _names(step)]

        def kernels(tensors: Sequence[Any]) -> list[tuple[Any, Any | None]]:
            waiting = iter(tensors)
            return [
                step.op.kernel_of({name: next(waiting) for name in _names(step)})
                for step in owners
            ]

        def weight(*tensors: Any) -> Any:
            (first, _), *others = kernels(tensors)
            total = first + zeros(first, *first.shape)
            for step, (kernel, _) in zip(self.steps, others, strict=True):
                _embed(kernel, _kernel(step), total, _kernel(self.target))
            for _ in range(self.itself):
                _embed_input(total, _kernel(self.target))
            return self.target.op.of_kernel(total)

        def bias(*tensors: Any) -> Any:
            found = kernels(tensors)
            total = zeros(found[0][0], found[0][0].shape[0])
            for _, one in found:
                if one is not None:
                    total = total + one
            return total

        path = self.target.path
        return {
            f"{path}.weight": TensorOrigin(tuple(keys), weight),
            f"{path}.bias": TensorOrigin(tuple(keys), bias),
        }


def merges(network: Network) -> Iterator[MergedBranches]:
    """Yield the branches that can be merged, in the order of the sums."""
    readers: Counter[int] = Counter(port.value for port in network.outputs)
    made: dict[int, Step] = {}
    uses: Counter[str] = Counter()
    for step in network.steps():
        readers.update(step.inputs)
        made[step.output] = step
        uses[step.path] += 1
    fixed = numbered(network)
    for total in network.steps():
        if not total.op.sums or uses[total.path] > 1 or total.path in fixed:
            continue
        branches: defaultdict[int, list[Step]] = defaultdict(list)
        for value in total.inputs:
            if value not in made or readers[value] > 1:
                continue
            step = made[value]
            kernel = step.op.as_kernel(step.input_shapes, step.shape)
            fits = uses[step.path] == 1 and step.path not in fixed
            if fits and kernel is not None and step.training == total.training:
                branches[step.inputs[0]].append(step)
        for source, steps in branches.items():
            found = _merged(total, steps, total.inputs.count(source))
            if found is not None:
                yield found


def _merged(total: Step, steps: Sequence[Step], itself: int) -> MergedBranches | None:
    """Return how branches with one input are merged; None if no two can be."""
    able = [step for step in steps if step.op.scales]
    if not able:
        return None

    def size(step: Step) -> tuple[int, int]:
        kernel = _kernel(step)
        return count(kernel.size), -kernel.groups

    target = max(able, key=size)
    others = tuple(
        step
        for step in steps
        if step is not target and _offsets(_kernel(step), _kernel(target)) is not None
    )
    alike = target.shape == target.input_shapes[0]
    whole = pointwise_kernel(target.shape, groups=target.shape[0])
    if not alike or _offsets(whole, _kernel(target)) is None:
        itself = 0
    return MergedBranches(total, target, others, itself) if others or itself else None


def _kernel(step: Step) -> Kernel:
    found = step.op.as_kernel(step.input_shapes, step.shape)
    assert found is not None
    return found


def _names(step: Step) -> list[str]:
    """Return the tensors of a layer that inference reads."""
    tensors = step.op.tensors(*step.input_shapes)
    return [tensor.name for tensor in tensors if not tensor.integer]


def _offsets(kernel: Kernel, target: Kernel) -> list[list[int]] | None:
    """Return the positions of a kernel's taps in another kernel, along each axis.

    None if it does not lie within the other.
    """
    if kernel.stride != target.stride or gcd(kernel.groups, target.groups) != (
        target.groups
    ):
        return None
    found = []
    for axis in range(len(kernel.size)):
        # Tap t reads the position t * dilation - pad.
        places = []
        for tap in range(kernel.size[axis]):
            at = tap * kernel.dilation[axis] - kernel.pad[axis] + target.pad[axis]
            if at % target.dilation[axis]:
                return None
            places.append(at // target.dilation[axis])
        if places[0] < 0 or places[-1] >= target.size[axis]:
            return None
        found.append(places)
    return found


def _embed(weight: Any, kernel: Kernel, into: Any, target: Kernel) -> None:
    """Add the weight of a kernel to that of another, in place."""
    places = _offsets(kernel, target)
    assert places is not None
    weight = weight.reshape(*weight.shape[:2], *kernel.size)
    each, inner = int(weight.shape[0]) // kernel.groups, int(weight.shape[1])
    for group in range(kernel.groups):
        outs = slice(group * each, (group + 1) * each)
        # The offset of the group's first input channel within the target's group.
        first = group % (kernel.groups // target.groups) * inner
        ins = slice(first, first + inner)
        for taps in product(*map(enumerate, places)):
            read, written = zip(*taps, strict=True)
            into[(outs, ins, *written)] += weight[(outs, slice(None), *read)]


def _embed_input(into: Any, target: Kernel) -> None:
    """Add an identity kernel to the weight of another, in place."""
    number = int(into.shape[0])
    kernel = pointwise_kernel((number, *target.size), groups=number)
    one = zeros(into, number, 1, *kernel.size) + 1
    _embed(one, kernel, into, target)
