"""Train plain and residual stacks of 8 to 56 layers on digits, and plot their errors.

    python benchmarks/experiments/depth.py            trains what depth.json lacks
    python benchmarks/experiments/depth.py --draw     draws what it has

He et al. 2015, section 4.2 and figure 6, on 1,437 images of 8x8 in place of CIFAR-10's
50,000 of 32x32. The networks are the tutorial's, the recipe is the shipped one for
digits with fewer epochs, and both kinds of a depth have the same seeds. Each run is
added to depth.json when it ends, so the script can be stopped and started again;
depth.md has the table, docs/images/depth_digits.svg the plot.
"""

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from page import machine  # noqa: E402

import archdsl  # noqa: E402
from archdsl.backends.training import (  # noqa: E402
    Options,
    Start,
    Watch,
    classes_of,
    load,
    parse,
    shipped,
    trainer,
)

HERE = Path(__file__).parent
RESULTS = HERE / "depth.json"
PLOT = ROOT / "docs" / "images" / "depth_digits.svg"
EPOCHS = 8
DEPTHS = (8, 20, 32, 56)
SEEDS = (0, 1, 2)
KINDS = ("plain", "residual_unit")
COLOURS = ("#9ecae1", "#6baed6", "#3182bd", "#08519c")


def trained(kind: str, depth: int, seed: int) -> dict[str, Any]:
    """Return the errors of each epoch of one run."""
    network = archdsl.load(
        "tutorial/depth:residual20",
        unit=kind,
        n=(depth - 2) // 6,
        input="1x8x8",
    )
    source = shipped("digits")
    assert source is not None
    recipe = parse(source, (f"epochs={EPOCHS}",))
    data = load("digits", *classes_of(network))
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made, _ = trainer(
            network,
            data,
            recipe,
            Path(folder),
            Options(seed=seed, processor="cpu"),
            Watch(),
            Start(),
            resume=False,
        )
        made.train()
    return {
        "kind": kind.removesuffix("_unit"),
        "depth": depth,
        "seed": seed,
        "cpu_seconds": round(time.process_time() - start, 1),
        "train_loss": [round(row["train_loss"], 4) for row in made.history],
        "train_error": [round(1 - row["train_top1"], 4) for row in made.history],
        "test_error": [round(1 - row["test_top1"], 4) for row in made.history],
    }


def held() -> dict[str, Any]:
    if not RESULTS.exists():
        return {"when": "", "machine": "", "epochs": EPOCHS, "runs": []}
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return found


def table(runs: list[dict[str, Any]]) -> list[str]:
    lines = [
        "| stack | layers | seeds | train error | test error | CPU time of a run |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for kind in ("plain", "residual"):
        for depth in DEPTHS:
            own = [r for r in runs if (r["kind"], r["depth"]) == (kind, depth)]
            if not own:
                continue
            errors = [
                " to ".join(
                    f"{100 * bound(r[key][-1] for r in own):.1f}"
                    for bound in (min, max)
                )
                for key in ("train_error", "test_error")
            ]
            seconds = statistics.median(r["cpu_seconds"] for r in own)
            lines.append(
                f"| {kind} | {depth} | {len(own)} | {errors[0]} % | {errors[1]} % | "
                f"{seconds:.0f} s |"
            )
    return lines


def draw(runs: list[dict[str, Any]]) -> None:
    """Draw the train error of each epoch: the median, and the range of the seeds."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "archdsl"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for axis, kind in zip(axes, ("plain", "residual"), strict=True):
        for depth, colour in zip(DEPTHS, COLOURS, strict=True):
            own = [r for r in runs if (r["kind"], r["depth"]) == (kind, depth)]
            if not own:
                continue
            columns = list(zip(*(r["train_error"] for r in own), strict=True))
            epochs = range(1, len(columns) + 1)
            middle = [100 * statistics.median(column) for column in columns]
            low = [100 * min(column) for column in columns]
            high = [100 * max(column) for column in columns]
            axis.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.plot(epochs, middle, color=colour, label=f"{depth} layers")
        axis.set(title=kind, xlabel="epoch", ylim=(0, 100))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("training error, %")
    # On the other side, it would lie over the lines.
    axes[1].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(PLOT, metadata={"Date": None})


def write(found: dict[str, Any]) -> None:
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    path = HERE / "depth.md"
    if path.exists():
        head, _, tail = path.read_text(encoding="utf-8").partition("<!-- table -->")
        _, _, tail = tail.partition("<!-- end -->")
        when = f"{found['when']}, {found['machine']}, one thread; "
        when += f"{found['epochs']} epochs."
        text = "\n".join(
            ["<!-- table -->", when, "", *table(found["runs"]), "", "<!-- end -->"]
        )
        path.write_text(f"{head}{text}{tail}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="train nothing")
    given = parser.parse_args()
    found = held()
    done = {(r["kind"], r["depth"], r["seed"]) for r in found["runs"]}
    if not given.draw:
        import torch

        torch.set_num_threads(1)
        for seed in SEEDS:
            for depth in DEPTHS:
                for kind in KINDS:
                    if (kind.removesuffix("_unit"), depth, seed) in done:
                        continue
                    run = trained(kind, depth, seed)
                    print(run, flush=True)
                    found["runs"].append(run)
                    found["when"] = str(datetime.date.today())
                    found["machine"] = machine()
                    write(found)
    write(found)
    draw(found["runs"])


if __name__ == "__main__":
    main()
