"""Compare the estimate of `archdsl analyze --device` with measured times.

    python benchmarks/bench_roofline.py                 all shipped networks
    python benchmarks/bench_roofline.py --only resnet50 --layers resnet50
    python benchmarks/bench_roofline.py --write         keeps the tables in roofline.md

Measured are passes of the built modules, the best of several: on the GPU if torch has
one, else on one core of this CPU, in CPU time, which other processes disturb less. For
a GPU in the shipped table, the estimate uses its published rates. On any other device,
the rates are measured first: the fastest matrix product, the fastest copy, and the
shortest time from one call to the next.
"""

import argparse
import datetime
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from page import processor  # noqa: E402
from torch import Tensor, nn  # noqa: E402

import archdsl  # noqa: E402
from archdsl.backends.bench import machine as rates  # noqa: E402
from archdsl.backends.views.time import show_seconds  # noqa: E402
from archdsl.ir.graph import Graph, flatten  # noqa: E402
from archdsl.passes.costs import costs  # noqa: E402
from archdsl.passes.devices import Device  # noqa: E402
from archdsl.passes.roofline import Roofline, roofline  # noqa: E402
from archdsl.resources import shipped_presets  # noqa: E402
from tests import handmade  # noqa: E402

REPORT = Path(__file__).with_name("roofline.md")
# Networks whose layers are compared, too: plain, branched, residual, dense, depthwise.
LAYERS = ("alexnet", "vgg16", "googlenet", "resnet50", "densenet121", "mobilenet_v2")
SECONDS_EACH = 0.6
MOST_TRAINING_MACS = 5_000_000_000
MOST_MACS = 250_000_000_000


class Row(NamedTuple):
    """One network: seconds by the roofline, with launches, and measured."""

    name: str
    macs: int
    batch: int
    bare: float
    launched: float
    measured: float
    memory_share: float


# ---- the device --------------------------------------------------------------------


def clock_of(where: str) -> Callable[[], float]:
    return time.perf_counter if where == "cuda" else time.process_time


def best(run: Callable[[], object], where: str, seconds: float) -> float:
    return rates.least_seconds(run, where, seconds, clock=clock_of(where))


def find_device(where: str) -> Device:
    known = rates.known_device() if where == "cuda" else None
    if known is not None:
        return known
    side = 8192 if where == "cuda" else 2048
    found = rates.measured_device(where, 3, side, 1 << 26, clock_of(where))
    return found._replace(title=machine(where), source="measured by this script")


def machine(where: str) -> str:
    if where == "cuda":
        return torch.cuda.get_device_name()
    return f"One core of {processor()}"


# ---- measuring ---------------------------------------------------------------------


def fill(module: nn.Module, where: str) -> None:
    """Give a module on the meta device weights with which activations do not vanish."""
    module.to_empty(device=where)
    for name, value in module.state_dict().items():
        if value.dim() > 1:
            bound = (6 / value[0].numel()) ** 0.5
            value.uniform_(-bound, bound)
        elif value.is_floating_point() and not name.endswith("bias"):
            value.uniform_(0.5, 1.5)
        else:
            value.zero_()


def inputs_of(network: archdsl.Network, batch: int, where: str) -> list[Tensor]:
    return [torch.randn(batch, *port.shape, device=where) for port in network.inputs]


def measure(
    network: archdsl.Network, batch: int, where: str, training: bool = False
) -> float:
    with torch.device("meta"):
        module = archdsl.build(network).train(training)
    fill(module, where)
    inputs = inputs_of(network, batch, where)
    if training:
        return best(lambda: train(module, inputs), where, SECONDS_EACH)
    with torch.inference_mode():
        return best(lambda: module(*inputs), where, SECONDS_EACH)


def train(module: nn.Module, inputs: Sequence[Tensor]) -> None:
    """Run a forward and a backward pass, without loss and optimiser."""
    module.zero_grad(set_to_none=True)
    made = module(*inputs)
    outputs = [made] if isinstance(made, Tensor) else [*made.values()]
    torch.autograd.backward(outputs, [torch.ones_like(one) for one in outputs])


def measure_layers(graph: Graph, batch: int, where: str, runs: int = 5) -> list[float]:
    """Return the least seconds of each layer, run one after the other."""
    nodes = graph.run(training=False)
    parts = {}
    with torch.device(where):
        for node in nodes:
            form = node.op.torch(node.input_shapes, node.shape)
            part = handmade.module(form)
            if part is not None:
                fill(part.eval(), where)
            parts[node.step.path] = part, form
    least, clock = [float("inf")] * len(nodes), clock_of(where)
    with torch.inference_mode():
        for _ in range(runs + 1):
            values: dict[int, Any] = dict(
                zip(
                    graph.inputs,
                    inputs_of(graph.network, batch, where),
                    strict=True,
                )
            )
            for at, node in enumerate(nodes):
                part, form = parts[node.step.path]
                read = [values[value] for value in node.inputs]
                rates.synchronize(where)
                start = clock()
                made = part(*read) if part is not None else handmade.apply(form, *read)
                rates.synchronize(where)
                least[at] = min(least[at], clock() - start)
                values[node.output] = made
    return least


def estimate(
    graph: Graph, device: Device, batch: int, launch: float, training: bool = False
) -> Roofline:
    work = costs(graph, batch=batch, training=training)
    return roofline(graph, work, device, launch=launch)


# ---- rank correlation ----------------------------------------------------------------


def ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each, equal ones sharing the mean of theirs."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    found = [0.0] * len(values)
    first = 0
    while first < len(order):
        last = first
        while last + 1 < len(order) and values[order[last + 1]] == values[order[first]]:
            last += 1
        for at in order[first : last + 1]:
            found[at] = (first + last) / 2
        first = last + 1
    return found


def spearman(left: Sequence[float], right: Sequence[float]) -> float:
    """Return Spearman's rank correlation: Pearson's, of the ranks."""
    pairs = list(zip(ranks(left), ranks(right), strict=True))
    mean = (len(pairs) - 1) / 2
    covariance = sum((a - mean) * (b - mean) for a, b in pairs)
    spread = [sum((pair[side] - mean) ** 2 for pair in pairs) for side in (0, 1)]
    return covariance / float(spread[0] * spread[1]) ** 0.5


# ---- tables ------------------------------------------------------------------------


def measured_rows(
    names: Sequence[str],
    device: Device,
    batch: int,
    launch: float,
    where: str,
    training: bool = False,
) -> tuple[list[Row], list[str]]:
    """Return a row of each network, and the names of those that are left out."""
    most = MOST_TRAINING_MACS if training else MOST_MACS
    rows, skipped = [], []
    for name in names:
        network = archdsl.load(name)
        graph = flatten(network)
        macs = costs(graph, training=training).whole.cost.macs
        if macs > most:
            skipped.append(name)
            continue
        bare = estimate(graph, device, batch, 0.0, training)
        rows.append(
            Row(
                name,
                macs,
                batch,
                bare.seconds,
                estimate(graph, device, batch, launch, training).seconds,
                measure(network, batch, where, training),
                bare.share("memory"),
            )
        )
        print(f"{name}: {rows[-1].measured / rows[-1].launched:.2f}", file=sys.stderr)
    return rows, skipped


def network_table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| network | MACs | bound by memory | estimate | with launches | measured "
        "| measured / estimate with launches |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in sorted(rows, key=lambda row: row.measured):
        times = (row.bare, row.launched, row.measured)
        cells = [
            f"`{row.name}`",
            f"{row.macs:,}",
            f"{100 * row.memory_share:.0f} %",
            *map(show_seconds, times),
            f"{row.measured / row.launched:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def layer_table(
    names: Sequence[str], device: Device, batch: int, launch: float, where: str
) -> list[str]:
    lines = [
        "| network | layers | rank correlation | of convolutions alone "
        "| sum of measured / sum of estimates |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        graph = flatten(archdsl.load(name, symbolic=False))
        found = [
            layer for layer in estimate(graph, device, batch, launch).layers if layer
        ]
        nodes = graph.run(training=False)
        times = zip(found, measure_layers(graph, batch, where), nodes, strict=True)
        kept = [
            (layer.seconds, seconds, node.op.family == "conv")
            for layer, seconds, node in times
            if layer.bound is not None
        ]
        convs = [row for row in kept if row[2]]
        cells = [
            f"`{name}`",
            str(len(kept)),
            f"{spearman([r[0] for r in kept], [r[1] for r in kept]):.3f}",
            f"{spearman([r[0] for r in convs], [r[1] for r in convs]):.3f}",
            f"{sum(r[1] for r in kept) / sum(r[0] for r in kept):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def summary(rows: Sequence[Row]) -> list[str]:
    measured = [row.measured for row in rows]
    ratios = sorted(row.measured / row.launched for row in rows)
    figures = {
        "the estimate": [row.bare for row in rows],
        "the estimate with launches": [row.launched for row in rows],
        "MACs alone": [float(row.macs) for row in rows],
    }
    lines = [
        f"| rank correlation of measured times of {len(rows)} networks with | |",
        "| --- | ---: |",
    ]
    for name, values in figures.items():
        lines.append(f"| {name} | {spearman(values, measured):.3f} |")
    # Among large and small networks together, size alone explains most of the order.
    each = [
        [value / row.macs for value, row in zip(values, rows, strict=True)]
        for values in (figures["the estimate with launches"], measured)
    ]
    name = "estimated time for each MAC, with measured time for each MAC"
    lines.append(f"| {name} | {spearman(*each):.3f} |")
    lines += [
        "",
        f"Measured times are {ratios[0]:.2f} to {ratios[-1]:.2f} times the estimate "
        f"with launches, in the median {ratios[len(ratios) // 2]:.2f} times.",
        f"The slowest network takes {max(measured) / min(measured):,.0f} times as long "
        "as the fastest, so any estimate that grows with their size ranks them well. "
        "The time for each MAC is the harder test.",
    ]
    return lines


def about(device: Device, where: str, launch: float, batch: int) -> list[str]:
    kind = "A GPU" if where == "cuda" else "A CPU: this says nothing of GPUs"
    clock = "by the clock" if where == "cuda" else "CPU time"
    tera = device.matrix_rate("float32", tf32=True) / 1e12
    return [
        f"{kind}. {device.title}, {platform.system()}, torch {torch.__version__}, "
        f"{datetime.date.today().isoformat()}.",
        f"Rates ({device.source}): {tera:,.3g} x 10^12 operations a second of matrix "
        f"products, {device.bandwidth / 1e9:,.1f} x 10^9 bytes a second; "
        f"{show_seconds(launch)} from one call to the next, measured.",
        f"Forward passes in inference unless said otherwise, float32, batch {batch}, "
        f"at each network's own input size, best of several, {clock}.",
        "Written by `python benchmarks/bench_roofline.py --write`.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, help="1 on a CPU, 32 on a GPU")
    parser.add_argument("--only", action="append", help="a preset; may be repeated")
    parser.add_argument("--layers", action="append", help="the same, for its layers")
    parser.add_argument("--write", action="store_true", help=f"write {REPORT.name}")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    where = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    batch = arguments.batch or (32 if where == "cuda" else 1)
    device, launch = find_device(where), rates.launch_seconds(where, 1, clock_of(where))
    names = arguments.only or list(shipped_presets())
    rows, skipped = measured_rows(names, device, batch, launch, where)
    lines = ["# Estimated and measured times", ""]
    lines += [*about(device, where, launch, batch), "", "## Networks", ""]
    if len(rows) > 1:
        lines += [*summary(rows), ""]
    lines += network_table(rows)
    if skipped:
        lines += ["", f"Left out for their size: {', '.join(skipped)}."]
    lines += ["", "## Training", ""]
    lines += [
        f"A forward and a backward pass, batch {max(batch, 2)}, of the networks with "
        f"at most {MOST_TRAINING_MACS:,} MACs.",
        "",
    ]
    trained, _ = measured_rows(names, device, max(batch, 2), launch, where, True)
    if len(trained) > 1:
        lines += summary(trained)
    lines += ["", "## Layers", ""]
    lines += ["Each layer timed by itself, in its place, with launches.", ""]
    lines += layer_table(arguments.layers or LAYERS, device, batch, launch, where)
    text = "\n".join(lines) + "\n"
    print(text)
    if arguments.write:
        REPORT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
