"""Cut a network down to some of its features."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log2
from typing import Any

from archdsl.diagnostics import did_you_mean
from archdsl.ir import OWNERS, Group, Network, Port, Step
from archdsl.ir.graph import plain_layer
from archdsl.ir.nodes import changed, with_root
from archdsl.ir.prune import prune
from archdsl.transforms.base import Transformation, plain
from archdsl.values import sizes

# The tolerance of strides. For an input of 224x224, a map of 7x7 has stride 32, and
# 13x13, which layers without padding make, still has stride 16.
_NEAR = 0.25


class CannotCut(ValueError):
    """The network has no such part, or cannot be cut there."""


@dataclass(frozen=True)
class Backbone(Transformation):
    """Make the outputs of some parts the network's, and remove what they do not need.

    Layers that remain keep their paths, and so their keys in checkpoints. Outputs are
    named after the parts, with ``_`` for each dot.

    The network can be cut inside a container directly below it, such as a `seq` of all
    features. It cannot be cut inside containers further down, as keys would change.

    Attributes:
        taps: paths of layers and blocks, in the order of the outputs.
        strides: strides such as ``(8, 16, 32)``: the last map of each stride is another
            output, at the end of a block if there is one.
        head: whether the layers after the last map are kept. If not, the last map is an
            output, after the others.
    """

    taps: tuple[str, ...] = ()
    strides: tuple[int, ...] = ()
    head: bool = True

    def rewrite(self, network: Network) -> Network:
        """Return the network that ends at these parts.

        Raises:
            CannotCut: if there is no such part, or it cannot be cut there.
        """
        found = [_part(network, path) for path in self.taps]
        found += [_at_stride(network, stride) for stride in self.strides]
        if not self.head:
            found.append(_last_map(network))
        if not found:
            raise CannotCut("there is nothing to tap: name a part or a stride")
        values = {node.output: node for node in found}
        ports = tuple(
            Port(name=_name(node), value=value, shape=plain(node.shape))
            for value, node in values.items()
        )
        made = {
            "children": tuple(_opened(network.root, values)),
            "output": ports[0].value,
            "shape": ports[0].shape,
        }
        root = changed(network.root, **made)
        cut = prune(with_root(network, root, ports))
        read = {number for step in cut.steps() for number in step.inputs}
        inputs = tuple([port for port in cut.inputs if port.value in read])
        return cut.model_copy(update={"inputs": inputs})


def _name(node: Step | Group) -> str:
    return node.path.replace(".", "_")


# ---- what to tap


def _nodes(group: Group) -> Iterator[Step | Group]:
    """Yield all layers, and all groups that are namespaces, in order."""
    for child in group.children:
        if isinstance(child, Step):
            yield child
        else:
            if child.role in OWNERS:
                yield child
            yield from _nodes(child)


def _part(network: Network, path: str) -> Step | Group:
    nodes = {node.path: node for node in _nodes(network.root)}
    node = nodes.get(path)
    if node is None:
        hint = did_you_mean(path, nodes)
        more = f"; {hint}" if hint else ""
        raise CannotCut(f"the network has no part `{path}`{more}")
    if node.training:
        raise CannotCut(f"`{path}` only exists in training")
    return node


def _levels(network: Network) -> Iterator[list[Step | Group]]:
    """Yield the parts of the network, then the parts of these, and so on."""
    level = _own_parts(network.root)
    while level:
        yield level
        level = [
            part
            for node in level
            if isinstance(node, Group)
            for part in _own_parts(node)
        ]


def _own_parts(group: Group) -> list[Step | Group]:
    found: list[Step | Group] = []
    for child in group.children:
        if isinstance(child, Step) or child.role in OWNERS:
            found.append(child)
        else:
            found += _own_parts(child)
    return [node for node in found if not node.training]


def _at_stride(network: Network, stride: int) -> Step | Group:
    """Return the last part with a stride, among the outermost ones that have it."""
    whole = sizes(network.inputs[0].shape)
    seen: set[int] = set()
    for level in _levels(network):
        maps = [node for node in level if sizes(node.shape)]
        strides = [_stride(whole, node) for node in maps]
        near = [
            node
            for node, own in zip(maps, strides, strict=True)
            if abs(log2(own / stride)) < _NEAR
        ]
        if near:
            return near[-1]
        seen.update(round(own) for own in strides)
    known = ", ".join(map(str, sorted(seen)))
    raise CannotCut(
        f"no map has a stride of {stride}; the strides are {known or 'none'}"
    )


def _stride(whole: Sequence[int], node: Step | Group) -> float:
    """Return the stride of a map: input size / map size; inf if axes differ."""
    own = [a / b for a, b in zip(whole, sizes(node.shape), strict=True)]
    return own[0] if max(own) < 2**_NEAR * min(own) else inf


def _last_map(network: Network) -> Step | Group:
    """Return the last direct part of the network whose output has several positions."""
    parts = _own_parts(network.root)
    parts = [node for node in parts if any(n > 1 for n in sizes(node.shape))]
    if not parts:
        raise CannotCut("none of the network's direct parts outputs a map")
    return parts[-1]


# ---- cutting


def _opened(group: Group, values: Mapping[int, Step | Group]) -> Iterator[Step | Group]:
    """Yield a group's parts; one that contains a wanted value is replaced by its own.

    Only outputs of a namespace can be read outside of it.
    """
    for child in group.children:
        if isinstance(child, Step):
            yield child
            continue
        inside = {step.output for step in child.steps()} & values.keys()
        if inside.issubset(child.outputs):
            yield child
            continue
        parts = tuple(_opened(child, values))
        if child.role not in OWNERS:
            yield changed(child, children=parts)
        elif child.shared:
            raise CannotCut(f"`{child.path}` is used again, so it cannot be cut")
        else:
            for part in parts:
                yield _moved(part, child.name)


def _moved(node: Step | Group, prefix: str) -> Step | Group:
    """Return a part moved up one namespace; its path does not change."""
    node = _without_names(node)
    made: dict[str, Any] = {"name": f"{prefix}.{node.name}", "pattern": ()}
    if "." in node.name or "." in prefix:
        raise CannotCut(
            f"`{node.path}` is two levels below the network, where its keys would be "
            "lost: tap the part that contains it"
        )
    if isinstance(node, Step):
        return changed(node, **made, labelled=True)
    if node.condition is not None:
        raise CannotCut(
            f"`{node.path}` contains a part that depends on its parameters, so it "
            "cannot be cut in the middle: tap all of it"
        )
    if node.role not in OWNERS:
        made |= {"name": "", "path": node.path.rpartition(".")[0]}
        made["children"] = tuple(_moved(child, prefix) for child in node.children)
    return changed(node, **made)


def _without_names(node: Step | Group) -> Step | Group:
    """Return a part with plain numbers, as the container's parameters are out of scope.

    Numbers inside a block keep their expressions, which use the block's own parameters.
    """
    if isinstance(node, Step):
        made: dict[str, Any] = {
            "op": plain_layer(node.op),
            "input_shapes": tuple([plain(shape) for shape in node.input_shapes]),
            "shape": plain(node.shape),
        }
        return changed(node, **made)
    made = {
        "input_shape": plain(node.input_shape),
        "shape": plain(node.shape),
        "count": int(node.count),
        "ports": tuple(
            one.model_copy(update={"shape": plain(one.shape)}) for one in node.ports
        ),
        "extras": tuple(
            one.model_copy(update={"shape": plain(one.shape)}) for one in node.extras
        ),
        "parameters": tuple(
            one.model_copy(update={"value": plain(one.value)})
            for one in node.parameters
        ),
    }
    if node.role != "block":
        made["lets"] = tuple((name, int(value)) for name, value in node.lets)
        made["children"] = tuple(_without_names(child) for child in node.children)
    return changed(node, **made)
