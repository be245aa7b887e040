"""Code of all experiments: short runs of `archdsl train`'s engine, kept one by one.

Each run is added to the experiment's .json file when it ends, so a script can be
stopped and started again. Its .md file has the table, docs/images the plot.
"""

import argparse
import datetime
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from page import machine  # noqa: E402

import archdsl  # noqa: E402
from archdsl.backends.plot.file import encode_figure, new_figure  # noqa: E402
from archdsl.backends.training import (  # noqa: E402
    LoopOptions,
    Start,
    Trainer,
    Watch,
    classes_of,
    load_data,
    parse_recipe,
    shipped_recipe,
    trainer,
)

Run = dict[str, Any]


def trained(
    network: archdsl.Network,
    seed: int,
    *changes: str,
    data: str = "digits",
    see: Callable[[Trainer], None] | None = None,
) -> Run:
    """Return the errors of each epoch of a run.

    Args:
        network: the network.
        seed: decides weights, order and augmentation.
        changes: the changes of the recipe `digits`.
        data: the training data, as for `--data`.
        see: a function that is called with the trainer before the run.
    """
    source = shipped_recipe("digits")
    assert source is not None
    recipe = parse_recipe(source, changes)
    images = load_data(data, *classes_of(network))
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made, _ = trainer(
            network,
            images,
            recipe,
            Path(folder),
            LoopOptions(seed=seed, processor="cpu"),
            Watch(),
            Start(),
            resume=False,
        )
        if see is not None:
            see(made)
        made.train()
        made.close()
    return {
        "cpu_seconds": round(time.process_time() - start, 1),
        "train_loss": [round(row["train_loss"], 4) for row in made.history],
        "train_error": [round(1 - row["train_top1"], 4) for row in made.history],
        "test_loss": [round(row["test_loss"], 4) for row in made.history],
        "test_error": [round(1 - row["test_top1"], 4) for row in made.history],
    }


class Experiment(NamedTuple):
    """An experiment: its runs, and the table and plot of their results.

    Attributes:
        name: the name of its files.
        points: for each run, the values that distinguish it, including its seed.
        run: a function that carries out one run.
        table: a function that returns the lines of the page's table.
        draw: a function that draws the plot into a figure.
        size: the size of the figure, in inches.
        about: settings that all runs share, in words.
    """

    name: str
    points: Sequence[dict[str, Any]]
    run: Callable[..., Run]
    table: Callable[[list[Run]], list[str]]
    draw: Callable[[Any, list[Run]], None]
    size: tuple[float, float]
    about: str

    def held(self) -> dict[str, Any]:
        """Return the results so far."""
        path = HERE / f"{self.name}.json"
        if not path.exists():
            return {"when": "", "machine": "", "runs": []}
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def write(self, found: dict[str, Any]) -> None:
        """Write the results, and the page's table."""
        text = json.dumps(found, separators=(",", ":")).replace('{"', '\n{"')
        (HERE / f"{self.name}.json").write_text(f"{text.lstrip()}\n", encoding="utf-8")
        path = HERE / f"{self.name}.md"
        head, _, tail = path.read_text(encoding="utf-8").partition("<!-- table -->")
        _, _, tail = tail.partition("<!-- end -->")
        when = f"{found['when']}, {found['machine']}, one thread; {self.about}."
        lines = ["<!-- table -->", when, "", *self.table(found["runs"]), ""]
        text = "\n".join([head + lines[0], *lines[1:], f"<!-- end -->{tail}"])
        path.write_text(text, encoding="utf-8")

    def main(self, text: str | None) -> None:
        """Carry out the missing runs, and draw all.

        Args:
            text: a description of the script.
        """
        parser = argparse.ArgumentParser(
            description=text, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        parser.add_argument("--draw", action="store_true", help="train nothing")
        given = parser.parse_args()
        import torch

        torch.set_num_threads(1)
        found = self.held()
        for point in () if given.draw else self.points:
            if any(point.items() <= run.items() for run in found["runs"]):
                continue
            found["runs"].append({**point, **self.run(**point)})
            found["when"] = str(datetime.date.today())
            found["machine"] = machine()
            self.write(found)
            print(point, flush=True)
        self.write(found)
        with new_figure(self.size) as figure:
            self.draw(figure, found["runs"])
        (ROOT / "docs" / "images" / f"{self.name}_digits.svg").write_bytes(
            encode_figure(figure, "svg")
        )


def of(runs: Iterable[Run], **point: Any) -> list[Run]:
    """Return the runs that have these values."""
    return [run for run in runs if point.items() <= run.items()]


def last(runs: Sequence[Run], key: str) -> str:
    """Return the percentages of the last epoch, from the least to the most."""
    values = [100 * run[key][-1] for run in runs]
    return f"{min(values):.1f} to {max(values):.1f} %"


def mean(runs: Sequence[Run]) -> str:
    """Return the mean test error of the last epoch, with its standard error."""
    values = [100 * run["test_error"][-1] for run in runs]
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {error:.2f} %"


def seconds(runs: Sequence[Run]) -> str:
    """Return the median time of runs."""
    return f"{statistics.median(run['cpu_seconds'] for run in runs):.0f} s"


def band(axes: Any, runs: Sequence[Run], key: str, look: dict[str, Any]) -> None:
    """Draw the percentages of each epoch: the median, and the range of the seeds."""
    columns = list(zip(*(run[key] for run in runs), strict=True))
    epochs = range(1, len(columns) + 1)
    rows = [[100 * bound(c) for c in columns] for bound in (min, max)]
    axes.fill_between(epochs, *rows, color=look["color"], alpha=0.15, linewidth=0)
    axes.plot(epochs, [100 * statistics.median(c) for c in columns], **look)
    axes.set_xlabel("epoch")


def dots(axes: Any, rows: Sequence[tuple[str, Sequence[float]]], unit: str) -> None:
    """Draw a row of dots for each name, and a line at their mean."""
    rows = [row for row in rows if row[1]]
    for place, (_, values) in enumerate(rows):
        axes.plot(values, [place] * len(values), "o", color="0.45", markersize=4)
        middle = statistics.mean(values)
        axes.plot([middle] * 2, [place - 0.3, place + 0.3], color="black")
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(unit)
