"""Finds the grammar and the shipped specs, installed or in a checkout."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_GRAMMAR = Path("grammar", "arch.lark")
# Folders of specs that are not networks with a shipped name.
_APART = ("std", "templates")
_PRESET = re.compile(r"^[ \t]*(?:default[ \t]+)?preset[ \t]+([A-Za-z_]\w*)", re.M)


def grammar_text() -> str:
    """Return the text of the Lark grammar."""
    return (_data_root() / _GRAMMAR).read_text(encoding="utf-8")


def specs_dir() -> Path:
    """Return the folder of the shipped `.arch` files."""
    return _data_root() / "specs"


@cache
def shipped_specs() -> dict[str, Path]:
    """Return the shipped specs by name: ``resnet``, ``tutorial/...``.

    Libraries and templates are not included.
    """
    root = specs_dir()
    found = {p.relative_to(root).with_suffix(""): p for p in root.rglob("*.arch")}
    return {
        name.as_posix(): path
        for name, path in sorted(found.items(), key=lambda item: _in_order(item[0]))
        if name.parts[0] not in _APART
    }


def templates() -> dict[str, Path]:
    """Return the specs that `archdsl new` starts from, by name."""
    return {path.stem: path for path in sorted(specs_dir().glob("templates/*.arch"))}


def recipes() -> dict[str, Path]:
    """Return the recipes that `archdsl train` knows, by name."""
    return {path.stem: path for path in sorted(specs_dir().glob("recipes/*.toml"))}


@cache
def shipped_presets() -> dict[str, str]:
    """Return the name of the shipped spec that defines each preset.

    The text is only scanned, since parsing every spec to find one takes too long.
    """
    return {
        preset: name
        for name, path in shipped_specs().items()
        for preset in presets_in(path.read_text(encoding="utf-8"))
    }


def presets_in(text: str) -> list[str]:
    """Return the names of the presets of a spec's text, which is only scanned."""
    return _PRESET.findall(text)


def _in_order(name: Path) -> tuple[int, Path]:
    return len(name.parts), name


@cache
def _data_root() -> Path:
    package = Path(__file__).resolve().parent
    # A wheel carries the data inside the package; an editable install and a plain
    # checkout have it next to the package.
    for root in (package / "_data", package.parent):
        if (root / _GRAMMAR).is_file():
            return root
    raise FileNotFoundError(
        f"archdsl's own data is missing: no {_GRAMMAR} in {package}"
    )
