"""Modules that are not layer kinds become foreign layers: `op`s of a spec.

An `op` names the module's class and says how to construct it. The constructor's
arguments are read from the module's attributes of the same names; where there is none,
the default is kept. The result is tested: a module constructed in this way must have
the same `state_dict` and make the same calls. The module is run at several input sizes
to find how its output's shape depends on them.
"""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from archdsl.backends.importer.calls import BATCH, ModuleCall, Untraceable, watch
from archdsl.backends.importer.forms import relative
from archdsl.backends.importer.groups import regrouped
from archdsl.layer import Layer, Mismatch, count, words
from archdsl.naming import LANGUAGE_WORDS, refusal
from archdsl.values import Last, Shape, channels, is_map, sizes

if TYPE_CHECKING:
    from torch import nn

    from archdsl.backends.importer.parts import LayerLeaf

_SIZES: Final = {1: ("in_length",), 2: ("in_height", "in_width")}
# By how much inputs are enlarged to find how sizes of outputs depend on them.
_MORE: Final = range(6)
_REACH: Final = range(-16, 17)
_STRIDES: Final = (1, 2, 3, 4, 5, 6, 7, 8, 16, 32)
# The most arguments of a constructor that are guessed.
_MOST_LACKING: Final = 3
# The most numbers that are tried for an argument.
_MOST_NUMBERS: Final = 16
_WORD: Final = re.compile(r"\w{1,40}", re.ASCII)
_PATH: Final = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+", re.ASCII)


class Ops:
    """The `op`s of an unfinished spec; equal declarations are one.

    Attributes:
        texts: declarations by name, with a comment each.
    """

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self._names: dict[str, str] = {}
        self._layers: dict[str, Layer | None] = {}
        self._kinds: dict[str, type[Layer]] = {}

    def of(self, frame: ModuleCall, shapes: Mapping[int, Shape]) -> Layer | None:
        """Return a module as a foreign layer; None if it cannot be one.

        Args:
            frame: a call of the module, on the meta device.
            shapes: shapes of values, without the batch.
        """
        cls = type(frame.module)
        path = _path(cls)
        if not path or len(frame.reads) != 1 or len(frame.gives) != 1:
            return None
        before, after = shapes[frame.reads[0]], shapes[frame.gives[0]]
        same = tuple(before) == tuple(after)
        unclear = isinstance(before, Last) and not same and is_map(after)
        if unclear or not 1 <= len(before) <= 3 or not after:
            return None
        given = _constructed(frame, before, after)
        if given is None:
            return None
        key = repr((path, given, type(before), tuple(before), tuple(after)))
        if key not in self._layers:
            self._layers[key] = self._described(frame, given, before, after)
        return self._layers[key]

    def _described(
        self, frame: ModuleCall, given: Sequence[Any], before: Shape, after: Shape
    ) -> Layer | None:
        """Return the layer for a module; None if a spec cannot express it."""
        cls = type(frame.module)
        path = _path(cls)
        same = tuple(before) == tuple(after)
        names = {int(channels(before)): "channels"}
        wide = not same and after[0] != channels(before)
        if wide:
            names[int(after[0])] = "width"
        body = [f'torch = "{path}"', f"args = [{_listed(given, names)}]"]
        if not same:
            grown = _sizes(frame.module, before, after)
            if grown is None:
                return None
            body.append(f"shape = [{', '.join((names[int(after[0])], *grown))}]")
        else:
            grown = _SIZES.get(len(sizes(before)), ())
        body += _costs(frame.module, before, after, grown, names)
        layer = self._layer(cls, body, {"width": int(after[0])} if wide else {})
        try:
            layer.shape(before)
        except Mismatch:  # a number is too large for a spec
            return None
        return layer

    def _layer(self, cls: type, body: Sequence[str], values: dict[str, Any]) -> Layer:
        """Return the layer of a declaration, which is added if it is new."""
        text = "\n".join(body)
        if text not in self._names:
            name = self._new_name(cls.__name__)
            head = f"{name}<width>" if values else name
            about = f"# {cls.__name__}, of {cls.__module__}, as it is."
            declared = f"op {head} {{\n{text}\n}}"
            self._kinds[text] = _kind(name, declared)
            self._names[text] = name
            self.texts[name] = f"{about}\n{declared}"
        return self._kinds[text](**values)

    def used(self, leaves: Iterable[LayerLeaf]) -> list[str]:
        """Return the declarations that some layers use."""
        words = {leaf.op.word for leaf in leaves}
        return [text for name, text in self.texts.items() if name in words]

    def _new_name(self, text: str) -> str:
        base = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", text).lower().strip("_")
        if base in words() or refusal(base, "layer", LANGUAGE_WORDS):
            base = f"own_{base}"
        number, name = 1, base
        while name in self.texts:
            number += 1
            name = f"{base}_{number}"
        return name


def _path(cls: type) -> str:
    """Return the dotted name from which a class can be imported; empty if it cannot."""
    import torch

    if getattr(torch.nn, cls.__name__, None) is cls:
        return f"torch.nn.{cls.__name__}"
    held = getattr(sys.modules.get(cls.__module__), cls.__qualname__, None)
    path = f"{cls.__module__}.{cls.__qualname__}"
    return path if held is cls and _PATH.fullmatch(path) else ""


def _kind(name: str, declared: str) -> type[Layer]:
    from archdsl.elaborate.evaluate import evaluate
    from archdsl.elaborate.foreign import kind_of
    from archdsl.syntax.loader import load_text

    module = load_text(f"arch 1\n\n{declared}\n", "<import>")
    definition, home = module.ops[name]
    return kind_of(definition, home, evaluate)


# ---- the arguments of its constructor ---------------------------------------------


def _constructed(frame: ModuleCall, before: Shape, after: Shape) -> list[Any] | None:
    """Return the positional arguments that the constructor of a module was given.

    None if they are not found, or cannot be written in a spec.

    Args:
        frame: a call of the module.
        before: shape of its input.
        after: shape of its output.
    """
    parameters = _parameters(frame.module)
    known = [_known(frame.module, one) for one in parameters]
    lacking = [
        place
        for place, one in enumerate(parameters)
        if known[place] is _NOTHING and one.default is one.empty
    ]
    # An argument without an attribute or a default is most likely a number of channels.
    widths = dict.fromkeys((int(channels(before)), int(channels(after))))
    if len(lacking) > _MOST_LACKING:
        return None
    for guess in itertools.product(widths, repeat=len(lacking)):
        values = [
            one.default if value is _NOTHING else value
            for one, value in zip(parameters, known, strict=True)
        ]
        for place, value in zip(lacking, guess, strict=True):
            values[place] = value
        others = itertools.chain(
            _with_defaults(parameters, known, values),
            _with_numbers(frame.module, parameters, known, values),
        )
        for some in itertools.chain([values], others):
            given = _adjusted(frame, parameters, known, some, before)
            if given is not None:
                return given
    return None


def _with_defaults(
    parameters: Sequence[inspect.Parameter],
    known: Sequence[Any],
    values: Sequence[Any],
) -> Iterator[list[Any]]:
    """Yield arguments with defaults instead of attributes that may be misleading."""
    for place, one in enumerate(parameters):
        told = known[place] is not _NOTHING and one.default is not one.empty
        if told and values[place] is not one.default:
            yield [*values[:place], one.default, *values[place + 1 :]]


def _with_numbers(
    module: nn.Module,
    parameters: Sequence[inspect.Parameter],
    known: Sequence[Any],
    values: Sequence[Any],
) -> Iterator[list[Any]]:
    """Yield arguments with a number where the default, None, means a computed one.

    A width is a size of some tensor, and a number of groups divides one.
    """
    whole = {size for one in module.state_dict().values() for size in one.shape}
    parts = {value for value in known if type(value) is int and value > 1}
    parts = {size // part for size in whole for part in parts if size % part == 0}
    for place, one in enumerate(parameters):
        if known[place] is _NOTHING and one.default is None:
            for number in sorted(whole | parts)[:_MOST_NUMBERS]:
                yield [*values[:place], number, *values[place + 1 :]]


def _parameters(module: nn.Module) -> list[inspect.Parameter]:
    """Return the parameters of a module's constructor that can be given by position."""
    places = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
    try:
        found = inspect.signature(type(module)).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one for one in found if one.kind in places]


def _adjusted(
    frame: ModuleCall,
    parameters: Sequence[inspect.Parameter],
    known: Sequence[Any],
    values: Sequence[Any],
    before: Shape,
) -> list[Any] | None:
    """Return arguments, close to the given ones, that reproduce the module."""
    given = _shortest(values, parameters)
    factor = None if given is None else _compared(frame, given, before)
    if factor == 1.0:
        return given
    for tried in _changed(known, values, factor):
        given = _shortest(tried, parameters)
        if given is not None and _compared(frame, given, before) == 1.0:
            return given
    return None


def _changed(
    known: Sequence[Any], values: Sequence[Any], factor: float | None
) -> Iterator[list[Any]]:
    """Yield other values for arguments that no attribute shows.

    One or two truth values may be inverted. If sizes differ by a common factor, a
    number may be wrong by that factor.
    """
    hidden = [place for place, value in enumerate(known) if value is _NOTHING]
    for place in hidden:
        if type(values[place]) is float and values[place] and factor is not None:
            scaled = float(f"{values[place] * factor:.15g}")
            yield [*values[:place], scaled, *values[place + 1 :]]
    flags = [place for place in hidden if type(values[place]) is bool]
    for some in (*itertools.combinations(flags, 1), *itertools.combinations(flags, 2)):
        tried = list(values)
        for place in some:
            tried[place] = not values[place]
        yield tried


def _shortest(
    values: Sequence[Any], parameters: Sequence[inspect.Parameter]
) -> list[Any] | None:
    """Return arguments without the last ones that are defaults, if all are plain."""
    length = len(values)
    while length and values[length - 1] is parameters[length - 1].default:
        length -= 1
    found = list(values[:length])
    return found if all(map(_is_plain, found)) else None


_NOTHING: Final = object()


def _known(module: nn.Module, one: inspect.Parameter) -> Any:
    """Return the value of a parameter from an attribute, if a spec can contain it."""
    value = getattr(module, one.name, _NOTHING)
    if isinstance(one.default, bool) and not isinstance(value, bool):
        # `bias` is a parameter, or None.
        return _NOTHING if value is _NOTHING else value is not None
    if not _is_plain(value):
        return _NOTHING
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]  # as torch expands a single number to sizes
    return one.default if value == one.default else value


def _is_plain(value: Any) -> bool:
    """Return whether specs can have a value: a number, truth value, size or word."""
    if isinstance(value, str):
        return _WORD.fullmatch(value) is not None
    if isinstance(value, tuple):
        return 1 < len(value) <= 3 and all(type(n) is int and n >= 0 for n in value)
    return type(value) in (int, bool, float)


def _listed(values: Sequence[Any], names: Mapping[int, str]) -> str:
    """Return arguments as text, with names for channels."""
    found = []
    for value in values:
        if type(value) is bool:
            found.append("true" if value else "false")
        elif isinstance(value, str):
            found.append(f'"{value}"')
        elif isinstance(value, tuple):
            found.append("x".join(map(str, value)))
        elif type(value) is int and value > 3:
            found.append(names.get(value, str(value)))
        else:
            found.append(repr(value))
    return ", ".join(found)


def _compared(frame: ModuleCall, given: Sequence[Any], before: Shape) -> float | None:
    """Return the factor between numbers of a module and of one with these arguments.

    It is 1 if they are equal, and None if they do not differ by a factor.
    """
    import torch

    module = frame.module
    try:
        with torch.device("meta"):
            made = type(module)(*given)
        made = made.to("meta").train(module.training)
        wanted = [(key, one.shape) for key, one in module.state_dict().items()]
        if [(key, one.shape) for key, one in made.state_dict().items()] != wanted:
            return None
        run = regrouped(watch(made, [torch.empty(BATCH, *before, device="meta")]))
    except Exception:  # foreign code can raise anything
        return None
    if len(run.outputs) != 1:
        return None
    ours = relative(run.root.calls(), {run.inputs[0]: 0}, run.outputs[0])
    theirs = relative(frame.calls(), {frame.reads[0]: 0}, frame.gives[0])
    factors = set(_factors(ours, theirs))
    if None in factors or len(factors) > 1:
        return None
    return factors.pop() if factors else 1.0


def _factors(ours: Any, theirs: Any) -> Iterator[float | None]:
    """Yield the ratio of numbers that differ; None for any other difference."""
    if isinstance(ours, tuple) and isinstance(theirs, tuple):
        if len(ours) != len(theirs):
            yield None
            return
        for one, other in zip(ours, theirs, strict=True):
            yield from _factors(one, other)
    elif type(ours) is type(theirs) is float and ours and theirs:
        if abs(theirs / ours - 1) > 1e-12:
            yield round(theirs / ours, 12)
    elif ours != theirs:
        yield None


# ---- its effect on shapes, and its costs --------------------------------------------


def _sizes(module: nn.Module, before: Shape, after: Shape) -> tuple[str, ...] | None:
    """Return the sizes of the output as expressions of those of the input."""
    names = _SIZES.get(len(before) - 1, ())
    if not is_map(after):
        return ()
    if len(sizes(after)) != len(names):
        return None
    runs = list(_runs(module, before))
    found = []
    for axis, name in enumerate(names):
        pairs = [(ours[axis], theirs[axis]) for ours, theirs in runs]
        known = _expression(name, pairs)
        if known is None:
            return None
        found.append(known)
    return tuple(found)


def _runs(module: nn.Module, before: Shape) -> Iterator[tuple[Shape, Shape]]:
    """Yield sizes of inputs that the module accepts, with those of the outputs."""
    import torch

    for more in _MORE:
        ours = tuple(int(n) + more for n in before[1:])
        x = torch.empty(BATCH, int(before[0]), *ours, device="meta")
        try:
            run = watch(module, [x])
        except Untraceable:
            continue
        yield ours, tuple(run.shapes[run.outputs[0]][2:])


def _expression(name: str, pairs: Sequence[tuple[int, int]]) -> str | None:
    """Return one size as an expression of another that holds for all pairs."""
    if all(ours == theirs for ours, theirs in pairs):
        return name
    if len({theirs for _, theirs in pairs}) == 1:
        return str(pairs[0][1])
    for step in _STRIDES:
        for more in sorted(_REACH, key=abs):
            if all((ours + more) // step == theirs for ours, theirs in pairs):
                sign = "+" if more > 0 else "-"
                top = f"({name} {sign} {abs(more)})" if more else name
                return top if step == 1 else f"{top} // {step}"
    for times in _STRIDES[1:]:
        if all(ours * times == theirs for ours, theirs in pairs):
            return f"{times} * {name}"
    return None


def _costs(
    module: nn.Module,
    before: Shape,
    after: Shape,
    grown: Sequence[str],
    names: Mapping[int, str],
) -> Iterator[str]:
    """Yield an `op`'s lines for parameters, buffers and multiply-accumulates."""
    shapes = [tuple(one.shape) for one in module.parameters()]
    if shapes:
        yield f"params = {_sum(_product(shape, names) for shape in shapes)}"
    each, once = _macs(module, before)
    buffers = [tuple(one.shape) for one in module.buffers()]
    if buffers:
        yield f"buffers = {_sum(_product(shape, names) for shape in buffers)}"
    wide, found = int(channels(before)), list[str]()
    if each and grown:
        weights = [shape for shape in shapes if count(shape) == each]
        whole = weights[0] if weights else _parted(each, wide)
        factors = (_product(whole, names), *grown)
        found.append(" * ".join(f"({f})" if "/" in f else f for f in factors))
    elif each:
        once += each * count(sizes(after))
    if once:
        found.append(_product(_parted(once, wide), names))
    if found:
        yield f"macs = {_sum(found)}"


def _macs(module: nn.Module, before: Shape) -> tuple[int, int]:
    """Return multiply-accumulates for each position of the output, and for a sample.

    Their sum is the total of a sample. If they do not grow linearly with the map, the
    whole total is taken as that of the sample.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    known = []
    runs = list(_runs(module, before)) if is_map(before) else [((), ())]
    for ours, theirs in (runs[0], *runs[-2:]):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.empty(BATCH, before[0], *ours, device="meta"))
        known.append((count(theirs), int(counter.get_total_flops()) // 2 // BATCH))
    (few, least), (many, most) = known[0], known[-1]
    each = (most - least) // (many - few) if many > few else least // few
    once = least - each * few
    if once < 0 or any(each * places + once != macs for places, macs in known):
        return 0, least
    return each, once


def _parted(number: int, wide: int) -> tuple[int, ...]:
    """Return a number as factors, channels first."""
    return (number,) if number % wide else (wide, number // wide)


def _sum(texts: Iterable[str]) -> str:
    """Return a sum as text, with equal terms combined."""
    found = Counter(texts)
    numbers = sum(int(text) * n for text, n in found.items() if text.isdigit())
    parts = [text if n == 1 else f"{n} * {text}" for text, n in found.items()]
    parts = [
        part for part, text in zip(parts, found, strict=True) if not text.isdigit()
    ]
    return " + ".join([*parts, *([str(numbers)] if numbers else [])])


def _product(shape: Sequence[int], names: Mapping[int, str]) -> str:
    """Return the elements of a shape as text, with names for channels."""
    named = [names[n] for n in shape if n in names and n > 3]
    rest = count(tuple(n for n in shape if not (n in names and n > 3)))
    return " * ".join([*named, *([str(rest)] if rest != 1 or not named else [])])
