"""Merges blocks with the same form into one, with parameters for their differences.

From the innermost outwards, blocks of the same class are merged if their bodies have
the same form. For each number in them, the first of these that fits is used: a
constant; a multiple or fraction of the input channels; an existing parameter, or a
multiple of one; a new parameter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from archdsl.backends.importer.loops import repeated, unrolled, written_out
from archdsl.backends.importer.options import alike, fit, with_options
from archdsl.backends.importer.shortcuts import automatic, make_optional
from archdsl.backends.importer.spec import (
    ANY,
    Block,
    Kind,
    SpecBody,
    SpecDraft,
    SpecItem,
    SpecWord,
)
from archdsl.backends.importer.trees import (
    all_items,
    calls_of,
    form_of,
    map_items,
    slots_of,
    used_blocks,
)
from archdsl.backends.importer.unify import Unifier
from archdsl.layer import words
from archdsl.naming import LANGUAGE_WORDS, refusal

# The starts of words in the name of a class; ReLU and ViT are single words.
_CAMEL = re.compile(
    r"(?<=[a-z0-9])(?=[A-Z][a-z0-9])|(?<=[a-z0-9]{2})(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])"
)
_OP: Final = re.compile(r"^op (\w+)", re.MULTILINE)
# The name of the parameter for an activation.
_ACT: Final = "act"
# Padding that depends on the size of the map.
_SAME: Final = "same"


def structured(
    spec: SpecDraft, *, plain: bool = False, optional: bool = True
) -> SpecDraft:
    """Return a spec in which blocks of the same form are shared.

    Args:
        spec: with a block for each call of a module.
        plain: whether only equal blocks are shared, so that none has parameters.
        optional: whether parts that only some calls of a class have become optional.
            Otherwise such calls have separate blocks, except for residuals with an
            optional shortcut.
    """
    return Structure(spec, plain, optional).result()


@dataclass
class _Family:
    """Blocks of one class and form.

    Attributes:
        members: their old names, in order.
        block: the merged block.
        given: the values of its parameters, for each member.
    """

    members: list[str]
    block: Block
    given: dict[str, dict[str, Any]] = field(default_factory=dict)


class Structure:
    """The merged blocks of a spec.

    Args:
        spec: with a block for each call of a module.
        plain: whether only equal blocks are shared.
        optional: as for `structured`.

    Attributes:
        families: the merged blocks, in order of definition.
    """

    def __init__(
        self, spec: SpecDraft, plain: bool = False, optional: bool = True
    ) -> None:
        self.spec = spec
        self.plain = plain
        self.optional = optional and not plain
        # Ops and blocks have different names.
        self.names = {_OP.findall(op)[0] for op in spec.ops}
        self.done: dict[str, _Family] = {}
        self.families: list[_Family] = []

    def share(self) -> None:
        """Merge blocks where possible, from the innermost outwards."""
        waiting = dict(self.spec.blocks)
        while waiting:
            ready = {
                name: block
                for name, block in waiting.items()
                if all(word not in waiting for word in calls_of(block.body))
            }
            # Blocks of a class are merged at once, unless one of them contains another.
            late = {one.title for name, one in waiting.items() if name not in ready}
            whole = {n: one for n, one in ready.items() if one.title not in late}
            ready = whole or ready
            for name in ready:
                del waiting[name]
            self._level(ready)

    def body_of(self, body: SpecBody) -> SpecBody:
        """Return the body of a network, with calls of the shared blocks."""
        body = map_items(body, self._resolve)
        return body if self.plain else repeated(body)

    def result(self) -> SpecDraft:
        """Return the spec with shared blocks."""
        self.share()
        body = unrolled(self.body_of(self.spec.body))
        blocks = {family.block.name: family.block for family in self.families}
        used = used_blocks(body, blocks)
        kept = {name: block for name, block in blocks.items() if name in used}
        return replace(self.spec, body=body, blocks=kept)

    def _level(self, ready: dict[str, Block]) -> None:
        """Merge blocks that only call blocks which are already merged."""
        forms: dict[Any, list[str]] = {}
        bodies: dict[str, SpecBody] = {}
        for name, block in ready.items():
            body = map_items(block.body, self._resolve)
            if not self.plain:
                body = repeated(map_items(body, automatic))
                body = map_items(body, _any_activation)
            bodies[name] = body
        if not self.plain:
            _identity_alike(ready, bodies)
        _pad_alike(ready, bodies)
        if not self.plain:
            make_optional(ready, bodies, alike if self.optional else None)
        for name, block in ready.items():
            numbers = tuple(slots_of(bodies[name])) if self.plain else ()
            form = (block.interface, form_of(bodies[name]), numbers)
            forms.setdefault(form, []).append(name)
        for members, whole in self._with_options(forms, bodies):
            own = [bodies[name] for name in members]
            self._family([ready[name] for name in members], own, whole)

    def _with_options(
        self, forms: Mapping[Any, list[str]], bodies: dict[str, SpecBody]
    ) -> Iterator[tuple[list[str], SpecBody]]:
        """Yield groups of blocks to merge, each with a body that has all their parts.

        Args:
            forms: names of blocks of one class and form.
            bodies: their bodies, to which the parts of the others are added.
        """
        classes: dict[Any, list[list[str]]] = {}
        for (interface, *_), members in forms.items():
            classes.setdefault(interface, []).append(members)
        for some in classes.values():
            names = [name for members in some for name in members]
            bodies |= written_out({name: bodies[name] for name in names})
            firsts = [bodies[members[0]] for members in some]
            apart = [([n], body) for n, body in enumerate(firsts)]
            for places, whole in with_options(firsts) if self.optional else apart:
                found = [name for place in places for name in some[place]]
                for name in found if len(places) > 1 else ():
                    body = fit(whole, bodies[name])
                    assert body is not None
                    bodies[name] = body
                yield found, whole

    def _family(
        self, members: Sequence[Block], bodies: Sequence[SpecBody], whole: SpecBody
    ) -> None:
        flows = [(block.inputs, block.outputs) for block in members]
        unified = Unifier(bodies, flows, whole)
        body = unrolled(unified.body())
        name = self._name(members[0].name.partition(" ")[0])
        parameters = unified.parameters(len(members))
        kinds = tuple(name for name, one in unified.kinds.items() if one == _ACT)
        block = replace(
            members[0],
            name=name,
            body=body,
            parameters=parameters,
            kinds=kinds,
            values=tuple(unified.values.items()),
        )
        names = [member.name for member in members]
        family = _Family(names, block)
        for place, member in enumerate(names):
            given = {key: values[place] for key, values in unified.found.items()}
            family.given[member] = given
            self.done[member] = family
        self.families.append(family)

    def _resolve(self, item: SpecItem) -> SpecItem:
        """Return a call of the block that a part was merged into."""
        if (
            not isinstance(item, SpecWord)
            or not item.block
            or item.word not in self.done
        ):
            return item
        family = self.done[item.word]
        given = family.given[item.word]
        slots = tuple((name, given[name]) for name, _ in family.block.parameters)
        return replace(item, word=family.block.name, slots=slots)

    def _name(self, cls: str) -> str:
        base = _CAMEL.sub("_", cls.strip("_")).lower() or "part"
        if refusal(base, "block", LANGUAGE_WORDS) or base in words():
            base = f"{base}_block"
        name, number = base, 1
        while name in self.names:
            number += 1
            name = f"{base}{'_' * base[-1].isdigit()}{number}"
        self.names.add(name)
        return name


# ---- activations -------------------------------------------------------------------


def _any_activation(item: SpecItem) -> SpecItem:
    """Return an activation without arguments as one whose kind may be a parameter."""
    if not isinstance(item, SpecWord) or item.block or item.word == ANY:
        return item
    known = item.declared
    if known is None or known.family != "activation":
        return item
    if any(value != known.fields[name].default for name, value in item.slots):
        return item
    return replace(item, word=ANY, slots=((_ACT, Kind(item.word)),))


def _identity_alike(blocks: Mapping[str, Block], bodies: dict[str, SpecBody]) -> None:
    """Insert `identity` where other calls of a class have an activation.

    Args:
        blocks: by name.
        bodies: theirs, which are changed.
    """
    forms: dict[Any, dict[str, SpecBody]] = {}
    for name, block in blocks.items():
        body = map_items(bodies[name], _any_identity)
        key = block.interface, form_of(body)
        forms.setdefault(key, {})[name] = body
    for same in forms.values():
        if len({form_of(bodies[name]) for name in same}) > 1:
            bodies |= same


def _any_identity(item: SpecItem) -> SpecItem:
    if isinstance(item, SpecWord) and item.word == "identity" and not item.label:
        return replace(item, word=ANY, slots=((_ACT, Kind(item.word)),))
    return item


# ---- padding -----------------------------------------------------------------------


def _pad_alike(blocks: Mapping[str, Block], bodies: dict[str, SpecBody]) -> None:
    """Write `pad=same` where other calls of a class do.

    With a stride of 1 it has no effect, so it was left out.

    Args:
        blocks: by name.
        bodies: theirs, which are changed.
    """
    said: set[tuple[str, str]] = set()
    for name, block in blocks.items():
        for item in all_items(bodies[name]):
            # Without a label, a different layer may stand at this position in
            # another call.
            if not isinstance(item, SpecWord) or not item.label:
                continue
            if dict(item.slots).get("pad") == _SAME:
                said.add((block.title, item.label))
    for name, block in blocks.items() if said else ():
        bodies[name] = map_items(bodies[name], partial(_padded, block.title, said))


def _padded(title: str, said: set[tuple[str, str]], item: SpecItem) -> SpecItem:
    if not isinstance(item, SpecWord) or item.block or (title, item.label) not in said:
        return item
    given = dict(item.slots)
    if given.get("pad", _SAME) is not None or set(given["stride"]) != {1}:
        return item
    return replace(item, slots=tuple({**given, "pad": _SAME}.items()))
