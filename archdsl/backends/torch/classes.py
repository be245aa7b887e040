"""The classes of an emitted module, and when two calls can share one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from archdsl.backends.torch.nodes import (
    INDEX,
    KEPT,
    Argument,
    Leaf,
    Make,
    Node,
    flat,
    names_in,
    names_of_test,
    parts_of,
    polys_in,
)
from archdsl.symbolic import Poly


class Field(NamedTuple):
    """A constructor argument: its type and default, as Python text."""

    name: str
    type: str
    default: str


class Member(NamedTuple):
    """A submodule; `node` is None for a projection that no instance needs.

    Attributes:
        attr: its name; empty in a Sequential without names.
        node: how it is made.
        condition: the test under which it is made, else it is an identity.
    """

    attr: str
    node: Node | None
    condition: str = ""


class Loop(NamedTuple):
    """Submodules made in a loop.

    Attributes:
        times: how many.
        attrs: names of the first three, as far as there are so many.
        nodes: how these are made.
        attr: name of each, over the index; None while only one is known. Empty in
            a Sequential without names.
        node: how each is made, over the index; None while only one is known.
    """

    times: Poly
    attrs: tuple[str, ...]
    nodes: tuple[Node, ...]
    attr: str | None
    node: Node | None


class Flag(NamedTuple):
    """Whether an optional shortcut is there.

    Attributes:
        attr: name of the attribute that says so.
        condition: the test under which it is.
        states: what holds for the instances seen.
        extra: submodules that it needs.
    """

    attr: str
    condition: str
    states: frozenset[bool]
    extra: tuple[Member, ...]


Item = Member | Loop | Flag


class ClassPlan:
    """One class of the emitted module.

    Attributes:
        role: ``network``, ``block`` or ``part``.
        word: the block's or group's name in the spec.
        base: ``nn.Module`` or ``nn.Sequential``.
        doc: the spec's comment.
        shape: the shapes of input and output, for the docstring.
        fields: the arguments that the constructor might take, in order.
        items: its submodules, in order.
        inputs: names of `forward`'s arguments.
        forward: its statements; empty for a plain Sequential.
        out_channels: the channels of its output.
        lets: numbers that the spec gives a name, by that name.
        kinds: what the block's parameters for layer kinds stand for here.
        calls: the expressions that make an instance.
        promoted: the arguments that stand for constants.
    """

    def __init__(
        self,
        role: str,
        word: str,
        base: str,
        doc: str,
        shape: str,
        fields: list[Field],
        items: list[Item],
        inputs: list[str],
        forward: list[str],
        out_channels: Poly | None,
        lets: Mapping[str, Poly],
        kinds: tuple[str, ...] = (),
    ) -> None:
        self.role = role
        self.word = word
        self.base = base
        self.doc = doc
        self.shape = shape
        self.fields = fields
        self.items = items
        self.inputs = inputs
        self.forward = forward
        self.out_channels = out_channels
        self.lets = lets
        self.kinds = kinds
        self.name = ""
        self.calls: list[Make] = []
        self.promoted: set[str] = set()

    def title(self) -> str:
        """Return the class's name."""
        return self.name

    def targets(self) -> list[ClassPlan]:
        """Return the classes whose instances it makes."""
        found: list[ClassPlan] = []
        for item in self.items:
            members = item.extra if isinstance(item, Flag) else (item,)
            for node in map(shown, members):
                found += _targets(node) if node is not None else []
        return found

    def used(self) -> set[str]:
        """Return the names that the constructor reads."""
        found = set(self.kept())
        for item in self.items:
            if isinstance(item, Flag):
                if len(item.states) > 1:
                    found |= names_of_test(item.condition)
                for member in item.extra:
                    found |= names_in(member.node) if member.node else set()
                continue
            node = shown(item)
            if node is not None:
                found |= names_in(node) - ({INDEX} if isinstance(item, Loop) else set())
            if isinstance(item, Loop):
                found |= item.times.names() | _names_of_pattern(item.attr or "")
            elif item.node is not None:
                found |= names_of_test(item.condition) | _names_of_pattern(item.attr)
        return found

    def kept(self) -> dict[str, str]:
        """Return the arguments that `forward` reads, with their attributes."""
        names = dict.fromkeys(KEPT.findall("\n".join(self.forward)))
        taken = {item.attr for item in self.items if not isinstance(item, Loop)}
        return {n: f"{n}_" if n in taken else n for n in names}

    def signature(self) -> list[Field]:
        """Return the constructor's arguments: those it reads, defaults last."""
        used = self.used()
        kept = [field for field in self.fields if field.name in used]
        return sorted(kept, key=lambda field: bool(field.default))

    def select(self, args: Mapping[str, Node]) -> Sequence[Argument]:
        """Return the arguments of a call that the constructor takes."""
        found = []
        for field in self.signature():
            value = args.get(field.name, Leaf(Poly.name(field.name)))
            if not field.default:
                found.append(Argument("", value))
            elif flat(value) != field.default:
                found.append(Argument(field.name, value))
        return found

    def locals(self) -> dict[Poly, str]:
        """Return the expressions worth a variable of their own, with its name.

        Those are what the spec names, and what would be written three times or more.
        """
        counts: dict[Poly, int] = {}
        for item in self.items:
            node = shown(item)
            if node is None or isinstance(item, Loop | Flag):
                continue
            for poly in polys_in(node):
                if poly.number is None and not poly.is_name:
                    counts[poly] = counts.get(poly, 0) + 1
        names = {p: n for n, p in self.lets.items() if p in counts}
        taken = {field.name for field in self.fields} | set(names.values())
        for poly, count in counts.items():
            if count < 3 or poly in names:
                continue
            word = "out" if poly == self.out_channels else "mid"
            name, number = f"{word}_channels", 1
            while name in taken:
                number += 1
                name = f"{word}{number}_channels"
            taken.add(name)
            names[poly] = name
        return names

    def holes(self) -> set[str]:
        """Return the names of projections that no instance needs."""
        return {i.attr for i in self.items if isinstance(i, Member) and i.node is None}

    def flags(self) -> dict[str, frozenset[bool]]:
        """Return what holds for optional shortcuts, by the name of their flag."""
        return {i.attr: i.states for i in self.items if isinstance(i, Flag)}


def _names_of_pattern(pattern: str) -> set[str]:
    """Return the names in the braces of a label's pattern."""
    inside = " ".join(re.findall(r"\{([^}]*)\}", pattern))
    return set(re.findall(r"[a-z_A-Z]\w*", inside)) - {INDEX}


def shown(item: Item) -> Node | None:
    """Return how an item is made, as far as that is known."""
    if isinstance(item, Flag):
        return None
    if isinstance(item, Member):
        return item.node
    if item.node is None and item.nodes:
        return item.nodes[0]
    return item.node


def _targets(node: Node) -> list[ClassPlan]:
    inner = [one for part in parts_of(node) for one in _targets(part)]
    if isinstance(node, Make) and isinstance(node.target, ClassPlan):
        return [node.target, *inner]
    return inner


def in_order(last: ClassPlan) -> list[ClassPlan]:
    """Return a class after all those that it needs."""
    found: dict[ClassPlan, None] = {}

    def visit(plan: ClassPlan) -> None:
        if plan not in found:
            for target in plan.targets():
                visit(target)
            found[plan] = None

    visit(last)
    return list(found)


def quoted(name: str) -> str:
    """Return a submodule's name as a string of Python."""
    return f'f"{name}"' if "{" in name else f'"{name}"'


def camel(word: str) -> str:
    """Return a class name: ``basic_block`` becomes ``BasicBlock``."""
    if "_" not in word:
        return word[:1].upper() + word[1:]
    return "".join(part[:1].upper() + part[1:] for part in word.split("_"))


_TAKEN = frozenset(
    ("F", "NamedTuple", "OrderedDict", "Tensor", "False", "None", "True")
)


def name_classes(classes: list[ClassPlan], reserved: set[str]) -> None:
    """Give every class its own name, the network's first."""
    taken = set(_TAKEN) | reserved
    network = classes[-1]
    network.name = camel(network.word)
    while network.name in taken:
        network.name += "Net"
    taken |= {network.name, f"{camel(network.word)}Output"}
    variants: dict[str, list[ClassPlan]] = {}
    for plan in classes[:-1]:
        variants.setdefault(camel(plan.word), []).append(plan)
    for plan in classes[:-1]:
        base = camel(plan.word)
        base += _suffix(plan, variants[base])
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}{number}"
        taken.add(name)
        plan.name = name


def _suffix(plan: ClassPlan, variants: Sequence[ClassPlan]) -> str:
    """Return the layer kinds that tell a class from others of the same block."""
    lengths = {len(variant.kinds) for variant in variants}
    if len(lengths) > 1:
        return ""
    columns = zip(*(variant.kinds for variant in variants), strict=True)
    differ = [len(set(column)) > 1 for column in columns]
    return "".join(k for k, d in zip(plan.kinds, differ, strict=True) if d)
