"""`archdsl explain`."""

from __future__ import annotations

from textwrap import fill

import click

from archdsl.diagnostics import did_you_mean


@click.command()
@click.argument("code")
def command(code: str) -> None:
    """Explain the code of an error, such as A0301.

    \b
    Example:
      archdsl explain A0301
    """
    from archdsl.codes import CODES

    name = code.upper()
    if name not in CODES:
        hint = did_you_mean(name, CODES)
        raise click.UsageError(
            f"there is no error code `{code}`" + (f"; {hint}" if hint else "")
        )
    paragraphs = f"{name}: {CODES[name]}".split("\n\n")
    click.echo("\n\n".join(map(_wrapped, paragraphs)))


def _wrapped(paragraph: str) -> str:
    """Return a paragraph in short lines, unless it is the text of a spec."""
    is_spec = paragraph.startswith((" ", "Wrong", "Right"))
    return paragraph if is_spec else fill(paragraph, 80)
