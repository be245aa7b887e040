"""Train a small AlexNet on digits, leaving out its strategies one at a time.

    python benchmarks/experiments/alexnet.py            trains what alexnet.json lacks
    python benchmarks/experiments/alexnet.py --draw     draws what it has

Krizhevsky et al. 2012: relu instead of tanh (section 3.1, figure 1), dropout (4.2) and
augmentation (4.1), which here shifts images by a pixel. small_alexnet.arch has the
network. As in the paper, each activation has a learning rate of its own: the better one
of 0.02 and 0.05, by a run without dropout each.
"""

import statistics
from typing import Any

from runs import HERE, Experiment, Run, band, dots, last, mean, of, seconds, trained

import archdsl
from archdsl.backends.plot import style

EPOCHS = 20
# How each strategy is left out: parameters of the network, and changes of the recipe.
RELU, TANH = ("optimizer.lr=0.02",), ("optimizer.lr=0.05",)
PLAIN = ("images.pad=0",)
VARIANTS: dict[str, tuple[dict[str, object], tuple[str, ...]]] = {
    "all three": ({}, RELU),
    "tanh for relu": ({"act": "tanh"}, TANH),
    "no dropout": ({"dropout": 0.0}, RELU),
    "no augmentation": ({}, (*RELU, *PLAIN)),
    "none of them": ({"act": "tanh", "dropout": 0.0}, (*TANH, *PLAIN)),
}


def run(variant: str, seed: int) -> Run:
    params, changes = VARIANTS[variant]
    network = archdsl.load(HERE / "small_alexnet.arch", params=params)
    return trained(network, seed, f"epochs={EPOCHS}", *changes)


def reached(runs: list[Run], error: float) -> str:
    """Return the median epoch in which the training error falls below a share."""
    epochs = [
        next((n for n, e in enumerate(r["train_error"], 1) if e < error), None)
        for r in runs
    ]
    known = [epoch for epoch in epochs if epoch is not None]
    never = len(epochs) - len(known)
    if 2 * never >= len(epochs):
        return "never"
    return f"{statistics.median_low([*known, *[EPOCHS + 1] * never])}"


def table(runs: list[Run]) -> list[str]:
    lines = [
        "| variant | seeds | epoch below 25 % train error | train error | test error | "
        "mean | CPU time of a run |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in VARIANTS:
        if own := of(runs, variant=name):
            lines.append(
                f"| {name} | {len(own)} | {reached(own, 0.25)} | "
                f"{last(own, 'train_error')} | {last(own, 'test_error')} | "
                f"{mean(own)} | {seconds(own)} |"
            )
    return lines


def draw(figure: Any, runs: list[Run]) -> None:
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(VARIANTS):
        if own := of(runs, variant=name):
            band(left, own, "train_error", {**style.line(number), "label": name})
    left.set(ylim=(0, 100), ylabel="training error, %")
    left.grid(**style.GRID)
    rows = [
        (name, [100 * r["test_error"][-1] for r in of(runs, variant=name)])
        for name in VARIANTS
    ]
    dots(right, rows, "test error at the end, %")
    right.grid(axis="x", **style.GRID)
    style.legend(figure, left)


EXPERIMENT = Experiment(
    "alexnet",
    [{"variant": name, "seed": seed} for seed in range(4) for name in VARIANTS],
    run,
    table,
    draw,
    (8.5, 4),
    f"{EPOCHS} epochs",
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
