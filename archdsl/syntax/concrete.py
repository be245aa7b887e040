"""The concrete syntax tree: tokens in brackets and statements, with comments."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from lark import Token

from archdsl.source import Source
from archdsl.syntax.parser import tokenize

_END: Final = "$END"
_SEPARATOR: Final = "_NL"
_CLOSERS: Final = {
    "OPEN": "MORETHAN",
    "LPAR": "RPAR",
    "XPAREN": "RPAR",
    "LSQB": "RSQB",
}
_COMMENT = re.compile(r"#[^\n]*|\n")


@dataclass
class Comment:
    """A comment, without the space at its end.

    Attributes:
        text: the comment, from `#` on.
        own_line: whether it is alone on its line.
        blank: whether there is a blank line before it.
    """

    text: str
    own_line: bool
    blank: bool


@dataclass
class CstLeaf:
    """One token.

    Attributes:
        kind: its terminal.
        text: as written.
        start: its offset.
        lead: the comments before it.
        blank: whether there is a blank line directly before it.
    """

    kind: str
    text: str
    start: int
    lead: list[Comment]
    blank: bool


@dataclass
class CstItem:
    """The nodes between two commas."""

    nodes: list[CstNode]
    lead: list[Comment] = field(default_factory=list)
    trailing: Comment | None = None


@dataclass
class CstBrackets:
    """Something in ( ), [ ] or < >."""

    kind: str
    opener: str
    closer: str
    items: list[CstItem]
    opening: Comment | None
    end: list[Comment]

    def has_comments(self) -> bool:
        """Whether there are comments anywhere between the brackets."""
        if self.opening or self.end:
            return True
        return any(
            item.lead or item.trailing or any(map(_has_comments, item.nodes))
            for item in self.items
        )


@dataclass
class CstBranch:
    """The statements between two `|`."""

    bar: Comment | None
    statements: list[CstStatement]
    end: list[Comment]


@dataclass
class CstBraces:
    """Something in { }.

    Attributes:
        opening: the comment after the opening brace.
        branches: at least one.
        one_line: whether it was written on one line.
    """

    opening: Comment | None
    branches: list[CstBranch]
    one_line: bool

    def is_empty(self) -> bool:
        """Whether there is nothing between the braces."""
        first = self.branches[0]
        nothing = not first.statements and not first.end
        return len(self.branches) == 1 and nothing and not self.opening


CstNode = CstLeaf | CstBrackets | CstBraces


@dataclass
class CstPart:
    """The nodes between two places where a statement may be broken.

    Attributes:
        glue: what joins it to the part before: nothing, `->`, `,`, `else` or `expect`.
        lead: the comments on their own lines before it.
        trailing: the comment after it.
    """

    glue: str
    nodes: list[CstNode] = field(default_factory=list)
    lead: list[Comment] = field(default_factory=list)
    trailing: Comment | None = None


@dataclass
class CstStatement:
    """A statement, or an item of the file."""

    lead: list[Comment]
    blank: bool
    parts: list[CstPart]

    def first(self) -> str:
        """Return the terminal it begins with."""
        leaf = self.parts[0].nodes[0] if self.parts[0].nodes else None
        return leaf.kind if isinstance(leaf, CstLeaf) else ""

    def binds(self) -> bool:
        """Return whether it has a `for`, whose names commas may separate."""
        nodes = self.parts[-1].nodes
        return any(isinstance(node, CstLeaf) and node.kind == "FOR" for node in nodes)


def read_file(source: Source) -> CstBranch:
    """Return a whole file.

    Raises:
        SpecError: if it does not parse.
    """
    leaves = list(_leaves(source.text, tokenize(source)))
    return _Reader(source.text, leaves).branch(None)


def read_expression(text: str) -> list[CstNode]:
    """Return one expression, which parses.

    Raises:
        SpecError: if it does not parse.
    """
    leaves = list(_leaves(text, tokenize(Source("", text), "expr")))
    return _Reader(text, leaves).item(_END).nodes


def _leaves(text: str, tokens: list[Token]) -> Iterator[CstLeaf]:
    """Attach comments to the tokens after them."""
    at = 0
    for token in tokens:
        start, end = token.start_pos or 0, token.end_pos or 0
        if token.type == _SEPARATOR:
            yield CstLeaf(_SEPARATOR, "", start, [], False)
            continue
        lead, lines = _comments(text, at, start)
        yield CstLeaf(token.type, text[start:end], start, lead, lines > 1)
        at = end
    lead, lines = _comments(text, at, len(text))
    yield CstLeaf(_END, "", len(text), lead, lines > 1)


def _comments(text: str, at: int, end: int) -> tuple[list[Comment], int]:
    """Return the comments in a gap, and the number of line ends after the last."""
    found: list[Comment] = []
    lines = 0
    for match in _COMMENT.finditer(text, at, end):
        if match[0] == "\n":
            lines += 1
            continue
        own_line = lines > 0 or at == 0
        found.append(Comment(_tidy(match[0]), own_line, lines > 1))
        lines = 0
    return found, lines


def _tidy(comment: str) -> str:
    text = comment.rstrip()
    return text if text[1:2] in ("", " ", "#", "!") else f"# {text[1:]}"


class _Reader:
    """Turns leaves into nested nodes."""

    def __init__(self, text: str, leaves: list[CstLeaf]) -> None:
        self.text = text
        self.leaves = leaves
        self.place = 0

    @property
    def next(self) -> CstLeaf:
        return self.leaves[self.place]

    def take(self) -> CstLeaf:
        """Return the next leaf and go on to the one after it."""
        leaf = self.next
        self.place += 1
        return leaf

    def take_trailing(self) -> Comment | None:
        """Return the comment after the last leaf, if there is one."""
        skipped = self.next.kind == _SEPARATOR
        lead = self.leaves[self.place + skipped].lead
        return lead.pop(0) if lead and not lead[0].own_line else None

    def branch(self, bar: Comment | None) -> CstBranch:
        """Read statements up to a bar or a closing brace."""
        statements: list[CstStatement] = []
        while self.next.kind not in ("VBAR", "RBRACE", _END):
            statements.append(self.statement())
            if self.next.kind == _SEPARATOR:
                self.take()
        end, self.next.lead = self.next.lead, []
        return CstBranch(bar, statements, end)

    def statement(self) -> CstStatement:
        """Read one statement."""
        first = self.next
        statement = CstStatement(first.lead, first.blank, [CstPart("")])
        first.lead = []
        while self.next.kind not in (_SEPARATOR, "VBAR", "RBRACE", _END):
            glue = _glue(self.next, statement)
            if glue:
                statement.parts.append(CstPart(glue))
            part = statement.parts[-1]
            part.lead += self.next.lead
            if glue in ("->", ","):
                self.take()
            if glue == ",":
                before = statement.parts[-2]
                before.trailing = before.trailing or self.take_trailing()
                part.lead += self.next.lead
            part.nodes.append(self.node())
            part.trailing = self.take_trailing()
        return statement

    def node(self) -> CstNode:
        """Read one token, or the brackets that it opens."""
        kind = self.next.kind
        if kind == "LBRACE":
            return self.braces()
        if kind in _CLOSERS:
            return self.brackets()
        return self.take()

    def braces(self) -> CstBraces:
        """Read up to the closing brace."""
        start = self.take().start
        opening = self.take_trailing()
        branches = [self.branch(None)]
        while self.next.kind == "VBAR":
            self.take()
            branches.append(self.branch(self.take_trailing()))
        end = self.take().start
        return CstBraces(opening, branches, "\n" not in self.text[start:end])

    def brackets(self) -> CstBrackets:
        """Read up to the closing bracket."""
        opener = self.take()
        closer = _CLOSERS[opener.kind]
        opening = self.take_trailing()
        items: list[CstItem] = []
        while self.next.kind != closer:
            items.append(self.item(closer))
            if self.next.kind == "COMMA":
                own_lines = self.take().lead
                items[-1].trailing = items[-1].trailing or self.take_trailing()
                self.next.lead = own_lines + self.next.lead
        closed = self.take()
        return CstBrackets(
            opener.kind, opener.text, closed.text, items, opening, closed.lead
        )

    def item(self, closer: str) -> CstItem:
        """Read up to a comma or the closing bracket."""
        item = CstItem([])
        binds = False  # whether this is between `for` and `in`
        while self.next.kind != closer and (binds or self.next.kind != "COMMA"):
            binds = (binds or self.next.kind == "FOR") and self.next.kind != "IN"
            # A comment within an expression moves before it.
            item.lead += self.next.lead
            item.nodes.append(self.node())
        item.trailing = self.take_trailing()
        return item


def _glue(leaf: CstLeaf, statement: CstStatement) -> str:
    if leaf.kind == "ARROW":
        return "->"
    if leaf.kind == "COMMA" and not statement.binds():
        return ","
    if leaf.kind == "ELSE" or (leaf.kind == "EXPECT" and statement.parts[0].nodes):
        return leaf.kind.lower()
    return ""


def _has_comments(node: CstNode) -> bool:
    return isinstance(node, CstBrackets) and node.has_comments()
