"""What a name refers to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from archdsl.editor.places import (
    Declared,
    MadeParts,
    Trail,
    labels_at,
    names_at,
    parts_around,
    trail,
)
from archdsl.elaborate.evaluate import FUNCTIONS
from archdsl.elaborate.labels import output_named
from archdsl.figures import CLAIMED
from archdsl.ir import Group, Step
from archdsl.layer import Layer, kind
from archdsl.source import Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile, Shared

Thing = t.Definition | t.FunctionDef | t.OpDef | t.Preset | t.ChainStep | Declared


class Referent(NamedTuple):
    """What a name refers to.

    Attributes:
        name: the name.
        what: the definition, declaration or labelled step; for built-in names, the
            layer kind, or the name of the function or figure.
        span: where it is defined; None for built-in names.
        module: the file that defines it, None for the document.
    """

    name: str
    what: Thing | type[Layer] | str
    span: Span | None = None
    module: LoadedFile | None = None


def resolve(
    file: t.File,
    module: LoadedFile,
    library: LoadedFile,
    around: Trail,
    word: Span,
    made: Callable[[], MadeParts],
) -> Referent | None:
    """Return what the word at a place refers to; None if it is not a name.

    Args:
        file: the tree of the text.
        module: the definitions that are visible in it.
        library: the definitions that are visible everywhere.
        around: the nodes around the place.
        word: the word.
        made: returns the parts that the text makes in the shown network.
    """
    name = word.text
    if not name:
        return None
    for item in file.items:
        if isinstance(item, t.Preset) and word == item.network_span:
            return shared(name, module, library)
        if not isinstance(item, t.Import | t.Version) and word == item.span:
            return Referent(name, item, item.span)
    inner = around[-1] if around else None
    match inner:
        case t.Import():
            return _imported(inner, word, module)
        case t.Tap():
            return _label(inner, around, word, module, library)
        case t.Label() if isinstance(step := around[-2], t.ChainStep):
            return Referent(name, step, inner.span)
        case t.Label() if isinstance(around[-2], t.Register):
            return _registered(file, inner, parts_around(made(), around))
        case t.Call() if word.start != inner.span.start:
            return _argument(inner, word, module, library)
        case t.Arg() if inner.name == name and word.start == inner.span.start:
            return _argument(around[-2], word, module, library)
        case t.FunctionCall():
            own = module.functions.get(name)
            if own is not None:
                return Referent(name, own[0], own[0].span, own[1])
            return Referent(name, name) if name in FUNCTIONS else None
        case t.Call() | t.Name() | t.Partial() | t.Param() | t.Let() | t.Targets():
            claim = any(isinstance(node, t.Claim) for node in around)
            if claim and name in CLAIMED:
                return Referent(name, name)
            known = names_at(around, word.end).get(name)
            if known is not None:
                return Referent(name, known, known.span)
            layer = kind(name)
            if layer is not None:
                return Referent(name, layer)
            return shared(name, module, library)
        case t.Claim() if name in CLAIMED:
            return Referent(name, name)
        case _:
            return None


def shared(name: str, module: LoadedFile, library: LoadedFile) -> Referent | None:
    """Return the definition with a name in a file, its imports or the library."""
    for place in (module, library):
        pair = place.find(name) or place.functions.get(name) or place.ops.get(name)
        if pair is not None:
            return Referent(name, pair[0], pair[0].span, pair[1])
    return None


def _imported(item: t.Import, word: Span, module: LoadedFile) -> Referent | None:
    for name, span in item.names:
        if span == word:
            for known in module.shared():
                if name in known:
                    thing: Shared
                    thing, origin = known[name]
                    return Referent(name, thing, thing.span, origin)
    return None


def _label(
    tap: t.Tap, around: Trail, word: Span, module: LoadedFile, library: LoadedFile
) -> Referent | None:
    """Return the step that a tap reads, or one of its outputs."""
    name, _, output = tap.path.span.text.partition(".")
    for step in reversed(labels_at(around, tap.span.start)):
        assert step.label is not None
        if step.label.span.text == name:
            found = None
            if output and output == word.text:
                found = _output(step, output, module, library)
            return found or Referent(name, step, step.label.span)
    owner = around[0]
    if isinstance(owner, t.Definition) and name in dict(owner.inputs):
        span = dict(owner.inputs)[name]
        return Referent(name, Declared("input", span, owner=owner), span)
    return None


def _output(
    step: t.ChainStep, name: str, module: LoadedFile, library: LoadedFile
) -> Referent | None:
    """Return the layer behind an additional output of a block or of braces."""
    body: t.Body | None = step.body if isinstance(step, t.BracedGroup) else None
    origin = None
    if isinstance(step, t.Call):
        called = shared(step.word, module, library)
        if called is not None and isinstance(called.what, t.Definition):
            body, origin = called.what.body, called.module
    target = output_named(body, name) if body is not None else None
    if target is None:
        return None
    where = target.label.span if target.label is not None else target.span
    return Referent(name, target, where, origin)


def _registered(
    file: t.File, label: t.Label, parts: Mapping[str, Step | Group]
) -> Referent | None:
    """Return the step that makes a part named by `register`."""
    part = parts.get(label.span.text)
    if part is None:
        return None
    for node in reversed(trail(file, part.span.start)):
        if isinstance(node, t.ChainStep) and node.span == part.span:
            return Referent(part.name, node, (node.label or node).span)
    return None


def _argument(
    call: t.SyntaxNode | None, word: Span, module: LoadedFile, library: LoadedFile
) -> Referent | None:
    """Return the parameter that an argument of a call names."""
    if not isinstance(call, t.Call | t.Partial | t.Preset):
        return None
    found = shared(called_name(call), module, library)
    if found is None or not isinstance(found.what, t.Definition | t.OpDef):
        return None
    for param in found.what.params:
        if param.name == word.text:
            declared = Declared(
                "parameter", param.span, param.type, param.default, found.what
            )
            return Referent(param.name, declared, param.span, found.module)
    return None


def called_name(call: t.Call | t.Partial | t.Preset) -> str:
    """Return the name of the block, network or layer kind that gets arguments."""
    if isinstance(call, t.Call):
        return call.word
    return call.id if isinstance(call, t.Partial) else call.network
