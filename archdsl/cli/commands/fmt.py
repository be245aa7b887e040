"""`archdsl fmt`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archdsl.cli import completion, status
from archdsl.cli.files import write_bytes
from archdsl.cli.options import json_option
from archdsl.cli.specs import expanded
from archdsl.cli.terminal import (
    counted,
    print_diff,
    print_json,
    say,
    say_diagnostics,
    status_of,
)
from archdsl.diagnostics import SpecError

if TYPE_CHECKING:
    from archdsl.source import Source


@click.command()
@click.argument(
    "specs", nargs=-1, required=True, metavar="SPEC...", shell_complete=completion.specs
)
@click.option(
    "--check", is_flag=True, help="Write nothing; exit with 1 if a file would change."
)
@click.option("--diff", is_flag=True, help="Write nothing; print what would change.")
@json_option
def command(specs: tuple[str, ...], check: bool, diff: bool, as_json: bool) -> int:
    """Rewrite specs in the canonical layout; comments stay.

    Each SPEC is a file, which is rewritten in place, a folder for all .arch files
    below it, or - for standard input, whose new layout is printed. A file that does
    not parse is left as it is.

    \b
    Examples:
      archdsl fmt net.arch
      archdsl fmt --check --diff specs/
      archdsl fmt - < net.arch
    """
    if as_json and (diff or ("-" in specs and not check)):
        raise click.UsageError("--json and the new layout would both go to stdout")
    given, errors = expanded(specs)
    changed: dict[str, bool] = {}
    for spec in given:
        try:
            changed[spec] = _format(spec, write=not (check or diff), diff=diff)
        except SpecError as error:
            errors.extend(error.diagnostics)
    if as_json:
        files = [{"file": spec, "changed": done} for spec, done in changed.items()]
        print_json({"files": files, "errors": [e.as_dict() for e in errors]})
    elif errors:
        say_diagnostics(errors)
    if errors:
        return status_of(errors)
    number = sum(changed.values())
    if check and number:
        say(f"{counted(number, 'file')} would be reformatted")
    return status.SPEC_ERRORS if check and number else status.OK


def _format(spec: str, *, write: bool, diff: bool) -> bool:
    """Format one spec, and return whether its layout changed."""
    from archdsl.syntax.format import format_source

    source = _read(spec)
    formatted = format_source(source)
    if write and spec == "-":
        sys.stdout.write(formatted)
    elif formatted == source.text:
        return False
    elif write:
        write_bytes(Path(spec), formatted.encode())
        say(f"reformatted {spec}")
    elif diff:
        print_diff(source.name, source.text, formatted, "formatted")
    else:
        say(f"would reformat {source.name}")
    return formatted != source.text


def _read(spec: str) -> Source:
    from archdsl.limits import MAX_FILE_BYTES
    from archdsl.syntax.loader import decode, read_source

    if spec == "-":
        return decode("<stdin>", sys.stdin.buffer.read(MAX_FILE_BYTES + 1))
    return read_source(Path(spec))
