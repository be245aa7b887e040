"""Hover texts, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from archdsl.editor.places import Declared, MadeParts, Trail
from archdsl.editor.resolve import Referent
from archdsl.elaborate import Attempt
from archdsl.elaborate.evaluate import FUNCTIONS
from archdsl.figures import FIGURES
from archdsl.ir import Group, Step
from archdsl.layer import REQUIRED, Field, Layer
from archdsl.syntax import tree as t
from archdsl.values import Dims, show_shape

# The most shapes, or values, that are listed.
_MOST = 6


def hover_text(
    shown: Attempt, made: MadeParts, around: Trail, found: Referent | None
) -> str:
    """Return what to show for a place; empty if there is nothing."""
    step = around[-1] if around and isinstance(around[-1], t.ChainStep) else None
    parts = []
    if step is not None:
        parts += _made(step, made)
    match found.what if found else None:
        case t.Definition() as definition:
            parts += _definition(definition)
        case t.FunctionDef() as function:
            parts.append(f"`fn {function.name}({_params(function.params)})`")
        case t.OpDef() as op:
            parts.append(f"`op {block_signature(op)}`: a foreign layer kind")
        case t.Preset() as preset:
            given = ", ".join(argument.span.text for argument in preset.angle)
            parts.append(f"`preset {preset.name} = {preset.network}<{given}>`")
        case Declared() as declared:
            assert found is not None
            parts += _declared(found.name, declared, shown)
        case t.ChainStep() as target if target is not step:
            parts += _made(target, made)
        case type() as layer:
            parts += about_kind(layer)
        case str() as name if name in FUNCTIONS:
            parts.append(f"`{name}`: {FUNCTIONS[name][3]}")
        case str() as name:
            parts.append(f"`{name}`: {FIGURES[name].help}, in {FIGURES[name].unit}")
        case _:
            pass
    return "\n\n".join(parts)


def about_kind(layer: type[Layer]) -> list[str]:
    """Return a layer kind's syntax, summary and arguments."""
    fields = [f"- `{argument(field)}`: {field.help}" for field in layer.fields.values()]
    return [kind_summary(layer), *(["\n".join(fields)] if fields else [])]


def kind_summary(layer: type[Layer]) -> str:
    """Return a one-sentence summary of a layer kind."""
    return " ".join((layer.__doc__ or "").strip().split("\n\n")[0].split())


def argument(field: Field) -> str:
    """Return an argument of a layer kind with its default, as in the manual."""
    name = f"/{field.name}" if field.position == "/" else field.name
    value = field.default
    if value is REQUIRED:
        return name
    if value is None:
        return f"{name} = by rule"
    if isinstance(value, bool):
        return f"{name} = {'true' if value else 'false'}"
    return f"{name} = {show_shape(value) if isinstance(value, tuple) else value}"


def block_signature(definition: t.Definition | t.OpDef) -> str:
    """Return the name of a block or op with its parameters and inputs."""
    inside = _params(definition.params)
    inputs = ", ".join(name for name, _ in definition.inputs)
    return (
        definition.name
        + (f"<{inside}>" if inside else "")
        + (f"({inputs})" if inputs else "")
    )


def _params(params: Iterable[t.Param]) -> str:
    return ", ".join(
        param.name
        + (f": {param.type}" if param.type else "")
        + (f" = {param.default.span.text}" if param.default else "")
        for param in params
    )


def _definition(definition: t.Definition) -> list[str]:
    word = "network" if definition.is_network else "block"
    seq = " seq" if definition.indexed else ""
    return [
        f"`{word} {block_signature(definition)}{seq}`",
        *([definition.doc] if definition.doc else []),
    ]


def _made(step: t.ChainStep, made: MadeParts) -> list[str]:
    """Return the shapes and costs of all parts that a step of the spec makes."""
    nodes = made.get((step.span.start, step.span.end), ())
    lines = Counter(map(_line, nodes))
    shown = [
        line + (f" (x{times})" if times > 1 else "")
        for line, times in list(lines.items())[:_MOST]
    ]
    if not shown:
        return []
    if len(lines) > _MOST:
        shown.append(f"and {len(lines) - _MOST} more")
    start = f"`{step.span.text.splitlines()[0]}`"
    if len(shown) == 1:
        return [f"{start}: {shown[0]}"]
    return [f"{start}:", "\n".join(f"- {line}" for line in shown)]


def _line(node: Step | Group) -> str:
    if isinstance(node, Group):
        before, steps = node.input_shape, [*node.steps()]
    else:
        before, steps = node.input_shapes[0], [node]
    params = sum(
        tensor.elements
        for step in steps
        if not step.shared
        for tensor in step.op.tensors(*step.input_shapes)
        if tensor.trainable
    )
    macs = sum(step.op.macs(step.input_shapes, step.shape) for step in steps)
    said = f"{show_shape(before)} -> {show_shape(node.shape)}"
    if params:
        said += f", {params:,} parameters"
    if macs:
        said += f", {macs:,} MACs"
    return said


def _declared(name: str, declared: Declared, shown: Attempt) -> list[str]:
    kept = f": {declared.type}" if declared.type else ""
    if declared.value is not None:
        kept += f" = {declared.value.span.text}"
    values = [*dict.fromkeys(map(_value, _values(name, declared, shown)))]
    parts = [f"{declared.kind} `{name}{kept}`"]
    if values:
        more = ", ..." if len(values) > _MOST else ""
        parts.append(f"here {', '.join(values[:_MOST])}{more}")
    return parts


def _values(name: str, declared: Declared, shown: Attempt) -> Iterable[object]:
    """Yield the values of a name in the shown network, one for each use."""
    owner = declared.owner
    if isinstance(owner, t.Definition) and owner.is_network:
        if name in shown.parameters:
            yield shown.parameters[name]
        return
    if not isinstance(owner, t.Definition):
        return
    stack = [*shown.parts]
    while stack:
        node = stack.pop(0)
        if isinstance(node, Group):
            stack = [*node.children, *stack]
            if node.role == "block" and node.word == owner.name:
                yield from (p.value for p in node.parameters if p.name == name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple) and not isinstance(value, Dims):
        return "[" + ", ".join(map(_value, value)) + "]"
    return str(value)
