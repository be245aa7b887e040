"""The elaborated, shape-checked network: all of it on one screen.

A `Network` is a tree of `Group`s with `Step`s as leaves, in the order in which
they run. Data flow is by value number: each step reads the values `inputs` and
makes the value `output`; steps stand after the steps they read, so one walk in
order visits the graph topologically. The tree says who owns what: the path of
a step is its name in reports, errors, diagrams and `state_dict` keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Literal, ParamSpec, TypeVar

from pydantic import BaseModel, ConfigDict, InstanceOf, SkipValidation, model_validator

from .conditions import Label, Test
from .display import shown_as
from .layer import Layer
from .source import Span
from .values import Shape, TorchForm, show_shape

P = ParamSpec("P")
M = TypeVar("M")

Role = Literal[
    "network",  # the root
    "block",  # a call of a block of the spec
    "group",  # named braces, `seq`, or a named residual or merge
    "repeat",  # the copies of a repeated part, or the rounds of a for
    "copy",  # one of them
    "structure",  # a residual or merge without a name of its own
    "branch",  # one branch of a structure
    "shortcut",  # a residual's shortcut, empty where it is the identity
    "guard",  # a part of a seq under a test of parameters, empty where it fails
]


class Model(BaseModel):
    """Base of IR nodes: immutable, closed to unknown fields."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True
    )

    def __str__(self) -> str:
        return repr(self)


def unchecked(model: Callable[P, M]) -> Callable[P, M]:
    """Return a constructor that trusts its caller, for values made by this package.

    Checking all parts of a large network again takes longer than making them.
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


class Step(Model):
    """One layer in its place.

    Attributes:
        name: last part of the path.
        path: full dotted name.
        pattern: the label over the block's parameters, if it reads any.
        labelled: whether the spec names it (a functional layer then becomes a module).
        op: the layer kind with its arguments.
        inputs: numbers of the values it reads.
        input_shapes: their shapes.
        output: number of the value it makes.
        shape: that value's shape.
        training: whether it only serves outputs of the training mode.
        statement: steps of one chain of the spec share this number.
        span: where the spec says so.
        shared: whether it is an earlier step once more, with the same weights.
        alias: what `same` calls it then: its label, or the earlier step's name where
            there is none. Empty for the parts of a group that is there once more.
    """

    name: str
    path: str
    labelled: bool
    pattern: SkipValidation[Label] = ()
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

    def __repr__(self) -> str:
        return f"<Step {self.path}: {self.op.label()} -> {show_shape(self.shape)}>"

    @cached_property
    def form(self) -> TorchForm:
        """The layer as torch has it, kept since emission asks for it many times."""
        return self.op.torch(self.input_shapes, self.shape)


class Parameter(Model):
    """A parameter of a block or network, with the value it was given.

    Attributes:
        name: as in the spec.
        value: int, float, bool, str, tuple (a list or window), or the name of a
            layer kind or block. Code generation reads the expression it carries.
        default: what the definition gives it, None if that is no plain number.
    """

    name: str
    value: SkipValidation[Any]
    default: SkipValidation[Any] = None


class Group(Model):
    """Steps and groups that belong together.

    Attributes:
        role: why they do; see `Role`. Networks, blocks and groups own the names
            below them; the others are transparent: their parts bear names as if
            they stood in the group around.
        name: last part of the path; empty for transparent groups, but for a
            shortcut that was not spelled out it is the projection's name.
        path: full dotted name of the nearest group that owns names.
        pattern: as for a step.
        word: name of the block or network, or the structure's word.
        origin: identity of the block's definition: file and name.
        doc: the comment above the definition.
        indexed: whether the parts are named by number, as in torch's Sequential.
        parameters: the block's, in order.
        lets: integers that the spec gives a name inside, with their values.
        children: in order.
        input: number of the value that flows in.
        input_shape: its shape.
        output: number of the value that flows out.
        shape: its shape.
        count: number of copies, for a repeat.
        condition: for a shortcut that was not spelled out, the test of the enclosing
            block's parameters under which it projects; for an optional shortcut's
            sum (word ``optional``) or a guard, under which it is there.
        shared: whether it is an earlier group once more, with the same weights.
        alias: as for a step.
        training: whether it only serves outputs of the training mode.
        statement: as for a step.
        span: where the spec says so.
    """

    role: Role
    name: str
    path: str
    pattern: SkipValidation[Label] = ()
    word: str = ""
    origin: str = ""
    doc: str = ""
    indexed: bool = False
    parameters: tuple[Parameter, ...] = ()
    lets: SkipValidation[tuple[tuple[str, int], ...]] = ()
    children: tuple[Step | Group, ...] = ()
    input: int
    input_shape: SkipValidation[Shape]
    output: int
    shape: SkipValidation[Shape]
    count: SkipValidation[int] = 1
    condition: SkipValidation[Test | None] = None
    shared: bool = False
    alias: str = ""
    training: bool = False
    statement: int = 0
    span: InstanceOf[Span]

    def __repr__(self) -> str:
        number = sum(1 for _ in self.steps())
        what = " ".join(filter(None, (self.role, self.word, self.path)))
        return f"<Group {what}: {show_shape(self.shape)}, {number:,} steps>"

    def steps(self) -> Iterator[Step]:
        """Yield every step below, in the order in which they run."""
        stack: list[Step | Group] = [*reversed(self.children)]
        while stack:
            node = stack.pop()
            if isinstance(node, Step):
                yield node
            else:
                stack.extend(reversed(node.children))


class Port(Model):
    """An input or output of the network.

    Attributes:
        name: the spec's name for it.
        value: number of the value.
        shape: its shape.
        training: whether it exists only in training mode.
    """

    name: str
    value: int
    shape: SkipValidation[Shape]
    training: bool = False


class Expectation(Model):
    """A claim of the spec about the network.

    Attributes:
        measure: what is claimed about, such as ``params``.
        op: how it compares: ``==``, ``<`` and so on.
        value: with what, a number or a shape.
        span: where the spec claims it.
    """

    measure: str
    op: str
    value: SkipValidation[Any]
    span: InstanceOf[Span]


class Initializer(Model):
    """How one tensor of a layer kind, or of one layer, starts.

    Attributes:
        kind: word of the layer kind; empty for one layer.
        path: of the layer, or of what the layers of the kind stand in; empty for all
            of a kind.
        tensor: ``weight`` or ``bias``.
        scheme: name of the scheme, such as ``kaiming_normal``.
        arguments: of the scheme, by name.
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


class Network(Model):
    """A whole network.

    Attributes:
        name: the preset's name, or the network's own.
        inputs: in the order of `forward`'s arguments.
        outputs: the main one first.
        root: everything else; its word is the network's own name.
        initializers: in the order of the spec.
        expectations: the claims to check; none if parameters or the input were
            changed from outside.
    """

    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    root: Group
    initializers: tuple[Initializer, ...] = ()
    expectations: tuple[Expectation, ...] = ()

    @model_validator(mode="after")
    def _check_graph(self) -> Network:
        """Check that steps stand after what they read, and that paths are unique."""
        known = {port.value for port in self.inputs}
        paths: set[str] = set()
        for step in self.root.steps():
            assert known.issuperset(step.inputs), f"{step.path} reads a later value"
            new = step.path not in paths
            assert new != step.shared, f"{step.path} is named twice"
            known.add(step.output)
            paths.add(step.path)
        assert known.issuperset(port.value for port in self.outputs)
        return self

    def __repr__(self) -> str:
        # A tree in full has tens of thousands of characters.
        number = sum(1 for _ in self.steps())
        ports = (self.inputs, self.outputs)
        shapes = (", ".join(show_shape(port.shape) for port in each) for each in ports)
        layers = "1 layer" if number == 1 else f"{number:,} layers"
        return f"<Network {self.name}: {' -> '.join(shapes)}, {layers}>"

    def steps(self) -> Iterator[Step]:
        """Yield every step, in the order in which they run."""
        return self.root.steps()

    def _repr_svg_(self) -> str | None:
        """Return the picture that a notebook shows."""
        return shown_as(self, "svg")
