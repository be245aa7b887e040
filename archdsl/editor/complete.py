"""Completions: what can be written at a place.

A placeholder name is inserted at the place, and the text is parsed. The position of the
placeholder in the tree shows what can be written there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from archdsl.editor.hover import argument, block_signature, kind_summary
from archdsl.editor.places import (
    Declared,
    MadeParts,
    Trail,
    labels_at,
    names_at,
    parts_around,
    trail,
    word_at,
)
from archdsl.editor.resolve import called_name, shared
from archdsl.elaborate.evaluate import FUNCTIONS
from archdsl.elaborate.library import prelude
from archdsl.elaborate.resolve import STRUCTURES
from archdsl.elaborate.types import WORDS_OF_TYPES
from archdsl.figures import CLAIMED, FIGURES
from archdsl.initializers import SCHEMES
from archdsl.ir import Group
from archdsl.ir.nodes import holds_tensors
from archdsl.layer import Layer, all_kinds, kind
from archdsl.resources import specs_dir
from archdsl.source import Source, Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile, load_file
from archdsl.syntax.parser import parse_partial
from archdsl.values import show_shape

_NAME: Final = "archdsl_place"
_ITEMS: Final = ("block", "default preset", "fn", "import", "network", "op", "preset")
_STATEMENTS: Final = (
    "expect",
    "for",
    "if",
    "init",
    "input",
    "output",
    "register",
    "training output",
)
_VALUES: Final = ("channels", "false", "true")
# Text that may have to be inserted after the placeholder for the text to parse.
_ENDS: Final = ("", " from std")
_CLOSED: Final = {"<": ">", "(": ")", "[": "]", "{": "}"}


class Completion(NamedTuple):
    """Something that can be written.

    Attributes:
        text: what replaces the word at the place.
        kind: ``layer``, ``structure``, ``block``, ``op``, ``keyword``, ``label``,
            ``argument``, ``choice``, ``parameter``, ``name``, ``loop variable``,
            ``function``, ``network``, ``library``, ``type``, ``figure`` or ``scheme``.
        detail: a few words about it.
    """

    text: str
    kind: str
    detail: str = ""


class Known(NamedTuple):
    """Callbacks that tell what the text around a place means.

    Attributes:
        load: returns the definitions that are visible in a tree.
        made: returns the parts that text makes in the shown network, by its start and
            end.
    """

    load: Callable[[t.File], LoadedFile]
    made: Callable[[], MadeParts]


def completions(source: Source, offset: int, known: Known) -> list[Completion]:
    """Return what can be written at a place, after the part of a word before it."""
    word = word_at(source, offset)
    begun = source.text[word.start : offset]
    if _in_comment(source.text, offset):
        return []
    found = _wanted(known, word)
    unique = {(each.text, each.kind): each for each in found}
    return sorted(
        (each for each in unique.values() if each.text.startswith(begun)),
        key=lambda each: (_ORDER.index(each.kind), each.text),
    )


_ORDER: Final = (
    "label",
    "choice",
    "argument",
    "parameter",
    "name",
    "loop variable",
    "network",
    "block",
    "layer",
    "op",
    "structure",
    "function",
    "library",
    "type",
    "figure",
    "scheme",
    "keyword",
)


def _in_comment(text: str, offset: int) -> bool:
    line = text[text.rfind("\n", 0, offset) + 1 : offset]
    return "#" in re.sub(r'"[^"]*"', "", line)


def _wanted(known: Known, word: Span) -> Iterable[Completion]:
    """Return what can replace a word, whatever it starts with."""
    start, text = word.start, word.source.text
    line = text[text.rfind("\n", 0, start) + 1 : start]
    around: Trail = ()
    for after in (*_ENDS, _closing(line), _closing(line) + " {}"):
        tried = text[:start] + _NAME + after + text[word.end :]
        file, _ = parse_partial(Source(word.source.name, tried))
        around = trail(file, start)
        if _is_place(around):
            return _by_place(known, known.load(file), around, start)
        for item in file.items:
            if isinstance(item, t.Preset) and item.network == _NAME:
                return _networks(known.load(file))
            if isinstance(item, t.Definition | t.OpDef) and any(
                param.type == _NAME for param in item.params
            ):
                return _types()
    if not line.strip() and not around:
        return [Completion(word, "keyword") for word in _ITEMS]
    return []


def _closing(line: str) -> str:
    """Return the closing brackets that a line lacks."""
    opened: list[str] = []
    for sign in re.sub(r'"[^"]*"|->|<=|>=', "", line):
        if sign in _CLOSED:
            opened.append(_CLOSED[sign])
        elif opened and sign == opened[-1]:
            opened.pop()
    return "".join(reversed(opened))


def _is_place(around: Trail) -> bool:
    """Return whether the innermost node is, or has, the placeholder."""
    if not around:
        return False
    match around[-1]:
        case t.Name(id=name) | t.Partial(id=name) | t.Call(word=name):
            return name == _NAME
        case t.FunctionCall(name=name):
            return name == _NAME
        case t.Claim(measure=name) | t.Init(kind=name):
            return name == _NAME
        case t.Arg(name=name):
            return name == _NAME
        case t.Import(names=names):
            return any(name == _NAME for name, _ in names) or around[-1].origin == _NAME
        case t.Tap(path=path):
            return _NAME in path.span.text
        case t.Label() if len(around) > 1 and isinstance(around[-2], t.Register):
            return _NAME in around[-1].span.text
        case _:
            return False


def _by_place(
    known: Known, module: LoadedFile, around: Trail, start: int
) -> Iterator[Completion]:
    inner = around[-1]
    match inner:
        case t.Tap():
            yield from _labels(known, inner, around, start)
        case t.Label():
            yield from _registered(known.made(), inner, around)
        case t.Call():
            yield from _layers(module, names_at(around, start))
            chain = around[-2] if len(around) > 1 else None
            if isinstance(chain, t.Chain) and chain.steps[0] is inner:
                for word in _STATEMENTS:
                    yield Completion(word, "keyword")
        case t.Import() if inner.origin == _NAME:
            yield from _libraries()
        case t.Import():
            yield from _shared(module.path, inner)
        case t.Init():
            yield from _kinds(all_kinds())
        case t.Claim():
            yield from _figures()
        case t.Arg(name=name) if name == _NAME:
            yield from _arguments(module, around, named=False)
        case _:
            yield from _values(module, around, start)


def _values(module: LoadedFile, around: Trail, start: int) -> Iterator[Completion]:
    """Yield what an expression or argument can be."""
    above = [node for node in around[:-1] if not isinstance(node, t.Binary)]
    if above and isinstance(above[-1], t.Claim):
        yield from _figures()
    if above and isinstance(above[-1], t.Arg):
        place = above[-1]
        owner = above[-2] if len(above) > 1 else None
        if isinstance(owner, t.Init):
            for name, scheme in SCHEMES.items():
                yield Completion(name, "scheme", scheme.help)
            return
        yield from _arguments(
            module, (*above, around[-1]), named=place.name is not None
        )
    known = names_at(around, start)
    for name, declared in known.items():
        yield Completion(name, declared.kind, _of(declared))
    for name, function in FUNCTIONS.items():
        yield Completion(name, "function", function[3])
    for name, (own, _) in module.functions.items():
        yield Completion(name, "function", f"fn of {own.span.source.name}")
    for word in _VALUES:
        yield Completion(word, "keyword")


def _of(declared: Declared) -> str:
    return f"= {declared.value.span.text}" if declared.value is not None else ""


def _arguments(
    module: LoadedFile, around: Trail, *, named: bool
) -> Iterator[Completion]:
    """Yield the arguments of a call, or the words allowed for one of them."""
    calls = [n for n in around if isinstance(n, t.Call | t.Partial | t.Preset)]
    given = next(node for node in reversed(around) if isinstance(node, t.Arg))
    if not calls:
        return
    call = calls[-1]
    word = called_name(call)
    layer = kind(word)
    if layer is not None:
        for field in layer.fields.values():
            if named and field.name != given.name:
                continue
            for choice in field.choices:
                yield Completion(choice, "choice", f"of {field.name}")
            if not named:
                yield Completion(f"{field.name}=", "argument", argument(field))
        return
    found = shared(word, module, prelude())
    what = found.what if found else None
    for param in what.params if isinstance(what, t.Definition | t.OpDef) else ():
        if named and param.name == given.name and param.type in ("kind", "block"):
            yield from _kinds(all_kinds())
            yield from _blocks(module)
        if not named:
            default = f"= {param.default.span.text}" if param.default else ""
            yield Completion(f"{param.name} =", "argument", default)


def _layers(module: LoadedFile, known: Mapping[str, Declared]) -> Iterator[Completion]:
    """Yield what can be written as a layer."""
    yield from _kinds(all_kinds())
    yield from _blocks(module)
    for word in STRUCTURES:
        yield Completion(word, "structure")
    for name in module.ops:
        yield Completion(name, "op")
    for name, declared in known.items():
        if declared.type in ("kind", "block") or name == "body":
            yield Completion(name, declared.kind, declared.type or "")


def _kinds(kinds: Iterable[type[Layer]]) -> Iterator[Completion]:
    for each in kinds:
        yield Completion(each.word, "layer", kind_summary(each))


def _blocks(module: LoadedFile) -> Iterator[Completion]:
    for known in (module, prelude()):
        own = {name: (block, known) for name, block in known.own.items()}
        for name, (block, _) in (own | known.imported).items():
            if not block.is_network:
                yield Completion(name, "block", block_signature(block))


def _labels(
    known: Known, tap: t.Tap, around: Trail, start: int
) -> Iterator[Completion]:
    """Yield the labels that a tap can read, or the parts below a dotted one."""
    before, dot, _ = tap.path.span.text.rpartition(".")
    if dot:
        yield from _parts(known.made(), before)
        return
    yield Completion("input", "label", "the input of the block")
    if isinstance(around[0], t.Definition):
        for name, _ in around[0].inputs:
            yield Completion(name, "label", "an input of the block")
    for step in labels_at(around, start):
        assert step.label is not None
        # A label with expressions in braces has several names; the network has them.
        names = [step.label.span.text]
        if any(not isinstance(part, str) for part in step.label.parts):
            made = known.made().get((step.span.start, step.span.end), ())
            names = [node.name for node in made]
        for name in names:
            yield Completion(name, "label", step.span.text.splitlines()[0])


def _parts(made: MadeParts, path: str) -> Iterator[Completion]:
    every = [node for nodes in made.values() for node in nodes]
    for node in every:
        if isinstance(node, Group) and node.path == path and node.extras:
            for port in node.extras:
                shape = show_shape(port.shape)
                yield Completion(port.name, "label", f"an output: {shape}")
            return
    for node in every:
        inside = node.path.removeprefix(f"{path}.")
        if inside != node.path and "." not in inside:
            what = node.word if isinstance(node, Group) else node.op.word
            yield Completion(inside, "label", what)


def _registered(made: MadeParts, label: t.Label, around: Trail) -> Iterator[Completion]:
    """Yield the parts that a `register` statement can name."""
    before, dot, _ = label.span.text.rpartition(".")
    for name, part in parts_around(made, around).items():
        if name.startswith(before + dot) and holds_tensors(part):
            what = part.word if isinstance(part, Group) else part.op.word
            yield Completion(name.removeprefix(before + dot), "label", what)


def _types() -> Iterator[Completion]:
    for word, about in WORDS_OF_TYPES.items():
        yield Completion(word, "type", about)


def _figures() -> Iterator[Completion]:
    for name in CLAIMED:
        yield Completion(name, "figure", FIGURES[name].help)


def _networks(module: LoadedFile) -> Iterator[Completion]:
    for network in module.networks.values():
        yield Completion(network.name, "network", block_signature(network))


def _libraries() -> Iterator[Completion]:
    for path in sorted((specs_dir() / "std").glob("*.arch")):
        if path.stem != "prelude":
            yield Completion(path.stem, "library")


def _shared(here: Path | None, item: t.Import) -> Iterator[Completion]:
    """Yield what can be imported from a library, or a file next to this one."""
    path: Path | None = specs_dir() / "std" / f"{item.origin}.arch"
    if item.is_path:
        path = here.parent / item.origin if here else None
    if path is None or not path.is_file():
        return
    module = load_file(path)
    for block in module.own.values():
        if not block.is_network:
            yield Completion(block.name, "block", block_signature(block))
    for name in module.functions:
        yield Completion(name, "function")
    for name in module.ops:
        yield Completion(name, "op")
