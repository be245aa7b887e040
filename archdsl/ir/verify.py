"""Whether a network is valid: the invariants that passes and backends rely on.

The elaborator only makes networks that satisfy all this, and so must every
transformation. A network from outside, such as one read from JSON, is checked before
anything else reads it. The invariants:

- Data: a value is defined once, and before it is read. Shapes are those that the layers
  compute, and readers of a value state its shape.
- Owners: of the values defined inside a network, block or group, parts outside only
  read its outputs. Inside, all values defined earlier in the enclosing owners can be
  read, as by taps. Transparent groups hide nothing. An `output` of the network may be
  any value. A block with several inputs names them, and gets different values. A block
  or group with several outputs defines them all, and they are different values.
- Structure: the input of a group is defined before it; its output is defined in it, or
  is its input. Copies of a repeat follow each other.
- Names: paths are those of the tree. No two parts of an owner have the same name,
  except a shared part, which equals an earlier one. A name with a dot consists of the
  name of a container, which is not a layer, and that of a part of it. No two parts of
  an owner have the same older name. The names that come first in a `state_dict` are
  those of parts with tensors, each once.
- Modes: only parts for training read values that exist only in training.
- Numbers: an expression that a number, a label or a condition carries has its value, in
  the names of the owner.
- Use: each value is read, or is an output. A further output of a part that is used
  again need not be read in each use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from archdsl.conditions import (
    COMPARISONS,
    Joined,
    LabelTemplate,
    Not,
    Relation,
    Test,
    Truth,
)
from archdsl.figures import CLAIMED
from archdsl.initializers import SCHEMES
from archdsl.initializers import refusal as refusal_of_scheme
from archdsl.ir.nodes import (
    OWNERS,
    Group,
    Initializer,
    Network,
    Port,
    Step,
    with_tensors,
)
from archdsl.layer import Layer, Mismatch
from archdsl.limits import MAX_INTEGER
from archdsl.naming import (
    LABEL_RESERVED,
    PARAMETER_RESERVED,
    attributes_of,
    channels_of_input,
    containers_of,
    gap_in,
    input_name,
    is_old_name,
    refusal,
)
from archdsl.symbolic import Poly, Sym, SymFloat, TooLong
from archdsl.values import MOST_AXES, Last, Shape, channels, show_shape

Location = tuple[str | int, ...]
Names = Mapping[str, Poly]


class Problem(NamedTuple):
    """A violation of an invariant.

    Attributes:
        place: the way to it from the network, by fields and positions, such as
            ``("root", "children", 3, "shape")``.
        message: what is wrong, in one sentence.
    """

    place: Location
    message: str

    def __str__(self) -> str:
        where = show_place(self.place)
        return f"{where}: {self.message}" if where else self.message


class InvalidNetwork(ValueError):
    """A network that violates an invariant.

    Attributes:
        problems: all that is wrong with it.
    """

    def __init__(self, name: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        found = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{name} is not a valid network:\n{found}")


def verify(network: Network) -> Network:
    """Return a network that satisfies all invariants of this module.

    Raises:
        InvalidNetwork: with all that does not.
    """
    found = problems(network)
    if found:
        raise InvalidNetwork(network.name, found)
    return network


def problems(network: Network) -> list[Problem]:
    """Return all violations in a network, in the order of its parts."""
    return _Verifier(network).run()


def show_place(place: Location) -> str:
    """Return ``root.children[3].shape``."""
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


class _Owner(NamedTuple):
    """What the parts of a group that owns names have in common.

    Attributes:
        group: the group itself.
        level: how many groups stand between it and its block.
        names: the values of the names in its numbers.
        parts: the names of its parts so far.
        old: the names that they had in older checkpoints.
        floats: the parameters of its block that are not integers.
    """

    group: Group
    level: int
    names: Names
    parts: set[str]
    old: set[str]
    floats: Mapping[str, float]

    def path(self, name: str) -> str:
        """Return the path of a part."""
        return f"{self.group.path}.{name}" if self.group.path else name


class _Verifier:
    """Walks through a network once.

    Attributes:
        found: what is wrong so far.
        shapes: the shapes of every value made so far, by number.
        training: the values that only exist in training.
        inside: for each value that no part may read any more, the path of the owner
            that it stays in.
        read: values that something reads.
        exported: the further outputs of parts, by the part's path and their names.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.found: list[Problem] = []
        self.shapes: dict[int, Shape] = {}
        self.training: set[int] = set()
        self.inside: dict[int, str] = {}
        self.read: set[int] = set()
        self.made_at: dict[int, Location] = {}
        self.firsts: dict[str, Step | Group] = {}
        self.exported: list[tuple[tuple[str, str], int]] = []
        self.order: list[int] = []
        self.steps: list[Step] = []

    def report(self, place: Location, message: str) -> None:
        self.found.append(Problem(place, message))

    def run(self) -> list[Problem]:
        """Return all that is wrong."""
        root = self.network.root
        self._port_names("inputs", self.network.inputs)
        for place, port in _placed("inputs", self.network.inputs):
            self._new_value(place, port.value, port.shape)
            self._check_shape((*place, "shape"), port.shape)
            if port.training:
                self.report(place, f"the input {port.name} exists only in training")
        if not self.network.inputs:
            self.report(("inputs",), "there is no input")
        if root.role != "network" or root.path or root.name:
            self.report(("root",), "the root is a group of the role network, unnamed")
        names = _names(root)
        self._check_numbers(("root",), root, names)
        self._parameters(("root",), root)
        self._children(("root",), root, _Owner(root, 0, names, set(), set(), {}))
        self._registered(("root",), root)
        self._group_ends(("root",), root)
        if root.extras:
            self.report(("root", "extras"), "the outputs are those of the network")
        self._outputs()
        self._unread()
        self._floats(("root",), root, {})
        for place, one in _placed("initializers", self.network.initializers):
            if not self.found:  # else its layers may be none
                self._initializer(place, one)
        for place, claim in _placed("expectations", self.network.expectations):
            if claim.measure not in CLAIMED or claim.op not in COMPARISONS:
                self.report(place, f"`{claim.measure} {claim.op}` cannot be a claim")
            parts = claim.value if isinstance(claim.value, tuple) else (claim.value,)
            if not parts or not all(map(_is_number, parts)):
                self.report((*place, "value"), "it is a number or sizes")
        return self.found

    # ---- values

    def _new_value(self, place: Location, number: int, shape: Shape) -> None:
        if number in self.shapes:
            self.report(place, f"the value {number} is defined twice")
            return
        self.shapes[number] = shape
        self.made_at[number] = place
        self.order.append(number)

    def _check_read(
        self, place: Location, number: int, shape: Shape, training: bool
    ) -> None:
        """Check that a value may be read here, and has the stated shape."""
        self.read.add(number)
        known = self.shapes.get(number)
        if known is None:
            self.report(place, f"it reads the value {number} before that is defined")
            return
        if number in self.inside:
            self.report(
                place,
                f"it reads the value {number}, which is inside {self.inside[number]}: "
                "only the output of an owner can be read outside it",
            )
        if number in self.training and not training:
            self.report(place, f"it reads the value {number}, which is for training")
        if not _same(known, shape):
            self.report(
                place,
                f"the value {number} is {_shown(known)}, and here {_shown(shape)}",
            )

    def _check_shape(self, place: Location, shape: Shape) -> bool:
        """Return whether sizes are of some shape, and in bounds."""
        axes = len(shape) - 1
        if not isinstance(shape, Last) <= axes <= MOST_AXES:
            self.report(place, f"{_shown(shape)} is not the shape of a map or a vector")
        elif not all(1 <= size <= MAX_INTEGER for size in shape):
            bounds = f"1 to {MAX_INTEGER:,}"
            self.report(place, f"{_shown(shape)} has a size that is not {bounds}")
        else:
            return True
        return False

    # ---- the tree

    def _children(self, place: Location, group: Group, owner: _Owner) -> None:
        for number, child in enumerate(group.children):
            where = (*place, "children", number)
            if child.training < group.training:
                self.report(where, "it is in a part that is only for training")
            if isinstance(child, Step):
                self._step(where, child, owner)
            elif child.role in OWNERS:
                self._owner(where, child, owner)
            else:
                self._transparent(where, child, owner)

    def _step(self, place: Location, step: Step, owner: _Owner) -> None:
        self._name(place, step, owner)
        self._check_numbers(place, step, owner.names)
        arity = step.op.arity
        number = len(step.inputs)
        if len(step.input_shapes) != number:
            self.report(place, f"it has {number} inputs, and other input_shapes")
            return
        if number < 2 if arity is None else number != arity:
            wanted = "two inputs or more" if arity is None else f"{arity} inputs"
            self.report(place, f"{step.op.word} has {wanted}, not {number}")
            return
        for at, (value, shape) in enumerate(
            zip(step.inputs, step.input_shapes, strict=True)
        ):
            self._check_read((*place, "inputs", at), value, shape, step.training)
        shapes = enumerate(step.input_shapes)
        right = [self._check_shape((*place, "input_shapes", n), s) for n, s in shapes]
        if self._arguments(place, step.op) and all(right):
            self._result(place, step)
            self.firsts.setdefault(step.path, step)
        self._new_value(place, step.output, step.shape)
        if step.training:
            self.training.add(step.output)
        self.steps.append(step)

    def _arguments(self, place: Location, op: Layer) -> bool:
        """Return whether a layer has values for its arguments that a spec can give."""
        right = True
        for name, value in vars(op).items():
            field = op.fields.get(name)
            why = "is not an argument" if field is None else field.refusal(value)
            if why:
                right = False
                self.report((*place, "op", name), f"{op.word}: `{name}` {why}")
        return right

    def _result(self, place: Location, step: Step) -> None:
        """Check that a layer fits its inputs, and computes the stated shape."""
        try:
            shape = step.op.shape(*step.input_shapes)
        except Mismatch as mismatch:
            self.report((*place, "op"), mismatch.message)
            return
        if not _same(shape, step.shape):
            self.report(
                (*place, "shape"),
                f"{step.op.word} gives {_shown(shape)}, not {_shown(step.shape)}",
            )
        elif self._check_shape((*place, "shape"), shape) and step.shared:
            self._again(place, step)

    def _again(self, place: Location, step: Step) -> None:
        """Check that a shared layer equals the earlier one."""
        first = self.firsts.get(step.path)
        if not isinstance(first, Step):
            self.report(place, f"there is no earlier layer {step.path} to share")
        elif first.op.word != step.op.word or first.form != step.form:
            self.report(place, f"the earlier layer {step.path} differs")

    def _owner(self, place: Location, group: Group, around: _Owner) -> None:
        self._name(place, group, around)
        self._enter(place, group)
        level = 0 if group.role == "block" else around.level + 1
        self._check_numbers(place, group, around.names, inside=False)
        names = dict(around.names) if group.role == "group" else _names(group)
        self._ports(place, group)
        own = input_name(level)
        if group.input_shape:
            names[own] = Poly.constant(int(channels(group.input_shape)))
        floats = around.floats if group.role == "group" else _floats(group)
        owner = _Owner(group, level, names, set(), set(), floats)
        self._check_inner_numbers(place, owner)
        self._parameters(place, group)
        before = len(self.order)
        self._children(place, group, owner)
        self._registered(place, group)
        self._group_ends(place, group)
        made = self.order[before:]
        self._extras(place, group, made)
        for value in made:
            if value not in group.outputs and value not in self.inside:
                self.inside[value] = group.path
        first = self.firsts.setdefault(group.path, group)
        if group.shared and (not isinstance(first, Group) or first is group):
            self.report(place, f"there is no earlier part {group.path} to share")
        elif group.shared and _outline(group) != _outline(first):
            self.report(place, f"the earlier part {group.path} has other layers")

    def _transparent(self, place: Location, group: Group, owner: _Owner) -> None:
        if group.path != owner.group.path:
            self.report(
                (*place, "path"), f"its parts are named in {owner.group.path or 'root'}"
            )
        if group.registered:
            self.report((*place, "registered"), "it owns no names")
        if group.name:
            # A shortcut is named after the projection that it has or would have.
            self._can_be_label((*place, "name"), group.name)
        self._enter(place, group)
        self._check_numbers(place, group, owner.names)
        self._condition((*place, "condition"), group, owner)
        self._children(place, group, owner)
        self._group_ends(place, group)
        if group.extras:
            self.report((*place, "extras"), "it owns nothing, and so hides nothing")
        if group.role == "repeat":
            self._copies(place, group)

    def _copies(self, place: Location, repeat: Group) -> None:
        """Check that copies follow each other."""
        if max(repeat.count, 0) != len(repeat.children):
            self.report((*place, "count"), "it is not the number of copies")
        value = repeat.input
        for number, copy in enumerate(repeat.children):
            where = (*place, "children", number)
            if isinstance(copy, Step) or copy.role != "copy":
                self.report(where, "the parts of a repeat are copies")
                return
            if copy.input != value:
                self.report((*where, "input"), "a copy starts from the one before")
            value = copy.output
        if repeat.output != value:
            self.report((*place, "output"), "the last copy's output is the repeat's")

    def _enter(self, place: Location, group: Group) -> None:
        """Check that the input of a group is defined."""
        at = (*place, "input")
        # A group that names a value does not use it.
        known = group.input in self.read
        self._check_read(at, group.input, group.input_shape, group.training)
        if not known:
            self.read.discard(group.input)

    def _group_ends(self, place: Location, group: Group) -> None:
        """Check the output of a group."""
        known = group.output in self.read
        self._check_read((*place, "output"), group.output, group.shape, True)
        if not known:
            self.read.discard(group.output)

    def _extras(self, place: Location, group: Group, made: Sequence[int]) -> None:
        """Check the outputs of a block or group that has several.

        Args:
            place: of the group.
            group: the group.
            made: the values that are made in it.
        """
        if not group.extras:
            return
        at = (*place, "extras")
        self._port_names("extras", group.extras, place)
        if group.indexed:
            self.report(at, "the parts of a seq are modules of one output")
        if len(set(group.outputs)) < len(group.outputs):
            self.report(at, "two outputs are the same value")
        if not set(made).issuperset(group.outputs):
            self.report(at, "an output is a value from outside")
        for number, port in enumerate(group.extras):
            where = (*at, number)
            known = port.value in self.read
            self._check_read(where, port.value, port.shape, True)
            if not known:
                self.read.discard(port.value)
            self.exported.append(((group.path, port.name), port.value))
            if port.training:
                self.report(where, f"the output {port.name} exists only in training")

    def _ports(self, place: Location, group: Group) -> None:
        """Check the inputs of a block that has several."""
        if not group.ports:
            return
        at = (*place, "ports")
        if group.role != "block" or len(group.ports) < 2:
            self.report(at, "a block names its inputs if it has two or more")
        elif group.ports[0].value != group.input:
            self.report((*at, 0), "the first is the block's input")
        self._port_names("ports", group.ports, place)
        if len({port.value for port in group.ports}) < len(group.ports):
            self.report(at, "two are the same value")
        parameters = {p.name: p.value for p in group.parameters}
        for number, port in enumerate(group.ports):
            where = (*at, number)
            known = port.value in self.read
            self._check_read(where, port.value, port.shape, group.training)
            if not known:
                self.read.discard(port.value)
            if port.training:
                self.report(where, f"the input {port.name} exists only in training")
            own = parameters.get(channels_of_input(port.name))
            if number and (not port.shape or own != channels(port.shape)):
                self.report(where, f"no parameter has the channels of {port.name}")

    # ---- names

    def _name(self, place: Location, part: Step | Group, owner: _Owner) -> None:
        wanted = owner.path(part.name)
        if part.path != wanted:
            self.report((*place, "path"), f"it is {wanted} by its name and its owner")
        known = part.name in owner.parts
        if owner.group.shared and not part.shared:
            self.report((*place, "shared"), f"{owner.group.path} is shared, all of it")
        elif known and not part.shared:
            self.report((*place, "name"), f"two parts are named {wanted}")
        if part.pattern and _text(part.pattern, owner.names) != part.name:
            self.report((*place, "pattern"), f"it does not give {part.name}")
        if not known:
            self._new_name((*place, "name"), part.name, owner)
            self._old_names(place, part, owner)
        owner.parts.add(part.name)

    def _old_names(self, place: Location, part: Step | Group, owner: _Owner) -> None:
        for number, old in enumerate(part.renamed_from):
            where = (*place, "renamed_from", number)
            if not is_old_name(old.name):
                self.report(where, f"{old.name[:100]!r} cannot be part of a key")
            elif old.name == part.name:
                self.report(where, f"`{old.name}` is its name now")
            elif old.name in owner.old:
                self.report(where, f"two parts had the name {owner.path(old.name)}")
            if old.pattern and _text(old.pattern, owner.names) != old.name:
                self.report((*where, "pattern"), f"it does not give {old.name}")
            owner.old.add(old.name)

    def _registered(self, place: Location, group: Group) -> None:
        """Check the names of the parts that are registered first."""
        if not group.registered or self.found:  # what is wrong may have no tensors
            return
        at = (*place, "registered")
        if group.indexed:
            self.report(at, "the parts of a seq are registered as they run")
        there = {*with_tensors(group.registered, group.children)}
        seen: set[str] = set()
        for number, name in enumerate(group.registered):
            if name not in there:
                why = f"no part with weights or buffers is named `{name[:100]}`"
                self.report((*at, number), why)
            elif name in seen:
                self.report((*at, number), f"`{name}` stands twice")
            seen.add(name)

    def _new_name(self, place: Location, name: str, owner: _Owner) -> None:
        if owner.group.indexed:
            if name != str(len(owner.parts)):
                self.report(place, "the parts of a seq are named by number, from 0")
            return
        layers = [one for one in containers_of(name) if one in owner.parts]
        taken = f"is in {layers[0]}, which is a layer" if layers else ""
        self._can_be_label(place, name, taken)

    def _can_be_label(self, place: Location, name: str, other: str = "") -> None:
        """Report a name that cannot be a label, or has another fault."""
        reasons = [gap_in(name), *map(_label_refusal, attributes_of(name))]
        why = next(filter(None, [*reasons, other]), "")
        if why:
            self.report(place, f"`{name[:100]}` cannot name a part: it {why}")

    def _parameters(self, place: Location, group: Group) -> None:
        """Check the names that become classes and arguments in compiled code."""
        if group.role in ("network", "block"):
            why = refusal(group.word, group.role, frozenset())
            if why:
                self.report((*place, "word"), f"`{group.word[:100]}` {why}")
        times = Counter(parameter.name for parameter in group.parameters)
        for number, parameter in enumerate(group.parameters):
            name = parameter.name
            why = refusal(name, "parameter", PARAMETER_RESERVED)
            if times[name] > 1:
                why = "is there twice"
            # Channels are passed under a name of their own, and braces as `body`.
            if why and name not in ("in_channels", "body"):
                where = (*place, "parameters", number, "name")
                self.report(where, f"`{name[:100]}` cannot name a parameter: it {why}")

    def _check_numbers(
        self, place: Location, part: Step | Group, names: Names, inside: bool = True
    ) -> None:
        if isinstance(part, Step):
            fields = [("op", name, value) for name, value in vars(part.op).items()]
            fields += [("shape", "", part.shape)]
            fields += [("input_shapes", "", shape) for shape in part.input_shapes]
        else:
            fields = [("shape", "", part.shape), ("input_shape", "", part.input_shape)]
            fields += [("count", "", part.count)]
            fields += [("parameters", p.name, p.value) for p in part.parameters]
            fields += [("ports", p.name, p.shape) for p in part.ports]
            fields += [("extras", p.name, p.shape) for p in part.extras]
        for field, name, value in fields:
            if not _holds(value, names):
                self.report(
                    (*place, *filter(None, (field, name))),
                    f"{_plain(value)} is not the value of its expression",
                )

    def _floats(
        self, place: Location, group: Group, known: Mapping[str, float]
    ) -> None:
        """Check numbers with a point that stand for a parameter.

        Args:
            place: the place of the group.
            group: whose parts are checked.
            known: the parameters around it that are such numbers.
        """
        if group.role in ("network", "block"):
            values = [(p.name, p.value) for p in group.parameters]
            known = {n: float(v) for n, v in values if isinstance(v, float)}
        for number, child in enumerate(group.children):
            where = (*place, "children", number)
            if isinstance(child, Step):
                carried = [((*where, "op", n), v) for n, v in vars(child.op).items()]
            else:
                carried = [
                    ((*where, "parameters", n, "value"), p.value)
                    for n, p in enumerate(child.parameters)
                ]
            for at, value in carried:
                if isinstance(value, SymFloat) and known.get(value.name) != value:
                    self.report(at, f"{float(value)} is not what `{value.name}` is")
            if isinstance(child, Group):
                self._floats(where, child, known)

    def _condition(self, place: Location, group: Group, owner: _Owner) -> None:
        """Check that a part exists if and only if its condition holds."""
        if group.condition is None:
            return
        holds = _true(_with_floats(group.condition, owner.floats), owner.names)
        if holds is None:
            self.report(place, "whether it holds cannot be decided")
        elif holds != bool(group.children):
            there = "is there" if group.children else "is not there"
            self.report(
                place, f"it {'holds' if holds else 'fails'}, and the part {there}"
            )

    def _check_inner_numbers(self, place: Location, owner: _Owner) -> None:
        group, names = owner.group, owner.names
        for name, value in group.lets:
            if not _holds(value, names):
                self.report((*place, "lets", name), "its expression has another value")
        # Tests that name values computed only by the spec cannot be decided.
        lets = {n: _poly(v) for n, v in group.lets if not isinstance(v, Sym)}
        known = {**lets, **names}
        for number, (test, held) in enumerate(group.tests):
            if _true(_with_floats(test, owner.floats), known) == (not held):
                there = "fails" if held else "holds"
                self.report((*place, "tests", number), f"the condition {there}")

    # ---- the rest

    def _port_names(
        self, field: str, ports: Sequence[Port], around: Location = ()
    ) -> None:
        names = Counter(port.name for port in ports)
        for place, port in _placed(field, ports):
            at = (*around, *place, "name")
            why = refusal(port.name, "label", LABEL_RESERVED)
            if why:
                self.report(at, f"`{port.name[:100]}` {why}")
            if names[port.name] > 1:
                self.report(at, f"two {field} are named {port.name}")

    def _outputs(self) -> None:
        self._port_names("outputs", self.network.outputs)
        if not self.network.outputs:
            self.report(("outputs",), "there is no output")
            return
        for place, port in _placed("outputs", self.network.outputs):
            self.read.add(port.value)
            self._output(place, port)
        if self.network.outputs[0].value != self.network.root.output:
            self.report(("outputs", 0), "the first is the output of the root")
        if self.network.outputs[0].training:
            self.report(("outputs", 0), "the first exists in both modes")

    def _output(self, place: Location, port: Port) -> None:
        known = self.shapes.get(port.value)
        if known is None:
            self.report(place, f"nothing defines the value {port.value}")
        elif not _same(known, port.shape):
            self.report(place, f"its value is {_shown(known)}")
        elif port.value in self.training and not port.training:
            self.report(place, "its value exists only in training")

    def _unread(self) -> None:
        again = {path for path, value in self.exported if value in self.read}
        known = {value for path, value in self.exported if path in again}
        for value, place in self.made_at.items():
            if value not in self.read and value not in known:
                self.report(place, f"nothing reads the value {value}")

    def _initializer(self, place: Location, one: Initializer) -> None:
        """Check that the tensors of an initializer exist, and accept its scheme."""
        scheme = SCHEMES.get(one.scheme)
        if scheme is None:
            self.report(place, f"there is no initialisation {one.scheme}")
            return
        steps = [s for s in self.steps if one.is_about(s.path, s.op.word)]
        names = {t.used_as for s in steps for t in s.op.tensors(*s.input_shapes)}
        if one.tensor not in names and not (
            one.kind and one.tensor == "bias" and names
        ):
            self.report(place, f"no layer {one.kind or one.path} has a {one.tensor}")
        for name, value in one.arguments:
            wanted = scheme.arguments.get(name)
            if wanted is None or not isinstance(value, wanted[0]):
                self.report(place, f"{one.scheme} takes no {name} of {value!r}")
                return
        why = refusal_of_scheme(one.scheme, dict(one.arguments))
        if why:
            self.report(place, f"{one.scheme}: {why}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _placed(field: str, items: Sequence[Any]) -> Iterator[tuple[Location, Any]]:
    for number, item in enumerate(items):
        yield (field, number), item


def _same(one: Shape, other: Shape) -> bool:
    """Return whether two shapes are one, channels first or last."""
    return one == other and isinstance(one, Last) == isinstance(other, Last)


def _label_refusal(name: str) -> str:
    return refusal(name.replace("-", "_"), "label", LABEL_RESERVED)


def _shown(shape: Shape) -> str:
    last = ", channels last" if isinstance(shape, Last) else ""
    return f"{show_shape(shape)}{last}"


def _outline(part: Step | Group) -> Any:
    """Return a key that two uses of the same part share."""
    if isinstance(part, Step):
        return part.path, part.op.word
    ports = tuple(port.name for port in (*part.ports, *part.extras))
    inside = tuple(map(_outline, part.children))
    return part.path, part.role, part.indexed, part.registered, ports, inside


def _names(group: Group) -> dict[str, Poly]:
    """Return the values of a block's or network's parameters in expressions.

    Those that are true or false are 1 or 0.
    """
    known = {p.name: p.value for p in group.parameters if p.name != "in_channels"}
    return {name: _poly(value) for name, value in known.items() if _counts(value)}


def _counts(value: Any) -> bool:
    """Return whether a parameter stands for a number in expressions."""
    if isinstance(value, tuple):
        return len(set(value)) == 1 and _counts(value[0])
    return isinstance(value, int)


def _poly(value: Any) -> Poly:
    return Poly.constant(int(value[0] if isinstance(value, tuple) else value))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_plain(part) for part in value)
    return int(value) if isinstance(value, Sym) else value


def _holds(value: Any, names: Names) -> bool:
    """Return whether expressions have the values of the numbers that carry them."""
    if isinstance(value, tuple):
        return all([_holds(part, names) for part in value])
    if not isinstance(value, Sym):
        return True
    return _value(value.poly, names) == int(value)


def _text(label: LabelTemplate, names: Names) -> str:
    """Return a label with its numbers, or ? where one has no value."""
    values = [part if isinstance(part, str) else _value(part, names) for part in label]
    return "".join("?" if value is None else str(value) for value in values)


def _value(number: Poly | float, names: Names) -> float | None:
    """Return the value of an expression, or None if it has an unknown name."""
    if not isinstance(number, Poly):
        return number
    try:
        return number.substitute(names).number
    except (TooLong, ZeroDivisionError):
        return None


def _floats(group: Group) -> dict[str, float]:
    """Return the parameters of a block that are numbers, but not integers."""
    values = [(parameter.name, parameter.value) for parameter in group.parameters]
    return {name: value for name, value in values if isinstance(value, float)}


def _with_floats(test: Test, floats: Mapping[str, float]) -> Test:
    """Return a test with non-integer parameters replaced by their values."""
    match test:
        case Relation(left, op, right):
            sides = [
                floats.get(side.text(), side) if isinstance(side, Poly) else side
                for side in (left, right)
            ]
            return Relation(sides[0], op, sides[1])
        case Not(inner):
            return Not(_with_floats(inner, floats))
        case Joined(op, tests):
            return Joined(op, tuple(_with_floats(one, floats) for one in tests))
        case _:
            return test


def _true(test: Test, names: Names) -> bool | None:
    """Return whether a test holds; None if that is unknown."""
    match test:
        case Relation(left, op, right):
            one, other = _value(left, names), _value(right, names)
            if one is None or other is None or op not in COMPARISONS:
                return None
            return COMPARISONS[op](one, other)
        case Truth(name):
            value = _value(Poly.name(name), names)
            return None if value is None else bool(value)
        case Not(inner):
            holds = _true(inner, names)
            return None if holds is None else not holds
        case Joined(op, tests):
            found = [_true(one, names) for one in tests]
            if None in found:
                return None
            return all(found) if op == "and" else any(found)
