"""The names of parts: labels, numbers for parts without one, and name clashes."""

from __future__ import annotations

from archdsl import conditions
from archdsl.conditions import LabelTemplate
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.evaluate import integer
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.names import check_label
from archdsl.elaborate.namespaces import Namespace
from archdsl.naming import containers_of, is_old_name
from archdsl.source import Span
from archdsl.symbolic import Poly, poly_of
from archdsl.syntax import tree as t


class NameTemplate(str):
    """The name of a part, with its label as a template over the block's parameters."""

    __slots__ = ("pattern",)
    pattern: LabelTemplate

    def __new__(cls, text: str, pattern: LabelTemplate = ()) -> NameTemplate:
        """Create the name `text`; `pattern` is its label if it uses parameters."""
        self = super().__new__(cls, text)
        self.pattern = pattern
        return self


def label_text(
    label: t.Label, context: Context, copy: int | None = None
) -> NameTemplate:
    """Return the text of a label, with its expressions evaluated.

    Args:
        label: as written.
        context: where its expressions are evaluated.
        copy: number of the copy in a repeat, from 1; it replaces `{}`, or is appended.
    """
    if copy is None and len(label.parts) == 1 and isinstance(label.parts[0], str):
        return NameTemplate(label.parts[0])
    text, marked = "", False
    pattern: list[str | Poly] = []
    for part in label.parts:
        if isinstance(part, str):
            text += part
            pattern.append(part)
        elif part is not None:
            value = integer(part, context, "a part of a label")
            text += str(int(value))
            pattern.append(poly_of(value))
        elif copy is None:
            raise Fault(
                "A0209",
                "`{}` stands for the number of a copy, and nothing is repeated here",
                label.span,
                help="add a repeat such as `x3`, or write `{i}` in a `for`",
            )
        else:
            text, marked = f"{text}{copy}", True
            pattern.append(str(copy))
    if copy is not None and not marked:
        text = f"{text}{copy}"
        pattern.append(str(copy))
    written = conditions.label(pattern)
    return NameTemplate(text, written if conditions.label_parameters(written) else ())


def part_name(label: str | None, word: str, space: Namespace, span: Span) -> str:
    """Return the name of a part: its label, or the next number."""
    if label is not None:
        return label
    name = space.number(word)
    if not space.indexed:
        space.taken[name] = span  # nothing has it: numbers in use are passed over
    return name


def take_label(label: str, span: Span, space: Namespace, quoted: bool) -> None:
    """Reserve a label; refuse it if a part cannot have it here.

    Raises:
        Fault: with the reason.
    """
    check_label(label, span, quoted)
    if label in space.inputs:
        raise Fault(
            "A0102",
            f"`{label}` is an input of the block already",
            span,
            help="give the layer another label",
        )
    if space.indexed:
        raise Fault(
            "A0109",
            f"`{label}`: the parts of a seq are named by number",
            span,
            help="drop the label, or drop `seq` before the braces",
        )
    claim(label, span, space)


def claim(name: str, span: Span, space: Namespace) -> None:
    """Reserve a name in a namespace; refuse it if it is taken.

    Raises:
        Fault: if another part, or a container of parts, has that name.
    """
    for container in containers_of(name):
        _keep_apart(container, True, span, space)
    _keep_apart(name, False, span, space)
    if name in space.taken:
        first = space.taken[name]
        again = first == span
        raise Fault(
            "A0102",
            f"two layers have the name `{space.join(name)}`",
            span,
            label="in every iteration of the loop"
            if again
            else f"the first is on line {first.line}",
            help=f"write the loop variable into it: `{name}{{i}}:`"
            if again
            else "give one of them another label",
        )
    space.taken[name] = span


def _keep_apart(name: str, contains: bool, span: Span, space: Namespace) -> None:
    """Refuse a name that is a layer's in one place, and a container's in another.

    Raises:
        Fault: naming both.
    """
    other = (space.taken if contains else space.containers).get(name)
    if other is not None:
        raise Fault(
            "A0102",
            f"`{space.join(name)}` names a layer, and a container of other layers",
            span,
            label=f"the other is on line {other.line}",
            help="give the layer another label",
        )
    if contains:
        space.containers.setdefault(name, span)


def claim_old(name: str, now: str, span: Span, space: Namespace) -> None:
    """Reserve a name that a part had; refuse it if it cannot have had it.

    Args:
        name: the older name.
        now: the part's name.
        span: the place of the older name.
        space: the namespace of the part.

    Raises:
        Fault: with the reason.
    """
    if not is_old_name(name):
        raise Fault(
            "A0110",
            f'"{name[:100]}" cannot be part of a key',
            span,
            help='write what older keys had instead of the name: "norm.1"',
        )
    if name == now:
        raise Fault(
            "A0110",
            f"`{space.join(name)}` is its name now",
            span,
            help="write the names in older checkpoints",
        )
    if name in space.old:
        raise Fault(
            "A0110",
            f"two parts had the name `{space.join(name)}`",
            span,
            label=f"the first is on line {space.old[name].line}",
            help="an older name belongs to one part; in a loop, write the loop "
            "variable into it",
        )
    space.old[name] = span
