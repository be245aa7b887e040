"""Records what a module does: calls of its submodules and of functions, and saved
tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor, nn


class Event(NamedTuple):
    """One call during the run of a module.

    Tensors are numbered; tensors that are the same function of the same tensors share a
    number.

    Attributes:
        name: path of a submodule, or name of a torch function.
        is_module: whether it is a submodule.
        reads: numbers of its input tensors, without parameters.
        options: its other arguments.
        gives: numbers of its output tensors.
        shapes: shapes of its output tensors.
        macs: multiply-accumulates counted in torch during the call.
    """

    name: str
    is_module: bool
    reads: tuple[int, ...]
    options: Hashable
    gives: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    macs: int = 0


class Numbering:
    """Numbers tensors by what they are computed from.

    Args:
        tensors: the inputs, which get the first numbers.
        instead: replacement for each torch function; None calls the function itself.
        observe: called with each number and its tensor; if None, all tensors are kept
            alive, so that no object id is reused.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        instead: Handler | None = None,
        observe: Observer | None = None,
    ) -> None:
        self.kept: list[Tensor] = []
        self.instead = instead or _itself
        self.observe = observe or (lambda _, tensor: self.kept.append(tensor))
        self.numbers: dict[int, int] = {}
        self.known: dict[Hashable, tuple[int, ...]] = {}
        self.count = 0
        self.give(tensors, "input")

    def give(
        self,
        tensors: Sequence[Tensor],
        key: Hashable,
        versions: Mapping[int, int] = MappingProxyType({}),
    ) -> tuple[int, ...]:
        """Number the outputs of a call.

        A tensor that was modified in place gets a new number; one that was passed
        through keeps its own.

        Args:
            tensors: the outputs.
            key: what they are computed from.
            versions: versions of the inputs before the call, from `versions_of`.
        """
        if key not in self.known:
            found = []
            for tensor in tensors:
                if versions.get(id(tensor)) == tensor._version:
                    found.append(self.numbers.get(id(tensor), -1))
                else:
                    found.append(self.count)
                    self.count += 1
            self.known[key] = tuple(found)
        for tensor, number in zip(tensors, self.known[key], strict=True):
            self.observe(number, tensor)
            self.numbers[id(tensor)] = number
        return self.known[key]

    def read(self, tensors: Sequence[Tensor]) -> tuple[int, ...]:
        """Return the numbers of tensors, -1 for one of unknown origin."""
        return tuple(self.numbers.get(id(tensor), -1) for tensor in tensors)

    def function(
        self, func: Callable[..., Any], args: Any, kwargs: Any
    ) -> tuple[Any, Event | None]:
        """Call a function; return its result, and record the call."""
        read = self.read(tensors_in((args, kwargs)))
        options, versions = _plain((args, kwargs)), versions_of((args, kwargs))
        output = self.instead(func, args, kwargs)
        outputs = tensors_in(output)
        if not outputs:
            return output, None
        given = self.give(outputs, (func.__name__, read, options), versions)
        shapes = tuple(tuple(t.shape) for t in outputs)
        return output, Event(func.__name__, False, read, options, given, shapes)


@dataclass
class Trace:
    """All calls of one run, in order.

    Attributes:
        events: the calls; calls inside a submodule that is a layer are part of it.
        result: the module's result.
        returned: numbers of the tensors in it.
        macs: multiply-accumulates of the whole run.
    """

    events: list[Event] = field(default_factory=list)
    result: Any = None
    returned: tuple[int, ...] = ()
    macs: int = 0


def tensors_in(value: Any) -> tuple[Tensor, ...]:
    """Return the tensors in arguments or results, without parameters."""
    from torch import Tensor, nn

    if isinstance(value, Tensor):
        return () if isinstance(value, nn.Parameter) else (value,)
    if isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        return tuple(t for part in value for t in tensors_in(part))
    return ()


def versions_of(value: Any) -> dict[int, int]:
    """Return how often each tensor in some arguments has been modified."""
    return {id(tensor): tensor._version for tensor in tensors_in(value)}


def _plain(value: Any) -> Hashable:
    """Return arguments without tensors, in canonical form."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return "tensor"
    if isinstance(value, Mapping):
        # Running in place does not change what is computed.
        items = ((k, _plain(v)) for k, v in value.items() if k != "inplace")
        return tuple(sorted(items))
    if isinstance(value, slice):
        return "slice", value.start or 0, value.stop, value.step
    if isinstance(value, tuple | list):
        parts = tuple(_plain(part) for part in value)
        alike = len(set(parts)) == 1 and isinstance(parts[0], int | float)
        return parts[0] if alike else parts
    return value if isinstance(value, int | float | str | None) else repr(value)


Handler = Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]
Observer = Callable[[int, "Tensor"], None]


def _itself(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    return func(*args, **kwargs)


def intercept(handler: Handler) -> AbstractContextManager[Any]:
    """Return a context in which a handler replaces every torch function.

    The handler gets the function and its arguments. Calls that the handler makes are
    not intercepted, and neither are those that only turn gradients on or off.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class _Mode(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            if func is torch._C._set_grad_enabled:
                return func(*args, **(kwargs or {}))
            return handler(func, args, kwargs or {})

    return _Mode()


def trace(
    module: nn.Module,
    inputs: Sequence[Tensor],
    paths: set[str],
    instead: Handler | None = None,
    observe: Observer | None = None,
) -> Trace:
    """Run a module without gradients, and return its calls.

    Args:
        module: the module, in the mode in which it should run.
        inputs: on any device; on `meta`, no values are computed.
        paths: paths of the submodules that are layers.
        instead: replacement for each torch function; see `Numbering`.
        observe: called with each tensor.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    found = Trace()
    observing = False

    def watch(number: int, tensor: Tensor) -> None:
        nonlocal observing
        assert observe is not None
        observing = True
        observe(number, tensor)
        observing = False

    numbering = Numbering(inputs, instead, watch if observe else None)
    depth, before = 0, [0]

    def macs() -> int:
        return counter.get_total_flops() // 2

    def call(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        if observing:
            return func(*args, **kwargs)
        if depth:
            return numbering.instead(func, args, kwargs)
        start = macs()
        output, event = numbering.function(func, args, kwargs)
        if event is not None:
            found.events.append(event._replace(macs=macs() - start))
        return output

    def enter(_part: nn.Module, read: Any) -> None:
        nonlocal depth
        depth += 1
        before.append(macs())
        entered.append((numbering.read(tensors_in(read)), versions_of(read)))

    def leave(path: str) -> Callable[..., None]:
        def hook(_part: nn.Module, _read: Any, output: Any) -> None:
            nonlocal depth
            depth -= 1
            (read, versions), spent = entered.pop(), macs() - before.pop()
            if depth == 0:
                outputs = tensors_in(output)
                given = numbering.give(outputs, (path, read), versions)
                shapes = tuple(tuple(t.shape) for t in outputs)
                event = Event(path, True, read, (), given, shapes, spent)
                found.events.append(event)

        return hook

    entered: list[tuple[tuple[int, ...], dict[int, int]]] = []
    hooks = []
    for path, part in module.named_modules():
        if path in paths:
            hooks.append(part.register_forward_pre_hook(enter))
            hooks.append(part.register_forward_hook(leave(path)))
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter, intercept(call):
            found.result = module(*inputs)
        found.macs = macs()
        found.returned = numbering.read(tensors_in(found.result))
    finally:
        for hook in hooks:
            hook.remove()
    return found


@contextmanager
def saved_storages(module: nn.Module) -> Iterator[dict[int, Any]]:
    """Yield the storages that autograd keeps within the context, by their identity.

    Those of the module's parameters and buffers are not included.
    """
    import torch

    # Kept alive once found, so that no object id is reused.
    own = [t.untyped_storage() for t in (*module.parameters(), *module.buffers())]
    own_ids = {storage._cdata for storage in own}
    found: dict[int, Any] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own_ids:
            found[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found
