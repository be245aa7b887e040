"""The positions of keys and values in a TOML file, which `tomllib` does not report.

The file has been parsed before, so the scan only has to handle valid TOML. An inline
table has one position; its parts have none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from archdsl.source import Source, Span

Path = tuple[str, ...]

_NAME: Final = r"""(?:[\w-]+|"[^"\n]*"|'[^'\n]*')"""
_NAMES: Final = rf"{_NAME}(?:[ \t]*\.[ \t]*{_NAME})*"
_TABLE: Final = re.compile(rf"[ \t]*\[[ \t]*({_NAMES})[ \t]*\]")
_KEY: Final = re.compile(rf"[ \t]*({_NAMES})[ \t]*=[ \t]*")
_TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""|' + r"'''.*?'''|"
    r'"(?:\\.|[^"\\\n])*"|' + r"'[^'\n]*'|#[^\n]*|[\[\]{}\n]|[^\"'#\[\]{}\n]+|.",
    re.S,
)


class KeyPlace(NamedTuple):
    """The positions of a key and of its value; a table has no value."""

    key: Span
    value: Span


def places(source: Source) -> dict[Path, KeyPlace]:
    """Return the positions of all tables and keys of a valid TOML text, by path."""
    found: dict[Path, KeyPlace] = {}
    table: Path = ()
    text, at = source.text, 0
    while at < len(text):
        head, key = _TABLE.match(text, at), _KEY.match(text, at)
        if head is not None:
            table = _parts(head[1])
            span = Span(source, head.start(1), head.end(1))
            found.setdefault(table, KeyPlace(span, span))
            at = _end(text, head.end())
        elif key is not None:
            end = _end(text, key.end())
            value = _without_comment(text[key.end() : end])
            path = (*table, *_parts(key[1]))
            span = Span(source, key.start(1), key.end(1))
            held = Span(source, key.end(), key.end() + len(value))
            for length in range(len(table) + 1, len(path)):
                found.setdefault(path[:length], KeyPlace(span, held))
            found[path] = KeyPlace(span, held)
            at = end
        else:
            at = _end(text, at)
    return found


def _end(text: str, at: int) -> int:
    """Return the end of the line at a position, or of the value that spans lines."""
    depth = 0
    for token in _TOKEN.finditer(text, at):
        word = token[0]
        if word in ("[", "{"):
            depth += 1
        elif word in ("]", "}"):
            depth -= 1
        elif word == "\n" and depth <= 0:
            return token.end()
    return len(text)


def _without_comment(text: str) -> str:
    kept = ""
    for token in _TOKEN.finditer(text):
        if not token[0].startswith("#"):
            kept += token[0]
        elif "\n" not in text[token.end() :].rstrip("\n"):
            break
        else:
            kept += token[0]
    return kept.rstrip()


def _parts(names: str) -> Path:
    return tuple(_each(names))


def _each(names: str) -> Iterator[str]:
    for name in re.findall(_NAME, names):
        yield name.strip("\"'") if name[0] in "\"'" else name
