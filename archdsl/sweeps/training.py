"""Training the points of a sweep, one after the other.

A pruner of Optuna stops points that fall behind the others. Each run keeps its metrics
and states in a folder, so an interrupted sweep continues in the middle of a run, and
the reports of earlier runs are replayed to the pruner.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends.extras import need
from archdsl.diagnostics import SpecError

from .figures import Evaluator, PointRow, Task
from .result import Point

if TYPE_CHECKING:
    from archdsl.backends.training import Data, Recipe
    from archdsl.ir import Network

    from .run import Done, PointChunk
    from .where import Condition

# The figures of a trained point, with explanations.
TRAINED: Final[Mapping[str, str]] = {
    "accuracy": "share of test images classified correctly after the last epoch",
    "epochs": "epochs that the point was trained for; fewer if it was stopped early",
}
# The reduction factor of successive halving: at each step, about one run in 3 continues
# (Li et al. 2020, "A system for massively parallel hyperparameter tuning").
_KEEPS: Final = 3
_NOT_FINITE: Final = "A1106"


def _say_nothing(line: str) -> None:
    pass


class Training(NamedTuple):
    """How the points of a sweep are trained.

    Attributes:
        recipe: how each is trained.
        data: the images, as `archdsl.backends.training.load` takes them.
        pruner: the rule that stops points that fall behind: `halving`, `hyperband`,
            `median` or `none`.
        seed: the seed of weights, order and augmentation, the same for all points.
        folder: a folder for the runs; without one, they are not kept.
        processor: ``cpu``, ``cuda`` or ``auto``.
        say: called with a line about each point that has been trained.
    """

    recipe: Recipe
    data: str
    pruner: str = "halving"
    seed: int = 0
    folder: Path | None = None
    processor: str = "auto"
    say: Callable[[str], None] = _say_nothing

    def begin_anew(self, points: Sequence[int]) -> None:
        """Delete the runs of an earlier sweep."""
        if self.folder is not None:
            for point in points:
                rmtree(_run(self.folder, point), ignore_errors=True)

    def about(self) -> list[Any]:
        """Return everything that determines the result, as plain data."""
        recipe = self.recipe.model_dump(mode="json", exclude={"about", "source"})
        return [recipe, self.data, self.pruner, self.seed]


class _Behind(Exception):
    """A point falls behind the others."""


class Trainers:
    """Computes rows by training: a `Runner`.

    Args:
        training: how the points are trained.
        points: the numbers of all points of the sweep.
        where: condition that a point must satisfy to be trained. If it uses figures of
            training, all points are trained.

    Raises:
        MissingExtra: if Optuna is not installed.
        ValueError: if there is no such pruner.
    """

    def __init__(
        self, training: Training, points: Sequence[int], where: Condition | None
    ) -> None:
        self._how, self._points, self._where = training, points, where
        self._data: dict[Any, Data] = {}
        optuna: Any = need("a sweep that trains", "optuna", "tune")
        self._optuna = optuna
        logging.getLogger("optuna").setLevel(logging.WARNING)
        epochs = training.recipe.epochs
        make = optuna.pruners
        pruners = {
            "halving": lambda: make.SuccessiveHalvingPruner(1, _KEEPS),
            "hyperband": lambda: make.HyperbandPruner(1, epochs, _KEEPS),
            "median": make.MedianPruner,
            "none": make.NopPruner,
        }
        if training.pruner not in pruners:
            raise ValueError(f"`pruner` must be one of {', '.join(pruners)}")
        self._study: Any = optuna.create_study(
            study_name="archdsl",
            direction="maximize",
            pruner=pruners[training.pruner](),
        )

    def __call__(self, task: Task, chunks: Sequence[PointChunk]) -> Iterator[Done]:
        """Train the points of chunks, in order."""
        from tempfile import TemporaryDirectory

        evaluator = Evaluator(task)
        with TemporaryDirectory() as aside:
            folder = Path(aside) if self._how.folder is None else self._how.folder
            self._recall(folder, {n for chunk in chunks for n in chunk.points})
            for chunk in chunks:
                rows = [self._row(evaluator, folder, point) for point in chunk.points]
                yield chunk, rows

    def _recall(self, folder: Path, ahead: set[int]) -> None:
        """Replay the reports of earlier runs to the pruner."""
        from archdsl.backends.training.folder import read_metrics

        for point in self._points:
            if point in ahead or not (run := _run(folder, point)).is_dir():
                continue
            trial, history = self._study.ask(), []
            with suppress(SpecError, _Behind):
                history = read_metrics(run)
                for row in history:
                    self._report(trial, row)
            self._tell(trial, history)

    def _report(self, trial: Any, row: Mapping[str, Any]) -> None:
        """Report an epoch.

        Raises:
            _Behind: if the point falls behind.
        """
        trial.report(row["test_top1"], row["epoch"])
        if trial.should_prune() and row["epoch"] < self._how.recipe.epochs:
            raise _Behind

    def _tell(self, trial: Any, history: Sequence[Mapping[str, Any]]) -> None:
        states = self._optuna.trial.TrialState
        if history and len(history) == self._how.recipe.epochs:
            self._study.tell(trial, history[-1]["test_top1"])
        else:
            self._study.tell(trial, state=states.PRUNED if history else states.FAIL)

    def _row(self, evaluator: Evaluator, folder: Path, point: int) -> PointRow:
        row = evaluator.row(point)
        if isinstance(row, str):
            return row
        bare = Point(point, evaluator.task, (*row, *[None] * len(TRAINED)))
        if not self._is_wanted(bare):
            return (*row, *[None] * len(TRAINED))
        history = self._trained(evaluator.network(point), _run(folder, point))
        self._how.say(f"{bare.label}: {self._outcome(history)}")
        accuracy = round(history[-1]["test_top1"], 6) if history else None
        return (*row, accuracy, len(history))

    def _is_wanted(self, point: Point) -> bool:
        where = self._where
        if where is None or {*where.names, *where.words} & TRAINED.keys():
            return True
        return where.holds(point.values)

    def _outcome(self, history: Sequence[Mapping[str, Any]]) -> str:
        if not history:
            return "the loss of its first epoch is not finite"
        done = len(history)
        text = f"{100 * history[-1]['test_top1']:.2f} % after {done} "
        text += "epochs" if done > 1 else "epoch"
        return text if done == self._how.recipe.epochs else f"{text}, stopped"

    def _trained(self, network: Network, folder: Path) -> list[dict[str, Any]]:
        """Train a point, or continue its run, and return the epochs."""
        from archdsl.backends.training import LoopOptions, Start, Watch, trainer
        from archdsl.backends.training.folder import write_weights

        trial = self._study.ask()
        report = self._report

        class Pruned(Watch):
            def epoch(self, row: dict[str, Any], epochs: int) -> None:
                report(trial, row)

        how = self._how
        options = LoopOptions(seed=how.seed, processor=how.processor)
        data = self._data_of(network)
        made, what = trainer(
            network, data, how.recipe, folder, options, Pruned(), Start(), resume=True
        )
        try:
            for row in made.history:
                report(trial, row)
            made.train()
            write_weights(folder, made.trained(), what, made.history[-1])
        except _Behind:
            pass
        except SpecError as error:
            if error.diagnostics[0].code != _NOT_FINITE:
                raise
        finally:
            made.close()
        self._tell(trial, made.history)
        return made.history

    def _data_of(self, network: Network) -> Data:
        from archdsl.backends.training import classes_of, load_data

        key = classes_of(network)
        if key not in self._data:
            self._data[key] = load_data(self._how.data, *key)
        return self._data[key]


def _run(folder: Path, point: int) -> Path:
    return folder / f"{point:06}"
