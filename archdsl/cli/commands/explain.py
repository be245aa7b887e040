"""`archdsl explain`."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill

import click

from archdsl.diagnostics import did_you_mean


@click.command()
@click.argument("code")
def command(code: str) -> None:
    """Explain an error's code, a rule of lint, or a topic such as counts.

    \b
    Examples:
      archdsl explain A0301
      archdsl explain W0101
      archdsl explain counts
    """
    is_code = any(map(str.isdigit, code))
    name = code.upper() if is_code else code.lower()
    pages = _pages(name)
    if name not in pages:
        hint = did_you_mean(name, pages)
        what = "error code" if is_code else "topic"
        raise click.UsageError(
            f"there is no {what} `{code}`" + (f"; {hint}" if hint else "")
        )
    paragraphs = pages[name]().split("\n\n")
    click.echo("\n\n".join(map(_wrapped, paragraphs)))


def _pages(name: str) -> dict[str, Callable[[], str]]:
    """Return what can be explained, by its name: codes in capitals."""
    from archdsl.cli.topics import TOPICS, page
    from archdsl.codes import CODES

    pages: dict[str, Callable[[], str]] = {
        name: lambda name=name: f"{name}: {CODES[name]}"  # type: ignore[misc]
        for name in CODES
    }
    pages |= {name: lambda name=name: page(name) for name in TOPICS}  # type: ignore[misc]
    if name not in pages:  # the rules take longer to import
        from archdsl.lint.allow import PAGES
        from archdsl.lint.rule import all_rules

        pages |= {name: lambda name=name: PAGES[name] for name in PAGES}  # type: ignore[misc]
        pages |= {name: rule.page for name, rule in all_rules().items()}
    return pages


def _wrapped(paragraph: str) -> str:
    """Return a paragraph in short lines, unless it is the text of a spec."""
    is_spec = paragraph.startswith((" ", "Wrong", "Right", "Found", "Better"))
    return paragraph if is_spec else fill(paragraph, 80)
