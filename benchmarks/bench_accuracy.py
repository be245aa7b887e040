"""Compare our figures of torchvision's networks with those of the tools.

Each tool runs on torchvision's module at the published size; each difference from our
MACs is attributed to layers, and must follow from the tool's convention. `--write`
keeps the tables in accuracy.md.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from archdsl.ir.graph import Graph, flatten  # noqa: E402
from archdsl.passes.costs import cost  # noqa: E402
from archdsl.torch.counting import (  # noqa: E402
    TOOLS,
    Count,
    about_tool,
    by_family,
    count,
)
from tests.counters import COUNTERS, torchvision_forms  # noqa: E402
from tests.oracle import CASES, Case, macs_of  # noqa: E402

REPORT = Path(__file__).with_name("accuracy.md")

# fvcore cannot trace on the meta device, where torch also calls functions that the two
# others count. The other tools need no values, which is quicker.
NEED_VALUES = ("fvcore", "ptflops_module", "calflops")
FAMILIES = ("conv", "linear", "norm", "activation", "pool")


class Result(NamedTuple):
    """The figures of one network."""

    case: Case
    graph: Graph
    params: tuple[int, int]  # ours, torchvision's
    macs: tuple[int, int]  # ours, those of torch's own counter
    measured: dict[str, int]
    predicted: dict[str, Count]

    def differences(self) -> dict[str, int]:
        """Return the difference of each tool's count from our prediction."""
        return {t: n - self.predicted[t].total for t, n in self.measured.items()}


def compare(case: Case) -> Result:
    graph = flatten(case.load())
    size = (1, 3, case.size, case.size)
    with torch.device("meta"):
        module = case.reference().eval()
        inputs = torch.empty(size)
    params = sum(p.numel() for p in module.parameters())
    macs = macs_of(module, inputs)[""]
    measured = {}
    for tool in [name for name in COUNTERS if name not in NEED_VALUES]:
        measured[tool] = COUNTERS[tool](module, inputs)[""]
    module = module.to_empty(device="cpu")
    for tool in NEED_VALUES:
        measured[tool] = COUNTERS[tool](module, torch.zeros(size))[""]
    forms = torchvision_forms(case.model, graph)
    predicted = {tool: count(graph, tool, forms=forms) for tool in COUNTERS}
    ours = sum(cost(n).params for n in graph.nodes), count(graph, "mac").total
    return Result(case, graph, (ours[0], params), (ours[1], macs), measured, predicted)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows)]


def shown(number: int) -> str:
    return f"{number:,}" if number else "0"


def overview(results: Sequence[Result]) -> list[str]:
    head = ("network", "input", "params", "MACs", *COUNTERS)
    rows = [
        (
            r.case.id,
            str(r.case.size),
            *map(shown, (r.params[0], r.macs[0])),
            *(shown(r.measured[tool]) for tool in COUNTERS),
        )
        for r in results
    ]
    return table(head, rows)


def verdicts(results: Sequence[Result]) -> list[str]:
    """Return the largest difference of each figure from its reference."""
    far = {
        "params, from those of torchvision's module": [
            abs(ours - theirs) for r in results for ours, theirs in [r.params]
        ],
        "MACs, from torch's `FlopCounterMode`": [
            abs(ours - theirs) for r in results for ours, theirs in [r.macs]
        ],
    }
    for tool in COUNTERS:
        off = [abs(r.differences()[tool]) for r in results]
        far[f"prediction of {tool}, from the tool"] = off
    head = ("figure", "networks", "that differ", "largest difference")
    rows = [
        (name, str(len(off)), str(sum(map(bool, off))), shown(max(off)))
        for name, off in far.items()
    ]
    return table(head, rows)


def explained(tool: str, results: Sequence[Result]) -> list[str]:
    """Return the parts of each difference of a tool from our MACs."""
    unit = results[0].predicted[tool].unit
    factor = 2 if unit == "FLOPs" else 1
    base = "2 x MACs" if factor == 2 else "MACs"
    head = ("network", f"{tool}, less {base}", *FAMILIES, "other", "unexplained")
    rows = []
    for r in results:
        macs = by_family(r.graph, count(r.graph, "mac").layers)
        own = by_family(r.graph, r.predicted[tool].layers)
        parts = {f: own[f] - factor * macs[f] for f in own}
        listed = [parts.get(family, 0) for family in FAMILIES]
        whole = r.measured[tool] - factor * r.macs[0]
        other = sum(parts.values()) - sum(listed)
        figures = (whole, *listed, other, whole - sum(parts.values()))
        rows.append((r.case.id, *map(shown, figures)))
    return [
        f"## {tool}",
        "",
        TOOLS[tool] + ". " + about_tool(tool),
        "",
        *table(head, rows),
    ]


def versions() -> str:
    names = (
        "torch",
        "torchvision",
        "fvcore",
        "torchinfo",
        "thop",
        "ptflops",
        "calflops",
    )
    return ", ".join(f"{name} {metadata.version(name)}" for name in names)


INTRODUCTION = """\
All networks of torchvision that archdsl ships, at their published sizes, in evaluation
mode, for one sample. The tools run on torchvision's own modules; `MACs` and `params`
are archdsl's, from the spec alone. `ptflops` is its backend `aten`, `ptflops_module`
the backend `pytorch`; calflops counts FLOPs, all others MACs."""

EXPLANATIONS = """\
Below, each tool's difference from our MACs is divided by the family of the layers that
it comes from, as archdsl predicts it for the forms in which torchvision writes them (a
module, a function, or a method such as `mean`, which none counts). The part of a
measured difference that is not predicted is unexplained. `archdsl explain counts` shows
the same for one network, and `archdsl analyze SPEC --count TOOL` for any."""


def page(results: Sequence[Result]) -> str:
    today = datetime.date.today().isoformat()
    lines = [
        "# Accuracy",
        "",
        f"Written on {today} by `python benchmarks/bench_accuracy.py --write`, with "
        f"{versions()}.",
        "",
        INTRODUCTION,
        "",
        *verdicts(results),
        "",
        *overview(results),
        "",
        EXPLANATIONS,
    ]
    for tool in COUNTERS:
        lines += ["", *explained(tool, results)]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", help="some of them, all by default")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    arguments = parser.parse_args()
    results = []
    for name in arguments.networks or CASES:
        start = time.perf_counter()
        results.append(compare(CASES[name]))
        wrong = {t: n for t, n in results[-1].differences().items() if n}
        seconds = time.perf_counter() - start
        print(f"{name}: {wrong or 'all as predicted'} ({seconds:.1f} s)", flush=True)
    print("\n".join(["", *verdicts(results)]))
    if arguments.write:
        REPORT.write_text(page(results), encoding="utf-8")
    if any(
        any(r.differences().values()) or len({*r.params}) > 1 or len({*r.macs}) > 1
        for r in results
    ):
        sys.exit("a figure differs from its reference")


if __name__ == "__main__":
    main()
