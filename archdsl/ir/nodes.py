"""The elaborated, shape-checked network.

A `Network` is a tree of `Group`s with `Step`s as leaves, in execution order. Values are
numbered: each step reads the values `inputs` and defines the value `output`. Steps come
after the steps that they read from, so they are in topological order. The tree
represents ownership: the path of a step is its name in reports, errors, diagrams and
`state_dict` keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Literal, ParamSpec, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, InstanceOf, SkipValidation, model_validator

from archdsl.conditions import LabelTemplate, Test
from archdsl.display import shown_as
from archdsl.layer import Layer
from archdsl.source import Span
from archdsl.values import Shape, TorchForm, show_shape

P = ParamSpec("P")
M = TypeVar("M")

Role = Literal[
    "network",  # the root
    "block",  # a call of a block
    "group",  # named braces, `seq`, or a named residual or merge
    "repeat",  # the copies of a repeated part, or the iterations of a for
    "copy",  # one of them
    "structure",  # a residual or merge without a name of its own
    "branch",  # one branch of a structure
    "shortcut",  # a residual's shortcut, empty where it is the identity
    "guard",  # a conditional part of a seq, empty if its condition fails
]
# The roles of the groups that own the names of their parts.
OWNERS: Final[tuple[Role, ...]] = ("network", "block", "group")


class Model(BaseModel):
    """Base of IR nodes: immutable, closed to unknown fields."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        arbitrary_types_allowed=True,
        # Elaboration makes nodes without validation: few commands need the validators.
        defer_build=True,
    )

    def __str__(self) -> str:
        return repr(self)


def unchecked(model: Callable[P, M]) -> Callable[P, M]:
    """Return a constructor that skips validation, for values made by this package.

    For large networks, validating all parts again would take longer than making them.
    """
    kind: Any = model
    own, assign = set(kind.model_fields), object.__setattr__
    defaults = {
        name: field.default
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }

    def make(*_: P.args, **values: P.kwargs) -> M:
        made: M = object.__new__(kind)
        assign(made, "__dict__", {**defaults, **values})
        assign(made, "__pydantic_fields_set__", own)
        assign(made, "__pydantic_extra__", None)
        assign(made, "__pydantic_private__", None)
        return made

    return make


class OldName(Model):
    """The name of a part in older checkpoints.

    Attributes:
        name: the name, with dots where it was a path below the same owner.
        pattern: the name as a template over the block's parameters, if it uses any.
    """

    name: str
    pattern: SkipValidation[LabelTemplate] = ()


class Step(Model):
    """One layer in its place.

    Attributes:
        name: last part of the path.
        path: full dotted name.
        pattern: the label as a template over the block's parameters, if it uses any.
        labelled: whether the spec names it; a layer without weights then becomes a
            module.
        op: the layer kind with its arguments.
        inputs: numbers of the values that it reads.
        input_shapes: their shapes.
        output: number of the value that it defines.
        shape: shape of that value.
        training: whether it is only needed for outputs of the training mode.
        statement: steps of one chain of the spec share this number.
        span: its place in the spec.
        shared: whether it repeats an earlier step, with the same weights.
        alias: its name in this use by `same`: its label, or else the earlier step's
            name. Empty for the parts of a group that is repeated.
        renamed_from: its names in older checkpoints, in the order of the spec.
    """

    name: str
    path: str
    labelled: bool
    pattern: SkipValidation[LabelTemplate] = ()
    op: InstanceOf[Layer]
    inputs: tuple[int, ...]
    input_shapes: SkipValidation[tuple[Shape, ...]]
    output: int
    shape: SkipValidation[Shape]
    training: bool
    statement: int
    span: InstanceOf[Span]
    shared: bool = False
    alias: str = ""
    renamed_from: tuple[OldName, ...] = ()

    def __repr__(self) -> str:
        return f"<Step {self.path}: {self.op.label()} -> {show_shape(self.shape)}>"

    @cached_property
    def form(self) -> TorchForm:
        """The layer in torch; cached, since emission uses it many times."""
        return self.op.torch(self.input_shapes, self.shape)


@dataclass(frozen=True, repr=False)
class Named:
    """A block or layer kind as the value of a parameter, where there is no spec.

    Networks that were read from JSON have these. The layers of the block are in the
    network; only classes in compiled code are named by the kind.

    Attributes:
        word: its name.
        kind: the layer kind, if it is one.
    """

    word: str
    kind: type[Layer] | None = None

    def __repr__(self) -> str:
        return self.word


class Parameter(Model):
    """A parameter of a block or network, with its value.

    Attributes:
        name: as in the spec.
        value: int, float, bool, str, tuple (a list or window), or a layer kind or
            block, which is `Named` in networks from JSON. Code generation reads the
            expression that it carries.
        default: its default in the definition, None if that is not a plain number.
    """

    name: str
    value: SkipValidation[Any]
    default: SkipValidation[Any] = None


class Port(Model):
    """An input or output of the network, or of a block that has several.

    Attributes:
        name: its name in the spec.
        value: number of its value.
        shape: its shape.
        training: whether it only exists in training mode; of a block, never.
    """

    name: str
    value: int
    shape: SkipValidation[Shape]
    training: bool = False


class Group(Model):
    """Steps and groups that belong together.

    Attributes:
        role: what kind of group it is; see `Role`. Networks, blocks and groups are
            namespaces for the names below them. The others are transparent: their
            children have names as if they were in the enclosing group.
        name: last part of the path. Empty for transparent groups, except for a shortcut
            that the spec does not write out, where it is the projection's name.
        path: full dotted name of the nearest group that is a namespace.
        pattern: as for a step.
        word: name of the block or network, or the structure's word.
        origin: identity of the block's definition: file and name.
        doc: the comment above the definition.
        indexed: whether its parts are numbered, as in torch's Sequential.
        parameters: the parameters of the block, in order.
        lets: named integers in the body, with their values.
        tests: conditions on the block's parameters that decide what is in it, with
            their answers. They may name the integers of `lets`; one that is a name
            which is no parameter is itself named in the spec.
        children: in order.
        input: number of the value that it receives.
        input_shape: shape of that value.
        ports: the inputs of a block that has several, `input` first; else empty.
        output: number of the value that it returns.
        shape: shape of that value.
        extras: its other outputs, of a block or named braces that has several. They are
            made inside, and no two outputs are one value.
        count: number of copies, for a repeat.
        condition: for a shortcut that the spec does not write out, the condition on the
            enclosing block's parameters under which it projects. For the sum of an
            optional shortcut (word ``optional``) and for a guard, the condition under
            which it exists.
        shared: whether it repeats an earlier group, with the same weights.
        alias: as for a step.
        renamed_from: as for a step.
        training: whether it is only needed for outputs of the training mode.
        statement: as for a step.
        span: its place in the spec.
    """

    role: Role
    name: str
    path: str
    pattern: SkipValidation[LabelTemplate] = ()
    word: str = ""
    origin: str = ""
    doc: str = ""
    indexed: bool = False
    parameters: tuple[Parameter, ...] = ()
    lets: SkipValidation[tuple[tuple[str, int], ...]] = ()
    tests: SkipValidation[tuple[tuple[Test, bool], ...]] = ()
    children: tuple[Step | Group, ...] = ()
    input: int
    input_shape: SkipValidation[Shape]
    ports: tuple[Port, ...] = ()
    output: int
    shape: SkipValidation[Shape]
    extras: tuple[Port, ...] = ()
    count: SkipValidation[int] = 1
    condition: SkipValidation[Test | None] = None
    shared: bool = False
    alias: str = ""
    renamed_from: tuple[OldName, ...] = ()
    training: bool = False
    statement: int = 0
    span: InstanceOf[Span]

    def __repr__(self) -> str:
        number = sum(1 for _ in self.steps())
        what = " ".join(filter(None, (self.role, self.word, self.path)))
        return f"<Group {what}: {show_shape(self.shape)}, {number:,} steps>"

    @property
    def outputs(self) -> tuple[int, ...]:
        """The numbers of the values that it returns, the main one first."""
        return self.output, *[port.value for port in self.extras]

    def steps(self) -> Iterator[Step]:
        """Yield every step below, in execution order."""
        stack: list[Step | Group] = [*reversed(self.children)]
        while stack:
            node = stack.pop()
            if isinstance(node, Step):
                yield node
            else:
                stack.extend(reversed(node.children))


class Expectation(Model):
    """A claim of the spec about the network.

    Attributes:
        measure: the figure, such as ``params``.
        op: the comparison: ``==``, ``<`` and so on.
        value: the number or shape to compare with.
        span: its place in the spec.
    """

    measure: str
    op: str
    value: SkipValidation[Any]
    span: InstanceOf[Span]


class Initializer(Model):
    """How a tensor of a layer kind, or of a single layer, is initialised.

    Attributes:
        kind: word of the layer kind; empty for a single layer.
        path: path of the layer, or of what contains the layers of the kind; empty for
            all layers of a kind.
        tensor: ``weight`` or ``bias``.
        scheme: name of the scheme, such as ``kaiming_normal``.
        arguments: arguments of the scheme, by name.
    """

    kind: str = ""
    path: str = ""
    tensor: str
    scheme: str
    arguments: tuple[tuple[str, float | int | str], ...] = ()

    def is_about(self, path: str, word: str) -> bool:
        """Return whether it is about the layer of a path and kind."""
        if not self.kind:
            return path == self.path
        inside = not self.path or path.startswith(f"{self.path}.")
        return inside and word == self.kind


class Exchange(Protocol):
    """How networks become JSON and come back: what `archdsl.ir.exchange` has."""

    def dump(self, network: Network, indent: int | None = None) -> str: ...

    def load(self, text: str | bytes | bytearray) -> Network: ...

    def schema(self) -> dict[str, Any]: ...


class Network(Model):
    """A complete network.

    Attributes:
        name: name of the preset or network.
        inputs: in the order of `forward`'s arguments.
        outputs: the main one first.
        root: everything else; its word is the network's own name.
        initializers: in the order of the spec.
        expectations: the claims to check; none if parameters or the input were changed
            from outside.
        exchange: returns what reads and writes JSON; few commands need it.
    """

    exchange: ClassVar[Callable[[], Exchange]]

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    root: Group
    initializers: tuple[Initializer, ...] = ()
    expectations: tuple[Expectation, ...] = ()

    @model_validator(mode="after")
    def _check_graph(self) -> Network:
        return in_order(self)

    def __repr__(self) -> str:
        # The full tree would have tens of thousands of characters.
        number = sum(1 for _ in self.steps())
        ports = (self.inputs, self.outputs)
        shapes = (", ".join(show_shape(port.shape) for port in each) for each in ports)
        layers = "1 layer" if number == 1 else f"{number:,} layers"
        return f"<Network {self.name}: {' -> '.join(shapes)}, {layers}>"

    def steps(self) -> Iterator[Step]:
        """Yield every step, in execution order."""
        return self.root.steps()

    def model_dump_json(  # type: ignore[override]
        self, *, indent: int | None = None
    ) -> str:
        """Return the network as JSON, which `model_validate_json` reads.

        Args:
            indent: spaces for each level; None for a single line.

        Raises:
            ValueError: if it has layers that only its spec declares (`op`).
        """
        return type(self).exchange().dump(self, indent)

    @classmethod
    def model_validate_json(  # type: ignore[override]
        cls, json_data: str | bytes | bytearray
    ) -> Network:
        """Return the network of a JSON text, whose every part is checked.

        Raises:
            archdsl.ir.verify.InvalidNetwork: a ValueError, with the path of each field
                that is wrong.
        """
        return cls.exchange().load(json_data)

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:  # type: ignore[override]
        """Return the JSON schema of networks."""
        return cls.exchange().schema()

    def _repr_svg_(self) -> str | None:
        """Return the picture that a notebook shows."""
        return shown_as(self, "svg")


def in_order(network: Network) -> Network:
    """Return a network whose steps come after those that they read from.

    Raises:
        AssertionError: if they do not, or a path is not unique.
    """
    known = {port.value for port in network.inputs}
    paths: set[str] = set()
    for step in network.root.steps():
        assert known.issuperset(step.inputs), f"{step.path} reads a later value"
        new = step.path not in paths
        assert new != step.shared, f"{step.path} is named twice"
        known.add(step.output)
        paths.add(step.path)
    assert known.issuperset(port.value for port in network.outputs)
    return network


_MAKERS: Final[dict[type, Any]] = {Step: unchecked(Step), Group: unchecked(Group)}
_NAMES: Final[dict[type, tuple[str, ...]]] = {
    Step: tuple(Step.model_fields),
    Group: tuple(Group.model_fields),
}
StepOrGroupT = TypeVar("StepOrGroupT", bound=Step | Group)


def changed(node: StepOrGroupT, **fields: Any) -> StepOrGroupT:
    """Return a node with other fields, without what is kept about it besides."""
    if not fields:
        return node
    own, names = vars(node), _NAMES[type(node)]
    if len(own) > len(names):
        own = {name: own[name] for name in names}
    made: StepOrGroupT = _MAKERS[type(node)](**{**own, **fields})
    return made


def with_own_outputs(group: Group) -> Group:
    """Return a group without further outputs that it does not make, or has already.

    What read them outside can read those values themselves. If the main output comes
    from outside, another one takes its place.
    """
    if not group.extras:
        return group
    made = {step.output for step in group.steps()}
    shapes = {port.value: port for port in reversed(group.extras)}
    found = [n for n in dict.fromkeys(group.outputs) if n in made]
    if found == list(group.outputs):
        return group
    fields: dict[str, Any] = {"extras": tuple([shapes[n] for n in found[1:]])}
    if found and found[0] != group.output:
        first = shapes[found[0]]
        fields |= {"output": first.value, "shape": first.shape}
    return changed(group, **fields)


def with_values(ports: Iterable[Port], value: Callable[[int], int]) -> tuple[Port, ...]:
    """Return inputs or outputs, the number of each value replaced by another one."""
    return tuple(
        [port.model_copy(update={"value": value(port.value)}) for port in ports]
    )


def with_root(network: Network, root: Group, outputs: Iterable[Port]) -> Network:
    """Return a network of other parts.

    Claims of the spec are dropped, as they are about another network, and so are
    initialisations of what is gone.
    """
    steps = list(root.steps())
    return Network(
        name=network.name,
        inputs=network.inputs,
        outputs=tuple(outputs),
        root=root,
        initializers=tuple(
            one
            for one in network.initializers
            if any(one.is_about(step.path, step.op.word) for step in steps)
        ),
    )
