"""Import torchvision's networks, and write benchmarks/import.md about it.

    python scripts/import_models.py            all classifiers and segmenters
    python scripts/import_models.py NAME...    only these
    python scripts/import_models.py --specs FOLDER ...    keep the specs, too

Each network is made without weights, imported, and compared with the module that its
spec compiles to, as `archdsl import` does. The maps are small (96 x 96, where a network
takes that): the spec and the comparison are the same at any size.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from archdsl.backends.importer import Imported, NotImported, from_module  # noqa: E402
from tests.oracle import SEGMENTATION, torchvision  # noqa: E402

PAGE = ROOT / "benchmarks" / "import.md"
SIZE = 96
# The smallest maps that these networks take in training.
SIZES = {"inception_v3": 299, "googlenet": 128}

HEAD = """# Importing torchvision's networks

What `archdsl import` makes of them, as `scripts/import_models.py` runs
it. Lines are those of the spec that are neither empty nor comments, beside those of the
module's own classes. *Equal* means that the module compiled from the spec has the same
`state_dict` keys in the same order, and the same outputs and buffers in evaluation and
training at two sizes, to 1e-6 of the largest number, with the same weights. Nothing is
opaque: a network with a function that is no layer kind is not imported. The networks
below are those that were tried, at 96 x 96 where they take that.

"""
COLUMNS = ("network", "lines", "of its classes", "blocks", "layers", "equal")


class Row(NamedTuple):
    """What became of a network.

    Attributes:
        name: torchvision's name.
        found: its spec; None if there is none.
        reason: why not.
        source: lines of its classes.
    """

    name: str
    found: Imported | None
    reason: str
    source: int


def names() -> list[str]:
    """Return torchvision's networks for classification and segmentation."""
    models = torchvision.models
    known = models.list_models(module=models)
    known += models.list_models(module=models.segmentation)
    return sorted(known)


def made(name: str) -> nn.Module:
    """Return a network without weights."""
    options: dict[str, Any] = {"weights": None}
    if name.startswith(SEGMENTATION):
        options |= {"weights_backbone": None, "num_classes": 21}
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "aux_logits": True}
    module: nn.Module = torchvision.models.get_model(name, **options)
    return module


def source_lines(module: nn.Module) -> int:
    """Return how many lines of code the classes of a network have."""
    classes = {type(part) for part in module.modules()}
    total = 0
    for cls in classes:
        if not cls.__module__.startswith("torch.nn."):
            lines = inspect.getsource(cls).splitlines()
            total += sum(1 for line in lines if line.split("#")[0].strip())
    return total


def imported(name: str) -> Row:
    """Import a network."""
    torch.manual_seed(0)
    module = made(name)
    size = SIZES.get(name, SIZE)
    found, reason = None, ""
    try:
        found = from_module(module, [(3, size, size)])
    except NotImported as error:
        reason = str(error).replace(f"{Path(torch.__file__).parent.parent}/", "")
    return Row(name, found, reason, source_lines(module))


def line(row: Row) -> str:
    """Return a row of the table."""
    if row.found is None:
        return f"| {row.name} | | {row.source} | | | no: {row.reason} |"
    one = row.found
    cells = (one.lines, row.source, one.blocks, one.layers, "yes")
    return f"| {row.name} | {' | '.join(map(str, cells))} |"


def table(rows: Iterable[Row]) -> str:
    """Return the table, and what it says in sum."""
    rows = list(rows)
    good = [row.found for row in rows if row.found is not None]
    lines = [f"| {' | '.join(COLUMNS)} |", f"| --- |{' ---: |' * 4} --- |"]
    lines += map(line, rows)
    if good:
        middle = median(one.lines for one in good)
        most = max(one.lines for one in good)
        lines += [
            "",
            f"{len(good)} of these {len(rows)} networks are imported, in {middle:g} "
            f"lines in the median and {most} at most.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Import torchvision's networks.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--specs", type=Path, help="keep the specs in this folder")
    options = parser.parse_args()
    rows = []
    for name in options.names or names():
        row = imported(name)
        rows.append(row)
        print(line(row), flush=True)
        if options.specs and row.found is not None:
            options.specs.mkdir(parents=True, exist_ok=True)
            (options.specs / f"{name}.arch").write_text(row.found.text, "utf-8")
    text = table(rows)
    PAGE.write_text(HEAD + text, encoding="utf-8")


if __name__ == "__main__":
    main()
