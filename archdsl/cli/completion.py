"""Shell completion."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

# Only needed for completion, so imported late.
if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def specs(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete shipped networks, .arch files, presets of both, and folders."""
    from archdsl.resources import shipped_presets, shipped_specs

    head, colon, _ = incomplete.rpartition(":")
    if colon:
        found = [f"{head}:{preset}" for preset in _presets(head)]
    else:
        found = [*shipped_specs(), *shipped_presets(), *_files(incomplete)]
    items = _beginning(found, incomplete)
    # Without any item, the shell completes files by itself.
    return items or [_item(incomplete, type="file")]


def codes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete arguments of `archdsl explain`: codes, rules and topics."""
    from archdsl.cli.topics import TOPICS
    from archdsl.codes import CODES

    return _beginning([*CODES, *_rules(), *TOPICS], incomplete)


def rules(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the last of several codes or names of rules, separated by commas."""
    before, comma, last = incomplete.rpartition(",")
    return [
        _item(f"{before}{comma}{item.value}") for item in _beginning(_rules(), last)
    ]


def figures(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the last of several figures, separated by commas; `-` may precede it."""
    from archdsl.figures import COMPARED

    before, comma, last = incomplete.rpartition(",")
    sign = "-" if last.startswith("-") else ""
    return [
        _item(f"{before}{comma}{sign}{item.value}")
        for item in _beginning(COMPARED, last.removeprefix(sign))
    ]


def devices(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of devices, including those of --devices."""
    from archdsl.passes.devices import DeviceError
    from archdsl.passes.devices import devices as known

    try:
        names = list(known(ctx.params.get("devices_file")))
    except DeviceError:
        names = []
    return _beginning(names, incomplete)


def recipes(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the names of shipped recipes, and files."""
    from archdsl.resources import recipes as known

    return _beginning(known(), incomplete) or [_item(incomplete, type="file")]


def _presets(spec: str) -> list[str]:
    """Return the presets of a file or a shipped spec; none if it cannot be read."""
    from archdsl.resources import presets_in, shipped_specs

    path = spec if os.path.isfile(spec) else shipped_specs().get(spec)
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return presets_in(file.read())
    except (OSError, UnicodeDecodeError):
        return []


def _files(incomplete: str) -> Iterator[str]:
    """Yield specs whose paths have a prefix, and folders that may contain some."""
    from glob import escape, glob

    for path in sorted(glob(f"{escape(incomplete)}*")):
        if os.path.isdir(path):
            yield f"{path}{os.sep}"
        elif path.endswith(".arch"):
            yield path


def _rules() -> list[str]:
    from archdsl.linter.rule import ABOUT_ALLOWS, all_rules

    found = {**ABOUT_ALLOWS, **{code: rule.name for code, rule in all_rules().items()}}
    return [*found, *found.values()]


def _beginning(words: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the words that start with a prefix, ignoring case, without duplicates."""
    start = incomplete.lower()
    found = (word for word in words if word.lower().startswith(start))
    return [_item(word) for word in dict.fromkeys(found)]


def _item(value: str, type: str = "plain") -> CompletionItem:
    from click.shell_completion import CompletionItem

    return CompletionItem(value, type)
