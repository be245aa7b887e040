"""`archdsl explain`."""

from __future__ import annotations

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

    entry = CODES.get(code.upper())
    if entry is None:
        hint = did_you_mean(code.upper(), CODES)
        raise click.UsageError(
            f"there is no error code `{code}`" + (f"; {hint}" if hint else "")
        )
    click.echo(entry)
