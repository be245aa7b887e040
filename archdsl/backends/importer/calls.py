"""Runs a module on the meta device, and records calls of its submodules and of torch.

No values are computed, so a network of any size takes seconds and needs no weights.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import EllipsisType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from archdsl.backends.torch.verification.trace import intercept

if TYPE_CHECKING:
    from torch import Tensor, nn

# Samples of a batch: batch norm refuses a single one in training.
BATCH = 2

# Functions whose result is treated as the same tensor.
_NOTHING = frozenset(
    (
        *("contiguous", "clone", "to", "type", "type_as", "float", "alias"),
        *("requires_grad_", "detach", "positive"),
        # Readers of the result would broadcast it anyway; if not, the comparison fails.
        *("expand", "expand_as"),
    )
)
# Arguments that do not change the values that a function computes.
_IRRELEVANT = frozenset(
    (
        *(
            "inplace",
            "training",
            "out",
            "generator",
            "memory_format",
            "use_input_stats",
        ),
        *("dtype", "layout", "device", "pin_memory", "requires_grad", "max_norm"),
        *("cudnn_enabled", "_stacklevel"),
    )
)
# Names of the same function, and the order of its arguments.
_SAME: Mapping[str, str] = {
    "__add__": "add",
    "__radd__": "add",
    "__iadd__": "add",
    "__sub__": "sub",
    "__isub__": "sub",
    "__mul__": "mul",
    "__rmul__": "mul",
    "__imul__": "mul",
    "multiply": "mul",
    "__truediv__": "div",
    "__itruediv__": "div",
    "true_divide": "div",
    "divide": "div",
    "concat": "cat",
    "concatenate": "cat",
    "absolute": "abs",
    "swapaxes": "transpose",
    "reshape": "view",
    "reshape_as": "view",
    "view_as": "view",
    "unflatten": "view",
    "unsqueeze": "view",
}
# Functions that take sizes one by one or as a list.
_VARIADIC = frozenset(("permute", "view", "reshape", "expand", "repeat"))
# Functions whose declaration lacks some arguments.
_UNDECLARED = frozenset(("bernoulli_", "mean"))
_AXES = frozenset(("dim", "start_dim", "end_dim", "dim0", "dim1", "axis"))
_SWAPPED = frozenset(("add", "mul"))
_BINARY = frozenset(("add", "sub", "mul", "div"))


class TensorRef(NamedTuple):
    """A value that depends on the inputs, or is drawn at random."""

    number: int


class OwnTensor(NamedTuple):
    """A parameter or buffer of the module, by its key."""

    key: str
    shape: tuple[int, ...]


class Constant(NamedTuple):
    """Any other tensor, which the code created itself."""

    shape: tuple[int, ...]


RecordedValue: TypeAlias = Any


@dataclass(frozen=True)
class RecordedCall:
    """A call of a torch function.

    Attributes:
        name: the function; several names of the same function have become one.
        args: its arguments by name, defaults left out, in canonical form.
        reads: values that depend on the inputs, in order.
        owns: parameters and buffers that it reads, in order.
        gives: numbers of its outputs.
        shapes: their shapes, with the batch.
        place: file and line of the module's code that makes it.
    """

    name: str
    args: tuple[tuple[str, RecordedValue], ...]
    reads: tuple[int, ...]
    owns: tuple[OwnTensor, ...]
    gives: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    place: str = ""


@dataclass
class ModuleCall:
    """A call of a module.

    Attributes:
        path: the module's path; empty for the network itself.
        module: the module.
        reads: values that it was given.
        gives: values that it returned.
        items: the calls that it makes, in order.
    """

    path: str
    module: nn.Module
    reads: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()
    items: list[RecordedCall | ModuleCall] = field(default_factory=list)

    def calls(self) -> list[RecordedCall]:
        """Return all calls of functions inside it, in order."""
        found: list[RecordedCall] = []
        for item in self.items:
            found += [item] if isinstance(item, RecordedCall) else item.calls()
        return found


@dataclass
class Recording:
    """The recording of a module's run.

    Attributes:
        root: the call of the module itself.
        inputs: numbers of its inputs.
        outputs: numbers of its results, in order.
        shapes: shape of each value, with the batch.
        asked: values whose sizes the code asked for, in order.
    """

    root: ModuleCall
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    shapes: dict[int, tuple[int, ...]]
    asked: tuple[int, ...] = ()


def late(calls: Sequence[RecordedCall]) -> list[RecordedCall]:
    """Return calls with those that only read weights right before their first reader.

    Code may prepare the weights of several layers before it runs the first of them.
    """
    found: list[RecordedCall] = []
    waiting: dict[int, RecordedCall] = {}

    def take(call: RecordedCall) -> None:
        for number in call.reads:
            if number in waiting:
                take(waiting.pop(number))
        found.append(call)

    for call in calls:
        if call.owns and not call.reads and len(call.gives) == 1:
            waiting[call.gives[0]] = call
        else:
            take(call)
    return [*found, *waiting.values()]


class Untraceable(Exception):
    """A module that cannot be run without values; the message says what stops it."""


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors in arguments or results, parameters included."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [tensor for part in value for tensor in tensors_in(part)]
    return []


class Recorder:
    """Numbers values, and turns calls of torch functions into `RecordedCall`s.

    Args:
        own: parameters and buffers by the identity of their tensors.
    """

    def __init__(self, own: dict[int, OwnTensor]) -> None:
        self.own = own
        self.numbers: dict[int, int] = {}
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.kept: list[Any] = []
        # Values that depend on parameters and buffers alone.
        self.fixed: set[int] = set()
        # Values whose sizes the code asked for, in order.
        self.asked: list[int] = []

    def number(self, tensor: Tensor) -> int:
        """Give a tensor a number of its own."""
        number = len(self.shapes)
        self.kept.append(tensor)
        self.numbers[id(tensor)] = number
        self.shapes[number] = tuple(tensor.shape)
        return number

    def value(self, tensor: Tensor) -> TensorRef | OwnTensor | Constant:
        """Return a tensor as an argument: a value, own tensor or constant."""
        number = self.numbers.get(id(tensor))
        if number is not None:
            return TensorRef(number)
        return self.own.get(id(tensor)) or Constant(tuple(tensor.shape))

    def stands_for(self, made: Tensor, own: Tensor) -> None:
        """Treat a tensor that is made from a parameter as the parameter."""
        self.kept.append(made)
        self.numbers.pop(id(made), None)
        self.own[id(made)] = self.own[id(own)]

    def call(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Any, tuple[RecordedCall, ...]]:
        """Call a function; return its result, and records of what it computes."""
        if func.__name__ == "__getitem__" and len(args) == 2:
            args = (args[0], _sliced(args[1], args[0].shape))
        named = _bound(func, args, kwargs)
        ndim = max((t.dim() for t in tensors_in((args, kwargs))), default=0)
        plain = self._canonical(func, named, ndim)
        before = [self.value(t) for t in tensors_in((args, dict(kwargs)))]
        result = func(*args, **kwargs)
        outputs = tensors_in(result)
        if not outputs or func.__name__ in ("__get__", "__set__"):
            self._attribute(args, outputs)
            return result, ()
        if func.__name__.endswith("_") and isinstance(
            before[0] if before else 0, OwnTensor
        ):
            return result, ()  # an update of a buffer, such as a counter
        alone = func.__name__ in _NOTHING or (_name(func) == "cat" and len(before) == 1)
        alone |= func.__name__ == "__getitem__" and args[1:] == ((),)
        alone |= _changes_nothing(_name(func), dict(plain))
        if alone and len(outputs) == 1 and before and isinstance(before[0], TensorRef):
            for output in outputs:
                self.kept.append(output)
                self.numbers[id(output)] = before[0].number
            return result, ()
        gives = tuple(self.number(output) for output in outputs)
        if before and all(map(self._is_fixed, before)):
            self.fixed.update(gives)
        name = _name(func)
        if name == "__getitem__" and _adds_axes(args[1]):
            name = "view"
        if name == "view" and len(outputs) == 1:
            # Record the final sizes, however they were given and computed.
            sizes = tuple(outputs[0].shape)
            while gives[0] in self.fixed and sizes[:1] == (1,):
                sizes = sizes[1:]  # the axis of the batch, which broadcasts
            plain, before = (plain[0], ("sizes", sizes)), before[:1]
            own = before[0]
            if isinstance(own, OwnTensor) and sizes == own.shape:
                # It only adds leading axes; broadcasting would do the same.
                del self.numbers[id(outputs[0])]
                self.own[id(outputs[0])] = own
                return result, ()
        made = RecordedCall(
            name=name,
            args=plain,
            reads=tuple(v.number for v in before if isinstance(v, TensorRef)),
            owns=tuple(v for v in before if isinstance(v, OwnTensor)),
            gives=gives,
            shapes=tuple(self.shapes[n] for n in gives),
            place=_place(),
        )
        if name == "sub" and len(made.reads) == len(made.args) == 2:
            return result, self._as_sum(made)
        plain_quotient = dict(plain).get("rounding_mode") is None
        if name == "div" and len(made.reads) == 2 and plain_quotient:
            return result, self._as_product(made)
        if name == "addcmul" and len(made.args) == 4 and made.args[3][1] == 1:
            return result, self._as_product_and_sum(made)
        return result, (made,)

    def _new(self, shape: tuple[int, ...]) -> int:
        """Return the number of an intermediate value for which no tensor exists."""
        number = len(self.shapes)
        self.shapes[number] = shape
        return number

    def _as_product(self, quotient: RecordedCall) -> tuple[RecordedCall, RecordedCall]:
        """Return a quotient of two values as a product with the second's reciprocal."""
        first, second = quotient.reads
        inverse = self._new(self.shapes[second])
        reciprocal = replace(
            quotient,
            name="reciprocal",
            args=(("input", TensorRef(second)),),
            reads=(second,),
            gives=(inverse,),
            shapes=(self.shapes[inverse],),
        )
        args = (("input", TensorRef(first)), ("other", TensorRef(inverse)))
        reads = first, inverse
        return reciprocal, replace(quotient, name="mul", args=args, reads=reads)

    def _as_product_and_sum(
        self, made: RecordedCall
    ) -> tuple[RecordedCall, RecordedCall]:
        """Return a product to which a summand is added, in one call, as two."""
        summand, one, other = (value for _, value in made.args[:3])
        if isinstance(other, TensorRef) and self._is_fixed(one):
            one, other = other, one
        given = self._new(made.shapes[0])
        calls = []
        for name, pair, gives in (
            ("mul", (one, other), made.gives),
            ("add", (TensorRef(given), summand), made.gives),
        ):
            calls.append(
                replace(
                    made,
                    name=name,
                    args=(("input", pair[0]), ("other", pair[1])),
                    reads=tuple(v.number for v in pair if isinstance(v, TensorRef)),
                    owns=tuple(v for v in pair if isinstance(v, OwnTensor)),
                    gives=(given,) if name == "mul" else gives,
                )
            )
        product, total = calls
        return product, total

    def _as_sum(self, difference: RecordedCall) -> tuple[RecordedCall, RecordedCall]:
        """Return a difference of two values as a sum with the second times -1."""
        first, second = difference.reads
        negative = len(self.shapes)
        self.shapes[negative] = self.shapes[second]
        product = replace(
            difference,
            name="mul",
            args=(("input", TensorRef(second)), ("other", -1.0)),
            reads=(second,),
            gives=(negative,),
            shapes=(self.shapes[negative],),
        )
        args = (("input", TensorRef(first)), ("other", TensorRef(negative)))
        return product, replace(
            difference, name="add", args=args, reads=(first, negative)
        )

    def _is_fixed(self, value: TensorRef | OwnTensor | Constant) -> bool:
        return not isinstance(value, TensorRef) or value.number in self.fixed

    def _attribute(self, args: Sequence[Any], outputs: list[Tensor]) -> None:
        """Treat the tensor in an attribute such as `data` as the tensor itself."""
        if not outputs and args and id(args[0]) in self.numbers:
            self.asked.append(self.numbers[id(args[0])])
        if outputs and args and id(args[0]) in self.numbers:
            for output in outputs:
                if output.shape == args[0].shape:
                    self.kept.append(output)
                    self.numbers[id(output)] = self.numbers[id(args[0])]

    def _canonical(
        self, func: Any, named: Mapping[str, Any], ndim: int
    ) -> tuple[tuple[str, RecordedValue], ...]:
        found = {}
        for name, value in named.items():
            if name in _IRRELEVANT:
                continue
            # Methods name this argument differently, or do not declare it.
            name = {"self": "input", "0": "input"}.get(name, name)
            if name == "1" and _name(func) in _BINARY:
                name = "other"
            plain = self._plain(value)
            if name in _AXES:
                plain = _positive(plain, ndim)
            found[name] = plain
        if found.get("align_corners", True) is None:
            found["align_corners"] = False
        if _name(func) == "pad" and found.get("value", 0) is None:
            found["value"] = 0
        if "stride" in found and found["stride"] is None:
            found["stride"] = found.get("kernel_size")
        pair = list(found.items())
        if _name(func) in _SWAPPED and len(pair) == 2:
            # In sums and products, the computed value comes first.
            (first, a), (second, b) = pair
            if isinstance(b, TensorRef) and self._is_fixed(a) and not self._is_fixed(b):
                pair = [(first, b), (second, a)]
        return tuple(pair)

    def _plain(self, value: Any) -> RecordedValue:
        from torch import Tensor

        if isinstance(value, Tensor):
            return self.value(value)
        if isinstance(value, slice):
            return "slice", value.start or 0, value.stop, value.step
        if isinstance(value, tuple | list):
            parts = tuple(self._plain(part) for part in value)
            numbers = all(isinstance(part, int | float) for part in parts)
            return parts[0] if numbers and len(set(parts)) == 1 else parts
        if isinstance(value, bool | int | float | str | None):
            return value
        return repr(value)


def _changes_nothing(name: str, args: Mapping[str, RecordedValue]) -> bool:
    """Return whether a function returns its input unchanged, with these arguments."""
    if "dropout" in name:
        return args.get("p") == 0
    other = args.get("other")
    if not isinstance(other, int | float) or args.get("alpha", 1) != 1:
        return False
    return other == (0 if name in ("add", "sub") else 1) and name in _BINARY


def _sliced(index: Any, shape: Sequence[int]) -> Any:
    """Return slices with their ends, without trailing ones that take the whole axis."""
    parts = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(part, slice) for part in parts) or len(parts) > len(shape):
        return index
    found = [
        slice(*part.indices(size)) for part, size in zip(parts, shape, strict=False)
    ]
    whole = [slice(0, size, 1) for size in shape]
    while found and found[-1] == whole[len(found) - 1]:
        found.pop()
    return tuple(found)


def _adds_axes(index: Any) -> bool:
    """Return whether an index takes everything, and only adds axes of size 1."""
    parts = index if isinstance(index, tuple) else (index,)
    more = [part for part in parts if part is None]
    whole = [part for part in parts if isinstance(part, slice | EllipsisType)]
    full = all(part in (..., slice(None)) for part in whole)
    return bool(more) and full and len(more) + len(whole) == len(parts)


def _name(func: Any) -> str:
    name = str(func.__name__)
    if name in _SAME:
        return _SAME[name]
    if name.endswith("_") and not name.endswith("__"):
        name = name.rstrip("_")
    return _SAME.get(name, name)


def _positive(value: RecordedValue, ndim: int) -> RecordedValue:
    if isinstance(value, tuple):
        return tuple(_positive(part, ndim) for part in value)
    if isinstance(value, int) and not isinstance(value, bool) and value < 0:
        return value + ndim
    return value


_SIGNATURES: dict[int, tuple[Any, inspect.Signature | None]] = {}


def _signature(func: Any) -> inspect.Signature | None:
    """Return the parameters of a torch function, as torch's own tests declare them."""
    from torch.overrides import get_testing_overrides

    if id(func) not in _SIGNATURES:
        declared = get_testing_overrides().get(func)
        try:
            found = inspect.signature(declared if declared is not None else func)
        except (TypeError, ValueError):
            found = None
        _SIGNATURES[id(func)] = (func, found)
    return _SIGNATURES[id(func)][1]


def _bound(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return all arguments by name; those without one get a number."""
    if func.__name__ in _VARIADIC and args:
        first, *sizes = args
        sizes = [*sizes, *kwargs.values()]
        if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
            sizes = list(sizes[0])
        return {"input": first, "sizes": tuple(sizes)}
    signature = _signature(func)
    if signature is not None and func.__name__ not in _UNDECLARED:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError:
            pass  # `x.view(2, -1)` and the like, which take any number
        else:
            bound.apply_defaults()
            return dict(bound.arguments)
    return {**{str(n): value for n, value in enumerate(args)}, **kwargs}


def _place() -> str:
    """Return the place of the running code, outside torch and this package."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith(("torch.", "archdsl.")) and name != "torch":
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def watch(module: nn.Module, inputs: Sequence[Tensor]) -> Recording:
    """Run a module in its present mode, and return the recording.

    Args:
        module: on the meta device.
        inputs: likewise.

    Raises:
        Untraceable: if it fails, or branches on values.
    """
    import torch

    owned: dict[int, OwnTensor] = {}
    kept = [*module.named_parameters(remove_duplicate=False), *module.named_buffers()]
    for key, tensor in kept:
        owned.setdefault(id(tensor), OwnTensor(key, tuple(tensor.shape)))
    recorder = Recorder(owned)
    numbers = tuple(recorder.number(tensor) for tensor in inputs)
    top = ModuleCall("", module, numbers)
    stack = [top]

    def handle(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
        result, calls = recorder.call(func, args, kwargs)
        stack[-1].items.extend(calls)
        return result

    def refs(value: Any) -> tuple[int, ...]:
        found = [recorder.value(tensor) for tensor in tensors_in(value)]
        return tuple(ref.number for ref in found if isinstance(ref, TensorRef))

    def enter(path: str) -> Callable[..., None]:
        def hook(part: nn.Module, args: Any, kwargs: Any) -> None:
            stack.append(ModuleCall(path, part, refs((args, kwargs))))

        return hook

    def leave(part: nn.Module, args: Any, output: Any) -> None:
        frame = stack.pop()
        if is_spectral_norm(part):
            recorder.stands_for(output, args[0])
            return
        frame.gives = refs(output)
        stack[-1].items.append(frame)

    hooks = []
    for path, part in module.named_modules():
        _refuse_other_norms(path, part)
        if path:
            hooks += [
                part.register_forward_pre_hook(enter(path), with_kwargs=True),
                part.register_forward_hook(leave),
            ]
    try:
        with torch.no_grad(), intercept(handle):
            result = module(*inputs)
    except Exception as error:
        raise Untraceable(_reason(error, stack[-1].path)) from error
    finally:
        for handle_ in hooks:
            handle_.remove()
    top.gives = refs(result)
    asked = tuple(dict.fromkeys(recorder.asked))
    return Recording(top, numbers, top.gives, recorder.shapes, asked)


def is_spectral_norm(part: nn.Module) -> bool:
    """Return whether a module makes weights as `spectral_norm` does."""
    from torch.nn.utils import parametrizations

    return isinstance(part, parametrizations._SpectralNorm)


def _refuse_other_norms(path: str, part: nn.Module) -> None:
    """Refuse spectral norm in a form, or with settings, that no kind has.

    Raises:
        Untraceable: naming the module.
    """
    from torch.nn.utils.spectral_norm import SpectralNorm

    hooks = part._forward_pre_hooks.values()
    if any(isinstance(hook, SpectralNorm) for hook in hooks):
        raise Untraceable(
            f"`{path}` has spectral norm by a hook; use `spectral_norm` of "
            "torch.nn.utils.parametrizations instead"
        )
    settings: tuple[Any, Any] = (1, 1e-12)
    if is_spectral_norm(part) and (part.n_power_iterations, part.eps) != settings:
        raise Untraceable(
            f"`{path}` is spectral norm with {part.n_power_iterations} iterations and "
            f"eps {part.eps}, and only 1 and 1e-12 are known"
        )


def _reason(error: Exception, path: str) -> str:
    """Return why a run ended, with the line of the module's code."""
    place, frame = "", error.__traceback__
    while frame is not None:
        name = frame.tb_frame.f_globals.get("__name__", "")
        if not name.startswith(("torch.", "archdsl.")) and name != "torch":
            place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"
        frame = frame.tb_next
    text = str(error).partition("\n")[0]
    where = f"`{path}`" if path else "the module"
    if _needs_values(text):
        return (
            f"the control flow of {where} depends on the values of tensors, at {place}"
        )
    return f"{where} cannot be run, at {place}: {type(error).__name__}: {text}"


def _needs_values(text: str) -> bool:
    known = ("_local_scalar_dense", "item() cannot be called", "out of meta tensor")
    return any(part in text for part in known) or "data-dependent" in text
