"""From the IR to the classes of an emitted module.

Every block, and every group that is more than a chain, becomes a class. Calls of a
block share a class if the same code works for all of them, given the right arguments; a
call that needs different code gets its own class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from archdsl import conditions
from archdsl.backends.torch import recomputed
from archdsl.backends.torch.classes import (
    ClassPlan,
    ConstructorArgument,
    Loop,
    Revision,
    creation,
    in_order,
    name_classes,
)
from archdsl.backends.torch.nodes import (
    INDEX,
    Argument,
    Bindings,
    LiteralExpr,
    Make,
    PyExpression,
    affine,
    node_of,
    polys_in,
)
from archdsl.backends.torch.scope import ClassScope, title_of
from archdsl.backends.torch.sharing import share, unite, without_sums
from archdsl.backends.torch.style import DEFAULT, Style
from archdsl.conditions import Test, Truth, substitute
from archdsl.elaborate.references import KindRef
from archdsl.elaborate.types import type_name
from archdsl.ir import Group, Named, Network, Step
from archdsl.ir.graph import conditions_of, flatten
from archdsl.layer import Layer
from archdsl.naming import IMPORTED, channels_of_input, input_name, short_name
from archdsl.passes.recompute import parts, read_again
from archdsl.symbolic import Poly, poly_of
from archdsl.torch.calls import is_all_modules
from archdsl.torch.flow import Flows, Op, is_chain, unrolled
from archdsl.torch.inplace import inplace
from archdsl.values import AXES, Dims, Last, Shape, channels, is_map, sizes


class Planner:
    """Creates the classes of one network.

    Args:
        network: the network.
        style: how its module is written.

    Attributes:
        classes: in the order in which they must be defined.
        again: paths of the parts that the backward pass runs again.
        looped: blocks for which one call shows that a loop continues as it begins,
            while another has too few iterations to show it.
    """

    def __init__(self, network: Network, style: Style = DEFAULT) -> None:
        self.network = network
        graph = flatten(network)
        self.inplace = frozenset[int]()
        again = parts(graph, style.recompute)
        if style.in_place:
            self.inplace = inplace(
                graph, inference=style.inference, read_again=read_again(again)
            )
        self.looped = frozenset[str]()
        self.again = {part.path for part in again}
        self.fixed: dict[str, Poly] = {}
        self.helpers: dict[str, str] = {}
        self.imported = _imported_names(network)
        self.classes: list[ClassPlan] = []
        self.flows = Flows(network.root)
        self._revision = Revision()
        self._known: dict[tuple[Any, ...], list[ClassPlan]] = {}
        # Classes of one block, whatever their code.
        self._alike: dict[tuple[str, str], list[ClassPlan]] = {}
        # The conditions of each group, by its identity.
        self._answers: dict[int, dict[Test, bool]] = {}
        # Blocks need no second plan if only the network's numbers become plain.
        self._made: dict[int, Make] = {}

    def run(self) -> ClassPlan:
        """Return the class of the network itself, the last one."""
        root = self.network.root
        plan = self._class(root, 0, [], {}, {})
        self.looped = _looped_elsewhere(self._known)
        if self.looped:
            self.classes, self._known, self._alike, self._made = [], {}, {}, {}
            plan = self._class(root, 0, [], {}, {})
        values = {p.name: p.value for p in root.parameters if isinstance(p.value, int)}
        for name in _entangled(plan) & values.keys():
            self.fixed[name] = Poly.constant(int(values[name]))
        if self.fixed:
            self.classes, self._known, self._alike = [], {}, {}
            plan = self._class(root, 0, [], {}, self.fixed)
        self.classes = in_order(plan)
        taken = {*self.helpers, *self.imported.values()}
        if self.again:
            taken.add(recomputed.NAME)
        name_classes(self.classes, taken)
        return plan

    def _class(
        self,
        group: Group,
        level: int,
        fields: list[ConstructorArgument],
        kinds: Mapping[str, type[Layer]],
        fixed: Bindings,
    ) -> ClassPlan:
        """Return the class of a group, in the names of its constructor.

        Args:
            group: a group that is a namespace.
            level: number of groups between it and its block.
            fields: the block's arguments, for a group inside a block.
            kinds: the block's parameters that are layer kinds, likewise.
            fixed: names that are plain numbers there.
        """
        own = input_name(level)
        entry = _entry_name(group)
        bindings: dict[str, Poly] = {**fixed, own: Poly.name(entry)}
        for further in range(level):
            bindings[input_name(further)] = Poly.name(f"outer{further}_channels")
        asked = self._tests(group) if group.role == "block" else {}
        if group.role != "group":
            fields, kinds = _fields(group, asked), _kinds(group)
        taken = (
            [ConstructorArgument(entry, "int", "")] if group.role != "network" else []
        )
        taken += [
            ConstructorArgument(f"outer{n}_channels", "int", "") for n in range(level)
        ]
        flow = self.flows.of(group)
        ops = flow.ops
        sequential = is_chain(ops, group) and is_all_modules(ops, group)
        if group.role == "network" and len(self.network.outputs) > 1:
            sequential = False
        scope = ClassScope(
            self, group, level, bindings, fields, kinds, fixed, sequential
        )
        slots = self.flows.slots(group)
        values, names = slots.numbers, list(slots.names)
        if group.role == "network":
            names = (
                ["x"]
                if len(self.network.inputs) == 1
                else [port.name for port in self.network.inputs]
            )
        items = scope.items(ops)
        known = {field.name for field in (*taken, *fields)}
        tests = {
            test: held
            for asked_test, held in (asked or self._tests(group)).items()
            if conditions.condition_parameters(test := substitute(asked_test, bindings))
            <= known
        }
        return ClassPlan(
            self._revision,
            "part" if group.role == "group" else group.role,
            _title(group),
            group.indexed or sequential,
            group.doc,
            _shape_text(group, ops, bindings) if group.role != "network" else "",
            [*taken, *fields],
            items,
            names,
            () if sequential else scope.forward(flow, values, names),
            _out_channels(group, ops, bindings),
            {n: poly_of(v).substitute(bindings) for n, v in group.lets},
            {name: kind.__name__ for name, kind in _kinds(group).items()},
            group.path in self.again,
            tests,
            {p.name: p.value for p in group.parameters if not _is_number(p.value)},
            tuple(scope.unrolled),
            _extra_shapes(group, ops, bindings),
            [parameter.name for parameter in group.parameters],
        )

    def _tests(self, group: Group) -> dict[Test, bool]:
        """Return the conditions that decide what is in a group, with their answers."""
        known = self._answers.get(id(group))
        if known is None:
            flags = [p for p in group.parameters if type(p.value) is bool]
            known = {
                **conditions_of(group),
                **{Truth(flag.name): flag.value for flag in flags},
            }
            self._answers[id(group)] = known
        return known

    def make(self, group: Group, scope: ClassScope) -> Make:
        """Return the expression that creates an instance of a class; create the class
        if needed.
        """
        level, bindings = scope.level, scope.bindings
        own = group.role == "block"
        inner = 0 if own else level + 1
        entry = _entry_name(group)
        args = [
            Argument(
                entry if p.name == "in_channels" else p.name,
                _passed(p.value, bindings),
            )
            for p in group.parameters
            if _is_number(p.value)
        ]
        if own:
            named = _named(group, self._tests(group))
            args += [Argument(n, node_of(value, {})) for n, value in named.items()]
        if group.role == "group":
            args += [
                Argument(f"outer{n}_channels", LiteralExpr(bindings[input_name(n)]))
                for n in range(inner)
                if input_name(n) in bindings
            ]
        known = self._made.get(id(group)) if own else None
        if known is not None:
            return known.with_args((*args, *known.args[len(args) :]))
        fixed = {} if own else scope.fixed
        plan = self._class(group, inner, scope.fields, scope.kinds, fixed)
        plan, given = self._intern(group, plan, dict(args))
        args += [Argument(name, node) for name, node in given.items()]
        made = Make(plan, tuple(args))
        if own:
            self._made[id(group)] = made
        return made

    def class_of(self, step: Step) -> str:
        """Return the name of a step's class, and record helpers and imports that it
        needs.
        """
        form = step.form
        assert form.module is not None, step.path
        name = form.module.name
        if form.helper:
            self.helpers[name] = form.helper
        return self.imported[form.origin, name] if form.origin else short_name(name)

    def _intern(
        self, group: Group, plan: ClassPlan, args: Mapping[str, PyExpression]
    ) -> tuple[ClassPlan, Mapping[str, PyExpression]]:
        """Return an existing class that can serve instead of this one, or this one.

        The second result has the constants that must be passed to a shared class.
        """
        key = (title_of(group), plan.word, *_outline(plan))
        for known in self._known.setdefault(key, []):
            given = share(known, plan, args)
            if given is not None:
                return known, given
        self._known[key].append(plan)
        alike = self._alike.setdefault((title_of(group), plan.word), [])
        for known in alike if plan.tests else ():
            given = unite(known, plan, args)
            if given is not None:
                self._known[key][-1] = known
                return known, given
        alike.append(plan)
        self.classes.append(plan)
        return plan, {}


def _looped_elsewhere(
    known: Mapping[tuple[Any, ...], Sequence[ClassPlan]],
) -> frozenset[str]:
    """Return the blocks that are a loop in one class, and no loop in another."""
    loops: dict[str, set[bool]] = {}
    for (title, *_), plans in known.items():
        for plan in plans:
            is_loop = any(isinstance(item, Loop) for item in plan.items)
            loops.setdefault(title, set()).add(is_loop)
    return frozenset(title for title, found in loops.items() if len(found) > 1)


def _outline(plan: ClassPlan) -> tuple[Any, ...]:
    """Return what two classes must have in common to be merged."""
    items = [
        (type(item), () if isinstance(item, Loop) else item[0]) for item in plan.items
    ]
    kind = plan.sequential, plan.again
    return *kind, *plan.inputs, *items, without_sums(plan.forward)


def _imported_names(network: Network) -> dict[tuple[str, str], str]:
    """Return the names of foreign layers' classes, by module and name.

    They keep their names, unless two modules, or a module and a helper, use the same
    one.
    """
    forms = [step.form for step in network.steps()]
    taken = {form.module.name for form in forms if form.helper and form.module}
    taken |= IMPORTED.keys()
    found: dict[tuple[str, str], str] = {}
    classes = {(f.origin, f.module.name) for f in forms if f.origin and f.module}
    for origin, name in sorted(classes):
        number, own = 1, name
        while own in taken:
            number += 1
            own = f"{name}{number}"
        taken.add(own)
        found[origin, name] = own
    return found


def _entry_name(group: Group) -> str:
    """Return the constructor's name for the channels of a group's first input."""
    return channels_of_input(group.ports[0].name) if group.ports else "in_channels"


def _title(group: Group) -> str:
    """Return the word that a class is named after, without the number of a part.

    Of a part of containers, such as ``stages.0.block``, it is the last word.
    """
    if group.role == "group":
        words = [word.rstrip("0123456789_-") for word in group.name.split(".")]
        return next(filter(None, reversed(words)), group.word or "part")
    return group.word


def _is_number(value: Any) -> bool:
    """Return whether a parameter becomes an argument of the constructor."""
    return isinstance(value, int | float | Dims)


def _passed(value: Any, bindings: Bindings) -> PyExpression:
    return node_of(tuple(value) if isinstance(value, Dims) else value, bindings)


def _entangled(plan: ClassPlan) -> set[str]:
    """Return the names that are combined with others in expressions of a network's
    class.

    They affect many layers at once. In a network's class they become numbers, as
    readers expect, and only plain settings such as `classes` become arguments.
    """
    found: set[str] = set()
    for item in plan.items:
        node = creation(item)
        for poly in polys_in(node) if node is not None else ():
            if not poly.is_name:
                found |= poly.names()
    return found


def _kinds(group: Group) -> dict[str, type[Layer]]:
    """Return the parameters of a block that are layer kinds."""
    return {
        p.name: p.value.kind
        for p in group.parameters
        if isinstance(p.value, KindRef | Named) and p.value.kind is not None
    }


def _named(group: Group, tests: Mapping[Test, bool]) -> dict[str, int | bool]:
    """Return what conditions name besides a block's parameters, with their values."""
    if not tests:
        return {}
    names = set().union(*map(conditions.condition_parameters, tests))
    names -= {parameter.name for parameter in group.parameters}
    found: dict[str, int | bool] = {
        name: value
        for name, value in group.lets
        if name in names and poly_of(value).number is not None
    }
    truths = {
        test.name: held for test, held in tests.items() if isinstance(test, Truth)
    }
    return {**found, **{name: truths[name] for name in truths if name in names}}


def _fields(group: Group, tests: Mapping[Test, bool]) -> list[ConstructorArgument]:
    fields = []
    for parameter in group.parameters:
        value, default = parameter.value, parameter.default
        if parameter.name == "in_channels":
            continue
        if group.role == "network":
            default = value
        if not _is_number(value):
            continue
        kind = "int" if isinstance(value, Dims) else type_name(value)
        text = "" if default is None else _default_text(default, kind)
        fields.append(ConstructorArgument(parameter.name, kind, text))
    for name, value in _named(group, tests).items():
        fields.append(ConstructorArgument(name, type_name(value), ""))
    return fields


def _default_text(value: Any, kind: str) -> str:
    if isinstance(value, Dims):
        return str(int(value[0])) if len(set(value)) == 1 else ""
    return repr({"float": float, "bool": bool, "int": int}[kind](value))


def _out_channels(group: Group, ops: Sequence[Op], bindings: Bindings) -> Poly | None:
    """Return the channels that a class outputs, in its constructor's names."""
    return _channels_of(group.output, ops, bindings)


def _channels_of(value: int, ops: Sequence[Op], bindings: Bindings) -> Poly | None:
    """Return the channels of a value that some operations define."""
    for op in reversed(ops):
        if value not in op.outputs:
            continue
        if op.copies and isinstance(op.node, Group):
            grown = affine([poly_of(channels(c.shape)) for c in op.node.children])
            if grown is not None and isinstance(grown.value, Poly):
                last = poly_of(op.node.count) - Poly.constant(1)
                return grown.value.substitute({INDEX: last}).substitute(bindings)
        shape = op.node.shape
        if isinstance(op.node, Group) and value != op.output:
            shape = next(p.shape for p in op.node.extras if p.value == value)
        return poly_of(channels(shape)).substitute(bindings)
    return None


def _shape_text(group: Group, ops: Sequence[Op], bindings: Bindings) -> str:
    """Return ``N x in_channels x H x W to N x 4 * width x H' x W'``."""
    before = _dims_text("in_channels", group.input_shape)
    marks = _marks(group)
    if group.ports:
        names = [channels_of_input(port.name) for port in group.ports]
        shapes = [port.shape for port in group.ports]
        before = ", ".join(
            [
                _dims_text(name, shape, "'" * marks.index(sizes(shape)))
                for name, shape in zip(names, shapes, strict=True)
            ]
        )
    channels = _out_channels(group, ops, bindings)
    if channels is None:
        return f"{before} to the same"
    mark = "'" * marks.index(sizes(group.shape))
    return f"{before} to {_dims_text(channels.text(2), group.shape, mark)}"


def _extra_shapes(
    group: Group, ops: Sequence[Op], bindings: Bindings
) -> dict[str, str]:
    """Return the shape of each output besides the main one, by its name."""
    marks, found, ops = _marks(group), {}, [*unrolled(ops)]
    for port in group.extras:
        channels = _channels_of(port.value, ops, bindings)
        count = "C" if channels is None else channels.text(2)
        mark = "'" * marks.index(sizes(port.shape))
        found[port.name] = _dims_text(count, port.shape, mark)
    return found


def _marks(group: Group) -> list[tuple[int, ...]]:
    """Return the sizes of a class's inputs and outputs, which are told apart by as
    many marks as others come before.
    """
    inputs = [port.shape for port in group.ports] or [group.input_shape]
    outputs = [group.shape, *[port.shape for port in group.extras]]
    return list(dict.fromkeys([sizes(shape) for shape in (*inputs, *outputs)]))


def _dims_text(count: str, shape: Shape, mark: str = "") -> str:
    if not is_map(shape):
        return f"N x {count}"
    places = [f"{letter}{mark}" for letter in AXES[len(shape) - 1]]
    around = [*places, count] if isinstance(shape, Last) else [count, *places]
    return " x ".join(["N", *around])
