"""Finds the layers that make some calls of torch functions, by the kinds' declarations.

No table of torch functions is needed, since each kind declares how it is written in
torch (`Layer.torch`). Each kind is emitted and run with several arguments. How its
calls change shows which argument of the kind determines which argument of which call. A
layer found in this way is run as well, and must make the same calls.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, cached_property, partial
from itertools import combinations, count, product
from math import isclose
from typing import Any, Final, NamedTuple

from archdsl.backends.importer.calls import (
    BATCH,
    Constant,
    OwnTensor,
    RecordedCall,
    Recorder,
    TensorRef,
    late,
)
from archdsl.backends.importer.synonyms import Synonym, synonyms
from archdsl.backends.torch.layout import flat
from archdsl.backends.torch.nodes import LiteralExpr, Var
from archdsl.backends.torch.templates import fill
from archdsl.backends.torch.verification.trace import intercept
from archdsl.layer import REQUIRED, Field, Layer, Mismatch, all_kinds, kind
from archdsl.spectral import Spectral
from archdsl.values import Last, Shape, TorchCall, TorchForm, sizes

# Shapes to try a kind on: twelve channels have many divisors.
_MAP: Final[Shape] = (12, 20, 24)
_SHAPES: Final[tuple[Shape, ...]] = (
    _MAP,
    (12,),
    Last((20, 24, 12)),
    (12, 20),
    (12, 6, 20, 24),
)
_PAIRS: Final[tuple[tuple[Shape, Shape], ...]] = (
    (_MAP, (12, 10, 12)),
    ((12, 20), (12, 10)),
    ((12, 6, 20, 24), (12, 3, 10, 12)),
)

# Numbers that are unlikely to result from one another by chance in any calculation.
_TRIED: Final[dict[str, tuple[Any, ...]]] = {
    "int": (2, 3, 4, 1),
    "float": (0.25, 0.375),
    "bool": (False, True),
    "window": ((2, 3, 5), (4, 5, 3), (1, 2, 3), (0, 1, 2)),
}
_FIRST: Final[dict[str, Any]] = {
    "int": 2,
    "float": 0.125,
    "bool": False,
    "window": (3, 5, 4),
}

# A place in calls: the number of the call, the name of the argument, and indices into
# the argument. `()` is the place of the result among the outputs of the last call.
CallPlace = tuple[Any, ...]
_NOTHING: Final = object()


class MadeCalls(NamedTuple):
    """The calls that a layer makes.

    Attributes:
        calls: with the layer's inputs numbered from 0.
        result: number of the layer's output.
        asks: whether it computes with the size of its input.
    """

    calls: tuple[RecordedCall, ...]
    result: int
    asks: bool = False


class Form:
    """One way in which a kind is written in torch.

    Attributes:
        kind: the kind.
        values: arguments of the kind in this form.
        names: the functions that it calls, in order.
        axes: number of axes of the map that it was tried on.
        asks: whether it computes with the size of its input. If the module's code does
            not, as with a padding of 0 and 1, agreement at one size is only chance.
    """

    def __init__(
        self,
        kind: type[Layer],
        values: dict[str, Any],
        inputs: tuple[Shape, ...],
        as_module: bool,
        made: MadeCalls,
    ) -> None:
        self.kind = kind
        self.values = values
        self.names = tuple(call.name for call in made.calls)
        self.axes = len(sizes(inputs[0]))
        self.asks = made.asks
        self._inputs = inputs
        self._as_module = as_module
        self._made = made

    @cached_property
    def places(self) -> dict[str, tuple[CallPlace, Reading]]:
        """Where arguments can be read from the calls, and how.

        It is computed on demand, as it takes long.
        """
        places = {}
        for name, field in self.kind.fields.items():
            found = self._place_of(name, self.values, self._made)
            if found is None and field.type == "window":
                # Some sizes are only allowed together with others, such as torch's
                # output padding.
                others = [n for n, f in self.kind.fields.items() if f.type == "window"]
                for other, value in product(others, _TRIED["window"]):
                    if found is None and other != name:
                        more = {**self.values, other: value[: self.axes]}
                        found = self._place_of(name, more, self._performed(more))
            if found is not None:
                places[name] = found
        return places

    def _place_of(
        self, name: str, values: dict[str, Any], made: MadeCalls | None
    ) -> tuple[CallPlace, Reading] | None:
        """Return the place of an argument in the calls; nothing else is changed."""
        if made is None:
            return None
        field = self.kind.fields[name]
        before = _leaves(made)
        tables: dict[CallPlace, dict[Any, Any]] = {}
        for value in _tried(field, self.axes):
            if value == values[name]:
                continue
            other = self._performed({**values, name: value})
            if other is None or tuple(call.name for call in other.calls) != self.names:
                continue
            for place, leaf in _leaves(other).items():
                old = _at(before, place)
                if old is not _NOTHING and old != leaf:
                    tables.setdefault(place, {old: values[name]})[leaf] = value
        return _reading(field, tables, self.axes)

    def _performed(self, values: dict[str, Any]) -> MadeCalls | None:
        return _performed(self.kind, values, self._inputs, self._as_module)


class Reading(NamedTuple):
    """How an argument is found from a value in a call.

    Attributes:
        how: what the call contains: ``same`` (the argument), ``rest`` (1 minus the
            argument), ``next`` (the argument minus 1), ``sides`` (each size twice, that
            of the last axis first) or ``times`` (the argument times a number that
            depends on shapes).
        table: arguments by the value in the call, for those that are not numbers.
    """

    how: str
    table: dict[Any, Any]


# ---- running a layer ------------------------------------------------------------


def perform(op: Layer, inputs: tuple[Shape, ...], as_module: bool) -> MadeCalls:
    """Run a layer on the meta device in training, and return its calls.

    Args:
        op: the layer.
        inputs: shapes of its inputs.
        as_module: whether to run it as a module if it can be a function, too.

    Raises:
        Mismatch: if it does not fit its inputs.
    """
    import torch

    form = op.torch(inputs, op.shape(*inputs))
    tensors = [torch.empty(BATCH, *shape, device="meta") for shape in inputs]
    with torch.device("meta"):
        module = None if form.module is None else _constructed(form)
    owned: dict[int, OwnTensor] = {}
    if isinstance(module, torch.nn.Parameter):
        owned[id(module)] = OwnTensor("", tuple(module.shape))
    elif module is not None:
        for key, tensor in (*module.named_parameters(), *module.named_buffers()):
            owned[id(tensor)] = OwnTensor(key, tuple(tensor.shape))
    recorder = Recorder(owned)
    for tensor in tensors:
        recorder.number(tensor)
    calls: list[RecordedCall] = []

    def note(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        output, made = recorder.call(func, args, kwargs)
        calls.extend(made)
        return output

    with torch.no_grad(), intercept(note), warnings.catch_warnings():
        # Warnings about layers that will never be run for real.
        warnings.simplefilter("ignore")
        if form.function is None or (as_module and callable(module)):
            assert module is not None
            result = module(*tensors)
        else:
            result = _called(form, tensors, module)
    number = recorder.numbers.get(id(result), -1)
    # With a single call, torch itself reads the size, to check the argument.
    ordered = tuple(late(calls))
    return MadeCalls(ordered, number, len(calls) > 1 and 0 in recorder.asked)


def _constructed(form: TorchForm) -> Any:
    from torch import nn

    assert form.module is not None
    names = _names(form.helper)
    parts = [_made(call, names) for call in (form.module, *form.then)]
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


@cache
def _names(helper: str) -> dict[str, Any]:
    """Return the names that a kind's own text can use, with those that it defines."""
    import torch
    from torch.nn import functional

    names: dict[str, Any] = {
        "torch": torch,
        "nn": torch.nn,
        "F": functional,
        "Tensor": torch.Tensor,
    }
    exec(helper, names)  # a text of this package's own layer kinds
    return names


def _made(call: TorchCall, names: dict[str, Any]) -> Any:
    first, *rest = call.name.split(".")
    found = names[first]
    for name in rest:
        found = getattr(found, name)
    args = [_made(a, names) if isinstance(a, TorchCall) else a for a in call.args]
    return found(*args, **dict(call.kwargs))


def _called(form: TorchForm, tensors: Sequence[Any], own: Any) -> Any:
    assert form.function is not None
    inputs = [Var(f"x{n}") for n in range(len(tensors))]
    settings = [(name, LiteralExpr(repr(value))) for name, value in form.kwargs]
    code = flat(fill(form.function, inputs, settings, Var("own"), False))
    scope = {f"x{n}": tensor for n, tensor in enumerate(tensors)}
    return eval(code, {**_names(""), **scope, "own": own})


# ---- reading declarations backwards ---------------------------------------------


@cache
def forms() -> dict[str, tuple[Form, ...]]:
    """Return the forms of all kinds by the function called first, longest first."""
    found: dict[str, list[Form]] = {}
    for known in all_kinds():
        for form in _forms_of(known):
            found.setdefault(form.names[0], []).append(form)
    order = {
        name: tuple(sorted(some, key=lambda form: -len(form.names)))
        for name, some in found.items()
    }
    return order


def _forms_of(kind: type[Layer]) -> Iterator[Form]:
    if issubclass(kind, Spectral):
        return  # it makes the same calls as the kind that it is baked into
    seen: set[tuple[Any, ...]] = set()
    for inputs in _inputs(kind):
        axes = len(sizes(inputs[0]))
        for values, as_module in product(_variants(kind, axes), (False, True)):
            made = _performed(kind, values, inputs, as_module)
            if made is None or not made.calls:
                continue
            names = tuple(call.name for call in made.calls)
            words = tuple(v for v in values.values() if isinstance(v, str))
            # A factor and a size are arguments of the same function.
            given = tuple(
                n for call in made.calls for n, v in call.args if v is not None
            )
            key = (names, words, given, axes)
            if key in seen:
                continue
            seen.add(key)
            yield Form(kind, values, inputs, as_module, made)


def _first(field: Field, axes: int) -> Any:
    if field.default is not REQUIRED:
        return field.default_for(axes)
    if field.type == "choice":
        return field.choices[0]
    first = _FIRST[field.type]
    return first[:axes] if field.type == "window" else first


def _inputs(kind: type[Layer]) -> Iterator[tuple[Shape, ...]]:
    # Maps with other numbers of axes use other functions, or more numbers.
    for shape in _SHAPES:
        yield (shape,) if kind.arity == 1 else (shape, shape)
    if kind.arity != 1:
        for pair in _PAIRS:
            yield pair
            yield pair[::-1]


def _variants(kind: type[Layer], axes: int) -> Iterator[dict[str, Any]]:
    """Yield the plain arguments, and those that may lead to other functions."""
    plain = {name: _first(field, axes) for name, field in kind.fields.items()}
    yield from _ways(kind, plain, axes)
    for name, field in kind.fields.items():
        # Such a number adds an argument or a call that is missing without it.
        if field.type == "float" and field.default is None:
            yield from _ways(kind, {**plain, name: _TRIED["float"][0]}, axes)


def _ways(
    kind: type[Layer], plain: dict[str, Any], axes: int
) -> Iterator[dict[str, Any]]:
    """Yield some arguments, and those with one or two others."""
    yield plain
    options = [
        (name, value)
        for name, field in kind.fields.items()
        for value in _tried(field, axes)
        if value != plain[name]
    ]
    for name, value in options:
        yield {**plain, name: value}
    for first, second in combinations(options, 2):
        # Words often select other functions; numbers rarely do.
        if any(isinstance(value, str) for _, value in (first, second)):
            yield {**plain, **dict((first, second))}


def _tried(field: Field, axes: int) -> tuple[Any, ...]:
    values = _TRIED.get(field.type, ())
    if field.type == "window":
        values = tuple(value[:axes] for value in values)
    return (*values, *field.choices)


def _performed(
    kind: type[Layer],
    values: dict[str, Any],
    inputs: tuple[Shape, ...],
    as_module: bool,
) -> MadeCalls | None:
    if any(kind.fields[name].refusal(value) for name, value in values.items()):
        return None
    op = kind(**values)
    try:
        form = op.torch(inputs, op.shape(*inputs))
        if as_module and (form.function is None or form.module is None):
            return None  # it can only be run in one way
        return perform(op, inputs, as_module)
    except Mismatch:
        return None
    except Exception:
        # torch refuses some arguments that no spec would use, such as too much padding.
        return None


def _reading(
    field: Field, tables: dict[CallPlace, dict[Any, Any]], axes: int
) -> tuple[CallPlace, Reading] | None:
    # Other arguments of a call may change, too, as the padding does with a dilation.
    own = sorted(tables.items(), key=lambda one: field.name not in one[0])
    for place, table in own:
        if field.type in ("bool", "choice"):
            # These numbers depend on the shapes that the kind was tried on.
            if len(table) > 1 and not any(type(a) in (int, tuple) for a in table):
                return place, Reading("table", table)
            continue
        pairs = [(a, b) for a, b in table.items() if not isinstance(b, str | None)]
        for how in ("same", "rest", "next", "sides"):
            if pairs and all(_argument(how, a, field, axes) == b for a, b in pairs):
                words = {a: b for a, b in table.items() if isinstance(a, str)}
                return place, Reading(how, words)
        if field.type == "float" and len(pairs) > 1 and _are_multiples(pairs):
            return place, Reading("times", {})
    return None


def _are_multiples(pairs: Sequence[tuple[Any, Any]]) -> bool:
    """Return whether all second numbers are the first ones times the same factor."""
    if not all(type(n) is float and n for pair in pairs for n in pair):
        return False
    factor = pairs[0][1] / pairs[0][0]
    return all(isclose(a * factor, b, rel_tol=1e-12) for a, b in pairs)


def _argument(how: str, leaf: Any, field: Field, axes: int) -> Any:
    """Return an argument from the value in a call; None if that is not possible."""
    numbers = leaf if isinstance(leaf, tuple) else (leaf,)
    if not all(type(n) in (int, float) for n in numbers):
        return None
    if field.type == "window" and how == "sides":
        each = numbers if isinstance(leaf, tuple) else numbers * 2 * axes
        both = each[::-2] == each[-2::-2] and len(each) == 2 * axes
        return tuple(int(n) for n in each[::-2]) if both else None
    if field.type == "window":
        each = numbers if len(numbers) == axes else numbers * axes
        whole = all(n == int(n) for n in each)
        return tuple(int(n) for n in each) if whole and how == "same" else None
    if isinstance(leaf, tuple):
        return None
    if how == "rest":
        return round(1 - leaf, 12)
    if how == "next":
        return leaf + 1
    if field.type == "int":
        return int(leaf) if leaf == int(leaf) else None
    return float(leaf)


def _leaves(made: MadeCalls) -> dict[CallPlace, Any]:
    """Return all values in calls, by their places; tuples also as a whole."""
    found: dict[CallPlace, Any] = {}

    def add(place: CallPlace, value: Any) -> None:
        if isinstance(value, OwnTensor | Constant):
            if len(value.shape) > 2:
                add((*place, "sizes"), value.shape[2:])
            value = "own"
        elif isinstance(value, TensorRef):
            value = "ref"
        elif isinstance(value, tuple):
            for n, part in enumerate(value):
                add((*place, n), part)
            if not all(isinstance(part, int | float) for part in value):
                return
        found[place] = value

    for number, call in enumerate(made.calls):
        for name, value in call.args:
            add((number, name), value)
    gives = made.calls[-1].gives if made.calls else ()
    if made.result in gives:
        found[()] = gives.index(made.result)
    return found


# ---- finding layers -------------------------------------------------------------


class FoundLayer(NamedTuple):
    """A layer that some calls make.

    Attributes:
        op: the layer.
        reads: values that it reads, in order.
        gives: number of its output.
        calls: how many of the calls it takes.
        owns: parameters and buffers that it reads.
    """

    op: Layer
    reads: tuple[int, ...]
    gives: int
    calls: int
    owns: tuple[OwnTensor, ...]


def layers_of(
    calls: Sequence[RecordedCall],
    shapes: Mapping[int, Shape],
    asked: Sequence[int],
    is_one: Callable[[int], bool],
) -> tuple[FoundLayer, ...]:
    """Return the layers that the first of some calls may make; empty if there is none.

    Several calls may make one layer, and a call with several outputs several layers.

    Args:
        calls: in order.
        shapes: shapes of values, without the batch.
        asked: values whose size may have served as the size of an output.
        is_one: returns whether a number of first calls may make a single layer.
    """
    for form in forms().get(calls[0].name, ()):
        some = calls[: len(form.names)]
        if tuple(call.name for call in some) != form.names or not is_one(len(some)):
            continue
        found = []
        for result in some[-1].gives:
            one = _fitted(form, some, result, shapes, asked)
            if one is None:
                break
            found.append(one)
        else:
            return tuple(found)
    others = synonyms(calls, shapes)
    if not others or not is_one(others[0].calls):
        return ()
    return tuple(map(partial(_known, calls, shapes), others))


def _known(
    calls: Sequence[RecordedCall], shapes: Mapping[int, Shape], one: Synonym
) -> FoundLayer:
    """Return the layer of a synonym."""
    shape = kind(one.word)
    assert shape is not None
    op = shape(**{**{n: f.default for n, f in shape.fields.items()}, **one.values})
    gives = calls[one.calls - 1].gives[one.place]
    inputs = tuple(shapes[n] for n in one.reads)
    op = _shortest(op, inputs, op.shape(*inputs))
    return FoundLayer(op, one.reads, gives, one.calls, ())


def _fitted(
    form: Form,
    calls: Sequence[RecordedCall],
    result: int,
    shapes: Mapping[int, Shape],
    asked: Sequence[int],
) -> FoundLayer | None:
    """Return the layer of a form that some calls make."""
    inner = {n for call in calls for n in call.gives}
    reads = tuple(
        dict.fromkeys(n for call in calls for n in call.reads if n not in inner)
    )
    if form.asks and not set(reads).intersection(asked):
        return None
    if form.kind.arity != 1 and len(calls) == 1:
        reads = calls[0].reads  # the same value may come several times
    made = MadeCalls(tuple(calls), result)
    values = dict(form.values)
    leaves = _leaves(made)
    for name, (where, reading) in form.places.items():
        leaf = _at(leaves, where)
        field = form.kind.fields[name]
        if reading.how == "table" or isinstance(leaf, str):
            if leaf not in reading.table:
                return None
            values[name] = reading.table[leaf]
        elif reading.how == "times":
            values[name] = 1.0  # the number can be found once the shapes are known
        else:
            values[name] = _argument(reading.how, leaf, field, form.axes)
    output = shapes[result]
    known = [number for number in asked if number < result]
    for sources in _sources(form, reads, output, shapes, known):
        inputs = tuple(shapes[n] for n in sources)
        if not all(inputs):
            continue  # a single number for each sample is not a shape here
        for guess in _guesses(form, values):
            op = _completed(form.kind, guess, inputs, output)
            op = op and _divided(op, form, inputs, leaves)
            if op is not None and _agrees(op, inputs, sources, calls, result):
                owns = tuple(dict.fromkeys(own for call in calls for own in call.owns))
                op = _with_spectral_norm(op, inputs, owns)
                return FoundLayer(op, sources, result, len(calls), owns)
    return None


def _with_spectral_norm(
    op: Layer, inputs: tuple[Shape, ...], owns: Sequence[OwnTensor]
) -> Layer:
    """Return a layer as the kind whose weight is made of the tensor that it owns."""
    other = _spectral_kinds().get(op.word)
    if other is None:
        return op
    made = other(**vars(op))
    names = [t.name for t in made.tensors(*inputs) if t.made_into]
    divided = any(f".{own.key}".endswith(f".{n}") for own in owns for n in names)
    return made if divided else op


@cache
def _spectral_kinds() -> Mapping[str, type[Layer]]:
    """Return the kinds with spectral norm by those without."""
    return {k.baked: k for k in all_kinds() if issubclass(k, Spectral)}


def _divided(
    op: Layer, form: Form, inputs: tuple[Shape, ...], leaves: dict[CallPlace, Any]
) -> Layer | None:
    """Return a layer with arguments of which the calls contain multiples."""
    for name, (where, reading) in form.places.items():
        if reading.how != "times":
            continue
        once = _at(_leaves(perform(op, inputs, as_module=False)), where)
        leaf = _at(leaves, where)
        if type(leaf) is not float or type(once) is not float or not once:
            return None
        op = op.replace(**{name: float(f"{leaf / once:.15g}")})
    return op


def _guesses(form: Form, values: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the arguments, with both values of truth values that calls do not show."""
    yield values
    for name, field in form.kind.fields.items():
        if field.type == "bool" and name not in form.places:
            yield {**values, name: not values[name]}


def _sources(
    form: Form,
    reads: tuple[int, ...],
    output: Shape,
    shapes: Mapping[int, Shape],
    asked: Sequence[int],
) -> Iterator[tuple[int, ...]]:
    """Yield possible inputs; some layers only use the size of one input."""
    arity, sources = form.kind.arity, form.kind.sources
    if not reads:
        return
    if arity == 1 or len(reads) == (arity or 2) or (arity is None and sources is None):
        yield reads
        if len(reads) == 2 and arity is None:
            yield reads[::-1]  # the second may be read first
    elif len(reads) == 1:
        for number in reversed(asked):
            if number != reads[0] and shapes[number][1:] == output[1:]:
                yield (reads[0], number)


def _at(leaves: dict[CallPlace, Any], place: CallPlace) -> Any:
    """Return the value at a place; equal numbers of all axes are a single one."""
    while place not in leaves and len(place) > 2 and place[-1] != "sizes":
        place = place[:-1]
    return leaves.get(place, _NOTHING)


def _completed(
    kind: type[Layer], values: dict[str, Any], inputs: tuple[Shape, ...], output: Shape
) -> Layer | None:
    """Return a layer with arguments that calls do not show, and without default ones.

    A width that is not in a call is that of the output.
    """
    for name, field in kind.fields.items():
        if _shape_of(kind, values, inputs) == output:
            break
        if field.default is None and values[name] is None and field.type == "int":
            wide = {**values, name: int(output[0])}
            if _shape_of(kind, wide, inputs) == output:
                values = wide
    if kind.fields.get("width") is not None and not isinstance(inputs[0], Last):
        values = {**values, "width": int(output[0])}
    elif kind.fields.get("width") is not None:
        values = {**values, "width": int(output[-1])}
    if _shape_of(kind, values, inputs) != output:
        return None
    return _shortest(kind(**values), inputs, output)


def _shortest(op: Layer, inputs: tuple[Shape, ...], output: Shape) -> Layer:
    """Return a layer without arguments that can be left out."""
    form = op.torch(inputs, output)
    for name, field in op.fields.items():
        if field.default is REQUIRED or getattr(op, name) == field.default:
            continue
        less = op.replace(**{name: field.default})
        if _shape_of(type(op), less.__dict__, inputs) == output:
            made = less.torch(inputs, output)
            # An equal module gives an equal result, whatever its functional form is.
            same = made == form or (made.module == form.module is not None)
            if same and less.tensors(*inputs) == op.tensors(*inputs):
                op = less
    return op


def _shape_of(
    kind: type[Layer], values: dict[str, Any], inputs: tuple[Shape, ...]
) -> Shape | None:
    refused = any(kind.fields[n].refusal(value) for n, value in values.items())
    if refused:
        return None
    try:
        return kind(**values).shape(*inputs)
    except Mismatch:
        return None


_AGREED: dict[Any, Any] = {}


def _agrees(
    op: Layer,
    inputs: tuple[Shape, ...],
    sources: tuple[int, ...],
    calls: Sequence[RecordedCall],
    result: int,
) -> bool:
    """Return whether a layer makes exactly these calls."""
    # The same value may come several times.
    places = tuple(map(sources.index, sources))
    key = (op, inputs, places)
    if key not in _AGREED:
        first = dict(enumerate(places))
        ways = []
        for as_module in (False, True):
            try:
                made = perform(op, inputs, as_module)
            except Exception:  # torch refuses some layers
                continue
            ways.append(relative(made.calls, first, made.result))
        _AGREED[key] = ways
    found = relative(calls, dict(zip(sources, places, strict=True)), result)
    return any(_alike(found, made) for made in _AGREED[key])


def _alike(one: Any, other: Any) -> bool:
    """Return whether two values are equal up to the last digits of numbers.

    Computing a probability p from 1 - p changes the last digits.
    """
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    if type(one) is type(other) is float:
        return isclose(one, other, rel_tol=1e-11)
    return bool(one == other)


def relative(
    calls: Sequence[RecordedCall], inputs: Mapping[int, int], result: int
) -> tuple[Any, ...]:
    """Return calls with values numbered in order, inputs first, and without keys.

    Args:
        calls: in order.
        inputs: places of the values that they read.
        result: number of their result.
    """
    numbers = dict(inputs)
    given = count(100)

    def plain(value: Any) -> Any:
        if isinstance(value, TensorRef):
            return "ref", numbers.get(value.number, -1)
        if isinstance(value, OwnTensor):
            return "own", value.shape
        if isinstance(value, tuple) and not isinstance(value, Constant):
            return tuple(plain(part) for part in value)
        return value

    found = []
    for call in calls:
        found.append((call.name, tuple((k, plain(v)) for k, v in call.args)))
        for number in call.gives:
            numbers[number] = next(given)
    return (*found, numbers.get(result, -1))
