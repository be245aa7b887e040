"""The symbolic values on which emitted code is executed.

A tensor is a `TensorValue`: the operation that produced it, and its operands. Equal
operations on equal values are a single `TensorValue`, which counts how often it was
computed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from archdsl.values import without_axes

if TYPE_CHECKING:
    from archdsl.backends.torch.validate.program import Class
    from archdsl.ir import Step


class Refused(Exception):
    """Emitted code that does something forbidden, or that cannot be evaluated.

    Attributes:
        line: line of the text, if it is known.
    """

    line: int | None = None


def refuse(why: str) -> NoReturn:
    """Raise `Refused`."""
    raise Refused(why)


class Missing(Refused):
    """An operation of the spec that the emitted code does not perform."""


class TorchName:
    """Something imported, by its dotted name: `nn.Conv2d`, `F.relu`, `torch.cat`."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name


class TensorValue:
    """A tensor, or an attribute of one, such as its shape.

    Attributes:
        key: the operation and its operands.
        graph: the graph that it belongs to.
        count: how often the emitted code computes it.
        wanted: how often the spec requires it, as a step's output or inside a step.
        steps: how often it is required as a step's output.
        inplace: whether it overwrites its input.
        step: the first step that requires it.
    """

    __slots__ = ("count", "graph", "inplace", "key", "step", "steps", "wanted")

    def __init__(self, key: tuple[Any, ...], graph: OperationGraph) -> None:
        self.key = key
        self.graph = graph
        self.count = 0
        self.wanted = 0
        self.steps = 0
        self.inplace = False
        self.step: Step | None = None


class OperationGraph:
    """All operations of one run of `forward`.

    Attributes:
        demanding: whether operations are now required by the spec, instead of performed
            by the code.
        calls: for modules whose calls have an order, the number of calls by module and
            inputs.
        turns: the calls of each such module, in the code's order, without those that
            the spec has already required.
        passed: for calls of identities, by module and input, how many more the code
            performs than the spec requires.
    """

    def __init__(self) -> None:
        self.demanding = False
        self.values: dict[tuple[Any, ...], TensorValue] = {}
        self.calls: dict[tuple[Any, ...], int] = {}
        self.turns: dict[OpaqueModule, deque[tuple[Any, ...]]] = {}
        self.passed: dict[tuple[OpaqueModule, TensorValue], int] = {}

    def input(self, place: int) -> TensorValue:
        """Return an argument of the network's `forward`."""
        return self.values.setdefault(
            ("input", place), TensorValue(("input", place), self)
        )

    def demand(self) -> None:
        """From now on, treat operations as required by the spec."""
        self.demanding = True
        self.calls.clear()

    def take_turn(self, leaf: OpaqueModule, key: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a key for one call of a module whose calls have an order.

        Raises:
            Refused: if it is required, and the code performs another call before it.
        """
        turns = self.turns.setdefault(leaf, deque())
        if not self.demanding:
            turns.append(key)
        elif turns and turns.popleft() != key:
            refuse("the code calls it in another order")
        number = self.calls[key] = self.calls.get(key, 0) + 1
        return key if number == 1 else (*key, number)

    def operation(self, key: tuple[Any, ...]) -> TensorValue:
        """Return the value of an operation.

        Raises:
            Missing: if it is required, and the code does not perform it.
        """
        value = self.values.get(key)
        if self.demanding:
            if value is None:
                raise Missing(f"nothing computes {show_operation(key)}")
            value.wanted += 1
            return value
        if value is None:
            value = self.values[key] = TensorValue(key, self)
        value.count += 1
        return value


class OpaqueModule:
    """A module that is treated as opaque: one of torch, of a layer kind, or foreign.

    Attributes:
        name: name of its class.
        args: arguments of its constructor, in canonical form.
        inplace: whether it overwrites its input.
        starts: how its tensors are initialised, by name.
        path: its path in the network; empty until that is known.
        base: name of the base class of its class.
        wrapper: name of the function that replaced its weight, and its arguments behind
            the module; empty if none did.
    """

    __slots__ = ("args", "base", "inplace", "name", "path", "starts", "wrapper")

    def __init__(
        self,
        name: str,
        args: tuple[Any, ...],
        inplace: bool,
        base: str = "nn.Module",
    ) -> None:
        self.name = name
        self.base = base
        self.args = args
        self.inplace = inplace
        self.starts: dict[str, tuple[Any, ...]] = {}
        self.path = ""
        self.wrapper: tuple[Any, ...] = ()

    @property
    def made_by(self) -> tuple[Any, ...]:
        """The call that makes it, by its name and arguments."""
        own = (self.name, *self.args)
        if not self.wrapper:
            return own
        wrapper, *rest = self.wrapper
        return (wrapper, own, *rest)

    @property
    def has_turns(self) -> bool:
        """Whether the order of its calls matters.

        It does if it draws random numbers, keeps running statistics or other buffers
        that training changes, or is foreign.
        """
        if self.wrapper:
            return True
        package, _, name = self.name.rpartition(".")
        random = without_axes(name).endswith(("Dropout", "StochasticDepth"))
        return random or name.startswith("BatchNorm") or package not in ("", "nn")

    def call(self, args: tuple[Any, ...]) -> TensorValue:
        """Return the module's output for some inputs."""
        graph = graph_of(args)
        if self.name == "nn.Identity":
            value: TensorValue
            (value,) = args
            passed = graph.passed.get((self, value), 0)
            graph.passed[self, value] = passed + (-1 if graph.demanding else 1)
            return value
        key = (self, *args)
        if self.has_turns:
            key = graph.take_turn(self, key)
        return graph.operation(key)


class BareParameter:
    """A bare parameter.

    Attributes:
        args: arguments of `nn.Parameter`.
        path: as for a leaf.
    """

    __slots__ = ("args", "path")

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.args = args
        self.path = ""


class ReshapedParameter(NamedTuple):
    """A bare parameter with other sizes.

    Attributes:
        parameter: the parameter.
        sizes: the sizes.
    """

    parameter: BareParameter
    sizes: tuple[Any, ...]


class Instance:
    """A module of a class in the text, or a torch container.

    Attributes:
        kind: its class.
        children: submodules by name, in order.
        parameters: bare parameters by name, in order.
        attributes: all other attributes that the constructor sets.
        ready: whether `nn.Module.__init__` has run.
        path: as for a leaf.
    """

    __slots__ = ("attributes", "children", "kind", "parameters", "path", "ready")

    def __init__(self, kind: Class) -> None:
        self.kind = kind
        self.children: dict[str, OpaqueModule | Instance] = {}
        self.parameters: dict[str, BareParameter] = {}
        self.attributes: dict[str, Any] = {}
        self.ready = False
        self.path = ""


ModuleValue = OpaqueModule | Instance


class TensorOf:
    """A parameter of a module, as it is passed to an initialiser."""

    __slots__ = ("name", "owner")

    def __init__(self, owner: OpaqueModule, name: str) -> None:
        self.owner = owner
        self.name = name


class Record:
    """Several outputs by name."""

    __slots__ = ("fields",)

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = fields


def graph_of(args: tuple[Any, ...]) -> OperationGraph:
    """Return the graph that some arguments belong to."""
    for arg in args:
        if type(arg) is TensorValue:
            return arg.graph
        if type(arg) is tuple:
            for part in arg:
                if type(part) is TensorValue:
                    return part.graph
    refuse("a function is called without a tensor")


def show_operation(key: Any) -> str:
    """Return an operation in readable form, with its operands by their steps."""
    if isinstance(key, TensorValue):
        if key.step is not None:
            return f"the output of `{key.step.path}`"
        return (
            f"the input {key.key[1] + 1}"
            if key.key[0] == "input"
            else show_operation(key.key)
        )
    if isinstance(key, tuple):
        named = bool(key) and isinstance(key[0], OpaqueModule | str)
        head = show_operation(key[0]) if named else ""
        return f"{head}({', '.join([show_operation(part) for part in key[named:]])})"
    if isinstance(key, OpaqueModule | BareParameter):
        return f"`{key.path}`" if key.path else "a module that is not registered"
    return key if isinstance(key, str) else repr(key)
