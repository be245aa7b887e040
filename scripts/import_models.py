"""Import torchvision's and timm's networks, and write benchmarks/import.md about it.

    python scripts/import_models.py --journal FILE          all of torchvision's
    python scripts/import_models.py --timm --journal FILE   all of timm's
    python scripts/import_models.py NAME...                 only these, without a page
    python scripts/import_models.py --page FILE FILE        the page, updated from two
                                                            journals
    python scripts/import_models.py --specs FOLDER ...      keep the specs, too

All are those with a convolution and without a module of attention. Each is made without
weights, imported, and compared with the module that its spec compiles to, as `archdsl
import` does, in a process of its own with a limit of time. Networks in the journal are
not tried again. The maps are small (96 x 96, if a network accepts that): the spec and
the comparison are the same at any size. A network that neither journal has keeps its
row of the page; a journal may be missing.
"""

from __future__ import annotations

import argparse
import inspect
import json
import multiprocessing
import re
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from archdsl.backends.importer import NotImported, from_module  # noqa: E402
from archdsl.backends.importer.forms import forms  # noqa: E402
from tests.oracle import SEGMENTATION, torchvision  # noqa: E402

PAGE = ROOT / "benchmarks" / "import.md"
SIZES = ((96, 96), (128, 128), (224, 224), (299, 299))
VIDEOS = ((8, 64, 64), (16, 112, 112), (16, 224, 224))
# A network of more weights does not fit in the memory of a small machine four times.
MOST_WEIGHTS = 650_000_000

HEAD = """# Importing torchvision's and timm's networks

What `archdsl import` makes of networks that have a convolution and no module of
attention, as `scripts/import_models.py` runs it. timm 1.0.31 has 703 of them; its table
has those that were tried. The day says when a row was found; rows without one are
older. Specs became shorter on 2026-11-30, when parts that only some calls of a class
have became optional; older rows show longer ones. All are traced in the same way, on
the meta device. Lines are those of the spec that are neither empty nor comments, and
those of the module's own classes. *Equal* means that the module compiled from the spec
has the same `state_dict` keys in the same order, and the same outputs and buffers in
evaluation and training at two sizes where the network takes another, to 1e-6 of the
largest number, with the same weights. *Opaque* is the share of layers that are the
module's own classes, as foreign layers (`op`), since they call a function that is not a
layer kind. Some modules register their parts in another order than they run them in;
`--any-order` accepts that. Maps are 96 x 96 where a network takes that. Seconds are
those of one core of a busy machine.
"""
COLUMNS = (
    *("network", "lines", "of its classes", "blocks", "layers", "opaque"),
    *("seconds", "found", "equal"),
)


@dataclass(frozen=True)
class Row:
    """The result for a network.

    Attributes:
        name: its name in its library.
        source: lines of its classes.
        reason: why it was not imported; empty if it was.
        lines: the lines of the spec.
        blocks: number of blocks that the spec defines.
        layers: number of its layers.
        opaque: number of these that are foreign.
        structured: whether its blocks take parameters or repeat.
        ordered: whether its keys have the same order.
        seconds: the CPU seconds that it took.
        found: the day, if it is known.
    """

    name: str
    source: int = 0
    reason: str = ""
    lines: int = 0
    blocks: int = 0
    layers: int = 0
    opaque: int = 0
    structured: bool = False
    ordered: bool = True
    seconds: float = 0.0
    found: str = ""


# ---- the networks ---------------------------------------------------------------


def torchvision_names() -> list[str]:
    """Return torchvision's networks for classification, segmentation and video."""
    models = torchvision.models
    found = list[str]()
    for part in (models, models.segmentation, models.video):
        found += models.list_models(module=part)
    return sorted(found)


def torchvision_made(name: str) -> nn.Module:
    """Return a network of torchvision without weights."""
    options: dict[str, Any] = {"weights": None}
    if name.startswith(SEGMENTATION):
        options |= {"weights_backbone": None, "num_classes": 21}
    if name in ("googlenet", "inception_v3"):
        options |= {"init_weights": False, "aux_logits": True}
    module: nn.Module = torchvision.models.get_model(name, **options)
    return module


def timm_names() -> list[str]:
    """Return timm's networks."""
    import timm

    found: list[str] = timm.list_models()
    return sorted(found)


def timm_made(name: str) -> nn.Module:
    """Return a network of timm without weights."""
    import timm

    module: nn.Module = timm.create_model(name, pretrained=False)
    return module


def is_convolutional(module: nn.Module) -> bool:
    """Return whether a network has convolutions and no module of attention."""
    names = {type(part).__name__ for part in module.modules()}
    some = any(isinstance(part, nn.modules.conv._ConvNd) for part in module.modules())
    return some and not any(_attends(name) for name in names)


def _attends(name: str) -> bool:
    """Return whether a class is attention between positions, judging by its name."""
    gates = name.endswith(("ChannelAttn", "SpatialAttn", "SplitAttn", "KernelAttn"))
    return not gates and ("Atten" in name or "Attn" in name or name == "LambdaLayer")


# ---- one network ----------------------------------------------------------------


def shape_for(module: nn.Module) -> tuple[int, ...]:
    """Return the smallest of some input shapes that a network accepts."""
    volumes = any(isinstance(part, nn.Conv3d) for part in module.modules())
    wanted = getattr(module, "default_cfg", {}).get("input_size", (3, 224, 224))
    for sizes in VIDEOS if volumes else SIZES:
        shape = (wanted[0], *sizes)
        try:
            with torch.no_grad():
                module.train()(torch.empty(2, *shape, device="meta"))
        except Exception:
            continue
        return shape
    return tuple(wanted)


def source_lines(module: nn.Module) -> int:
    """Return the number of lines of code of a network's classes."""
    classes = {type(part) for part in module.modules()}
    total = 0
    for cls in classes:
        if not cls.__module__.startswith("torch.nn."):
            lines = inspect.getsource(cls).splitlines()
            total += sum(1 for line in lines if line.split("#")[0].strip())
    return total


def imported(
    name: str, make: Callable[[str], nn.Module], specs: Path | None
) -> Row | None:
    """Import a network; return None if it is not one of those that are counted."""
    try:
        with torch.device("meta"):
            bare = make(name)
    except NotImplementedError:  # it computes with tensors in its constructor
        bare = make(name).to("meta")
    if not is_convolutional(bare):
        return None
    row = Row(name, source_lines(bare))
    weights = sum(part.numel() for part in bare.parameters())
    if weights > MOST_WEIGHTS:
        return Row(**{**asdict(row), "reason": f"not tried: {weights:,} weights"})
    shape = shape_for(bare)
    torch.manual_seed(0)
    module = make(name)
    start = time.process_time()
    try:
        found = from_module(module, [shape], any_order=True)
    except NotImported as error:
        reason = str(error).replace(f"{Path(torch.__file__).parent.parent}/", "")
        if specs is not None and error.partial is not None:
            (specs / f"{name}.partial").write_text(error.partial.text, "utf-8")
        took = round(time.process_time() - start, 1)
        return Row(**{**asdict(row), "reason": reason, "seconds": took})
    if specs is not None:
        (specs / f"{name}.arch").write_text(found.text, "utf-8")
    return Row(
        name=name,
        source=row.source,
        lines=found.lines,
        blocks=found.blocks,
        layers=found.layers,
        opaque=found.opaque,
        structured=found.lines < found.layers,
        ordered="order" in found.compared[0],
        seconds=round(time.process_time() - start, 1),
    )


def _work(
    pipe: Any, name: str, make: Callable[[str], nn.Module], specs: Path | None
) -> None:
    warnings.simplefilter("ignore")
    try:
        row = imported(name, make, specs)
        pipe.send(None if row is None else asdict(row))
    except Exception as error:
        text = str(error).partition("\n")[0]
        pipe.send(asdict(Row(name, reason=f"{type(error).__name__}: {text}")))


def apart(
    name: str, make: Callable[[str], nn.Module], specs: Path | None, limit: float
) -> Row | None:
    """Import a network in a separate process, forked with all modules loaded."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, name, make, specs))
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(limit) else {}
    except EOFError:
        found = {}
        limit = 0
    process.kill()
    process.join()
    if found is None:
        return None
    ended = f"took more than {limit:g} s" if limit else "its process ended"
    return Row(**found) if found else Row(name, reason=ended)


# ---- the page -------------------------------------------------------------------


def line(row: Row) -> str:
    """Return a row of the table."""
    if row.reason:
        reason = " ".join(row.reason.split()).replace("|", "\\|")
        return f"| {row.name} | | {row.source} | | | | | {row.found} | no: {reason} |"
    opaque = f"{row.opaque / row.layers:.0%}" if row.opaque else ""
    counts = (row.lines, row.source, row.blocks, row.layers)
    cells = (*counts, opaque, f"{row.seconds:.1f}", row.found)
    equal = "yes" if row.ordered else "but for the order of keys"
    return f"| {row.name} | {' | '.join(map(str, cells))} | {equal} |"


def table(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of the table, and a summary."""
    rows = sorted(rows, key=lambda row: row.name)
    good = [row for row in rows if not row.reason]
    whole = sum(not row.opaque for row in good)
    yield (
        f"{len(good)} of {len(rows)} networks are imported, {whole} of them with layer "
        "kinds alone."
    )
    if good:
        lines = [row.lines for row in good]
        seconds = [row.seconds for row in good]
        fewer = sum(row.structured for row in good)
        ordered = sum(row.ordered for row in good)
        yield (
            f"{ordered} have their keys in the same order, and {fewer} have "
            f"fewer lines than layers. The spec has {median(lines):g} lines in the "
            f"median and {max(lines)} at most. An import takes {median(seconds):.1f} s "
            f"in the median and {max(seconds):.1f} s at most."
        )
        newest = max(row.found for row in good)
        recent = [row.lines for row in good if row.found == newest]
        if len(recent) < len(good):
            yield (
                f"The {len(recent)} that were found on {newest} have "
                f"{median(recent):g} lines in the median; the others were found before."
            )
    why: dict[str, list[str]] = {}
    for row in rows:
        if row.reason:
            why.setdefault(_cause(row.reason), []).append(_family(row.name))
    if why:
        most = sorted(why.items(), key=lambda item: -len(item[1]))
        causes = "; ".join(
            f"{cause} ({len(some)}: {', '.join(dict.fromkeys(some))})"
            for cause, some in most
        )
        yield f"What stops the others: {causes}."
    yield ""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| --- |{' ---: |' * 6} --- | --- |"
    yield from map(line, rows)


def _cause(reason: str) -> str:
    """Return what stops a network: the function without a layer kind, or the reason."""
    function = re.match(r"(`\w+`).* is not a layer kind$", " ".join(reason.split()))
    return function[1] if function else reason.partition(":")[0]


def _family(name: str) -> str:
    """Return the name of a network's family."""
    return re.split(r"[_\d]", name.removeprefix("tf_"))[0]


def read(journal: Path) -> tuple[list[Row], set[str]]:
    """Return the rows of a journal, the last of each name, and all names in it."""
    rows, names = dict[str, Row](), set[str]()
    if journal.exists():
        for text in journal.read_text("utf-8").splitlines():
            facts = json.loads(text)
            names.add(facts["name"])
            if facts.get("row"):
                rows[facts["name"]] = Row(**facts["row"])
    return list(rows.values()), names


def kept(page: Path) -> dict[str, dict[str, Row]]:
    """Return the rows of each table that a page has, by name."""
    found: dict[str, dict[str, Row]] = {}
    for text in page.read_text("utf-8").splitlines():
        if text.startswith("## "):
            rows = found.setdefault(text[3:], {})
        elif text.startswith("| ") and not text.startswith(("| network", "| ---")):
            row = _parsed(text)
            rows[row.name] = row
    return found


def _parsed(text: str) -> Row:
    """Return the row that a line of the table shows."""
    name, *cells, equal = re.split(r"(?<!\\)\|", text.strip("| "))
    day = cells[6].strip()
    if equal.startswith(" no: "):
        reason = equal.removeprefix(" no: ").replace("\\|", "|")
        return Row(name.strip(), int(cells[1]), reason, found=day)
    lines, source, blocks, layers = map(int, cells[:4])
    share = cells[4].strip().removesuffix("%")
    return Row(
        name=name.strip(),
        source=source,
        lines=lines,
        blocks=blocks,
        layers=layers,
        opaque=max(1, round(int(share) / 100 * layers)) if share else 0,
        structured=lines < layers,
        ordered=equal.strip() == "yes",
        seconds=float(cells[5]),
        found=day,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Import known networks.")
    parser.add_argument("names", nargs="*")
    parser.add_argument("--timm", action="store_true", help="timm's, not torchvision's")
    parser.add_argument("--specs", type=Path, help="keep the specs in this folder")
    parser.add_argument("--journal", type=Path, help="keep what was found in this file")
    parser.add_argument("--limit", type=float, default=120, help="seconds of a network")
    parser.add_argument("--page", type=Path, nargs=2, help="write the page of journals")
    options = parser.parse_args()
    if options.page:
        parts, known = [HEAD], kept(PAGE)
        for title, journal in zip(("torchvision", "timm"), options.page, strict=True):
            rows = known[title] | {row.name: row for row in read(journal)[0]}
            parts += [f"## {title}\n", *table(rows.values()), ""]
        PAGE.write_text("\n".join(parts), encoding="utf-8")
        return
    if options.specs:
        options.specs.mkdir(parents=True, exist_ok=True)
    make = timm_made if options.timm else torchvision_made
    names = options.names or (timm_names() if options.timm else torchvision_names())
    done = read(options.journal)[1] if options.journal else set[str]()
    torch.set_num_threads(1)
    forms()
    reasons: Counter[str] = Counter()
    for name in names:
        if name in done:
            continue
        row = apart(name, make, options.specs, options.limit)
        if row is not None:
            row = replace(row, found=str(date.today()))
            print(line(row), flush=True)
            reasons["imported" if not row.reason else row.reason] += 1
        if options.journal:
            facts = {"name": name, "row": None if row is None else asdict(row)}
            with options.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")
    print(f"{reasons['imported']} of {sum(reasons.values())} networks are imported")


if __name__ == "__main__":
    main()
