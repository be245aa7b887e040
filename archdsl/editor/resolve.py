"""What a name refers to."""

from __future__ import annotations

from typing import NamedTuple

from archdsl.editor.places import Declared, Trail, labels_at, names_at
from archdsl.elaborate.evaluate import FUNCTIONS
from archdsl.figures import CLAIMED
from archdsl.layer import Layer, kind
from archdsl.source import Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import Module, Shared

Thing = t.Definition | t.FunctionDef | t.OpDef | t.Preset | t.Step | Declared


class Found(NamedTuple):
    """What a name refers to.

    Attributes:
        name: the name.
        what: the definition, declaration or labelled step; for what the language
            brings along, the layer kind, or the name of a function or figure.
        span: where it is defined, None for what the language brings along.
        module: the file that defines it, None for the document.
    """

    name: str
    what: Thing | type[Layer] | str
    span: Span | None = None
    module: Module | None = None


def resolve(
    file: t.File, module: Module, library: Module, around: Trail, word: Span
) -> Found | None:
    """Return what the word at a place refers to; None if it is not a name."""
    name = word.text
    if not name:
        return None
    for item in file.items:
        if isinstance(item, t.Preset) and word == item.network_span:
            return shared(name, module, library)
        if not isinstance(item, t.Import | t.Version) and word == item.span:
            return Found(name, item, item.span)
    inner = around[-1] if around else None
    match inner:
        case t.Import():
            return _imported(inner, word, module)
        case t.Tap():
            return _label(inner, around)
        case t.Label() if isinstance(step := around[-2], t.Step):
            return Found(name, step, inner.span)
        case t.Call() if word.start != inner.span.start:
            return _argument(inner, word, module, library)
        case t.Arg() if inner.name == name and word.start == inner.span.start:
            return _argument(around[-2], word, module, library)
        case t.Function():
            own = module.functions.get(name)
            if own is not None:
                return Found(name, own[0], own[0].span, own[1])
            return Found(name, name) if name in FUNCTIONS else None
        case t.Call() | t.Name() | t.Partial() | t.Param() | t.Let() | t.Targets():
            claim = any(isinstance(node, t.Expectation) for node in around)
            if claim and name in CLAIMED:
                return Found(name, name)
            known = names_at(around, word.end).get(name)
            if known is not None:
                return Found(name, known, known.span)
            layer = kind(name)
            if layer is not None:
                return Found(name, layer)
            return shared(name, module, library)
        case t.Expectation() if name in CLAIMED:
            return Found(name, name)
        case _:
            return None


def shared(name: str, module: Module, library: Module) -> Found | None:
    """Return the definition with a name in a file, what it imports, or the library."""
    for place in (module, library):
        pair = place.find(name) or place.functions.get(name) or place.ops.get(name)
        if pair is not None:
            return Found(name, pair[0], pair[0].span, pair[1])
    return None


def _imported(item: t.Import, word: Span, module: Module) -> Found | None:
    for name, span in item.names:
        if span == word:
            for known in module.shared():
                if name in known:
                    thing: Shared
                    thing, origin = known[name]
                    return Found(name, thing, thing.span, origin)
    return None


def _label(tap: t.Tap, around: Trail) -> Found | None:
    """Return the step that a tap reads, by the first part of its path."""
    name = tap.path.span.text.split(".")[0]
    for step in reversed(labels_at(around, tap.span.start)):
        assert step.label is not None
        if step.label.span.text == name:
            return Found(name, step, step.label.span)
    owner = around[0]
    if isinstance(owner, t.Definition) and name in dict(owner.inputs):
        span = dict(owner.inputs)[name]
        return Found(name, Declared("input", span, owner=owner), span)
    return None


def _argument(
    call: t.Node | None, word: Span, module: Module, library: Module
) -> Found | None:
    """Return the parameter that is named in a call of a block."""
    if not isinstance(call, t.Call | t.Partial | t.Preset):
        return None
    found = shared(called(call), module, library)
    if found is None or not isinstance(found.what, t.Definition | t.OpDef):
        return None
    for param in found.what.params:
        if param.name == word.text:
            declared = Declared(
                "parameter", param.span, param.type, param.default, found.what
            )
            return Found(param.name, declared, param.span, found.module)
    return None


def called(call: t.Call | t.Partial | t.Preset) -> str:
    """Return the name of the block, network or layer kind that gets arguments."""
    if isinstance(call, t.Call):
        return call.word
    return call.id if isinstance(call, t.Partial) else call.network
