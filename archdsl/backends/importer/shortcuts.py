"""Residuals with an automatic projection, or without a sum in some calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from archdsl.backends.importer.spec import (
    Block,
    SpecBody,
    SpecBraces,
    SpecItem,
    SpecLine,
    SpecMerge,
    SpecWord,
)
from archdsl.backends.importer.trees import calls_of, form_of


def automatic(item: SpecItem) -> SpecItem:
    """Return a residual without a projection that the language adds by itself."""
    if not isinstance(item, SpecMerge) or item.word != "residual" or item.args:
        return item
    if len(item.branches) != 2 or not item.changes or item.label:
        return item
    body, shortcut = item.branches
    if len(shortcut.lines) != 1 or len(shortcut.lines[0].items) != 1:
        return item
    only = shortcut.lines[0].items[0]
    label = only.label if isinstance(only, SpecWord | SpecBraces) else ""
    parts: list[SpecItem] = [only]
    if isinstance(only, SpecBraces):
        parts = [part for line in only.body for part in line.items]
        if not only.indexed:
            return item
    norm = _last_norm(body)
    if norm is None and any(True for _ in calls_of(body)):
        return item  # there may be norms in the blocks
    conv = parts[0]
    if not isinstance(conv, SpecWord) or conv.word != "conv" or not label:
        return item
    if parts[1:] != ([norm] if norm else []):
        return item
    slots = dict(conv.slots)
    plain = slots["kernel"] == (1, 1) and slots["groups"] == 1 and slots["pad"] is None
    if not plain or (norm is None) != isinstance(only, SpecWord):
        return item
    args = () if label == "downsample" else (("projection", label),)
    return replace(item, branches=(body,), args=args)


def make_optional(
    blocks: Mapping[str, Block],
    bodies: dict[str, SpecBody],
    alike: Callable[[SpecBody, SpecBody], bool] | None = None,
) -> None:
    """Give the blocks of a class an optional shortcut where some calls have it.

    In these calls, the block is a residual. In the others, it only has the body of such
    a residual, and changes the shape.

    Args:
        blocks: by name.
        bodies: their bodies, which are changed.
        alike: returns whether two bodies of different forms can be merged; None if none
            can.
    """
    added: dict[Any, dict[Any, list[str]]] = {}
    bare: dict[Any, dict[Any, list[str]]] = {}
    inner: dict[str, SpecBody] = {}
    for name, block in blocks.items():
        body = _added_to_its_input(bodies[name])
        if body is not None or block.changes:
            inner[name] = bodies[name] if body is None else body
            some = bare if body is None else added
            own = some.setdefault(block.interface, {})
            own.setdefault(form_of(inner[name]), []).append(name)
    for key, forms in added.items():
        for one, names in forms.items():
            for other, more in bare.get(key, {}).items():
                pair = inner[names[0]], inner[more[0]]
                if one == other or (alike is not None and alike(*pair)):
                    for name in (*names, *more):
                        args = (("shortcut", "optional"),)
                        item = SpecMerge("residual", (inner[name],), args)
                        bodies[name] = SpecBody((SpecLine((item,)),))


def _added_to_its_input(body: SpecBody) -> SpecBody | None:
    """Return the body of a block's residual, if the block consists of nothing else."""
    if len(body.lines) != 1 or len(body.lines[0].items) != 1:
        return None
    line, (item,) = body.lines[0], body.lines[0].items
    if not isinstance(item, SpecMerge) or item.word != "residual" or item.changes:
        return None
    once = line.times == 1 and not line.output and not item.label
    return (
        item.branches[0] if once and len(item.branches) == 1 and not item.args else None
    )


def _last_norm(body: SpecBody) -> SpecWord | None:
    found = None
    for line in body:
        for item in line.items:
            if isinstance(item, SpecWord) and not item.block:
                known = item.declared
                if known is not None and known.family == "norm":
                    found = replace(item, label="")
    return found
