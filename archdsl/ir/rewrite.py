"""Makes one network from another by replacing and removing layers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from archdsl.ir.nodes import Group, Network, Step, changed, with_root, with_values
from archdsl.layer import Layer


def rewrite(
    network: Network,
    ops: Mapping[int, Layer],
    gone: Collection[int] = (),
    inputs: Mapping[int, Sequence[int]] | None = None,
    labelled: Collection[int] = (),
) -> Network:
    """Return a network in which some layers are replaced, and some removed.

    Readers of a removed layer's output read its input instead. All other parts
    keep their paths. Claims of the spec are dropped, as they are about another network,
    and so are initialisations of what is gone.

    Args:
        network: the one to change; it stays as it is.
        ops: what to put in the place of a layer, by the number of the step's output.
        gone: outputs of the steps to take out, each of one input.
        inputs: the inputs that a step reads instead of its own, which are some of them,
            by the number of its output. A step with one left may be taken out.
        labelled: outputs of the steps that are as if the spec had labelled them.
    """
    return _Rewriter(ops, gone, inputs or {}, labelled).network(network)


class _Rewriter:
    def __init__(
        self,
        ops: Mapping[int, Layer],
        gone: Collection[int],
        inputs: Mapping[int, Sequence[int]],
        labelled: Collection[int],
    ) -> None:
        self.ops = ops
        self.gone = gone
        self.inputs = inputs
        self.labelled = labelled
        # For outputs of removed steps, the values that are read instead.
        self.instead: dict[int, int] = {}

    def network(self, network: Network) -> Network:
        root = self._group(network.root)
        return with_root(network, root, with_values(network.outputs, self._value))

    def _value(self, number: int) -> int:
        return self.instead.get(number, number)

    def _group(self, group: Group) -> Group:
        entry = self._value(group.input)
        children: list[Step | Group] = []
        for child in group.children:
            if isinstance(child, Group):
                children.append(self._group(child))
            elif child.output in self.gone:
                left = self.inputs.get(child.output, child.inputs)
                self.instead[child.output] = self._value(left[0])
            else:
                children.append(self._step(child))
        made = {
            "input": entry,
            "ports": with_values(group.ports, self._value),
            "output": self._value(group.output),
            "children": tuple(children),
        }
        return changed(group, **made)

    def _step(self, step: Step) -> Step:
        left = self.inputs.get(step.output, step.inputs)
        inputs = tuple([self._value(number) for number in left])
        op = self.ops.get(step.output, step.op)
        labelled = step.labelled or step.output in self.labelled
        if op is step.op and inputs == step.inputs and labelled == step.labelled:
            return step
        known = dict(zip(step.inputs, step.input_shapes, strict=True))
        made = {
            "inputs": inputs,
            "input_shapes": tuple([known[number] for number in left]),
            "op": op,
            "labelled": labelled,
        }
        return changed(step, **made)
