"""SVG for screen readers: names instead of Graphviz's numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape

_NODE = re.compile(
    r"<title>(n\d+|label_\w+|\w+&#45;&gt;\w+|cluster_\w+|title|rest)</title>"
)
_EDGE = "&#45;&gt;"


def accessible(svg: bytes, title: Sequence[str], paths: Mapping[str, str]) -> bytes:
    """Return a drawing whose parts are named by their paths in the network.

    Args:
        svg: the drawing, as Graphviz writes it.
        title: the name of the whole drawing.
        paths: the path that each node represents, by the node's id.
    """
    names = {name: escape(_plain(path)) for name, path in paths.items()}

    def named(match: re.Match[str]) -> str:
        ends = match[1].split(_EDGE)
        known = [names[end] for end in ends if end in names]
        if len(known) < len(ends):
            return ""
        return f"<title>{' to '.join(known)}</title>"

    text = _NODE.sub(named, svg.decode())
    label = escape(_plain(", ".join(title)), quote=True)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).encode()


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:300]
