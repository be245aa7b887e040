"""The texts of nodes and boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from archdsl.backends.text import span
from archdsl.ir import Step
from archdsl.layer import Layer
from archdsl.values import Shape, channels, show_shape

from .options import Options
from .picture import Closed, Heading, Picture, PictureNode, path_of

_MAX_TEXT = 72
# Tooltips can be long, since they take no room in the picture.
_MAX_TIP = 200

CostOf = Callable[[Step], int]


def title(name: str, steps: Iterable[Step], options: Options) -> list[str]:
    """Return the lines above the picture."""
    if options.title is not None:
        return [options.title] if options.title else []
    always = training = 0
    for step in steps:
        training += params(step)
        always += 0 if step.training else params(step)
    text = f"{always:,} parameters"
    more = "" if always == training else f" ({training:,} in training)"
    return [name, text + more]


def params(step: Step) -> int:
    """Return the number of a step's parameters; 0 if it shares earlier weights."""
    if step.shared:
        return 0
    tensors = step.op.tensors(*step.input_shapes)
    return sum(int(tensor.elements) for tensor in tensors if tensor.trainable)


def macs(step: Step) -> int:
    """Return a step's multiply-accumulates for one sample."""
    return int(step.op.macs(step.input_shapes, step.shape))


def heading_of(heading: Heading, show: Callable[[str], str]) -> str:
    """Return ``layer1.1 to layer1.2: bottleneck<64>  x2``."""
    names = [show(path) for path in (heading.path, heading.last) if path]
    return "  ".join(
        filter(None, (_named(" to ".join(names), heading), _times(heading)))
    )


def _named(names: str, heading: Heading) -> str:
    return ": ".join(filter(None, (names, heading.call)))


def _times(heading: Heading) -> str:
    return f"x{heading.copies}" if heading.copies > 1 else ""


def fitting_heading(heading: Heading) -> str:
    """Return the heading shortened to a box's width; the number of copies is kept."""
    whole = heading_of(heading, short_path)
    if len(whole) <= _MAX_TEXT:
        return whole
    first, last = short_path(heading.path), short_path(heading.last)
    around, dot, end = last.rpartition(".")
    names = " to ".join(filter(None, (first, last)))
    if last and first.startswith(around + dot):
        names = f"{first}…{end}"
    times = "  " * (heading.copies > 1) + _times(heading)
    return _cut(_named(names, heading), _MAX_TEXT - len(times)) + times


def short_path(path: str) -> str:
    """Return the end of a path, from its last part that is not just a number."""
    parts = path.split(".")
    at = len(parts) - 1
    while at > 0 and parts[at].isdigit():
        at -= 1
    return ".".join(parts[at:])


def node_lines(node: PictureNode, drawn: Picture, options: Options) -> Iterator[str]:
    """Yield the heading, the layers of the chain, and their shape and costs."""
    heading = node.heading
    often = _times(heading)
    layers = " · ".join(_layer(step, node, drawn) for step in node.steps)
    if heading.path:
        yield fitting_heading(heading)
        yield layers
    else:
        yield "  ".join(filter(None, (layers, often)))
    times = len(drawn.twins[node.steps[0].output])
    yield from _figures(node.steps, drawn, options, times)


def closed_lines(part: Closed, drawn: Picture, options: Options) -> Iterator[str]:
    """Yield a closed box's heading, its shape and its costs."""
    yield fitting_heading(part.heading)
    yield from _figures(part.steps, drawn, options, part.times)


def node_tip(node: PictureNode | Closed, drawn: Picture) -> Iterator[str]:
    """Yield a tooltip's line for each step; for a closed box, only its name."""
    if isinstance(node, Closed):
        yield heading_of(node.heading, str)
        return
    for step in node.steps:
        inputs = " and ".join(map(show_shape, step.input_shapes))
        text = f"{layer_label(step)}, {inputs} to {show_shape(step.shape)}"
        number = params(step)
        weights = f"{number:,} parameters" if number else ""
        if _shared(step):
            weights = f"weights of {step.path}"
        yield f"{path_of(step)}: " + ", ".join(filter(None, (text, weights)))


def layer_label(step: Step) -> str:
    """Return a layer's label with other arguments that affect its cost."""
    op: Layer = step.op
    text = op.label()
    groups = getattr(op, "groups", 1)
    if op.family == "conv" and isinstance(groups, int) and groups > 1:
        if groups == channels(step.input_shapes[0]):
            text = f"dw{text}"
        else:
            text += f" groups {groups}"
    dilation = getattr(op, "dilation", (1, 1))
    if isinstance(dilation, tuple) and set(dilation) != {1}:
        even = len(set(dilation)) == 1
        text += f" dilation {dilation[0] if even else show_shape(dilation)}"
    return text


def _layer(step: Step, node: PictureNode, drawn: Picture) -> str:
    """Return the layer's text, after its name if it is the main one and has a name."""
    twins = drawn.twins[step.output]
    text = span(layer_label(twins[0]), layer_label(twins[-1]))
    known = step.labelled or step.op.tensors(*step.input_shapes)
    if step is not node.main or not known or step.name == step.op.word:
        return text
    named = step.name.isdigit() and node.heading.path
    return text if named else f"{step.alias or step.name}: {text}"


def is_shared(node: PictureNode | Closed) -> bool:
    """Return whether a node's weights are those of an earlier one."""
    return any(
        map(_shared, [node.main] if isinstance(node, PictureNode) else node.steps)
    )


def _shared(step: Step) -> str:
    """Return whose weights a step uses, if it has none of its own."""
    if not step.shared or not step.op.tensors(*step.input_shapes):
        return ""
    is_other = step.alias not in ("", step.name)
    return f"weights of {short_path(step.path)}" if is_other else "shared weights"


def _figures(
    steps: Sequence[Step], drawn: Picture, options: Options, times: int
) -> Iterator[str]:
    if options.detail == "names":
        return
    found = [*_shape(steps, drawn), *_costs(steps, drawn, params, times)]
    found += dict.fromkeys(filter(None, map(_shared, steps)))
    if found:
        yield "   ".join(found)
    if options.detail == "costs":
        yield from (f"{text} MACs" for text in _costs(steps, drawn, macs, times))


def _shape(steps: Sequence[Step], drawn: Picture) -> list[str]:
    """Return the output shape, if it differs from the input shape."""
    entry, twins = steps[0], drawn.twins[steps[-1].output]
    shapes = [twin.shape for twin in twins]
    if set(shapes) == {entry.input_shapes[0]}:
        return []
    return [f"→ {_shapes(shapes[0], shapes[-1])}"]


def _shapes(first: Shape, last: Shape) -> str:
    """Return ``96…256x56x56`` for two shapes."""
    pairs = zip(first, last, strict=True)
    return "x".join(f"{int(a)}" if a == b else f"{int(a)}…{int(b)}" for a, b in pairs)


def _costs(
    steps: Iterable[Step], drawn: Picture, cost: CostOf, times: int
) -> Iterator[str]:
    """Yield the costs of some steps; for equal copies, those of one copy."""
    each = [0] * times
    for step in steps:
        twins = drawn.twins[step.output]
        # Figures of one copy are adjacent, however often it repeats a part.
        for place, twin in enumerate(twins):
            each[place * times // len(twins)] += cost(twin)
    if not any(each):
        return
    if len(each) == 1:
        yield brief(each[0])
    elif len(set(each)) == 1:
        yield f"{brief(each[0])} each"
    else:
        yield f"{brief(each[0])}…{brief(each[-1])}"


def brief(number: int) -> str:
    """Return ``9.54 k`` for 9,536: three digits and the thousands in a letter."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size * 0.9995:
            return f"{float(f'{number / size:.3g}'):g} {unit}"
    return str(number)


def escaped(lines: Iterable[Any], room: int = _MAX_TEXT) -> str:
    """Return lines as one label, escaped for dot."""
    import graphviz

    text = r"\n".join(graphviz.escape(_plain(str(line), room)) for line in lines)
    return graphviz.nohtml(text)


def tip(lines: Iterable[Any]) -> str:
    """Return lines as a tooltip."""
    return escaped(lines, _MAX_TIP)


def _plain(line: str, room: int) -> str:
    text = "".join(c if c.isprintable() else " " for c in line)
    return _cut(text, room).replace("&", "&amp;")


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: room - 3] + "..."
