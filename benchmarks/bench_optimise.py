"""Measure what each transformation of the compiler changes, for inference.

    python benchmarks/bench_optimise.py            the networks of the page
    python benchmarks/bench_optimise.py --only repvgg_a0
    python benchmarks/bench_optimise.py --write    keeps the table in optimise.md

The passes are added one by one, in their order, then activations in place, and packed
convolutions last. Calls are those of torch's operators in one forward pass in
evaluation mode, without views, as a dispatch mode counts them. Times are of one thread
at batch 1, in CPU time, which other processes disturb less: medians of calls that take
turns. Fails if the outputs in double precision differ by
more than 1e-10 of the largest.
"""

import argparse
import datetime
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from page import machine  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

import archdsl  # noqa: E402
from archdsl.backends.text import show_count  # noqa: E402
from archdsl.backends.torch import emit  # noqa: E402
from archdsl.backends.torch.modules import module_of, network_class  # noqa: E402
from archdsl.transforms import PASSES, pipeline  # noqa: E402
from tests.comparing import named_outputs, with_statistics  # noqa: E402

REPORT = Path(__file__).with_name("optimise.md")
NETWORKS = (
    *("resnet18", "googlenet", "densenet121"),
    *("mobilenet_v2", "efficientnet_b0", "repvgg_a0"),
)
TOLERANCE = 1e-10
ROUNDS = 31
SECONDS_EACH = 40.0


class Row(NamedTuple):
    """A network after some passes; the first row of each has none."""

    network: str
    passes: str
    params: int
    macs: int
    layers: int
    calls: int
    seconds: float
    off: float


class Counter(TorchDispatchMode):
    """Counts the operators that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.calls += not func.is_view
        return func(*args, **(kwargs or {}))


def measured(name: str) -> list[Row]:
    network = archdsl.load(name)
    torch.manual_seed(0)
    first = with_statistics(archdsl.build(network)).double()
    state = first.state_dict()
    image = torch.randn(1, *map(int, network.inputs[0].shape))
    stages = [("-", network, first)]
    for number, last in enumerate(PASSES, 1):
        passes = pipeline(passes=list(PASSES)[:number], inference=True)
        made = passes.apply(network)
        if list(made.steps()) == list(stages[-1][1].steps()):
            continue
        module = archdsl.build(made).double().eval()
        module.load_state_dict(passes.weights(network, state))
        stages.append((f"+ {last}", made, module))
    made, texts = stages[-1][1], {emit(stages[-1][1])}
    for title, packed in (("+ in place", False), ("+ packed", True)):
        text = emit(made, inference=True, packed=packed)
        if text not in texts:
            module = network_class(module_of(text, network.name))().double().eval()
            module.load_state_dict(stages[-1][2].state_dict())
            stages.append((title, made, module))
            texts.add(text)
    offs = [difference(network, module, first, image) for _, _, module in stages]
    for _, _, module in stages:
        module.float()
    with torch.no_grad():
        times = medians([lambda m=m: m(image) for _, _, m in stages])
        calls = [counted(module, image) for _, _, module in stages]
    rows = []
    for (passes_, made, _), seconds, number, off in zip(
        stages, times, calls, offs, strict=True
    ):
        facts = archdsl.analyze(made)
        layers = len(list(made.steps()))
        rows.append(
            Row(name, passes_, facts.params, facts.macs, layers, number, seconds, off)
        )
    return rows


def counted(module: nn.Module, image: Tensor) -> int:
    with Counter() as counter:
        module(image)
    return counter.calls


def difference(
    network: Any, module: nn.Module, first: nn.Module, image: Tensor
) -> float:
    """Return the difference of the outputs in double precision."""
    with torch.no_grad():
        wanted = named_outputs(network, first(image.double()))
        found = named_outputs(network, module(image.double()))
    return max(
        float((found[name] - value).abs().max() / value.abs().max())
        for name, value in wanted.items()
    )


def medians(calls: list[Callable[[], object]]) -> list[float]:
    """Return the median seconds of calls, which take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    while len(times[0]) < ROUNDS and sum(map(sum, times)) < SECONDS_EACH:
        for call, seconds in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
    return [statistics.median(seconds) for seconds in times]


HEAD = ("network", "passes", "parameters", "MACs", "layers", "calls", "time")


def cells(row: Row, first: Row) -> list[str]:
    return [
        f"`{row.network}`" if row is first else "",
        row.passes,
        f"{row.params:,}",
        show_count(row.macs),
        f"{row.layers:,}",
        f"{row.calls:,}",
        f"{row.seconds / first.seconds:.2f}",
    ]


def page(found: list[list[Row]]) -> str:
    today = datetime.date.today().isoformat()
    lines = [
        "# What the passes change",
        "",
        f"{machine()}, torch {torch.__version__}, {today}; the machine was shared with "
        "other work.",
        "Evaluation mode, float32, batch 1, each network's own input size, one thread; "
        "times as a share of the module without passes, medians of calls that take "
        "turns, in CPU time.",
        "Written by `python benchmarks/bench_optimise.py --write`.",
        "",
        "Each row adds a pass to those above it; the last two are the activations that "
        "only a module for inference computes in place, and the packed convolutions of "
        "`compile --inference`. Passes without an effect are left out. Calls are those "
        "of torch's operators in one forward pass, without views.",
        "",
        f"| {' | '.join(HEAD)} |",
        "| --- | --- |" + " ---: |" * (len(HEAD) - 2),
    ]
    for rows in found:
        lines += [f"| {' | '.join(cells(row, rows[0]))} |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="these networks")
    parser.add_argument("--write", action="store_true", help="keep the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for name in options.only or NETWORKS:
        rows = measured(name)
        found.append(rows)
        for row in rows:
            print(" | ".join([*cells(row, rows[0]), f"{row.off:.1e}"]), flush=True)
    text = page(found)
    if options.write:
        REPORT.write_text(text, encoding="utf-8")
    print(text)
    bad = [row for rows in found for row in rows if not row.off <= TOLERANCE]
    if bad:
        sys.exit(f"outputs differ: {', '.join(row.network for row in bad)}")


if __name__ == "__main__":
    main()
