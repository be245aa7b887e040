"""Draw all shipped networks into docs/gallery/, with a page and a contact sheet.

    python scripts/gallery.py

The default preset of each spec is drawn as `archdsl render` draws it; the page has its
figures and a link to its spec. The contact sheet is one png of them all.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw

import archdsl
from archdsl.backends.diagram import Drawing, Options
from archdsl.resources import shipped_specs
from archdsl.values import show_shape

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"
_COLUMNS = 6
_CELL = (270, 330)
_LABEL = 18

HEAD = """# Gallery

All shipped networks, each as `archdsl render` draws it without an option: it fits a
page of A4 with text of 6 pt or more. `python scripts/gallery.py` made this page, the
pictures and the contact sheet.

![All networks at a glance](contact.png)

| network | input | parameters | MACs | depth | spec |
| --- | --- | ---: | ---: | ---: | --- |
"""


class Entry(NamedTuple):
    """One network: its name, its row of the table, its file, and a small picture."""

    name: str
    row: str
    svg: bytes
    image: Image.Image


def main() -> None:
    """Write the whole gallery."""
    GALLERY.mkdir(exist_ok=True)
    entries = [entry(spec) for spec in sorted(shipped_specs())]
    for old in GALLERY.glob("*.svg"):
        old.unlink()
    for one in entries:
        (GALLERY / f"{one.name}.svg").write_bytes(one.svg)
    (GALLERY / "index.md").write_text(page(entries), encoding="utf-8")
    sheet(entries).save(GALLERY / "contact.png", optimize=True)


def entry(spec: str) -> Entry:
    """Return a shipped spec's default network, drawn."""
    network = archdsl.load(spec, symbolic=False)
    analysis = archdsl.analyze(network)
    shape = " and ".join(show_shape(port.shape) for port in network.inputs)
    name = network.name
    row = (
        f"| [{name}]({name}.svg) | {shape} | {analysis.params:,} | {analysis.macs:,} "
        f"| {analysis.depth} | [{spec}.arch](../../specs/{spec}.arch) |"
    )
    small = Drawing(network, Options(dpi=60)).image("png")
    image = Image.open(io.BytesIO(small)).convert("RGB")
    return Entry(name, row, Drawing(network).image("svg"), image)


def page(entries: list[Entry]) -> str:
    """Return the text of the page."""
    rows = "\n".join(one.row for one in entries)
    pictures = "\n".join(
        f"\n## {one.name}\n\n![{one.name}]({one.name}.svg)" for one in entries
    )
    return f"{HEAD}{rows}\n{pictures}\n"


def sheet(entries: list[Entry]) -> Image.Image:
    """Return all pictures in a single one."""
    width, height = _CELL
    rows = -(-len(entries) // _COLUMNS)
    found = Image.new("RGB", (width * _COLUMNS, (height + _LABEL) * rows), "white")
    draw = ImageDraw.Draw(found)
    for at, one in enumerate(entries):
        x, y = at % _COLUMNS * width, at // _COLUMNS * (height + _LABEL)
        one.image.thumbnail((width - 12, height - 8), Image.Resampling.LANCZOS)
        draw.text((x + 6, y + 3), one.name, fill="black")
        found.paste(one.image, (x + 6, y + _LABEL))
    return found.quantize(128)


if __name__ == "__main__":
    main()
