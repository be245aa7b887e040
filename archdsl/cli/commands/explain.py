"""`archdsl explain`."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import fill

import click

from archdsl.cli import completion
from archdsl.cli.options import json_option
from archdsl.cli.terminal import print_json
from archdsl.diagnostics import did_you_mean


@click.command()
@click.argument("code", shell_complete=completion.codes)
@json_option
def command(code: str, as_json: bool) -> None:
    """Explain an error code, a lint rule, or a topic such as counts.

    CODE is the code of an error or rule, the name of a rule, or a topic.

    \b
    Examples:
      archdsl explain A0301
      archdsl explain W0101
      archdsl explain missing-bottleneck
      archdsl explain counts
      archdsl explain passes
    """
    name = code.upper() if any(map(str.isdigit, code)) else code.lower()
    pages = _pages(name)
    if name not in pages:
        hint = did_you_mean(name, pages)
        what = "error code" if any(map(str.isdigit, code)) else "rule or topic"
        raise click.UsageError(
            f"there is no {what} `{code}`" + (f"; {hint}" if hint else "")
        )
    text = pages[name]()
    if as_json:
        print_json({"name": name, "text": text, "errors": []})
    else:
        click.echo("\n\n".join(map(_wrapped, text.split("\n\n"))))


def _pages(name: str) -> dict[str, Callable[[], str]]:
    """Return the pages by name; codes are in capitals."""
    from archdsl.cli.topics import TOPICS, page
    from archdsl.codes import CODES

    pages: dict[str, Callable[[], str]] = {
        name: lambda name=name: f"{name}: {CODES[name]}"  # type: ignore[misc]
        for name in CODES
    }
    pages |= {name: lambda name=name: page(name) for name in TOPICS}  # type: ignore[misc]
    if name not in pages:  # rules are imported only if needed, as that takes longer
        from archdsl.linter.allow import PAGES
        from archdsl.linter.rule import ABOUT_ALLOWS, all_rules

        pages |= {name: lambda name=name: PAGES[name] for name in PAGES}  # type: ignore[misc]
        pages |= {name: pages[code] for code, name in ABOUT_ALLOWS.items()}
        for code, rule in all_rules().items():
            pages |= {code: rule.page, rule.name: rule.page}
    return pages


def _wrapped(paragraph: str) -> str:
    """Wrap a paragraph, unless it is the text of a spec."""
    is_spec = paragraph.startswith((" ", "Wrong", "Right", "Found", "Better"))
    return paragraph if is_spec else fill(paragraph, 80)
