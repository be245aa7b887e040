"""Train plain and residual stacks of 8 to 56 layers on digits, and plot their errors.

    python benchmarks/experiments/depth.py            trains what depth.json lacks
    python benchmarks/experiments/depth.py --draw     draws what it has

He et al. 2015, section 4.2 and figure 6, on 1,437 images of 8x8 in place of CIFAR-10's
50,000 of 32x32. The networks are the tutorial's, the recipe is the shipped one for
digits with fewer epochs, and both kinds of a depth have the same seeds.
"""

from collections.abc import Iterable
from typing import Any

from runs import Experiment, Run, band, last, of, seconds, trained

import archdsl
from archdsl.backends.plot import style

EPOCHS = 8
DEPTHS = (8, 20, 32, 56)
# The unit of each kind of stack.
KINDS = {"plain": "plain", "residual": "residual_unit"}


def points(depths: Iterable[int]) -> list[dict[str, Any]]:
    """Return the runs of both kinds at some depths, with three seeds each."""
    return [
        {"kind": kind, "depth": depth, "seed": seed}
        for seed in (0, 1, 2)
        for depth in depths
        for kind in KINDS
    ]


def params(kind: str, depth: int) -> dict[str, object]:
    """Return the parameters of the stack of this kind and depth."""
    return {"unit": KINDS[kind], "n": (depth - 2) // 6}


def stack(kind: str, depth: int) -> archdsl.Network:
    """Return a stack for digits."""
    given = params(kind, depth)
    return archdsl.load("tutorial/depth:residual20", params=given, input="1x8x8")


def run(kind: str, depth: int, seed: int) -> Run:
    return trained(stack(kind, depth), seed, f"epochs={EPOCHS}")


def table(runs: list[Run]) -> list[str]:
    lines = [
        "| stack | layers | seeds | train error | test error | CPU time of a run |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind in KINDS:
        for depth in DEPTHS:
            if own := of(runs, kind=kind, depth=depth):
                errors = f"{last(own, 'train_error')} | {last(own, 'test_error')}"
                cells = f"{kind} | {depth} | {len(own)} | {errors} | {seconds(own)}"
                lines.append(f"| {cells} |")
    return lines


def draw(figure: Any, runs: list[Run]) -> None:
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        for number, depth in enumerate(DEPTHS):
            if own := of(runs, kind=kind, depth=depth):
                look = {**style.line(number), "label": f"{depth} layers"}
                band(axes, own, "train_error", look)
        axes.set(title=kind, ylim=(0, 100))
        axes.grid(**style.GRID)
        if kind == "plain":
            axes.set_ylabel("training error, %")
    style.legend(figure, axes)


EXPERIMENT = Experiment(
    "depth",
    points(DEPTHS),
    run,
    table,
    draw,
    (8, 3.8),
    f"{EPOCHS} epochs",
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
