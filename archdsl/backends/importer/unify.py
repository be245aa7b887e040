"""Merges several bodies with the same form into one with parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from archdsl.backends.importer.loops import COUNTED
from archdsl.backends.importer.spec import (
    Expression,
    SpecBody,
    SpecBraces,
    SpecItem,
    SpecMerge,
    SpecRegister,
)
from archdsl.backends.importer.trees import (
    MISSING,
    Slot,
    Width,
    all_items,
    calls_of,
    filled,
    is_optional,
    map_items,
    slots_of,
    with_guard,
)
from archdsl.layer import words
from archdsl.naming import PARAMETER_RESERVED, refusal

# The share of calls that must agree for a default; strides need a smaller one.
_AGREE: Final = 0.7
_AGREE_STRIDE: Final = 0.5
# Clearer names for parameters than those of the arguments.
_NAMES: Final = {"p": "drop", "times": "count", "size": "size"}
# The name for the input channels of a block, and the parameter for their factor.
_INPUTS: Final = "inputs"
_FACTOR: Final = "expand"
# A width inside a block, other than that of its output.
_INNER: Final = "mid"
_MOST_FACTOR: Final = 8
# Whether a part is present.
_GUARD: Final = "guard"


class Unifier:
    """Merges several bodies with the same form into one.

    Args:
        bodies: the bodies.
        flows: input and output channels of each; empty for a network.
        whole: a body of that form with all parts; the first of them if None.
        constants_first: whether a number that is the same in all bodies stays a
            constant, even if it equals the input channels.

    Attributes:
        found: the parameters, with their value for each body; `MISSING` if it does not
            matter, because the part that uses it is absent.
        kinds: the meaning of each parameter as an argument of layers and calls, by
            name.
        values: expressions that the body defines first, as text by name.
    """

    def __init__(
        self,
        bodies: Sequence[SpecBody],
        flows: Sequence[tuple[int, int]] = (),
        whole: SpecBody | None = None,
        *,
        constants_first: bool = False,
    ) -> None:
        self.bodies = bodies
        self.whole = bodies[0] if whole is None else whole
        self.constants_first = constants_first
        self.all_inputs = [one for one, _ in flows]
        self.all_outputs = [one for _, one in flows]
        # The bodies that have the current part.
        self.rows: list[int] = []
        self._clear()
        # Whether a parameter is the output width.
        self.sets_width = False

    def _clear(self) -> None:
        self.found: dict[str, list[Any]] = {}
        self.kinds: dict[str, str] = {}
        self.values: dict[str, str] = {}
        # Values of parameters in bodies that lack the part that uses them.
        self.nothing: dict[str, Any] = {}

    def body(self) -> SpecBody:
        """Return the body, with parameters for the differences."""
        body = self._unified()
        if self._width_of_outputs() not in ("", "width"):
            self._clear()
            self.sets_width = True
            body = self._unified()
        return self._with_guards(body)

    def _unified(self) -> SpecBody:
        streams = [list(slots_of(body)) for body in self.bodies]
        columns = list(zip(*streams, strict=True))
        # Parameters of parts that all bodies have come first, since others may be
        # expressed by them.
        order = sorted(range(len(columns)), key=lambda n: _rank(columns[n]))
        values = {n: self._value(columns[n]) for n in order}
        return filled(self.whole, iter([values[n] for n in range(len(columns))]))

    def _width_of_outputs(self) -> str:
        """Return the parameter that is the output width; empty if there is none."""
        for name, values in self.found.items():
            if values == self.all_outputs and _counts_channels(self.kinds[name]):
                return name
        return ""

    def parameters(self, number: int) -> tuple[tuple[str, Any], ...]:
        """Return the parameters' names and defaults, those without one first."""
        required, optional = [], []
        for name, values in self.found.items():
            known = [value for value in values if value is not MISSING]
            value, count = Counter(known).most_common(1)[0]
            often_left_out = self.kinds[name] in ("stride", "groups", _GUARD)
            enough = _AGREE_STRIDE if often_left_out else _AGREE
            lacking = len(known) < len(values)
            if name in self.nothing:
                value = self.nothing[name]
            if number > 1 and (lacking or count / number >= enough):
                self.found[name] = [value if v is MISSING else v for v in values]
                optional.append((name, value))
            else:
                required.append((name, None))
        # The output width comes first.
        required.sort(key=lambda one: one[0] != self._width_of_outputs())
        return (*required, *optional)

    def _value(self, column: Sequence[Slot]) -> Any:
        """Return the expression at a place of the common body."""
        self.rows = [n for n, one in enumerate(column) if one.value is not MISSING]
        column = [column[row] for row in self.rows]
        values = _alike([one.value for one in column])
        flows = [one.flow for one in column]
        name = column[0].name
        if self.constants_first and len(set(values)) == 1:
            return values[0]
        if name == "groups" and all(values) and values == flows and max(values) > 1:
            return Expression("channels")
        if name == "width" and values == flows:
            return Width(values)
        if len(set(values)) == 1:
            return values[0]
        if _counts_channels(name):
            if all(flows) and (text := _ratio(values, flows, "channels")):
                return Expression(text)
            for known, other in self._seen().items():
                wide = _counts_channels(self.kinds[known])
                if wide and (text := _ratio(values, other, known)):
                    return Expression(text)
            if text := self._of_inputs(values):
                return Expression(text)
            if name == "width" and (text := self._of_factor(values, flows)):
                return Expression(text)
        for known, other in self.found.items():
            if self.kinds[known] == name and self._is(other, values):
                for row, value in zip(self.rows, values, strict=True):
                    other[row] = value
                return Expression(known)
            if name == _GUARD == self.kinds[known] and self._is(
                other, [not value for value in values]
            ):
                return Expression(f"not {known}")
        made = self._new(column[0], values)
        return Expression(made)

    @property
    def inputs(self) -> list[int]:
        """The input channels of the bodies that have the current part."""
        return [self.all_inputs[row] for row in self.rows] if self.all_inputs else []

    @property
    def outputs(self) -> list[int]:
        """Their output channels."""
        return [self.all_outputs[row] for row in self.rows] if self.all_outputs else []

    def _seen(self) -> dict[str, list[Any]]:
        """Return the parameters that all of these bodies use, with their values."""
        seen = {k: [v[row] for row in self.rows] for k, v in self.found.items()}
        return {k: values for k, values in seen.items() if MISSING not in values}

    def _is(self, other: Sequence[Any], values: Sequence[Any]) -> bool:
        """Return whether a parameter has some values, or may have them."""
        seen = [other[row] for row in self.rows]
        known = [value for value in seen if value is not MISSING]
        pairs = zip(seen, values, strict=True)
        return bool(known) and all(a is MISSING or a == b for a, b in pairs)

    def _of_inputs(self, values: Sequence[int]) -> str:
        """Return numbers as fractions or multiples of input channels, if all are."""
        text = _ratio(values, self.inputs, _INPUTS) if self.inputs else ""
        for known, factors in self._seen().items() if self.inputs else ():
            if self.kinds[known] == _FACTOR and not text:
                pairs = zip(factors, self.inputs, strict=True)
                if values == [factor * flow for factor, flow in pairs]:
                    text = f"{known} * {_INPUTS}"
        if text:
            self.values[_INPUTS] = "channels"
        return text

    def _of_factor(self, values: list[int], flows: list[int]) -> str:
        """Return numbers as multiples of input channels times an expansion factor."""
        if not all(flows) or values == self.outputs:
            return ""
        if any(v % flow for v, flow in zip(values, flows, strict=True)):
            return ""
        factors = [v // flow for v, flow in zip(values, flows, strict=True)]
        few = 2 * len(set(factors)) <= len(set(values))
        if not few and (flows != self.inputs or max(factors) > _MOST_FACTOR):
            return ""
        for known, other in self._seen().items():
            if self.kinds[known] == _FACTOR and other == factors:
                return f"{known} * channels"
        return f"{self._new(Slot(_FACTOR, 0, 0), factors)} * channels"

    def _new(self, one: Slot, values: list[Any]) -> str:
        base = _NAMES.get(one.name, one.name)
        label = COUNTED.sub(lambda m: m[2] or m[1].strip("{i}"), one.label)
        partly = len(self.rows) < len(self.bodies)
        inner = self.sets_width and _counts_channels(one.name)
        if one.name == _GUARD:
            base = f"with_{label}".replace("-", "_").replace(".", "_")
        elif inner and values == self.outputs:
            base = "width"
        elif label and (base in self.found or inner or partly) and "." not in label:
            base = f"{label}_{base}".replace("-", "_")
        elif inner and base == "width":
            base = _INNER
        if refusal(base, "parameter", PARAMETER_RESERVED) or base in words():
            base = f"{base}_"
        name, number = base, 1
        while name in self.found or name == _INPUTS:
            number += 1
            name = f"{base}{number}"
        given = dict(zip(self.rows, values, strict=True))
        self.found[name] = [given.get(n, MISSING) for n in range(len(self.bodies))]
        self.kinds[name] = one.name
        return name

    # ---- guards

    def _with_guards(self, body: SpecBody) -> SpecBody:
        """Return a body whose guards test existing parameters, if equivalent."""
        used = {item.guard.text for item in all_items(body) if is_optional(item)}
        starts = {id(item) for item in _first_items(body)}
        later = {
            item.guard.text
            for item in all_items(body)
            if is_optional(item) and id(item) not in starts
        }
        shortcuts = set(_shortcuts(body))
        texts: dict[str, str] = {}
        for name in [n for n, one in self.kinds.items() if one == _GUARD]:
            text = ""
            if f"not {name}" not in used:
                first = name not in later
                text = self._test(self.found[name])
                if not text and name in shortcuts:
                    inputs = "channels" if first else _INPUTS
                    text = self._test_of_shape(self.found[name], inputs)
            plain = name.removeprefix("with_")
            free = plain not in {*self.found, *calls_of(body), *words()}
            if text:
                texts[name] = text
                del self.found[name]
            elif free and not refusal(plain, "parameter", PARAMETER_RESERVED):
                texts |= {name: plain, f"not {name}": f"not {plain}"}
                self.found = {texts.get(k, k): v for k, v in self.found.items()}
                self.kinds[plain] = _GUARD

        def change(item: SpecItem) -> SpecItem:
            if not is_optional(item):
                return item
            text = texts.get(item.guard.text, item.guard.text)
            return with_guard(item, Expression(text))

        return map_items(body, change)

    def _test(self, there: Sequence[Any]) -> str:
        """Return a test of a parameter for the presence of a part, if any.

        A width that only this part uses is 0 where the part is absent.
        """
        for name, values in self.found.items():
            kind = self.kinds[name]
            numbers = [value for value in values if value is not MISSING]
            if not all(type(n) in (int, float) and n > 0 for n in numbers):
                continue
            lacks = [value is not MISSING for value in values] == there
            if lacks and (_counts_channels(kind) or kind in (_FACTOR, "p")):
                self.nothing[name] = type(numbers[0])(0)
                return f"{name} > 0"
        return ""

    def _test_of_shape(self, there: Sequence[Any], inputs: str) -> str:
        """Return a test whether the size or the channels change, if that is equivalent.

        Args:
            there: whether each body has a shortcut.
            inputs: the expression for the body's input channels.
        """
        if not self.all_inputs:
            return ""
        for name, values in self.found.items():
            whole = self.kinds[name] == "stride" and MISSING not in values
            if whole and [value != 1 for value in values] == there:
                return f"{name} > 1"
        wider = [a != b for a, b in zip(self.all_inputs, self.all_outputs, strict=True)]
        strides = [n for n, kind in self.kinds.items() if kind == "stride"]
        for stride in (*strides, ""):
            values = self.found.get(stride, [1] * len(there))
            if MISSING in values:
                continue
            if [v != 1 or w for v, w in zip(values, wider, strict=True)] != there:
                continue
            for name, numbers in self.found.items():
                if not _counts_channels(self.kinds[name]) or MISSING in numbers:
                    continue
                if width := _ratio(self.all_outputs, numbers, name):
                    if inputs == _INPUTS:
                        self.values[_INPUTS] = "channels"
                    wide = f"{inputs} != {width}"
                    return f"{stride} > 1 or {wide}" if stride else wide
        return ""


def _first_items(body: SpecBody) -> Iterator[SpecItem]:
    """Yield the items that read the input of a body."""
    items = (item for line in body for item in line.items)
    first = next((i for i in items if not isinstance(i, SpecRegister)), None)
    if first is not None:
        yield first
    if isinstance(first, SpecBraces):
        yield from _first_items(first.body)
    elif isinstance(first, SpecMerge):
        for branch in first.branches:
            yield from _first_items(branch)


def _shortcuts(body: SpecBody) -> Iterator[str]:
    """Yield the guards of optional shortcuts."""
    for item in all_items(body):
        if isinstance(item, SpecMerge) and item.word == "residual":
            for branch in item.branches:
                items = [one for line in branch for one in line.items]
                if len(items) == 1 and is_optional(items[0]):
                    yield items[0].guard.text


def _rank(column: Sequence[Slot]) -> int:
    if column[0].name == _GUARD:
        return 2
    return int(any(slot.value is MISSING for slot in column))


def _alike(values: list[Any]) -> list[Any]:
    """Return numbers as sizes if some of them are, as a parameter has one type."""
    axes = max((len(v) for v in values if isinstance(v, tuple)), default=0)
    return (
        [v if isinstance(v, tuple) else (v,) * axes for v in values] if axes else values
    )


def _counts_channels(name: str) -> bool:
    """Return whether an argument is a number of channels, or of groups of them."""
    ends = ("width", "groups", "start", "stop", _INNER)
    return name.rstrip("0123456789_").endswith(ends)


def _ratio(values: Sequence[int], base: Sequence[int], name: str) -> str:
    """Return numbers as a multiple or fraction of others, if they all are."""
    if not all(base) or not all(values):
        return ""
    first, other = values[0], base[0]
    if all(v == b for v, b in zip(values, base, strict=True)):
        return name
    if first % other == 0:
        times = first // other
        if all(v == times * b for v, b in zip(values, base, strict=True)):
            return f"{times} * {name}"
    if other % first == 0:
        part = other // first
        if all(v * part == b for v, b in zip(values, base, strict=True)):
            return f"{name} // {part}"
    return ""
