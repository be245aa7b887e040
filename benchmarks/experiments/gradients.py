"""Train plain and residual stacks on digits, and plot the gradients of their layers.

    python benchmarks/experiments/gradients.py          trains what gradients.json lacks
    python benchmarks/experiments/gradients.py --draw   draws what it has

`archdsl analyze --gradients` measures the first step, on random images. Here the norm
of each 3x3 convolution's gradient is taken in every step of a run, after the backward
pass. Of an epoch, the median of its steps is kept. The runs are those of depth.py.
"""

import statistics
from typing import Any

from depth import EPOCHS, KINDS, points, stack
from runs import Experiment, Run, of, seconds, trained

from archdsl.backends.plot import style
from archdsl.backends.training import Trainer

DEPTHS = (20, 56)
# The epochs that are kept; 0 is the first step.
KEPT = (0, 1, 2, 4, EPOCHS)


def run(kind: str, depth: int, seed: int) -> Run:
    norms: list[list[float]] = []
    steps: list[int] = []

    def see(made: Trainer) -> None:
        from torch import Tensor, nn

        steps.append(made.loader.steps())
        for one in made.module.modules():
            if isinstance(one, nn.Conv2d) and one.kernel_size == (3, 3):
                of_layer: list[float] = []
                norms.append(of_layer)

                def note(weight: Tensor, into: list[float] = of_layer) -> None:
                    assert weight.grad is not None
                    into.append(float(weight.grad.norm()))

                one.weight.register_post_accumulate_grad_hook(note)

    found = trained(stack(kind, depth), seed, f"epochs={EPOCHS}", see=see)
    each = steps[0]
    kept = {}
    for epoch in KEPT:
        part = slice((epoch - 1) * each, epoch * each) if epoch else slice(1)
        kept[str(epoch)] = [
            float(f"{statistics.median(of_layer[part]):.4g}") for of_layer in norms
        ]
    return {**found, "norms": kept}


def growths(runs: list[Run], epoch: int) -> list[float]:
    """Return the ratio of the first layer's norm to the last one's."""
    rows = [run["norms"][str(epoch)] for run in runs]
    return [row[0] / row[-1] for row in rows]


def table(runs: list[Run]) -> list[str]:
    names = ["first step", *(f"epoch {epoch}" for epoch in KEPT[1:])]
    lines = [
        f"| stack | layers | seeds | {' | '.join(names)} | CPU time of a run |",
        f"| --- | --- | --- | {'--- | ' * len(names)}--- |",
    ]
    for kind in KINDS:
        for depth in DEPTHS:
            if own := of(runs, kind=kind, depth=depth):
                found = [growths(own, epoch) for epoch in KEPT]
                cells = [f"{min(each):.3g} to {max(each):.3g}" for each in found]
                what = f"{kind} | {depth} | {len(own)} | {' | '.join(cells)}"
                lines.append(f"| {what} | {seconds(own)} |")
    return lines


def draw(figure: Any, runs: list[Run]) -> None:
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), KINDS, strict=True):
        own = of(runs, kind=kind, depth=DEPTHS[-1])
        for number, epoch in enumerate((0, 1, EPOCHS)):
            columns = list(zip(*(r["norms"][str(epoch)] for r in own), strict=True))
            layers = range(1, len(columns) + 1)
            look = style.line(number, len(columns))
            name = f"epoch {epoch}" if epoch else "first step"
            middle = [statistics.median(column) for column in columns]
            axes.plot(layers, middle, label=name, **look)
            rows = [[bound(column) for column in columns] for bound in (min, max)]
            axes.fill_between(
                layers, *rows, color=look["color"], alpha=0.15, linewidth=0
            )
        axes.set_yscale("log")
        style.number_ticks(axes.yaxis)
        axes.set_title(f"{kind}, {DEPTHS[-1]} layers")
        axes.set_xlabel("convolutions, from the input to the output")
        axes.grid(**style.GRID)
        if kind == "plain":
            axes.set_ylabel("norm of the gradient of the weights")
    style.legend(figure, axes)


EXPERIMENT = Experiment(
    "gradients",
    points(DEPTHS),
    run,
    table,
    draw,
    (8, 3.8),
    f"{EPOCHS} epochs",
)

if __name__ == "__main__":
    EXPERIMENT.main(__doc__)
