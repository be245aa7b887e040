"""Networks that are stored as a graph in a file: their calls, and how to replay them.

A torch.export program or an ONNX model has no modules to run and record. But it names
the module that each operation belongs to. So empty modules with these names are
created, and the operations are run on the meta device as if these modules ran them. The
result is a recording like the one that `calls.watch` makes of a live module.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from math import prod
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends.importer.calls import (
    BATCH,
    ModuleCall,
    OwnTensor,
    RecordedCall,
    Recorder,
    Recording,
    TensorRef,
    Untraceable,
    tensors_in,
)
from archdsl.backends.importer.parts import is_numbered
from archdsl.backends.torch.verification.trace import intercept
from archdsl.elaborate.types import counted
from archdsl.values import show_shape

if TYPE_CHECKING:
    from torch import nn

# Far more than any network has, and still quick to process.
MAX_OPERATIONS: Final = 50_000
MAX_TENSORS: Final = 200_000
# Largest number of elements of one value: 1 GiB at 4 bytes each.
MAX_ELEMENTS: Final = 2**28
_DEEPEST: Final = 64
_SEQUENTIAL: Final = ("torch.nn.modules.container.Sequential", "torch.nn.Sequential")


class ValueRef(str):
    """A value of a graph as an argument of an operation."""

    __slots__ = ()


class ModuleScope(NamedTuple):
    """A call of a module that an operation is in.

    Attributes:
        call: an identifier of this call.
        path: the path of the module.
        cls: its class, with the Python module that it is in.
    """

    call: str
    path: str
    cls: str


@dataclass(frozen=True)
class Operation:
    """An operation of a graph, as a call of a torch function.

    Attributes:
        name: its name in messages.
        scopes: the calls of modules that contain it, outermost first.
        perform: the function; it takes the arguments, with values instead of names.
        args: its arguments, with `ValueRef`s for values, also in lists.
        gives: names of its results; empty for those that nothing reads.
    """

    name: str
    scopes: tuple[ModuleScope, ...]
    perform: Callable[..., Any]
    args: tuple[Any, ...]
    gives: tuple[str, ...]


@dataclass
class ImportGraph:
    """A network as a graph.

    Attributes:
        file: name of the file, for messages.
        cls: class of the network, with the Python module that it is in.
        inputs: names, with their shapes, the batch included.
        outputs: names.
        state: shapes of parameters and buffers by key, in order.
        buffers: keys of those that are buffers.
        temporary: keys of those that are not in a `state_dict`.
        values: names of values that are parameters and buffers, with their keys.
        operations: in order.
        training: whether the network is in training.
        notes: further remarks for the user, as sentences.
    """

    file: str
    cls: str
    inputs: list[tuple[str, tuple[int, ...]]]
    outputs: list[str]
    state: dict[str, tuple[int, ...]]
    buffers: frozenset[str] = frozenset()
    temporary: frozenset[str] = frozenset()
    values: dict[str, str] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)
    training: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def batch(self) -> int:
        """The batch size in the file."""
        return self.inputs[0][1][0]


def without_unread(graph: ImportGraph) -> None:
    """Leave out modules' tensors that are never read, and say so in a note."""
    read = {graph.values[n] for one in graph.operations for n in _names_in(one.args)
            if n in graph.values}  # fmt: skip
    owners = {key.rpartition(".")[0] for key in read}
    # A batch norm's counter is never read, but is kept with the tensors that are.
    unread = [
        k for k in graph.state if k not in read and k.rpartition(".")[0] not in owners
    ]
    if not unread:
        return
    for key in unread:
        del graph.state[key]
    graph.values = {n: key for n, key in graph.values.items() if key in graph.state}
    graph.notes.append(
        f"{counted(len(unread), 'tensor')} of the file left out, as nothing reads "
        f"them: {', '.join(unread[:3])}{', ...' if len(unread) > 3 else ''}"
    )


def _names_in(arg: Any) -> Iterator[str]:
    if isinstance(arg, ValueRef):
        yield arg
    elif isinstance(arg, tuple | list):
        for part in arg:
            yield from _names_in(part)
    elif isinstance(arg, dict):
        for part in arg.values():
            yield from _names_in(part)


def replay(graph: ImportGraph) -> tuple[Recording, nn.Module]:
    """Return a recording of a graph, and bare modules that hold its tensors.

    Raises:
        Untraceable: if an operation cannot be run, or the graph is not valid.
    """
    if len(graph.operations) > MAX_OPERATIONS:
        raise Untraceable(f"there are more than {MAX_OPERATIONS:,} operations")
    return _Replay(graph).run()


class _Replay:
    """A run of a graph on the meta device."""

    def __init__(self, graph: ImportGraph) -> None:
        self.graph = graph
        self.module = _modules(graph)
        self.tensors = dict(
            (
                *self.module.named_parameters(remove_duplicate=False),
                *self.module.named_buffers(remove_duplicate=False),
            )
        )
        own = {id(t): OwnTensor(key, tuple(t.shape)) for key, t in self.tensors.items()}
        self.recorder = Recorder(own)
        self.known: dict[str, Any] = {
            name: self.tensors[key] for name, key in graph.values.items()
        }
        self.parts = dict(self.module.named_modules())
        self.top = ModuleCall("", self.module)
        self.stack: list[tuple[str, ModuleCall]] = [("", self.top)]
        self.at = ""

    def run(self) -> tuple[Recording, nn.Module]:
        """Run the whole graph."""
        import torch

        entries = []
        for name, shape in self.graph.inputs:
            tensor = torch.empty(BATCH, *shape[1:], device="meta")
            entries.append(self.recorder.number(tensor))
            self.known[name] = tensor
        with torch.no_grad(), intercept(self._call):
            for operation in self.graph.operations:
                self._operation(operation)
        outputs = [self._value(ValueRef(name)) for name in self.graph.outputs]
        found = [self.recorder.value(tensor) for tensor in tensors_in(outputs)]
        gives = tuple(ref.number for ref in found if isinstance(ref, TensorRef))
        if len(gives) != len(outputs):
            raise Untraceable("an output depends on no input")
        self.top.reads, self.top.gives = tuple(entries), gives
        _ends(self.top, gives)
        _unchanged(self.top)
        # A file contains numbers where code read the sizes of a value.
        shapes = self.recorder.shapes
        return Recording(
            self.top, tuple(entries), gives, shapes, tuple(shapes)
        ), self.module

    def _call(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        result, calls = self.recorder.call(func, args, kwargs)
        for call in calls:
            if any(prod(shape) > MAX_ELEMENTS * BATCH for shape in call.shapes):
                raise Untraceable(
                    f"`{self.at}` has a result of more than {MAX_ELEMENTS:,} elements"
                )
        own = [replace(call, place=self.at) for call in calls]
        self.stack[-1][1].items.extend(own)
        return result

    def _operation(self, operation: Operation) -> None:
        self._enter(operation.scopes)
        self.at = operation.name
        args = [self._value(arg) for arg in operation.args]
        try:
            result = operation.perform(*args)
        except Untraceable:
            raise
        except Exception as error:
            text = " ".join(str(error).partition("\n")[0].split())[:200]
            raise Untraceable(f"`{operation.name}` cannot be run: {text}") from error
        results = result if isinstance(result, tuple | list) else (result,)
        for name, one in zip(operation.gives, results, strict=False):
            if name:
                self.known[name] = one

    def _value(self, arg: Any) -> Any:
        """Return an argument with values in place of their names."""
        if isinstance(arg, ValueRef):
            if arg not in self.known:
                raise Untraceable(f"`{self.at}` reads `{arg}`, which is not computed")
            return self.known[arg]
        if isinstance(arg, tuple | list):
            return [self._value(part) for part in arg]
        if isinstance(arg, dict):
            return {name: self._value(part) for name, part in arg.items()}
        return arg

    def _enter(self, scopes: Sequence[ModuleScope]) -> None:
        """Leave the calls of modules that end here, and enter new ones."""
        same = 0
        inside = self.stack[1:]
        while (
            same < min(len(scopes), len(inside))
            and scopes[same].call == inside[same][0]
        ):
            same += 1
        del self.stack[same + 1 :]
        for scope in scopes[same:]:
            frame = ModuleCall(scope.path, self.parts[scope.path])
            self.stack[-1][1].items.append(frame)
            self.stack.append((scope.call, frame))


# ---- calls of modules -----------------------------------------------------------


def _ends(top: ModuleCall, outputs: Sequence[int]) -> None:
    """Record the inputs and outputs of each call of a module."""
    last: dict[int, int] = dict.fromkeys(outputs, 1 << 60)
    calls = top.calls()
    for place, call in enumerate(calls):
        last.update(dict.fromkeys(call.reads, place))
    last.update(dict.fromkeys(outputs, 1 << 60))
    _end(top, 0, last)


def _end(
    frame: ModuleCall, start: int, last: Mapping[int, int]
) -> tuple[int, list[RecordedCall]]:
    """Fill in inputs and outputs of a call and the calls in it; return where it ends.

    Args:
        frame: the call.
        start: place of its first function call among all.
        last: place of the last function call that reads each value.
    """
    at, inside = start, list[RecordedCall]()
    for item in frame.items:
        if isinstance(item, ModuleCall):
            at, calls = _end(item, at, last)
            inside += calls
        else:
            inside.append(item)
            at += 1
    given = {value for call in inside for value in call.gives}
    reads = [v for call in inside for v in call.reads if v not in given]
    leaving = [v for call in inside for v in call.gives if last.get(v, -1) >= at]
    if frame.path:
        frame.reads, frame.gives = tuple(dict.fromkeys(reads)), tuple(leaving)
    return at, inside


def _unchanged(frame: ModuleCall) -> None:
    """Insert numbered modules that do nothing, which a file does not contain."""
    if is_numbered(frame.module) and len(frame.reads) == 1:
        by_name: dict[str, list[RecordedCall | ModuleCall]] = {}
        for item in frame.items:
            name = item.path.rpartition(".")[2] if isinstance(item, ModuleCall) else ""
            by_name.setdefault(name, []).append(item)
        value: tuple[int, ...] = frame.reads
        items: list[RecordedCall | ModuleCall] = []
        for name, part in frame.module.named_children():
            found = by_name.pop(name, None)
            if found is None:
                path = f"{frame.path}.{name}".removeprefix(".")
                found = [ModuleCall(path, part, value, value)]
            items += found
            value = found[-1].gives or value
        if not by_name:
            frame.items = items
    for item in frame.items:
        if isinstance(item, ModuleCall):
            _unchanged(item)


# ---- bare modules ---------------------------------------------------------------


def _modules(graph: ImportGraph) -> nn.Module:
    """Return modules with the names in a graph, which hold its tensors and do nothing.

    Raises:
        Untraceable: if no modules can have these names.
    """
    import torch
    from torch import nn

    if len(graph.state) > MAX_TENSORS:
        raise Untraceable(f"there are more than {MAX_TENSORS:,} tensors")
    classes = {
        scope.path: scope.cls for one in graph.operations for scope in one.scopes
    }
    made: dict[tuple[str, bool], type[nn.Module]] = {}
    # Among modules that are called, only a Sequential has parts with numbers as names.
    numbered = {
        path.rpartition(".")[0]
        for path in (*classes, *(key.rpartition(".")[0] for key in graph.state))
        if path.rpartition(".")[2].isdecimal()
    }
    top = _bare(graph.cls, "" in numbered, made)
    known: dict[str, nn.Module] = {"": top}
    order = [key.rpartition(".")[0] for key in graph.state]
    for path in dict.fromkeys((*order, *classes)):
        _add(path, known, classes, numbered, made)
    for part in known.values():
        if isinstance(part, nn.Sequential):
            _complete(part)
    with torch.device("meta"):
        for key, shape in graph.state.items():
            owner, _, name = key.rpartition(".")
            try:
                tensor = torch.empty(shape)
                if key in graph.buffers:
                    lasting = key not in graph.temporary
                    known[owner].register_buffer(name, tensor, persistent=lasting)
                else:
                    known[owner].register_parameter(name, nn.Parameter(tensor))
            except (KeyError, TypeError, RuntimeError) as error:
                shown = f"{key[:200]!r} of shape {show_shape(shape)[:100]}"
                raise Untraceable(f"no tensor can be {shown}") from error
    return top


def _add(
    path: str,
    known: dict[str, nn.Module],
    classes: Mapping[str, str],
    numbered: Set[str],
    made: dict[tuple[str, bool], type[nn.Module]],
) -> None:
    """Add the module at a path, and missing ones around it."""
    names = path.split(".") if path else []
    if len(names) > _DEEPEST:
        raise Untraceable(f"modules are nested deeper than {_DEEPEST} levels")
    for end in range(1, len(names) + 1):
        inner, outer = ".".join(names[:end]), ".".join(names[: end - 1])
        if inner in known:
            continue
        runs = inner in classes and inner in numbered
        part = _bare(classes.get(inner, ""), runs, made)
        try:
            known[outer].add_module(names[end - 1], part)
        except (KeyError, TypeError) as error:
            raise Untraceable(f"no module can be named {inner[:200]!r}") from error
        known[inner] = part


_WORD: Final = re.compile(r"[A-Za-z]\w{0,99}", re.ASCII)


def _bare(
    cls: str, numbered: bool, made: dict[tuple[str, bool], type[nn.Module]]
) -> nn.Module:
    """Return a module with the name of a class; the class itself is not imported."""
    from torch import nn

    if cls in _SEQUENTIAL:
        return nn.Sequential()
    key = cls, numbered
    if key not in made:
        where, _, name = cls.rpartition(".")
        clear = all(_WORD.fullmatch(part) for part in cls.split("."))
        made[key] = type(
            name if clear else "Module",
            (nn.Sequential if numbered else nn.Module,),
            {"__module__": where if clear and where else "a file"},
        )
    return made[key]()


def _complete(part: nn.Sequential) -> None:
    """Give a Sequential its numbered modules in order, even those that do nothing."""
    from torch import nn

    children = dict(part.named_children())
    if not children or not all(name.isdecimal() for name in children):
        return
    last = max(map(int, children))
    if last >= 4 * len(children) + 16:
        return
    part._modules.clear()
    for number in range(last + 1):
        part.add_module(str(number), children.get(str(number), nn.Identity()))
