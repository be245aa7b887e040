"""Calls: the meaning of a word, and the layers that it stands for."""

from __future__ import annotations

import re
from abc import abstractmethod
from typing import Any

from archdsl.diagnostics import did_you_mean
from archdsl.elaborate import foreign, inputs, structures
from archdsl.elaborate.bind import as_names, bind_block, bind_layer, map_axes
from archdsl.elaborate.builder import Builder, Parts
from archdsl.elaborate.evaluate import show
from archdsl.elaborate.scope import (
    BlockRef,
    BodyRef,
    Call,
    Context,
    Fault,
    KindRef,
    Namespace,
    Value,
    plain,
)
from archdsl.layer import Layer, all_kinds, kind, words
from archdsl.source import Span
from archdsl.syntax import tree as t

# Words that stand where layers do, but are not layer kinds.
STRUCTURES = ("seq", "residual", "same")


class Calls(Builder):
    """Elaborates calls of layer kinds, structures and blocks."""

    @abstractmethod
    def body(self, body: t.Body, value: Value, context: Context, parts: Parts) -> Value:
        """Elaborate a body that has one branch."""

    @abstractmethod
    def branch(
        self, branch: t.Branch, value: Value, context: Context, parts: Parts
    ) -> Value:
        """Elaborate statements in order."""

    @abstractmethod
    def same(
        self,
        call: t.Call,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        """Elaborate an earlier part again, with the same weights."""

    def call(
        self,
        call: t.Call,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        word = call.word
        if word == "same" and word not in context.env:
            return self.same(call, label, value, context, parts)
        if word == "seq" and word not in context.env:
            return self._seq(call, label, value, context, parts)
        if word == "residual" and call.body is not None and word not in context.env:
            inner = self.deeper(context, call.span)
            return structures.residual(self, call, label, value, inner, parts)
        target = self.resolve(call, context)
        if isinstance(target, KindRef):
            if target.kind.arity != 1:
                inner = self.deeper(context, call.span)
                return structures.merge(self, call, target, label, value, inner, parts)
            return self._layer(call, target, label, value, context, parts)
        if isinstance(target, BodyRef):
            return self._passed_body(call, target, label, value, context, parts)
        if target.definition.inputs:
            inner = self.deeper(context, call.span)
            return inputs.call(self, call, target, label, value, inner, parts)
        values = self.bound(call, target, context)
        return self.block(call, target, label, (value,), values, context, parts)

    def resolve(self, call: t.Call, context: Context) -> KindRef | BlockRef | BodyRef:
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
            raise Fault(
                "A0204",
                f"`{word}` is {show(bound)}, not a layer",
                call.span,
                help="a word before arguments stands for a layer kind or a block",
            )
        if found := (context.module.find(word) or self.prelude.find(word)):
            return BlockRef(*found)
        if word in context.module.ops:
            return foreign.ref_of(word, context)
        if found_kind := kind(word):
            return KindRef(found_kind)
        known = {*context.module.names(), *self.prelude.names()}
        raise unknown_word(call, known)

    def _seq(
        self,
        call: t.Call,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        if call.body is None or call.angle or call.args:
            raise Fault(
                "A0208",
                "seq takes layers in braces, and nothing else",
                call.span,
                help="write `features: seq { ... }`",
            )
        body = call.body
        name = self.name(label, "seq", context, call.span)
        return self.owned(
            name,
            "seq",
            True,
            value,
            self.deeper(context, call.span),
            call.span,
            parts,
            lambda v, c, p: self.body(body, v, c, p),
        )

    def _passed_body(
        self,
        call: t.Call,
        ref: BodyRef,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        if call.angle or call.args or call.body:
            raise Fault(
                "A0208",
                f"`{call.word}` stands for layers in braces, which take no arguments",
                call.span,
                help=f"give arguments in the default: `{call.word} = unit<width = 64>`",
            )
        inner = self.deeper(context, call.span)
        if label is None and not context.space.indexed:
            return self.body(ref.body, value, _read_in(ref, inner), parts)

        def build(v: Value, c: Context, p: Parts) -> Value:
            return self.body(ref.body, v, _read_in(ref, c), p)

        name = self.name(label, call.word, context, call.span)
        return self.owned(name, "", False, value, inner, call.span, parts, build)

    def bound(self, call: t.Call, ref: BlockRef, context: Context) -> dict[str, Any]:
        """Return the values of a block's parameters in a call.

        Raises:
            Fault: if an argument is wrong, or there can be no such call.
        """
        definition = ref.definition
        if definition.is_network:
            raise Fault(
                "A0204",
                f"`{definition.name}` is a network, not a block",
                call.span,
                help="make it a `block`, and give the input to the network alone",
            )
        if call.args:
            raise Fault(
                "A0201",
                f"`{call.word}` is a block, and takes its arguments in < >",
                call.args[0].span,
                help=_in_angles(call.word),
            )
        if any(outer.definition is definition for outer in context.trail):
            known = definition.name in words() or any(
                found.code == "A0108" for found in self.errors.found
            )
            raise Fault(
                "" if known else "A0108",
                f"`{definition.name}` calls itself",
                call.span,
                help="the language has no recursion; repeat with `x` or `for`",
            )
        return bind_block(
            definition,
            call.angle or [],
            call.span,
            context,
            _defaults(ref, context),
            None if definition.inputs else call.body,
            ref.bound,
        )

    def block(
        self,
        call: t.Call,
        ref: BlockRef,
        label: str | None,
        ends: tuple[Value, ...],
        values: dict[str, Any],
        context: Context,
        parts: Parts,
    ) -> Value:
        """Elaborate a block.

        Args:
            call: the call.
            ref: the block.
            label: its name, if the spec gives one.
            ends: what flows into it.
            values: of its parameters.
            context: of the call.
            parts: where the block goes.
        """
        definition = ref.definition
        defaults = _defaults(ref, context)
        if label is not None and definition.inputs:
            context.space.given.setdefault(label, ends)
        name = self.name(label, definition.name, context, call.span)
        inner = self.deeper(context, call.span)
        inner = inner.replace(
            module=ref.module,
            env=as_names(definition, values, defaults) if self.symbolic else values,
            trail=(
                Call(context.space.join(name), call.span, definition),
                *context.trail,
            ),
            level=0,
            lets={} if self.symbolic else None,
        )
        return self.owned(
            name,
            definition.name,
            definition.indexed,
            ends[0],
            inner,
            call.span,
            parts,
            lambda v, c, p: (
                self._inside(call, definition, v, c, p)
                if definition.inputs
                else self.body(definition.body, v, c, p)
            ),
            definition,
            values,
            ends[1:],
        )

    def _inside(
        self,
        call: t.Call,
        definition: t.Definition,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        """Elaborate the body of a block, which reads all that it names as its inputs.

        What is wrong in it is told first.
        """
        names = [name for name, _ in definition.inputs]
        entries = {name: context.space.values[name].number for name in names}
        outside = self.read.intersection(entries.values())
        self.read -= outside
        faults = self.faults
        result = self.body(definition.body, value, context, parts)
        unread = [
            name
            for name, number in entries.items()
            if number not in self.read and number != result.number
        ]
        self.read |= outside
        if not unread or self.faults > faults:
            return result
        told = self.errors.knows("A0105", dict(definition.inputs)[unread[0]])
        fault = Fault(
            "" if told else "A0105",
            f"nothing in `{definition.name}` reads its input `{unread[0]}` here",
            call.span,
            label=f"`{definition.name}({', '.join(names)})` is on line "
            f"{definition.span.line}",
            help=f"read it by `@{unread[0]}`, or drop it there and here",
        )
        return self.report(fault, context)

    def _layer(
        self,
        call: t.Call,
        ref: KindRef,
        label: str | None,
        value: Value,
        context: Context,
        parts: Parts,
    ) -> Value:
        layer = self._bound(call, ref, context)
        return self.layer(layer, label, (value,), context, call.span, parts)

    def _bound(self, call: t.Call, ref: KindRef, context: Context) -> Layer:
        """Return the layer that a call describes, from the memo if seen before."""
        if self.memo is None or ref.bound:
            return bind_layer(call, ref, context)
        known = self.memo.of_call(call, ref.kind, map_axes(context))
        if known is None:
            return self.memo.keep_call(call, bind_layer(call, ref, context))
        context.budget.spend(call.span, len(call.args))
        return known


def _defaults(ref: BlockRef, context: Context) -> Context:
    """Return the context of the defaults of a block's parameters."""
    space = Namespace("", False, None)
    return Context(ref.module, {}, space, budget=context.budget)


def unknown_word(call: t.Call, known: set[str]) -> Fault:
    """Return the error for a word that does not stand for layers.

    Args:
        call: the call that begins with the word.
        known: blocks and parameters that could be meant instead.
    """
    word = call.word
    meant = _other_name(word)
    near = f"did you mean `{meant}`?" if meant else None
    near = near or did_you_mean(word, {*known, *words(), *STRUCTURES})
    return Fault(
        "A0106",
        f"`{word}` is not a layer kind or block",
        Span(call.span.source, call.span.start, call.span.start + len(word)),
        help=near or f"`block {word} {{ ... }}` defines one",
    )


def _in_angles(word: str) -> str:
    """Return a hint how to pass arguments, or which kind is meant (`dense 10`)."""
    meant = _other_name(word)
    return f"write `{word}<...>`" + (f", or `{meant}` for the layer" if meant else "")


def _other_name(word: str) -> str | None:
    """Return archdsl's word for a name from torch, Keras or papers.

    `BatchNorm2d` is `bn`, and `swish` is `silu`.
    """
    bare = re.sub(r"[123]d$", "", word.lower().replace("_", ""))
    names = {"sequential": "seq", "shortcut": "residual", "skip": "residual"}
    for each in all_kinds():
        names |= dict.fromkeys((each.__name__.lower(), *each.also), each.word)
    return names.get(word.lower().replace("_", ""), names.get(bare))


def _read_in(ref: BodyRef, context: Context) -> Context:
    """Return the context of braces that were passed to a block.

    They use the names of the place where they are written. Those are not defined in the
    block's own code, so their values are plain numbers there. Calls in the braces are
    also made from that place: the braces may call the block itself.
    """
    return context.replace(
        module=ref.context.module,
        trail=ref.context.trail,
        env={name: plain(value) for name, value in ref.context.env.items()},
        lets=None,
    )
