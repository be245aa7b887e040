"""Measure how fast networks run in several engines, beside torchvision's.

    python benchmarks/bench_speed.py              measures the missing cells
    python benchmarks/bench_speed.py --write      and keeps the tables in speed.md
    python benchmarks/bench_speed.py --compile    with torch.compile, which takes long
    python benchmarks/bench_speed.py --on cuda    on a GPU: bfloat16, channels last
    python benchmarks/bench_speed.py --only resnet50 --again

Each cell is one `archdsl bench` in a process of its own, in which all contestants take
turns. Results are kept in speed.jsonl, and not measured again on the same machine
unless --again is given. A cell that takes longer than --limit is left out, and after
--minutes the remaining cells are left for the next call.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
REPORT = HERE / "speed.md"
KEPT = HERE / "speed.jsonl"
NETWORKS = (
    *("alexnet", "vgg16", "googlenet", "resnet50", "densenet121"),
    *("mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "shufflenet_v2_x1_0"),
)
TITLES = {
    "eager": "eager",
    "inference": "for inference",
    "compile": "torch.compile",
    "onnxruntime": "onnxruntime",
    "openvino": "OpenVINO",
    "torchvision, eager": "torchvision",
    "torchvision, compile": "torchvision, torch.compile",
    "torchvision, onnxruntime": "torchvision, onnxruntime",
    "torchvision, openvino": "torchvision, OpenVINO",
}


# Notes on figures below their aim.
REMARKS = """\
`mobilenet_v2`, `mobilenet_v3_large` and `efficientnet_b0` were measured while our
modules that train did not run relu6, hardswish and silu in place, as torchvision's
do. Now they do. Measured twice again on 2026-11-30, on a machine of half the speed
whose medians vary by 10 %, eager modules are at 1.27 and 0.99, 1.00 and 0.99, 0.95
and 1.06 of torchvision's for `mobilenet_v2` (batch 1, batch 8, training); 1.09 and
0.85, 0.98 and 0.99, 0.99 and 0.98 for `mobilenet_v3_large`; 1.07 and 1.02, 1.08 and
1.03, 0.95 and 0.97 for `efficientnet_b0`."""
# The aims: how many times faster than torchvision's eager module, at least.
LEAST = 0.98
# The aim: how many times faster than torchvision's own export in the same engine.
LEAST_EXPORTED = 1.05
AIMS = {
    ("resnet50", "onnxruntime"): 1.45,
    ("googlenet", "onnxruntime"): 2.4,
    ("densenet121", "onnxruntime"): 1.75,
    ("resnet50", "inference"): 1.34,
    ("googlenet", "inference"): 2.17,
    ("densenet121", "inference"): 1.26,
}


# Networks in bfloat16, and the engines that support it. The aims are the speeds that
# OpenVINO reached on another machine, relative to torchvision's eager module in
# float32.
HALF = {"resnet50": 3.06, "googlenet": 4.55, "densenet121": 3.41}
HALF_ENGINES = ("eager", "inference", "openvino")


class Cell(NamedTuple):
    """A group of measurements that are taken together.

    Attributes:
        network: a preset, and torchvision's model of that name.
        batch: images per run.
        train: whether it is a step of training.
        on: ``cpu`` or ``cuda``; a GPU computes in bfloat16 with channels last.
        engines: names of `archdsl bench`.
        dtype: the data type on a CPU.
    """

    network: str
    batch: int
    train: bool
    on: str
    engines: tuple[str, ...]
    dtype: str = "float32"

    @property
    def key(self) -> str:
        what = "train" if self.train else "infer"
        dtype = [] if self.dtype == "float32" else [self.dtype]
        engines = ",".join(self.engines)
        return " ".join([self.network, str(self.batch), what, self.on, engines, *dtype])

    def command(self, seconds: float) -> list[str]:
        options = ["--train"] if self.train else []
        if self.on == "cuda":
            options += ["--dtype", "bfloat16", "--channels-last"]
        elif self.dtype != "float32":
            options += ["--dtype", self.dtype]
        return [
            *(sys.executable, "-m", "archdsl", "bench", self.network, "--json"),
            *("--engines", ",".join(self.engines), "--batch", str(self.batch)),
            *("--against", f"reference:torchvision.models.{self.network}"),
            *("--on", self.on, "--seconds", str(seconds), *options),
        ]


def cells(on: str, compiled: bool, networks: Sequence[str]) -> Iterator[Cell]:
    more = ("compile",) if compiled else ()
    if on == "cuda":
        works = [(1, False), (256, False), (256, True)]
        own = ("eager", *more)
    else:
        works = [(1, False), (8, False), (8, True)]
        own = ("eager", "inference", "onnxruntime", "openvino", *more)
    for batch, train in works:
        for network in networks:
            engines = ("eager", *more) if train else own
            yield Cell(network, batch, train, on, engines)
    if on == "cpu":
        for network in (name for name in networks if name in HALF):
            yield Cell(network, 1, False, on, tuple(HALF_ENGINES), "bfloat16")


def measured(cell: Cell, seconds: float, limit: float) -> dict[str, Any] | None:
    """Return the result of `archdsl bench`; None if it took too long."""
    try:
        done = subprocess.run(
            cell.command(seconds),
            cwd=HERE,
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        sys.exit(f"{cell.key}: {done.stderr.strip().splitlines()[-1:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def kept() -> dict[str, dict[str, Any]]:
    """Return the kept results, by cell."""
    if not KEPT.exists():
        return {}
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    found: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return {one["cell"]: one for one in found}


def keep(known: dict[str, dict[str, Any]]) -> None:
    text = "".join(json.dumps(one) + "\n" for one in known.values())
    KEPT.write_text(text, encoding="utf-8")


def by_engine(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the results of a cell by engine, torchvision's with a prefix."""
    results = {}
    for one in found["results"]:
        name, _, engine = one["name"].rpartition(", ")
        ours = not name.startswith("reference:")
        results[engine if ours else f"torchvision, {engine}"] = one
    return results


def table(chosen: Sequence[Cell], known: dict[str, dict[str, Any]]) -> list[str]:
    """Return a table of one kind of work: times, and how many times faster.

    Others are compared with torchvision's eager module.
    """
    rows: list[tuple[str, dict[str, dict[str, Any]] | None]] = []
    columns = ["torchvision, eager"]
    for cell in chosen:
        entry = known.get(cell.key)
        if entry is None or entry["found"] is None:
            rows.append((cell.network, None))
            continue
        results = by_engine(entry["found"])
        columns += [name for name in TITLES if name in results and name not in columns]
        rows.append((cell.network, results))
    columns.sort(key=list(TITLES).index)
    columns.remove("torchvision, eager")
    columns.insert(0, "torchvision, eager")
    lines = [
        f"| network | {' | '.join(TITLES[name] for name in columns)} |",
        f"| --- |{' ---: |' * len(columns)}",
    ]
    for network, own in rows:
        if own is None:
            lines.append(f"| `{network}` |{' - |' * len(columns)}")
            continue
        first = own["torchvision, eager"]["seconds"]
        texts = [
            cell_text(own.get(name), None if name == columns[0] else first)
            for name in columns
        ]
        lines.append(f"| `{network}` | {' | '.join(texts)} |")
    return lines


def cell_text(one: dict[str, Any] | None, first: float | None) -> str:
    if one is None:
        return "-"
    low, high = one["quartiles"]
    half = (high - low) / 2 / one["seconds"]
    text = f"{1e3 * one['seconds']:.1f} ms ±{half:.0%}"
    return text if first is None else f"**{first / one['seconds']:.2f}**, {text}"


def page(
    chosen: Sequence[Cell], known: dict[str, dict[str, Any]], seconds: float
) -> str:
    places = {(c.on, c.train, c.batch, c.dtype): None for c in chosen}
    lines = [
        "# How fast networks run",
        "",
        "Each line is one `archdsl bench`: contestants get the same weights and images "
        "and take turns. Bold is how many times faster than torchvision's eager module "
        "in the same run; next to it the median over rounds of at least "
        f"{seconds:g} s, and half the interquartile range.",
        "Engines run the network's ONNX export, with norms folded, and torchvision's "
        "module by torch's exporter; `for inference` is the module of `archdsl compile "
        "--inference`. In bfloat16 all modules of torch run by autocast. "
        "A dash means that it took too long or was not measured.",
        "torch's exporter folds norms, too, and onnxruntime then runs the same nodes "
        "for both models, as inspection of `resnet50` and `mobilenet_v3_large` showed. "
        "So these differ only by chance.",
        "Written by `python benchmarks/bench_speed.py --write`.",
        "",
    ]
    for place in places:
        on, train, batch, dtype = place
        some = [c for c in chosen if (c.on, c.train, c.batch, c.dtype) == place]
        machines = {
            f"{entry['found']['machine']}, {entry['found']['date']}"
            for c in some
            if (entry := known.get(c.key)) and entry["found"]
        }
        what = "Training, a step of SGD" if train else "Inference"
        form = ", bfloat16 by autocast, channels last" if on == "cuda" else f", {dtype}"
        lines += [f"## {what}, batch {batch}{form}", ""]
        lines += [f"{one}." for one in sorted(machines)]
        lines += ["", *table(some, known), ""]
    below = [*missed(chosen, known)]
    lines += ["## Below the aim", "", *(below or ["Nothing."]), ""]
    lines += [*REMARKS.splitlines(), ""]
    return "\n".join(lines)


def missed(chosen: Sequence[Cell], known: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each ratio below its aim."""
    for cell in chosen:
        entry = known.get(cell.key)
        if not entry or not entry["found"]:
            continue
        results = by_engine(entry["found"])
        first = results["torchvision, eager"]["seconds"]
        if cell.dtype != "float32":
            yield from missed_in_half(cell, results, known)
            continue
        what = f"`{cell.network}`, batch {cell.batch}" + ", training" * cell.train
        for name in ("eager", "inference", "onnxruntime", "openvino"):
            ratio = first / results[name]["seconds"] if name in results else 9.0
            aim = AIMS.get((cell.network, name), LEAST) if cell.batch == 1 else LEAST
            if ratio < aim:
                yield f"- {what}, {TITLES[name]}: {ratio:.2f}, and the aim is {aim}"
        theirs = results.get("torchvision, onnxruntime")
        if theirs is None:
            continue
        ratio = theirs["seconds"] / results["onnxruntime"]["seconds"]
        if ratio < LEAST_EXPORTED:
            yield (
                f"- {what}, onnxruntime beside torchvision's own export: {ratio:.2f}, "
                f"and the aim is {LEAST_EXPORTED}"
            )


def missed_in_half(
    cell: Cell, results: dict[str, dict[str, Any]], known: dict[str, dict[str, Any]]
) -> Iterator[str]:
    """Yield a line if OpenVINO in bfloat16 is below its aim."""
    entry = next(
        (
            one["found"]
            for key, one in known.items()
            if key.startswith(f"{cell.network} 1 infer cpu ") and "bfloat16" not in key
        ),
        None,
    )
    if entry is None:
        return
    first = by_engine(entry)["torchvision, eager"]["seconds"]
    ratio, aim = first / results["openvino"]["seconds"], HALF[cell.network]
    if ratio < aim:
        yield (
            f"- `{cell.network}`, batch 1, OpenVINO in bfloat16 beside torchvision in "
            f"float32: {ratio:.2f}, and the aim is {aim}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="these networks")
    parser.add_argument("--on", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile, too")
    parser.add_argument("--again", action="store_true", help="measure everything again")
    parser.add_argument("--seconds", type=float, default=0.7, help="of a contestant")
    parser.add_argument("--limit", type=float, default=150.0, help="seconds of a cell")
    parser.add_argument("--minutes", type=float, default=14.0, help="of all cells")
    parser.add_argument("--write", action="store_true", help="keep the tables")
    given = parser.parse_args()
    chosen = [*cells(given.on, given.compile, given.only or NETWORKS)]
    known, begun = kept(), time.monotonic()
    for cell in chosen:
        if cell.key in known and not given.again:
            continue
        start = time.monotonic()
        if start - begun > 60 * given.minutes:
            print("the remaining cells are left for the next call", flush=True)
            break
        found = measured(cell, given.seconds, given.limit)
        known[cell.key] = {"cell": cell.key, "found": found}
        keep(known)
        took = time.monotonic() - start
        print(f"{cell.key}: {took:.0f} s{'' if found else ', too long'}", flush=True)
    text = page(chosen, known, given.seconds)
    print(text)
    if given.write:
        REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
