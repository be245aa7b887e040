"""`archdsl new`."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

import click

from archdsl.cli.files import create_bytes
from archdsl.cli.options import OUTPUT, json_option
from archdsl.cli.terminal import print_json
from archdsl.diagnostics import SpecError
from archdsl.resources import templates

# The name of the network in every template.
_PLACEHOLDER = re.compile(r"\bTemplate\b")
_OTHER_CHARACTERS = re.compile(r"[^A-Za-z0-9_]+")


@click.command()
@click.argument("name")
@click.option(
    "--template",
    type=click.Choice(list(templates())),
    default="classifier",
    show_default=True,
    help="The template.",
)
@click.option(
    "-o",
    "--output",
    type=OUTPUT,
    metavar="FILE",
    help="Write the spec to this file instead of NAME.arch; - is standard output.",
)
@json_option
def command(name: str, template: str, output: Path | None, as_json: bool) -> None:
    """Start a spec with a network called NAME.

    Writes a small network that works, with comments, for you to change. Never
    overwrites a file.

    \b
    Templates:
      classifier  images of 3x32x32 to 10 scores, with residual units
      generator   100 random numbers to an image of 3x64x64
      unet        images of 3x128x128 to two scores for each position

    \b
    Examples:
      archdsl new my_net
      archdsl new my_net --template unet
      archdsl new my_net --template generator -o nets/my_net.arch
    """
    text = _filled(template, name)
    path = Path(f"{name}.arch") if output is None else output
    printed = str(path) == "-"
    if not printed:
        create_bytes(path, text.encode())
    if as_json:
        facts = {"name": name, "file": None if printed else str(path)}
        print_json({**facts, "text": text, "errors": []})
    elif printed:
        click.echo(text, nl=False)
    else:
        click.echo(f"wrote {path}\n\nNext:\n{_next_commands(path)}")


def _filled(template: str, name: str) -> str:
    """Return a template's text with the network's name.

    Raises:
        click.BadParameter: if the language refuses the name.
    """
    from archdsl.api import loads
    from archdsl.source import Source
    from archdsl.syntax.format import format_source

    _check(name)
    text = templates()[template].read_text(encoding="utf-8")
    try:
        # Formatted again, as the layout depends on the length of the name.
        text = format_source(Source(f"{name}.arch", _PLACEHOLDER.sub(name, text)))
        loads(text, symbolic=False)
    except SpecError as error:
        # The template already uses the name for something else.
        found = error.diagnostics[0]
        raise _refusal(found.code, found.message, found.help) from None
    return text


def _check(name: str) -> None:
    from archdsl.elaborate.faults import Fault
    from archdsl.elaborate.names import check_definition
    from archdsl.layer import words
    from archdsl.source import Source, Span

    span = Span(Source("NAME", name), 0, len(name))
    try:
        check_definition(name, span, words(), "network")
    except Fault as fault:
        near = _OTHER_CHARACTERS.sub("_", name.removesuffix(".arch")).strip("_")
        help = f"did you mean `{near}`?" if near not in ("", name) else fault.help
        raise _refusal(fault.code, fault.message, help) from None


def _refusal(code: str, message: str, help: str | None) -> click.BadParameter:
    text = f"{message} ({code})" + (f"; {help}" if help else "")
    return click.BadParameter(text, param_hint="'NAME'")


def _next_commands(path: Path) -> str:
    # A path that begins with a hyphen would be read as an option.
    shown = f"./{path}" if str(path).startswith("-") else str(path)
    spec, stem = quote(shown), shown.removesuffix(".arch")
    commands = (
        f"check {spec}",
        f"analyze {spec}",
        f"render {spec} -o {quote(stem + '.svg')}",
        f"compile {spec} -o {quote(stem + '.py')}",
    )
    return "\n".join(f"  archdsl {command}" for command in commands)
