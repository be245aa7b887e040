"""Hooks for mkdocs, so that the pages of docs/ work on the site as well as on GitHub.

- Fences carry words for docs/refresh.py (```arch error A0906): some become titles.
- The change log and what the pages link to outside docs/ become pages of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent
_SPECS = [path.relative_to(ROOT) for path in sorted((ROOT / "specs").rglob("*.arch"))]
# Pages of the site by where their text is in the checkout.
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    **{
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "benchmarks" / "experiments").glob("*.md"))
    },
    "benchmarks/roofline.md": "benchmarks/roofline.md",
    "specs/tutorial": "specs/tutorial.md",
    **{spec.as_posix(): spec.with_suffix(".md").as_posix() for spec in _SPECS},
}
_FENCE = re.compile(r"^```(\w+)[ ]+([^\n`]+)$", re.M)
_LINK = re.compile(r"(?<=\]\()([^)\s#:]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages whose text is outside docs/."""
    for source, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, content=_text(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page's text in mkdocs' form."""
    folder = _folder(page.file.src_uri)
    links = _LINK.sub(lambda m: _target(m[1], folder, page.file.src_uri), markdown)
    return _FENCE.sub(lambda m: f"```{m[1]}{_title(m[1], m[2].split())}", links)


def _text(path: Path) -> str:
    """Return a page's text; that of a folder has all its specs."""
    if path.suffix == ".arch":
        spec = path.read_text(encoding="utf-8")
        return f"# {path.name}\n\n```arch\n{spec}```\n"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    parts = ["# Pairs to compare\n\nSpecs that show one idea each, to try with "]
    parts.append("`archdsl analyze tutorial/NAME` and `archdsl compare`.\n")
    for spec in sorted(path.glob("*.arch")):
        text = spec.read_text(encoding="utf-8")
        parts.append(f"\n## {path.name}/{spec.stem}\n\n```arch\n{text}```\n")
    return "".join(parts)


def _folder(uri: str) -> str:
    """Return the folder of the checkout that a page's links start from."""
    source = next((s for s, page in OUTSIDE.items() if page == uri), f"docs/{uri}")
    return posixpath.dirname(source)


def _target(link: str, folder: str, uri: str) -> str:
    """Return where a link of a page leads on the site."""
    path = posixpath.normpath(posixpath.join(folder, link))
    inside = path.removeprefix("docs/") if path.startswith("docs/") else None
    page = OUTSIDE.get(path, inside)
    return posixpath.relpath(page, posixpath.dirname(uri) or ".") if page else link


def _title(language: str, words: list[str]) -> str:
    """Return the title of a fence, from the words for docs/refresh.py."""
    if words[0] == "error":
        title = f"refused: {words[1]}"
    elif words[0] == "excerpt":
        title = f"archdsl compile {words[1]}"
    elif words[0] in ("file", "kind"):
        title = words[1] if words[0] == "file" else f"archdsl/ops/{words[1]}.py"
    elif language == "arch" and words[0] not in ("fragment", "unchecked"):
        title = words[0]
    else:
        return ""
    return f' title="{title}"'
