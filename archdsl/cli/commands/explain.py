"""`archdsl explain`."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill

import click

from archdsl.diagnostics import did_you_mean


@click.command()
@click.argument("code")
def command(code: str) -> None:
    """Explain the code of an error, such as A0301, or of a rule of lint.

    \b
    Examples:
      archdsl explain A0301
      archdsl explain W0101
    """
    pages = _pages(code)
    name = code.upper()
    if name not in pages:
        hint = did_you_mean(name, pages)
        raise click.UsageError(
            f"there is no error code `{code}`" + (f"; {hint}" if hint else "")
        )
    paragraphs = pages[name]().split("\n\n")
    click.echo("\n\n".join(map(_wrapped, paragraphs)))


def _pages(code: str) -> dict[str, Callable[[], str]]:
    """Return what can be explained, by its name in capitals."""
    from archdsl.codes import CODES

    pages: dict[str, Callable[[], str]] = {
        name: lambda name=name: f"{name}: {CODES[name]}"  # type: ignore[misc]
        for name in CODES
    }
    if code.upper() not in pages:  # the rules take longer to import
        from archdsl.lint.allow import PAGES
        from archdsl.lint.rule import all_rules

        pages |= {name: lambda name=name: PAGES[name] for name in PAGES}  # type: ignore[misc]
        pages |= {name: rule.page for name, rule in all_rules().items()}
    return pages


def _wrapped(paragraph: str) -> str:
    """Return a paragraph in short lines, unless it is the text of a spec."""
    is_spec = paragraph.startswith((" ", "Wrong", "Right", "Found", "Better"))
    return paragraph if is_spec else fill(paragraph, 80)
