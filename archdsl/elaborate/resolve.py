"""The meaning of the words of a spec: layer kinds, blocks, or braces."""

from __future__ import annotations

import re

from archdsl.diagnostics import did_you_mean
from archdsl.elaborate.contexts import Context
from archdsl.elaborate.evaluate import defined
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.library import prelude
from archdsl.elaborate.references import BlockRef, BodyRef, KindRef, Unknown
from archdsl.elaborate.types import show_value
from archdsl.layer import all_kinds, kind, words
from archdsl.source import Span
from archdsl.syntax import tree as t

# Words that stand where layers do, but are not layer kinds.
STRUCTURES = ("seq", "residual", "same")


def resolve(call: t.Call, context: Context) -> KindRef | BlockRef | BodyRef:
    """Return what a word means here.

    Raises:
        Fault: if it is not defined, or does not stand for layers.
    """
    word = call.word
    if word in context.env:
        bound = context.env[word]
        if isinstance(bound, KindRef | BlockRef | BodyRef):
            return bound
        # `dropout dropout`: the layer kind, with a parameter of the same name.
        if found_kind := kind(word):
            return KindRef(found_kind)
        if isinstance(bound, Unknown):
            raise Fault("", "it is reported where it is given a value", call.span)
        raise Fault(
            "A0204",
            f"`{word}` is {show_value(bound)}, not a layer",
            call.span,
            help="a word with arguments must be a layer kind or a block",
        )
    if found := defined(word, context):
        return found
    raise unknown_word(call, {*context.module.names(), *prelude().names()})


def unknown_word(call: t.Call, known: set[str]) -> Fault:
    """Return the error for a word that does not stand for layers.

    Args:
        call: the call that begins with the word.
        known: blocks and parameters that could be meant instead.
    """
    word = call.word
    meant = other_name(word)
    near = f"did you mean `{meant}`?" if meant else None
    near = near or did_you_mean(word, {*known, *words(), *STRUCTURES})
    return Fault(
        "A0106",
        f"`{word}` is not a layer kind or block",
        Span(call.span.source, call.span.start, call.span.start + len(word)),
        help=near or f"`block {word} {{ ... }}` defines one",
    )


def other_name(word: str) -> str | None:
    """Return archdsl's word for a name from torch, Keras or papers.

    `BatchNorm2d` is `bn`, and `swish` is `silu`.
    """
    bare = re.sub(r"[123]d$", "", word.lower().replace("_", ""))
    names = {"sequential": "seq", "shortcut": "residual", "skip": "residual"}
    for each in all_kinds():
        names |= dict.fromkeys((each.__name__.lower(), *each.also), each.word)
    return names.get(word.lower().replace("_", ""), names.get(bare))
