"""Where the grammar and the shipped specs lie, installed or in a checkout."""

from pathlib import Path

_GRAMMAR = Path("grammar", "arch.lark")


def grammar_text() -> str:
    """Return the text of the Lark grammar."""
    return (_data_root() / _GRAMMAR).read_text(encoding="utf-8")


def specs_dir() -> Path:
    """Return the folder of the shipped `.arch` files."""
    return _data_root() / "specs"


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
