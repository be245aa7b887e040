"""The SPECs of commands that take several: a folder stands for the specs in it."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click

from archdsl.diagnostics import Diagnostic
from archdsl.limits import MAX_FOLDERS


def expanded(specs: Sequence[str]) -> tuple[list[str], list[Diagnostic]]:
    """Return SPECs with folders replaced by the specs in them, and errors.

    A shipped name takes precedence over a folder with that name, which can be written
    as ``name/``. Hidden folders are skipped, and links to folders are not followed.

    Raises:
        UsageError: if standard input is given twice.
    """
    if sum(spec == "-" or spec.startswith("-:") for spec in specs) > 1:
        raise click.UsageError("only one SPEC can be standard input")
    found: list[str] = []
    errors: list[Diagnostic] = []
    for spec in specs:
        if not _is_folder(spec):
            found.append(spec)
            continue
        below = _below(spec)
        if below is None:
            message = (
                f"{spec} has more than {MAX_FOLDERS:,} folders to look for specs in"
            )
            errors.append(Diagnostic("A0909", message, help="name one of them"))
            continue
        found += below
        if not below:
            message = f"there is no .arch file in the folder {spec}"
            errors.append(Diagnostic("A0501", message))
    return found, errors


def _is_folder(spec: str) -> bool:
    from archdsl.resources import shipped_presets, shipped_specs

    if "\0" in spec or not os.path.isdir(spec):
        return False
    return spec not in shipped_specs() and spec not in shipped_presets()


def _below(folder: str) -> list[str] | None:
    """Return the specs in a folder and below, None if there are too many folders."""
    found = []
    for number, (root, folders, files) in enumerate(os.walk(folder)):
        if number >= MAX_FOLDERS:
            return None
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        names = sorted(name for name in files if name.endswith(".arch"))
        found += [os.path.normpath(os.path.join(root, name)) for name in names]
    return found
