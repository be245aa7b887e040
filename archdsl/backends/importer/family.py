"""Several networks of one design as one file: blocks that they share, and presets.

Networks are merged like the blocks of one network: if their bodies have the same form,
their differences (numbers, or the block that a stage consists of) become parameters.
Networks of different forms are written separately.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Final, NamedTuple

from archdsl.backends.importer.loops import unrolled
from archdsl.backends.importer.spec import (
    Block,
    Kind,
    SpecBody,
    SpecDraft,
    SpecItem,
    SpecWord,
    family_text,
)
from archdsl.backends.importer.structure import Structure
from archdsl.backends.importer.trees import form_of, map_items
from archdsl.backends.importer.unify import Unifier

# With more parameters, the merged network would be harder to read than separate ones.
_MOST_PARAMETERS: Final = 24
# The name of the parameter for a block that differs between networks.
_UNIT: Final = "unit"


def family_spec(
    specs: Mapping[str, SpecDraft], name: str, *, optional: bool = True
) -> str:
    """Return the text of a file with several networks.

    Args:
        specs: the networks by the names of their presets, with a block for each call of
            a module.
        name: the name of the network.
        optional: as for `structured`.
    """
    apart = {preset: _apart(spec, n) for n, (preset, spec) in enumerate(specs.items())}
    blocks = {k: block for spec in apart.values() for k, block in spec.blocks.items()}
    first = next(iter(specs.values()))
    structure = Structure(replace(first, blocks=blocks), optional=optional)
    structure.share()
    shared = {family.block.name: family.block for family in structure.families}
    bodies = {preset: structure.body_of(spec.body) for preset, spec in apart.items()}
    networks: list[Block] = []
    presets: dict[str, tuple[str, str, Mapping[str, Any]]] = {}
    calls = dict(shared)
    for members in _groups(apart, bodies, shared):
        called = name if not networks else f"{name}_{len(networks) + 1}"
        found = _unified([bodies[one] for one in members], shared)
        assert found is not None
        model = apart[members[0]]
        made = replace(found.network, name=called, indexed=model.indexed)
        networks.append(replace(made, title=model.title))
        calls |= found.units
        for member, given in zip(members, found.given, strict=True):
            presets[member] = member, called, given
    ops = list(dict.fromkeys(op for spec in specs.values() for op in spec.ops))
    chosen = [presets[preset] for preset in specs]
    return family_text(first.inputs, ops, shared, calls, networks, chosen)


def _apart(spec: SpecDraft, number: int) -> SpecDraft:
    """Return a spec whose blocks have names that no other spec uses."""

    def named(word: str) -> str:
        return f"{word}.{number}"

    def change(item: SpecItem) -> SpecItem:
        if isinstance(item, SpecWord) and item.block:
            return replace(item, word=named(item.word))
        return item

    blocks = {
        named(key): replace(block, name=named(key), body=map_items(block.body, change))
        for key, block in spec.blocks.items()
    }
    return replace(spec, body=map_items(spec.body, change), blocks=blocks)


def _groups(
    specs: Mapping[str, SpecDraft],
    bodies: Mapping[str, SpecBody],
    blocks: Mapping[str, Block],
) -> list[list[str]]:
    """Return groups of networks that can be merged, by their presets."""
    forms: dict[Any, list[str]] = {}
    for preset, body in bodies.items():
        form = form_of(map_items(body, lambda item: _any_unit(item, blocks)))
        forms.setdefault((specs[preset].indexed, form), []).append(preset)
    found = []
    for members in forms.values():
        made = _unified([bodies[one] for one in members], blocks)
        if made is None or len(made.network.parameters) > _MOST_PARAMETERS:
            found += [[one] for one in members]
        else:
            found.append(members)
    return found


def _any_unit(item: SpecItem, blocks: Mapping[str, Block]) -> SpecItem:
    """Return the arguments of a call."""
    if not isinstance(item, SpecWord) or not item.block or item.word not in blocks:
        return item
    block = blocks[item.word]
    return replace(item, word=f"{block.parameters} {block.kinds}")


class _Unified(NamedTuple):
    """Several networks as one.

    Attributes:
        network: the merged network, as a block.
        given: the values of its parameters for each.
        units: blocks that are values of parameters, by the parameters' names.
    """

    network: Block
    given: list[dict[str, Any]]
    units: dict[str, Block]


def _unified(
    bodies: Sequence[SpecBody], blocks: Mapping[str, Block]
) -> _Unified | None:
    """Return one network for several of the same form; None if there is none."""
    names = _units(bodies, set(blocks))
    if names is None:
        return None
    renamed = [map_items(b, _renaming(n)) for b, n in zip(bodies, names, strict=True)]
    unified = Unifier(renamed, constants_first=True)
    body = unrolled(unified.body())
    units = {new: blocks[old] for old, new in names[0].items()}
    if set(units) & set(unified.found):
        return None
    given: list[dict[str, Any]] = []
    for place, own in enumerate(names):
        words = {new: Kind(old) for old, new in own.items()}
        numbers = {name: values[place] for name, values in unified.found.items()}
        given.append({**words, **numbers})
    parameters = tuple((name, None) for name in given[0])
    return _Unified(Block("", body, parameters=parameters), given, units)


def _units(bodies: Sequence[SpecBody], taken: Set[str]) -> list[dict[str, str]] | None:
    """Return, for each body, the new names of blocks that differ between bodies.

    None if one block of a body corresponds to two of another.
    """
    words = [_words(body) for body in bodies]
    columns = list(dict.fromkeys(zip(*words, strict=True)))
    differ = [column for column in columns if len(set(column)) > 1]
    found: list[dict[str, str]] = [{} for _ in bodies]
    for number, column in enumerate(differ, 1):
        name = _UNIT if number == 1 else f"{_UNIT}{number}"
        while name in taken:
            name += "_"
        for names, word in zip(found, column, strict=True):
            if word in names:
                return None
            names[word] = name
    same = {word for column in columns for word in column if column not in differ}
    if any(word in same for names in found for word in names):
        return None
    return found


def _words(body: SpecBody) -> list[str]:
    """Return the blocks that a body calls, in order."""
    found: list[str] = []

    def note(item: SpecItem) -> SpecItem:
        if isinstance(item, SpecWord) and item.block:
            found.append(item.word)
        return item

    map_items(body, note)
    return found


def _renaming(names: Mapping[str, str]) -> Any:
    def change(item: SpecItem) -> SpecItem:
        if isinstance(item, SpecWord) and item.block and item.word in names:
            return replace(item, word=names[item.word])
        return item

    return change
