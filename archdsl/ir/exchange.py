"""Networks as JSON, for other programs and for later.

What is written are the nodes of `ir.nodes`, field by field; a field that has its
default is left out. A layer is tagged by its kind. A number that carries an expression
is an object with both, and an expression is a list of terms: `[[4, "width"], [-1]]` is
``4 * width - 1``. A factor that is not a name is a list of an operator and expressions.

What is read may come from anywhere. It is bounded in size, everything has its type, and
the network is verified before anything else sees it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any, Final, NoReturn, get_args

from archdsl.conditions import COMPARISONS, Joined, Not, Relation, Test, Truth
from archdsl.diagnostics import did_you_mean
from archdsl.initializers import SCHEMES
from archdsl.ir.nodes import (
    Expectation,
    Group,
    Initializer,
    Named,
    Network,
    OldName,
    Parameter,
    Port,
    Role,
    Step,
    unchecked,
)
from archdsl.ir.verify import InvalidNetwork, Location, Problem, verify
from archdsl.layer import REQUIRED, Field, Layer, all_kinds, kind, words
from archdsl.limits import MAX_INTEGER, MAX_NETWORK_BYTES, MAX_PARTS
from archdsl.naming import is_old_name
from archdsl.source import Source, Span
from archdsl.symbolic import Atom, Poly, Sym, SymFloat, TooLong
from archdsl.values import Dims, Last

VERSION: Final = 1
# Only one text is read at a time, as the counts of the reader are global.
_READING: Final = Lock()
# Groups inside of one another; blocks nest up to 64 levels, with branches and copies.
_MAX_LEVELS: Final = 150
# Steps and groups; besides those that the limits count, there are branches and copies.
_MAX_NODES: Final = 4 * MAX_PARTS
# Names become Python code, so they are held to their characters before anything else.
_IDENTIFIER: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,99}", re.ASCII)
_ATOM: Final = re.compile(rf"{_IDENTIFIER.pattern}|in_channels:[0-9]{{1,3}}", re.ASCII)
_LABELS: Final = re.compile(r"[A-Za-z0-9_.\-]{0,300}", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_OPERATORS: Final = ("//", "%", "min", "max", "[]")


class _Malformed(Exception):
    """A part of a text that cannot be read, with its place."""

    def __init__(self, place: Location, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(place, message)


def dump(network: Network, indent: int | None = None) -> str:
    """Return a network as JSON.

    Args:
        network: the network.
        indent: spaces for each level; None for a single line.

    Raises:
        ValueError: if it has layers that only its spec declares (`op`).
    """
    found = {"version": VERSION, **_NETWORK.encode(network)}
    separators = (",", ":") if indent is None else None
    return json.dumps(found, indent=indent, separators=separators)


def load(text: str | bytes | bytearray) -> Network:
    """Return the network of a JSON text, verified.

    Raises:
        InvalidNetwork: with all violations in the network, or with the first part that
            cannot be read.
    """
    try:
        with _READING:
            found = _NETWORK.decode_root(_parsed(text))
    except _Malformed as error:
        raise InvalidNetwork("the text", [error.problem]) from None
    except RecursionError:
        problem = Problem((), "it is nested too deeply")
        raise InvalidNetwork("the text", [problem]) from None
    return verify(found)


def schema() -> dict[str, Any]:
    """Return the JSON schema of networks."""
    found = _NETWORK.schema()
    found["properties"] = {"version": {"const": VERSION}, **found["properties"]}
    found["required"] = ["version", *found["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a network of archdsl",
        **found,
        "$defs": {
            "node": _NODE.schema_of_both(),
            "layer": _layer_schema(),
            "expression": _EXPRESSION_SCHEMA,
            "test": _TEST_SCHEMA,
            "value": _VALUE_SCHEMA,
        },
    }


def _parsed(text: str | bytes | bytearray) -> Any:
    """Return the value of a JSON text.

    Raises:
        _Malformed: if it is not JSON, or too long.
    """
    if not isinstance(text, str | bytes | bytearray):
        raise TypeError(f"a network as JSON is a text, not {type(text).__name__}")
    if len(text) > MAX_NETWORK_BYTES:
        raise _Malformed((), f"it has more than {MAX_NETWORK_BYTES:,} bytes")
    parts = text.count('"node"') if isinstance(text, str) else text.count(b'"node"')
    if parts > _MAX_NODES:
        raise _Malformed((), f"there are more than {_MAX_NODES:,} parts")
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        why = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise _Malformed((), f"it is not JSON: {why}") from None
    except ValueError as error:  # bytes that are not text, or a number of 5,000 digits
        raise _Malformed((), f"it is not JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has a key twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")


# ---- forms -----------------------------------------------------------------------


class _Form:
    """How values of one type are written, read and described."""

    def __init__(
        self,
        encode: Callable[[Any], Any],
        decode: Callable[[Any, Location], Any],
        schema: Mapping[str, Any],
    ) -> None:
        self.encode = encode
        self.decode = decode
        self._schema = schema

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return dict(self._schema)


def _same(value: Any) -> Any:
    return value


def _wrong(place: Location, wanted: str, value: Any) -> NoReturn:
    shown = json.dumps(value, default=str)
    shown = shown if len(shown) <= 40 else f"{shown[:37]}..."
    raise _Malformed(place, f"it is {wanted}, not {shown}")


def _text(value: Any, place: Location) -> str:
    if not isinstance(value, str):
        _wrong(place, "a text", value)
    if _CONTROL.search(value):
        _wrong(place, "a text without control characters", value)
    return value


def _name(value: Any, place: Location) -> str:
    if not isinstance(value, str) or not _IDENTIFIER.fullmatch(value):
        _wrong(place, "a name of letters, digits and _", value)
    return value


def _name_if_any(value: Any, place: Location) -> str:
    return "" if value == "" and isinstance(value, str) else _name(value, place)


def _labels(value: Any, place: Location) -> str:
    if not isinstance(value, str) or not _LABELS.fullmatch(value):
        _wrong(place, "a name of letters, digits, _, . and -", value)
    return value


def _old_name(value: Any, place: Location) -> str:
    if not is_old_name(_text(value, place)):
        _wrong(place, "a part of a checkpoint's key", value)
    return str(value)


def _boolean(value: Any, place: Location) -> bool:
    if not isinstance(value, bool):
        _wrong(place, "true or false", value)
    return value


def _integer(value: Any, place: Location) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        _wrong(place, "an integer", value)
    if abs(value) > MAX_INTEGER:
        raise _Malformed(place, f"it is larger than {MAX_INTEGER:,} (31 bits)")
    return value


def _list(value: Any, place: Location) -> list[Any]:
    if not isinstance(value, list):
        _wrong(place, "a list", value)
    return value


def _mapping(value: Any, place: Location, *keys: str, optional: bool = False) -> Any:
    """Return an object; refuse it if it has other keys than these.

    Raises:
        _Malformed: naming the key.
    """
    if not isinstance(value, dict):
        _wrong(place, "an object", value)
    for key in value:
        if key not in keys:
            hint = did_you_mean(key, keys)
            what = f"there is no field {key[:100]!r}"
            raise _Malformed((*place, key[:100]), f"{what}; {hint}" if hint else what)
    for key in keys:
        if key not in value and not optional:
            raise _Malformed((*place, key), "it is missing")
    return value


_TEXT = _Form(_same, _text, {"type": "string"})
_NAME = _Form(_same, _name, {"type": "string"})
_NAME_IF_ANY = _Form(_same, _name_if_any, {"type": "string"})
_PATH = _Form(_same, _labels, {"type": "string"})
_OLD_NAME = _Form(_same, _old_name, {"type": "string"})
_BOOLEAN = _Form(_same, _boolean, {"type": "boolean"})
_INTEGER = _Form(int, _integer, {"type": "integer"})


def _tuple_of(form: _Form) -> _Form:
    return _Form(
        lambda values: [form.encode(value) for value in values],
        lambda values, place: tuple(
            [form.decode(v, (*place, n)) for n, v in enumerate(_list(values, place))]
        ),
        {"type": "array", "items": form.schema()},
    )


def _choice(options: Sequence[str]) -> _Form:
    def decode(value: Any, place: Location) -> Any:
        if not isinstance(value, str) or value not in options:
            _wrong(place, f"one of {', '.join(options)}", value)
        return value

    return _Form(_same, decode, {"enum": list(options)})


# ---- numbers with expressions ----------------------------------------------------


def _encode_poly(poly: Poly) -> list[Any]:
    return [[factor, *map(_encode_atom, atoms)] for atoms, factor in poly.terms]


def _encode_atom(atom: Atom) -> Any:
    if not atom.args:
        return atom.op
    return [
        atom.op,
        *(
            _encode_poly(arg if isinstance(arg, Poly) else Poly.atom(arg))
            for arg in atom.args
        ),
    ]


def _decode_poly(value: Any, place: Location) -> Poly:
    terms: list[tuple[tuple[Atom, ...], int]] = []
    for number, term in enumerate(_list(value, place)):
        at = (*place, number)
        if not _list(term, at):
            raise _Malformed(at, "a term must begin with its factor")
        atoms = tuple([_decode_atom(a, (*at, n)) for n, a in enumerate(term[1:], 1)])
        terms.append((atoms, _integer(term[0], (*at, 0))))
    try:
        total = Poly(())
        for product, factor in terms:
            total = total + Poly(((product, factor),) if factor else ())
        return total
    except TooLong:
        raise _Malformed(place, "the expression is too long") from None


def _decode_atom(value: Any, place: Location) -> Atom:
    if isinstance(value, str):
        if not _ATOM.fullmatch(value):
            _wrong(place, "the name of a parameter", value)
        return Atom(value)
    op, *args = _list(value, place) or [None]
    known = isinstance(op, str) and op in _OPERATORS
    if not known or len(args) < 2 or (len(args) > 2 and op not in ("min", "max")):
        _wrong(place, "a name, or an operator and expressions", value)
    return Atom(op, tuple(_decode_poly(a, (*place, n)) for n, a in enumerate(args, 1)))


def _encode_number(value: int) -> Any:
    if isinstance(value, Sym):
        return {"value": int(value), "expression": _encode_poly(value.poly)}
    return int(value)


def _decode_number(value: Any, place: Location) -> int:
    if not isinstance(value, dict):
        return _integer(value, place)
    found = _mapping(value, place, "value", "expression")
    poly = _decode_poly(found["expression"], (*place, "expression"))
    return Sym(_integer(found["value"], (*place, "value")), poly)


_EXPRESSION_REF: Final = {"$ref": "#/$defs/expression"}
_ATOM_SCHEMA: Final = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "prefixItems": [{"enum": list(_OPERATORS)}],
            "items": _EXPRESSION_REF,
            "minItems": 3,
        },
    ]
}
_EXPRESSION_SCHEMA: Final = {
    "type": "array",
    "items": {
        "type": "array",
        "prefixItems": [{"type": "integer"}],
        "items": _ATOM_SCHEMA,
        "minItems": 1,
    },
}
_SYMBOLIC_SCHEMA: Final = {
    "type": "object",
    "properties": {"value": {"type": "integer"}, "expression": _EXPRESSION_REF},
    "required": ["value", "expression"],
    "additionalProperties": False,
}
_NUMBER = _Form(
    _encode_number,
    _decode_number,
    {"anyOf": [{"type": "integer"}, _SYMBOLIC_SCHEMA]},
)


def _encode_shape(shape: tuple[int, ...]) -> Any:
    sizes = [_encode_number(size) for size in shape]
    return {"channels_last": sizes} if isinstance(shape, Last) else sizes


def _decode_shape(value: Any, place: Location) -> tuple[int, ...]:
    if isinstance(value, dict):
        found = _mapping(value, place, "channels_last")["channels_last"]
        return Last(_NUMBERS.decode(found, (*place, "channels_last")))
    sizes: tuple[int, ...] = _NUMBERS.decode(value, place)
    return sizes


_NUMBERS = _tuple_of(_NUMBER)
_SHAPE = _Form(
    _encode_shape,
    _decode_shape,
    {
        "anyOf": [
            _NUMBERS.schema(),
            {
                "type": "object",
                "properties": {"channels_last": _NUMBERS.schema()},
                "required": ["channels_last"],
                "additionalProperties": False,
            },
        ]
    },
)


# ---- labels and tests ------------------------------------------------------------


def _encode_label(label: tuple[str | Poly, ...]) -> list[Any]:
    return [
        part if isinstance(part, str) else {"expression": _encode_poly(part)}
        for part in label
    ]


def _decode_label(value: Any, place: Location) -> tuple[str | Poly, ...]:
    found: list[str | Poly] = []
    for number, part in enumerate(_list(value, place)):
        at = (*place, number)
        if isinstance(part, str):
            found.append(part)
        else:
            inner = _mapping(part, at, "expression")["expression"]
            found.append(_decode_poly(inner, (*at, "expression")))
    return tuple(found)


_LABEL = _Form(
    _encode_label,
    _decode_label,
    {
        "type": "array",
        "items": {
            "anyOf": [
                {"type": "string"},
                {
                    "type": "object",
                    "properties": {"expression": _EXPRESSION_REF},
                    "required": ["expression"],
                    "additionalProperties": False,
                },
            ]
        },
    },
)


def _encode_test(test: Test | None) -> Any:
    match test:
        case None:
            return None
        case Relation(left, op, right):
            sides = [
                s if isinstance(s, float) else _encode_poly(s) for s in (left, right)
            ]
            return {"left": sides[0], "op": op, "right": sides[1]}
        case Truth(name):
            return {"parameter": name}
        case Not(inner):
            return {"not": _encode_test(inner)}
        case Joined(op, tests):
            return {op: [_encode_test(one) for one in tests]}


def _encode_side(side: Poly | float) -> Any:
    return _encode_poly(side) if isinstance(side, Poly) else side


def _decode_test(value: Any, place: Location) -> Test | None:
    if value is None:
        return None
    keys = set(_mapping(value, place, *_TEST_KEYS, optional=True))
    if keys == {"left", "op", "right"}:
        op = _choice(tuple(COMPARISONS)).decode(value["op"], (*place, "op"))
        left, right = (_decode_side(value[s], (*place, s)) for s in ("left", "right"))
        return Relation(left, op, right)
    if keys == {"parameter"}:
        return Truth(_name(value["parameter"], (*place, "parameter")))
    if keys == {"not"}:
        return Not(_decode_some_test(value["not"], (*place, "not")))
    for word in ("and", "or"):
        if keys == {word}:
            tests = _list(value[word], (*place, word))
            parts = [
                _decode_some_test(t, (*place, word, n)) for n, t in enumerate(tests)
            ]
            return Joined("and" if word == "and" else "or", tuple(parts))
    _wrong(place, "a test", value)


_TEST_KEYS: Final = ("left", "op", "right", "parameter", "not", "and", "or")


def _decode_some_test(value: Any, place: Location) -> Test:
    found = _decode_test(value, place)
    if found is None:
        _wrong(place, "a test", value)
    return found


def _decode_side(value: Any, place: Location) -> Poly | float:
    return value if isinstance(value, float) else _decode_poly(value, place)


def _only(**properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_SIDE_SCHEMA: Final = {"anyOf": [{"type": "number"}, _EXPRESSION_REF]}
_TEST_REF: Final = {"$ref": "#/$defs/test"}
_TEST_SCHEMA: Final = {
    "anyOf": [
        _only(left=_SIDE_SCHEMA, op={"enum": list(COMPARISONS)}, right=_SIDE_SCHEMA),
        _only(parameter={"type": "string"}),
        _only(**{"not": _TEST_REF}),
        _only(**{"and": {"type": "array", "items": _TEST_REF}}),
        _only(**{"or": {"type": "array", "items": _TEST_REF}}),
    ]
}
_TEST = _Form(_encode_test, _decode_test, {"anyOf": [_TEST_REF, {"type": "null"}]})


def _encode_answers(tests: tuple[tuple[Test, bool], ...]) -> list[Any]:
    return [{"test": _encode_test(test), "holds": held} for test, held in tests]


def _decode_answers(value: Any, place: Location) -> tuple[tuple[Test, bool], ...]:
    found: list[tuple[Test, bool]] = []
    for number, one in enumerate(_list(value, place)):
        at = (*place, number)
        given = _mapping(one, at, "test", "holds")
        test = _decode_some_test(given["test"], (*at, "test"))
        found.append((test, _BOOLEAN.decode(given["holds"], (*at, "holds"))))
    return tuple(found)


_ANSWERS = _Form(
    _encode_answers,
    _decode_answers,
    {"type": "array", "items": _only(test=_TEST_REF, holds={"type": "boolean"})},
)


# ---- values of parameters --------------------------------------------------------


def _encode_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return _encode_number(value)
    if isinstance(value, SymFloat):
        return {"value": float(value), "parameter": value.name}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Dims):
        return {"sizes": [_encode_number(size) for size in value]}
    if isinstance(value, tuple):
        return [_encode_value(part) for part in value]
    found = getattr(value, "kind", None)
    return {"block": repr(value)} if found is None else {"kind": found.word}


def _decode_value(value: Any, place: Location) -> Any:
    if isinstance(value, list):
        return tuple([_decode_value(v, (*place, n)) for n, v in enumerate(value)])
    if not isinstance(value, dict):
        return _integer(value, place) if type(value) is int else value
    keys = set(value)
    if keys == {"sizes"}:
        return Dims(_NUMBERS.decode(value["sizes"], (*place, "sizes")))
    if keys == {"value", "parameter"}:
        if not isinstance(value["value"], float):
            _wrong((*place, "value"), "a number with a point", value["value"])
        name = _name(value["parameter"], (*place, "parameter"))
        return SymFloat(value["value"], name)
    if keys == {"block"}:
        return Named(_text(value["block"], (*place, "block")))
    if keys == {"kind"}:
        word = value["kind"]
        at = (*place, "kind")
        # A kind that only a spec declares is just a name here.
        return Named(_text(word, at), kind(word))
    return _decode_number(value, place)


_VALUE_REF: Final = {"$ref": "#/$defs/value"}
_VALUE_SCHEMA: Final = {
    "anyOf": [
        {"type": ["null", "boolean", "number", "string"]},
        _SYMBOLIC_SCHEMA,
        _only(value={"type": "number"}, parameter={"type": "string"}),
        _only(sizes=_NUMBERS.schema()),
        _only(block={"type": "string"}),
        _only(kind={"type": "string"}),
        {"type": "array", "items": _VALUE_REF},
    ]
}
_VALUE = _Form(_encode_value, _decode_value, _VALUE_REF)


# ---- layers ----------------------------------------------------------------------


def _encode_layer(op: Layer) -> Any:
    if kind(op.word) is not type(op):
        raise ValueError(
            f"{op.word} can only be declared in a spec, and has no form in JSON"
        )
    given = {
        name: _encode_value(value)
        for name, value in vars(op).items()
        if not _is_default(op.fields[name], value)
    }
    return {"kind": op.word, "arguments": given} if given else {"kind": op.word}


def _is_default(field: Field, value: Any) -> bool:
    carries = isinstance(value, Sym | SymFloat) or (
        isinstance(value, tuple) and any(isinstance(part, Sym) for part in value)
    )
    default = field.default
    return not carries and type(value) is type(default) and bool(value == default)


def _decode_layer(value: Any, place: Location) -> Layer:
    found = _mapping(value, place, "kind", "arguments", optional=True)
    word = _text(found.get("kind"), (*place, "kind"))
    made = kind(word)
    if made is None:
        hint = did_you_mean(word, words())
        what = f"there is no layer kind {word[:100]!r}"
        raise _Malformed((*place, "kind"), f"{what}; {hint}" if hint else what)
    at = (*place, "arguments")
    given = _mapping(found.get("arguments", {}), at, *made.fields, optional=True)
    values = {}
    for name, field in made.fields.items():
        if name in given:
            values[name] = _decode_argument(field, given[name], (*at, name))
        elif field.default is REQUIRED:
            raise _Malformed((*at, name), f"it is missing: {field.help}")
    return made(**values)


def _decode_argument(field: Field, value: Any, place: Location) -> Any:
    found = _decode_value(value, place)
    if field.type == "float" and type(found) is int:
        found = float(found)
    why = field.refusal(found)
    if why:
        raise _Malformed(place, f"it {why}")
    return found


def _layer_schema() -> dict[str, Any]:
    """Return the schema of layers, a form for each kind."""
    return {"anyOf": [_kind_schema(one) for one in all_kinds()]}


def _kind_schema(layer: type[Layer]) -> dict[str, Any]:
    fields = layer.fields.values()
    arguments = {
        "type": "object",
        "properties": {f.name: {**_VALUE_REF, "description": f.help} for f in fields},
        "required": [f.name for f in fields if f.default is REQUIRED],
        "additionalProperties": False,
    }
    required = ["kind", *(["arguments"] if arguments["required"] else [])]
    return {
        "type": "object",
        "properties": {"kind": {"const": layer.word}, "arguments": arguments},
        "required": required,
        "additionalProperties": False,
    }


_LAYER = _Form(_encode_layer, _decode_layer, {"$ref": "#/$defs/layer"})


# ---- places in the spec ----------------------------------------------------------


class _Unseen(Source):
    """A source whose text is unknown, but places in it are known."""

    __slots__ = ("places",)

    def __init__(self, name: str) -> None:
        super().__init__(name, "")
        self.places: dict[int, tuple[int, int]] = {}

    def position(self, offset: int) -> tuple[int, int]:
        return self.places.get(offset, (1, 1))

    def line(self, number: int) -> str:
        return ""


def _encode_span(span: Span) -> list[Any]:
    line, column = span.source.position(span.start)
    return [span.source.name, span.start, span.end, line, column]


_SPAN_SCHEMA: Final = {
    "description": "file, offsets of the start and the end, line and column",
    "type": "array",
    "prefixItems": [{"type": "string"}, *[{"type": "integer", "minimum": 0}] * 4],
    "minItems": 5,
    "maxItems": 5,
}


# ---- nodes -----------------------------------------------------------------------


class _Nodes:
    """How nodes of one class are written, read and described.

    Args:
        model: the class.
        forms: the forms of each of its fields.
        tag: what tells it from others in one list, if anything does.
    """

    def __init__(self, model: Any, forms: dict[str, Any], tag: str = "") -> None:
        self.model = model
        self.make = unchecked(model)
        self.forms = forms
        self.tag = tag
        fields = model.model_fields
        assert forms.keys() == fields.keys(), forms.keys() ^ fields.keys()
        self.defaults = {
            name: field.default
            for name, field in fields.items()
            if not field.is_required()
        }
        self.required = [name for name in forms if name not in self.defaults]

    def encode(self, node: Any) -> dict[str, Any]:
        """Return a node as an object."""
        found: dict[str, Any] = {"node": self.tag} if self.tag else {}
        for name, form in self.forms.items():
            value = getattr(node, name)
            if (
                name not in self.defaults
                or value != self.defaults[name]
                or (isinstance(value, Sym))
            ):
                found[name] = form.encode(value)
        return found

    def decode(self, value: Any, place: Location) -> Any:
        """Return the node of an object."""
        keys = (*self.forms, "node") if self.tag else tuple(self.forms)
        found = _mapping(value, place, *keys, optional=True)
        values = {}
        for name, form in self.forms.items():
            if name in found:
                values[name] = form.decode(found[name], (*place, name))
            elif name not in self.defaults:
                raise _Malformed((*place, name), "it is missing")
        return self.make(**values)

    def decode_root(self, value: Any) -> Any:
        """Return the network of an object, whose version comes first."""
        if not isinstance(value, dict):
            _wrong((), "an object", value)
        value = dict(value)
        version = value.pop("version", None)
        if version != VERSION or isinstance(version, bool):
            _wrong(("version",), f"{VERSION}", version)
        counter.begin()
        return self.decode(value, ())

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema."""
        properties = {name: form.schema() for name, form in self.forms.items()}
        if self.tag:
            properties = {"node": {"const": self.tag}, **properties}
        return {
            "type": "object",
            "properties": properties,
            "required": [*(["node"] if self.tag else []), *self.required],
            "additionalProperties": False,
        }


class _Counter:
    """Counts while one network is read."""

    def begin(self) -> None:
        """Forget the last one."""
        self.level = 0
        self.sources: dict[str, _Unseen] = {}

    def span(self, value: Any, place: Location) -> Span:
        """Return a place in a spec whose text is not available."""
        if len(_list(value, place)) != 5:
            _wrong(place, "a file, two offsets, a line and a column", value)
        name = _text(value[0], (*place, 0))
        start, end, line, column = (
            _integer(number, (*place, n)) for n, number in enumerate(value[1:], 1)
        )
        source = self.sources.setdefault(name, _Unseen(name))
        source.places[start] = line, column
        return Span(source, start, end)


counter = _Counter()
counter.begin()
_SPAN = _Form(_encode_span, counter.span, _SPAN_SCHEMA)


class _Node:
    """A step or a group."""

    def encode(self, node: Step | Group) -> Any:
        """Return a node as an object."""
        return (_STEP if isinstance(node, Step) else _GROUP).encode(node)

    def decode(self, value: Any, place: Location) -> Step | Group:
        """Return the node of an object."""
        tag = value.get("node") if isinstance(value, dict) else None
        if tag not in ("step", "group"):
            _wrong((*place, "node"), "step or group", tag)
        counter.level += 1
        if counter.level > _MAX_LEVELS:
            raise _Malformed(
                place, f"groups are nested deeper than {_MAX_LEVELS} levels"
            )
        found: Step | Group = (_STEP if tag == "step" else _GROUP).decode(value, place)
        counter.level -= 1
        return found

    def schema(self) -> dict[str, Any]:
        """Return a reference to the JSON schema."""
        return {"$ref": "#/$defs/node"}

    def schema_of_both(self) -> dict[str, Any]:
        """Return the JSON schema."""
        return {"anyOf": [_STEP.schema(), _GROUP.schema()]}


_NODE = _Node()


def _pairs(form: _Form) -> _Form:
    """Return the form of pairs of a name and a value: an object."""

    def decode(value: Any, place: Location) -> tuple[tuple[str, Any], ...]:
        if not isinstance(value, dict):
            _wrong(place, "an object", value)
        return tuple(
            [
                (_name(name, (*place, name[:100])), form.decode(one, (*place, name)))
                for name, one in value.items()
            ]
        )

    return _Form(
        lambda pairs: {name: form.encode(value) for name, value in pairs},
        decode,
        {"type": "object", "additionalProperties": form.schema()},
    )


def _decode_setting(value: Any, place: Location) -> float | int | str:
    if isinstance(value, bool) or not isinstance(value, float | int | str):
        _wrong(place, "a number or a word", value)
    if isinstance(value, float) and not math.isfinite(value):
        _wrong(place, "a finite number", value)
    if isinstance(value, str):
        return _name(value, place)
    return value if isinstance(value, float) else _integer(value, place)


_SETTING = _Form(_same, _decode_setting, {"type": ["number", "string"]})
_VALUES = _tuple_of(_INTEGER)
_SHAPES = _tuple_of(_SHAPE)


def _many(nodes: Any) -> _Form:
    return _Form(
        lambda values: [nodes.encode(value) for value in values],
        lambda values, place: tuple(
            [nodes.decode(v, (*place, n)) for n, v in enumerate(_list(values, place))]
        ),
        {"type": "array", "items": nodes.schema()},
    )


_OLD_NAMES = _many(_Nodes(OldName, {"name": _OLD_NAME, "pattern": _LABEL}))
_STEP = _Nodes(
    Step,
    {
        "name": _PATH,
        "path": _PATH,
        "labelled": _BOOLEAN,
        "pattern": _LABEL,
        "op": _LAYER,
        "inputs": _VALUES,
        "input_shapes": _SHAPES,
        "output": _INTEGER,
        "shape": _SHAPE,
        "training": _BOOLEAN,
        "statement": _INTEGER,
        "span": _SPAN,
        "shared": _BOOLEAN,
        "alias": _PATH,
        "renamed_from": _OLD_NAMES,
    },
    "step",
)
_PARAMETER = _Nodes(Parameter, {"name": _NAME, "value": _VALUE, "default": _VALUE})


_PORT = _Nodes(
    Port, {"name": _NAME, "value": _INTEGER, "shape": _SHAPE, "training": _BOOLEAN}
)
_GROUP = _Nodes(
    Group,
    {
        "role": _choice(get_args(Role)),
        "name": _PATH,
        "path": _PATH,
        "pattern": _LABEL,
        "word": _NAME_IF_ANY,
        "origin": _TEXT,
        "doc": _TEXT,
        "indexed": _BOOLEAN,
        "parameters": _many(_PARAMETER),
        "lets": _pairs(_NUMBER),
        "tests": _ANSWERS,
        "children": _many(_NODE),
        "input": _INTEGER,
        "input_shape": _SHAPE,
        "ports": _many(_PORT),
        "output": _INTEGER,
        "shape": _SHAPE,
        "count": _NUMBER,
        "condition": _TEST,
        "shared": _BOOLEAN,
        "alias": _PATH,
        "renamed_from": _OLD_NAMES,
        "training": _BOOLEAN,
        "statement": _INTEGER,
        "span": _SPAN,
    },
    "group",
)
_INITIALIZER = _Nodes(
    Initializer,
    {
        "kind": _NAME_IF_ANY,
        "path": _PATH,
        "tensor": _choice(("weight", "bias")),
        "scheme": _choice(tuple(SCHEMES)),
        "arguments": _pairs(_SETTING),
    },
)
_EXPECTATION = _Nodes(
    Expectation,
    {
        "measure": _NAME,
        "op": _choice(tuple(COMPARISONS)),
        "value": _VALUE,
        "span": _SPAN,
    },
)
_NETWORK = _Nodes(
    Network,
    {
        "name": _NAME,
        "inputs": _many(_PORT),
        "outputs": _many(_PORT),
        "root": _GROUP,
        "initializers": _many(_INITIALIZER),
        "expectations": _many(_EXPECTATION),
    },
)
