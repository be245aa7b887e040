"""The canonical layout of a spec.

- Four spaces of indentation, one statement per line, at most one blank line.
- Braces written on one line stay on one line if they fit in 88 columns, as in
  ``{ identity | conv 3x3 32 }``; otherwise every statement has its own line.
- In braces over several lines, a branch begins with a `|` two columns to the left of
  the branch's statements; an empty first branch has no line.
- A chain is on one line if it fits; otherwise it is broken before every `->`, with
  four more spaces. A claim is broken after its commas in the same way.
- Claims after a preset that do not fit have their own line, indented by four.
- The contents of brackets that do not fit go on a line of their own; if they do not
  fit there either, each argument has its own line, with a trailing comma.
- `=` has spaces around it in brackets and definitions, and none after a layer. A
  repeat has two spaces before it.
- Comments stay where they are: on their own line, or two spaces after the code. A
  comment inside an expression moves before it, and a comment between arguments or
  layers causes a line break there.
- Numbers and sizes stay as written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from archdsl.source import Source
from archdsl.syntax.concrete import (
    Comment,
    CstBraces,
    CstBrackets,
    CstBranch,
    CstItem,
    CstLeaf,
    CstNode,
    CstPart,
    CstStatement,
    read_expression,
    read_file,
)

WIDTH: Final = 88
INDENT: Final = 4

_OPERANDS = frozenset({"NAME", "NUMBER", "DIMS", "STRING", "TRUE", "FALSE", "TAP"})
_CLOSERS = frozenset({"(", "[", "<"})
# Statements in which `=` has spaces around it, and `/` divides.
_EXPRESSIONS = frozenset({"IF", "FOR", "EXPECT", "FN", "PRESET", "DEFAULT"})
_TEMPLATE_PART = re.compile(r"\{([^{}#]*)\}")


def format_source(source: Source) -> str:
    """Return a spec's text in the canonical layout.

    Raises:
        SpecError: if it does not parse.
    """
    lines = _Layout().statements(read_file(source), 0)
    return "".join(f"{line}\n" for line in lines)


# ---- on one line ----------------------------------------------------------------


class _Spacing:
    """Decides the spaces between the nodes of a part or item."""

    def __init__(self, first: str, in_brackets: bool) -> None:
        self.first = first
        self.expression = in_brackets or first in _EXPRESSIONS
        self.apart = self.expression
        self.before: CstNode | None = None
        self.count = 0
        self.tight = False  # whether there is no space before the next node

    def gap(self, node: CstNode) -> str:
        """Return the space before the next node."""
        text = self._gap(node)
        self.before = node
        self.count += 1
        return text

    def _gap(self, node: CstNode) -> str:
        before, tight = self.before, self.tight
        kind = node.kind if isinstance(node, CstLeaf | CstBrackets) else "LBRACE"
        self.tight = self._is_tight_after(kind)
        if kind in ("IF", "FOR"):
            self.expression = True
        elif kind == "EQUAL" and self.count == 1 and self.first == "NAME":
            self.expression = self.apart = True  # it is a named value
        if before is None or tight:
            return ""
        if kind in ("COLON", "COMMA", "OPEN") or (kind == "EQUAL" and not self.apart):
            return ""
        if kind in ("REPEAT", "XPAREN"):
            return "  "
        if kind == "LSQB" and self.expression and _is_operand(before):
            return ""
        if kind == "LPAR" and self.first in ("BLOCK", "OP"):
            return ""
        if kind == "LPAR" and isinstance(before, CstLeaf) and before.kind == "NAME":
            return "" if self.expression or self.first == "INIT" else " "
        return " "

    def _is_tight_after(self, kind: str) -> bool:
        if kind == "EQUAL":
            return not self.apart and not (self.count == 1 and self.first == "NAME")
        if kind == "SLASH":
            return not self.expression
        return kind == "MINUS" and not (self.before and _is_operand(self.before))


def _is_operand(node: CstNode) -> bool:
    if isinstance(node, CstLeaf):
        return node.kind in _OPERANDS
    return isinstance(node, CstBrackets)


def _leaf(leaf: CstLeaf) -> str:
    """Return a token; expressions inside labels get the usual spaces."""
    if leaf.kind == "RENAMED":
        return " ".join(leaf.text.split())
    if "{" not in leaf.text or leaf.kind not in ("TEMPLATE", "TAP", "PART"):
        return leaf.text
    return _TEMPLATE_PART.sub(lambda m: f"{{{_embedded(m[1])}}}", leaf.text)


def _embedded(text: str) -> str:
    return _inline(read_expression(text), "", True) or text if text.strip() else ""


def _inline(nodes: Iterable[CstNode], first: str, in_brackets: bool) -> str | None:
    """Return nodes on one line, or None if they need several."""
    spacing = _Spacing(first, in_brackets)
    out = ""
    for node in nodes:
        gap = spacing.gap(node)
        text = _inline_node(node)
        if text is None:
            return None
        out += gap + text
    return out


def _inline_node(node: CstNode) -> str | None:
    if isinstance(node, CstLeaf):
        return _leaf(node)
    if isinstance(node, CstBraces):
        return _inline_braces(node)
    if node.has_comments():
        return None
    items = [_inline(item.nodes, "", True) for item in node.items]
    if None in items:
        return None
    return node.opener + ", ".join(i or "" for i in items) + node.closer


def _inline_braces(braces: CstBraces) -> str | None:
    if braces.is_empty():
        return "{}"
    if not braces.one_line:
        return None
    words = ["{"]
    for place, branch in enumerate(braces.branches):
        if place:
            words.append("|")
        statements = [_inline_statement(s) for s in branch.statements]
        if None in statements:
            return None
        if statements:
            words.append("; ".join(s or "" for s in statements))
    return " ".join([*words, "}"])


def _inline_statement(statement: CstStatement) -> str | None:
    out = ""
    for part in statement.parts:
        text = _inline(part.nodes, _first(part, statement), False)
        if text is None:
            return None
        out += _joined(part.glue) + text
    return out


def _first(part: CstPart, statement: CstStatement) -> str:
    """Return the terminal that decides the spaces within a part."""
    if part.glue == "," or part is statement.parts[0]:
        return statement.first()
    return {"else": "IF", "expect": "EXPECT"}.get(part.glue, "")


def _joined(glue: str) -> str:
    return {"": "", "->": " -> ", ",": ", "}.get(glue, " ")


# ---- on several lines -----------------------------------------------------------


@dataclass(frozen=True)
class _Style:
    """Which parts of a statement are broken over several lines."""

    braces: bool
    parts: bool
    brackets: bool


# In the order in which they are tried.
_STYLES: Final = (
    _Style(braces=False, parts=False, brackets=False),
    _Style(braces=True, parts=False, brackets=False),
    _Style(braces=False, parts=True, brackets=False),
    _Style(braces=True, parts=True, brackets=False),
    _Style(braces=True, parts=False, brackets=True),
    _Style(braces=True, parts=True, brackets=True),
)


class _Lines:
    """Lines under construction; trailing comments do not count as width."""

    def __init__(self, indent: int) -> None:
        self.done: list[str] = []
        self.text = ""
        self.indent = indent
        self.width = 0

    def write(self, text: str) -> None:
        """Add to the current line."""
        self.text += text

    def end(self, comment: Comment | None = None) -> None:
        """End the current line."""
        if self.text:
            line = " " * self.indent + self.text
            self.width = max(self.width, len(line))
            self.done.append(f"{line}  {comment.text}" if comment else line)
        elif comment:
            self.done.append(" " * self.indent + comment.text)
        self.text = ""

    def start(self, indent: int, comment: Comment | None = None) -> None:
        """Begin a new line; the current one ends with a comment."""
        self.end(comment)
        self.indent = indent

    def comments(self, comments: Iterable[Comment], indent: int) -> None:
        """Write comments on lines of their own."""
        for comment in comments:
            self.start(indent)
            self.end(comment)

    def block(self, lines: list[str]) -> None:
        """Write finished lines below the current one."""
        self.end()
        self.done += lines
        # The width of these lines was checked when their statements were laid out.


class _Layout:
    """Lays out statements; caches bodies, as several styles try the same ones."""

    def __init__(self) -> None:
        self._bodies: dict[tuple[int, int], list[str]] = {}

    def statements(self, branch: CstBranch, indent: int) -> list[str]:
        """Return the lines of a branch's statements and comments."""
        lines: list[str] = []
        for statement in branch.statements:
            # A claim below a preset belongs to it.
            claims = indent == 0 and statement.first() == "EXPECT"
            inner = INDENT if claims else indent
            blank = statement.blank and not (claims and not statement.lead)
            lines += _own_lines(statement.lead, inner, bool(lines))
            if blank and lines:
                lines.append("")
            lines += self.statement(statement, inner)
        return [*lines, *_own_lines(branch.end, indent, bool(lines))]

    def statement(self, statement: CstStatement, indent: int) -> list[str]:
        """Return the lines of a statement in the first style that fits."""
        for style in _STYLES:
            out = _Lines(indent)
            self._parts(statement, style, out, indent)
            if out.width <= WIDTH:
                break
            if claims := _claims(statement):
                head = CstStatement([], False, statement.parts[: -len(claims.parts)])
                lines = self.statement(head, indent)
                return lines + self.statement(claims, indent + INDENT)
        return out.done

    def _parts(
        self, statement: CstStatement, style: _Style, out: _Lines, indent: int
    ) -> None:
        before: CstPart | None = None
        for part in statement.parts:
            self._break(before, part, style, out, indent)
            spacing = _Spacing(_first(part, statement), False)
            self._nodes(part.nodes, spacing, style, out)
            before = part
        out.end(before.trailing if before else None)

    def _break(
        self,
        before: CstPart | None,
        part: CstPart,
        style: _Style,
        out: _Lines,
        indent: int,
    ) -> None:
        """Go to the next part, on a new line if the style says so."""
        if before is None:
            return
        comments = before.trailing is not None or bool(part.lead)
        breaks = comments or (style.parts and part.glue in ("->", ","))
        if not breaks:
            out.write(_joined(part.glue))
            return
        if part.glue == ",":
            out.write(",")
        inner = indent if part.glue == "else" else indent + INDENT
        out.end(before.trailing)
        out.comments(part.lead, inner)
        out.start(inner)
        if part.glue == "->":
            out.write("-> ")

    def _nodes(
        self, nodes: list[CstNode], spacing: _Spacing, style: _Style, out: _Lines
    ) -> None:
        broken = self._broken(nodes, spacing, style, out) if style.brackets else set()
        for place, node in enumerate(nodes):
            gap = spacing.gap(node)
            out.write(gap)
            text = None if id(node) in broken else _inline_node(node)
            if isinstance(node, CstBraces) and style.braces and not node.is_empty():
                text = None
            if text is not None:
                out.write(text)
            elif isinstance(node, CstBraces):
                self._braces(node, out)
            elif isinstance(node, CstBrackets):
                after = nodes[place + 1] if node is not nodes[-1] else None
                indexes = place > 0 and not gap
                self._brackets(node, _may_end_in_comma(node, after, indexes), out)

    def _broken(
        self, nodes: list[CstNode], spacing: _Spacing, style: _Style, out: _Lines
    ) -> set[int]:
        """Return the brackets to break, longest first, until the nodes fit."""
        plain = [node for node in nodes if not isinstance(node, CstBraces)]
        texts = {id(node): _inline_node(node) or "" for node in plain}
        room = WIDTH - out.indent - len(out.text)
        width = sum(len(t) + 1 for t in texts.values())
        found: set[int] = set()
        for node in sorted(nodes, key=lambda n: -len(texts.get(id(n), ""))):
            if width <= room:
                break
            if isinstance(node, CstBrackets) and node.items:
                found.add(id(node))
                width -= len(texts[id(node)])
        return found

    def _brackets(self, brackets: CstBrackets, comma: bool, out: _Lines) -> None:
        """Write brackets with one line for all items, or one for each."""
        indent = out.indent
        text = _inline_node(brackets)
        out.write(brackets.opener)
        out.end(brackets.opening)
        if text is not None:
            inner = text[len(brackets.opener) : -len(brackets.closer)]
            if indent + INDENT + len(inner) <= WIDTH:
                out.start(indent + INDENT)
                out.write(inner)
                out.start(indent)
                out.write(brackets.closer)
                return
        for item in brackets.items:
            self._item(item, comma or item is not brackets.items[-1], out, indent)
        out.comments(brackets.end, indent + INDENT)
        out.start(indent)
        out.write(brackets.closer)

    def _item(self, item: CstItem, comma: bool, out: _Lines, indent: int) -> None:
        out.comments(item.lead, indent + INDENT)
        out.start(indent + INDENT)
        self._nodes(item.nodes, _Spacing("", True), _STYLES[-1], out)
        if comma:
            out.write(",")
        out.end(item.trailing)

    def _braces(self, braces: CstBraces, out: _Lines) -> None:
        indent = out.indent
        out.write("{")
        out.end(braces.opening)
        out.block(self._body(braces, indent + INDENT))
        out.start(indent)
        out.write("}")

    def _body(self, braces: CstBraces, indent: int) -> list[str]:
        key = id(braces), indent
        if key not in self._bodies:
            lines = self.statements(braces.branches[0], indent)
            for branch in braces.branches[1:]:
                lines += self._branch(branch, indent)
            self._bodies[key] = lines
        return self._bodies[key]

    def _branch(self, branch: CstBranch, indent: int) -> Iterator[str]:
        """Yield the lines of a branch that begins with a `|`."""
        bar = " " * (indent - 2) + "|"
        lines = self.statements(branch, indent)
        statements = branch.statements
        if branch.bar:
            yield f"{bar}  {branch.bar.text}"
        elif statements and not statements[0].lead:
            yield bar + lines.pop(0)[indent - 1 :]
        else:
            yield bar
        yield from lines


def _claims(statement: CstStatement) -> CstStatement | None:
    """Return the claims on the line of a preset."""
    for place, part in enumerate(statement.parts):
        if part.glue == "expect":
            first = CstPart("", part.nodes, trailing=part.trailing)
            return CstStatement([], False, [first, *statement.parts[place + 1 :]])
    return None


def _may_end_in_comma(
    brackets: CstBrackets, after: CstNode | None, indexes: bool
) -> bool:
    """Whether the grammar allows a trailing comma."""
    if brackets.kind != "LSQB":
        return brackets.kind == "OPEN"
    leaves = [n.kind for i in brackets.items for n in i.nodes if isinstance(n, CstLeaf)]
    names_parts = isinstance(after, CstLeaf) and after.kind == "IN"
    return not indexes and not names_parts and "FOR" not in leaves


def _own_lines(comments: list[Comment], indent: int, follows: bool) -> Iterator[str]:
    """Yield comments as lines, with the blank lines between them."""
    for comment in comments:
        if comment.blank and follows:
            yield ""
        yield " " * indent + comment.text
        follows = True
