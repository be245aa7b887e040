"""Train pairs of designs with equal parameters on digits, and plot their test errors.

    python benchmarks/experiments/designs.py            trains what designs.json lacks
    python benchmarks/experiments/designs.py --draw     draws what it has

One 5x5 against two 3x3, a 3x3 against one after a reduction, sums against
concatenations: the tutorial compares their costs, this script their accuracy.
designs.arch has the networks.
"""

from typing import Any

from runs import HERE, Experiment, Run, dots, last, mean, of, seconds, trained

import archdsl
from archdsl.backends.plot import style

EPOCHS = 8
# A short name for each preset, in groups that are compared.
DESIGNS = {
    "with_5x5": "one 5x5",
    "with_3x3": "two 3x3",
    "with_direct": "3x3, direct",
    "with_reduced": "3x3 behind 1x1",
    "with_sum": "relu, then sum",
    "with_sum_first": "sum, then relu",
    "with_concat": "concatenation",
}


def network(design: str) -> archdsl.Network:
    return archdsl.load(f"{HERE / 'designs.arch'}:{design}")


def run(design: str, seed: int) -> Run:
    return trained(network(design), seed, f"epochs={EPOCHS}")


def table(runs: list[Run]) -> list[str]:
    lines = [
        "| design | parameters | MACs | seeds | train error | test error | mean | CPU "
        "time of a run |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for design, name in DESIGNS.items():
        if own := of(runs, design=design):
            costs = archdsl.analyze(network(design))
            errors = f"{last(own, 'train_error')} | {last(own, 'test_error')}"
            lines.append(
                f"| {name} | {costs.params:,} | {costs.macs:,} | {len(own)} | "
                f"{errors} | {mean(own)} | {seconds(own)} |"
            )
    return lines


def draw(figure: Any, runs: list[Run]) -> None:
    axes = figure.subplots()
    rows = [
        (name, [100 * r["test_error"][-1] for r in of(runs, design=design)])
        for design, name in DESIGNS.items()
    ]
    dots(axes, rows, "test error, %: each seed, and their mean")
    axes.set_xscale("log")
    axes.set_xlim(0.5, 100)
    style.number_ticks(axes.xaxis)
    for place in (2, 4):  # a gap between groups
        axes.axhline(place - 0.5, color="0.7", linewidth=0.6)
    axes.grid(axis="x", **style.GRID)


EXPERIMENT = Experiment(
    "designs",
    [{"design": design, "seed": seed} for seed in range(5) for design in DESIGNS],
    run,
    table,
    draw,
    (6.5, 3.2),
    f"{EPOCHS} epochs",
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
