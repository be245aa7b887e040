"""Errors and findings in formats that other tools show in the source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import click

from archdsl import __version__
from archdsl.diagnostics import Diagnostic, place

if TYPE_CHECKING:
    from archdsl.linter.rule import Fix
    from archdsl.source import Span

FORMATS: Final = ("text", "json", "github", "sarif")
_SARIF: Final = "https://json.schemastore.org/sarif-2.1.0.json"

format_option = click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Print text, JSON, annotations of GitHub Actions, or SARIF 2.1.0.  "
    "[default: text]",
)


class Annotation(NamedTuple):
    """An error or a piece of advice.

    Attributes:
        diagnostic: the message and its place.
        fix: the suggestion as an edit of the text, if it can be made automatically.
    """

    diagnostic: Diagnostic
    fix: Fix | None = None


def chosen_format(form: str | None, as_json: bool) -> str:
    """Return the format that --format and --json ask for.

    Raises:
        click.UsageError: if they disagree.
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other")
    return "json" if as_json else form or "text"


# ---- GitHub Actions ---------------------------------------------------------------


def github(found: Sequence[Annotation]) -> str:
    """Return the workflow commands that show findings as annotations of the files.

    Source: GitHub's reference, "Workflow commands for GitHub Actions".
    """
    return "".join(f"{_annotation(each.diagnostic)}\n" for each in found)


def _annotation(diagnostic: Diagnostic) -> str:
    at = place(diagnostic.span)
    values = {"title": f"archdsl {diagnostic.code}".rstrip(), "file": at["file"]}
    values |= {"line": at["line"], "endLine": at["end_line"], "col": at["column"]}
    if at["line"] == at["end_line"]:  # GitHub only takes columns within one line
        values["endColumn"] = at["end_column"]
    given = {name: str(value) for name, value in values.items() if value is not None}
    words = ",".join(f"{name}={_property(text)}" for name, text in given.items())
    level = "warning" if diagnostic.severity == "warning" else "error"
    return f"::{level} {words}::{_data(_message(diagnostic))}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _message(diagnostic: Diagnostic) -> str:
    """Return everything in the message except the place."""
    parts = [diagnostic.message, *diagnostic.notes]
    return "\n".join(
        [*parts, *([f"help: {diagnostic.help}"] if diagnostic.help else [])]
    )


# ---- SARIF --------------------------------------------------------------------------


def sarif(found: Sequence[Annotation]) -> dict[str, Any]:
    """Return findings as a log of the Static Analysis Results Interchange Format.

    Source: OASIS, SARIF version 2.1.0.
    """
    codes = sorted({each.diagnostic.code for each in found} - {""})
    driver = {
        "name": "archdsl",
        "version": __version__,
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(each, codes) for each in found],
    }
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    from archdsl.codes import CODES
    from archdsl.linter.allow import PAGES
    from archdsl.linter.rule import ABOUT_ALLOWS, all_rules

    rules = all_rules()
    if code in CODES:
        name, title, text = "", CODES[code].title, CODES[code].text
    elif code in rules:
        name, title, text = rules[code].name, rules[code].title, rules[code].text()
    else:
        name = title = ABOUT_ALLOWS[code]
        text = PAGES[code]
    return {
        "id": code,
        **({"name": name} if name else {}),
        "shortDescription": {"text": title},
        "help": {"text": text},
    }


def _result(each: Annotation, codes: Sequence[str]) -> dict[str, Any]:
    diagnostic = each.diagnostic
    code, span = diagnostic.code, diagnostic.span
    result: dict[str, Any] = {
        "level": "warning" if diagnostic.severity == "warning" else "error",
        "message": {"text": _message(diagnostic)},
    }
    if code:
        result |= {"ruleId": code, "ruleIndex": codes.index(code)}
    if span is not None:
        at = place(span)
        region = {
            "startLine": at["line"],
            "startColumn": at["column"],
            "endLine": at["end_line"],
            "endColumn": at["end_column"],
        }
        where = {"artifactLocation": {"uri": _uri(span)}, "region": region}
        result["locations"] = [{"physicalLocation": where}]
    if each.fix is not None and span is not None:
        result["fixes"] = [_fix(each.fix, diagnostic, span)]
    return result


def _fix(fix: Fix, diagnostic: Diagnostic, span: Span) -> dict[str, Any]:
    replacements = [
        {
            "deletedRegion": {
                "charOffset": edit.start,
                "charLength": edit.end - edit.start,
            },
            "insertedContent": {"text": edit.text},
        }
        for edit in fix.edits
    ]
    change = {"artifactLocation": {"uri": _uri(span)}, "replacements": replacements}
    said = {"description": {"text": diagnostic.help}} if diagnostic.help else {}
    return {**said, "artifactChanges": [change]}


def _uri(span: Span) -> str:
    """Return a file's name as a URI reference, relative if the user's path is."""
    name = span.source.name
    if name.startswith("<"):  # standard input has no URI
        return quote(name)
    path = Path(name)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


# ---- both formats -----------------------------------------------------------------


def printed(found: Sequence[Annotation], form: str) -> str:
    """Return findings in one of the formats for other tools."""
    if form == "github":
        return github(found)
    from json import dumps

    return dumps(sarif(found), ensure_ascii=False, indent=2) + "\n"
