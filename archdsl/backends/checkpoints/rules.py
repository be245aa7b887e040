"""Rules that rename the keys of a checkpoint: one ``FROM -> TO`` on each line.

``{name}`` in FROM matches one part of a key, or a piece of a part; never a dot.
``{name...}`` matches the rest, dots included, and can only be last. In TO, the same
placeholders stand for the matched text, and ``{name + 1}`` or ``{name - 1}`` compute
with a matched number. The first rule whose FROM matches the whole key renames it; other
keys stay. A rule with an empty TO leaves the key out. ``#`` begins a comment.

A placeholder ends where the text after it first occurs. There is no backtracking, so no
rule can make matching slow, as a regular expression from a file could.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.limits import MAX_FILE_BYTES
from archdsl.source import Source, Span

_MAPS: Final = Path(__file__).parent / "maps"
_WORD: Final = re.compile(r"\{\s*([A-Za-z_]\w*)\s*(\.\.\.|[+-]\s*\d{1,9})?\s*\}")


class KeyRule(NamedTuple):
    """One line of a file of rules."""

    pattern: re.Pattern[str]
    target: tuple[str | tuple[str, int], ...]

    def apply(self, key: str) -> str | None:
        """Return the new name of a key; None if the rule does not match.

        It is empty if the key is to be left out.
        """
        found = self.pattern.fullmatch(key)
        if found is None:
            return None
        text = ""
        for part in self.target:
            if isinstance(part, str):
                text += part
                continue
            name, shift = part
            value = found[name]
            if not shift:
                text += value
            elif value.isdecimal():
                text += str(int(value) + shift)
            else:
                return None  # the rule computes with a number, but this is not one
        return text


class Rules(NamedTuple):
    """The rules of a file.

    Attributes:
        name: what the user calls the file.
        about: the first line of the comment at the top.
        rules: in the order of the file.
    """

    name: str
    about: str
    rules: tuple[KeyRule, ...]

    def rename(self, key: str) -> str:
        """Return the new name of a key; empty if it is to be left out."""
        for rule in self.rules:
            found = rule.apply(key)
            if found is not None:
                return found
        return key


def parse_rules(source: Source) -> Rules:
    """Return the rules of a text.

    Raises:
        SpecError: naming each line that is not a rule.
    """
    if len(source.text) > MAX_FILE_BYTES:
        message = f"{source.name} is larger than {MAX_FILE_BYTES:,} bytes"
        raise SpecError([Diagnostic("A0901", message)])
    rules: list[KeyRule] = []
    errors: list[Diagnostic] = []
    head: list[str] = []
    start = 0
    for line in source.text.splitlines(keepends=True):
        text = line.partition("#")[0].strip()
        if not rules and line.startswith("#"):
            head.append(line.lstrip("#").strip())
        elif text:
            first = start + line.index(text)
            try:
                rules.append(_rule(text))
            except ValueError as error:
                help = "write `norm.{i}.{rest...} -> norm{i}.{rest...}`"
                at = Span(source, first, first + len(text))
                errors.append(Diagnostic("A1002", str(error), at, help=help))
        start += len(line)
    if errors:
        raise SpecError(errors)
    return Rules(source.name, head[0] if head else "", tuple(rules))


def shipped_rules(name: str) -> Rules | None:
    """Return the shipped rules with a name, or None."""
    path = _MAPS / f"{name}.map"
    if name not in maps():
        return None
    rules = parse_rules(Source(str(path), path.read_text(encoding="utf-8")))
    return rules._replace(name=name)


def maps() -> list[str]:
    """Return the names of the shipped rules."""
    return sorted(path.stem for path in _MAPS.glob("*.map"))


def _rule(text: str) -> KeyRule:
    """Return the rule in a line.

    Raises:
        ValueError: saying what is wrong with it.
    """
    before, arrow, after = (part.strip() for part in text.partition("->"))
    if not arrow or not before:
        raise ValueError(f"`{text}` is not a rule of the form `FROM -> TO`")
    pattern, words = _pattern(before)
    target: list[str | tuple[str, int]] = []
    for literal, word, more in _pieces(after):
        target.append(literal)
        if word is None:
            continue
        if word not in words:
            raise ValueError(f"`{{{word}}}` is not in FROM")
        if (more == "...") != words[word]:
            raise ValueError(f"`{word}` has `...` on one side only")
        shift = 0 if more in ("", "...") else int(more.replace(" ", ""))
        target.append((word, shift))
    return KeyRule(pattern, tuple(target))


def _pattern(text: str) -> tuple[re.Pattern[str], dict[str, bool]]:
    """Return the pattern of FROM, and whether each placeholder is a `{name...}`."""
    words: dict[str, bool] = {}
    pieces = [*_pieces(text)]
    pattern = re.escape(pieces[0][0])
    for place, (literal, word, more) in enumerate(pieces[:-1]):
        behind = re.escape(pieces[place + 1][0])
        assert word is not None
        if word in words:
            raise ValueError(f"`{{{word}}}` occurs twice in FROM")
        if more not in ("", "..."):
            raise ValueError(f"`{{{word} {more}}}` can only be in TO")
        if not literal and place:
            raise ValueError(f"nothing separates `{{{word}}}` from the word before it")
        words[word] = more == "..."
        if words[word] and (behind or place + 2 < len(pieces)):
            raise ValueError(f"`{{{word}...}}` is not at the end of FROM")
        any_ = "." if words[word] else "[^.]"
        # An atomic group prevents backtracking.
        pattern += (
            f"(?>(?P<{word}>{any_}+?){behind})" if behind else f"(?P<{word}>{any_}+)"
        )
    return re.compile(pattern), words


def _pieces(text: str) -> Iterator[tuple[str, str | None, str]]:
    """Yield pairs of literal text and the placeholder after it, as word and suffix."""
    start = 0
    for match in _WORD.finditer(text):
        yield _literal(text[start : match.start()]), match[1], match[2] or ""
        start = match.end()
    yield _literal(text[start:]), None, ""


def _literal(text: str) -> str:
    if set(text) & set("{} \t"):
        raise ValueError(
            f"`{text.strip()}` can be neither part of a key nor a placeholder in braces"
        )
    return text
