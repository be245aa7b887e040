"""Many variants of one network, their figures, and the best of them.

```python no-run
import archdsl

axes = {"layers": [(2, 2, 2, 2), (3, 4, 6, 3)], "classes": "10..100:10"}
found = archdsl.sweep("resnet50", axes, where="params < 25M", pareto="params,macs")
for point in found.kept:
    print(point.label, point.figures["params"])
```
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from archdsl import __version__
from archdsl.api import Spec, as_shape, check_types, open_spec, texts
from archdsl.diagnostics import Diagnostics, SpecError
from archdsl.elaborate import check_module, check_parameters
from archdsl.passes.setting import DEFAULT
from archdsl.syntax.loader import LoadedFile

from .axes import (
    INPUT,
    MAX_POINTS,
    PRESET,
    Axis,
    AxisError,
    TooMany,
    count_points,
    make_axis,
    parse_axis,
    refuse_same_names,
)
from .figures import FIGURES, QUICK, PointRow, Task
from .front import Objective, ObjectiveError, parse_objectives
from .journal import Journal, JournalError
from .output import UnknownFormat
from .result import Point, Refusal, Sweep, SweepOptions
from .run import (
    CHUNK,
    CLUSTER_CHUNK,
    ClusterError,
    Runner,
    chunks_of,
    some,
)
from .training import TRAINED, Trainers, Training
from .where import Condition, ConditionError

__all__ = [
    "FIGURES",
    "Axis",
    "AxisError",
    "ClusterError",
    "Condition",
    "ConditionError",
    "Interrupted",
    "JournalError",
    "Objective",
    "ObjectiveError",
    "Point",
    "Refusal",
    "Sweep",
    "TooMany",
    "Training",
    "UnknownFormat",
    "parse_axis",
    "sweep",
]

_DEFAULT_COLUMNS = ("params", "macs")

# Called with the number of points that are done.
ProgressCallback = Callable[[int], None]


class Interrupted(KeyboardInterrupt):
    """A sweep that was stopped from the keyboard.

    Attributes:
        sweep: the results so far.
    """

    def __init__(self, sweep: Sweep) -> None:
        super().__init__()
        self.sweep = sweep


def sweep(
    spec: Spec,
    axes: Mapping[str, str | Iterable[object]] | Sequence[Axis],
    *,
    where: str | None = None,
    pareto: str | Iterable[str] = (),
    sort: str | Iterable[str] = (),
    top: int | None = None,
    columns: Iterable[str] | None = None,
    everything: bool = False,
    sample: int | None = None,
    seed: int = 0,
    params: Mapping[str, object] | None = None,
    input: str | Sequence[int] | None = None,
    batch: int = DEFAULT.batch,
    dtype: str = DEFAULT.dtype,
    optimizer: str = DEFAULT.optimizer,
    jobs: int | None = None,
    ray: str | bool = False,
    journal: str | Path | None = None,
    restart: bool = False,
    progress: Callable[[int], ProgressCallback] | None = None,
    train: Training | None = None,
) -> Sweep:
    """Compute the figures of every combination of some parameters' values.

    A script that calls this needs the usual ``if __name__ == "__main__"``, because
    worker processes import it; with ``jobs=1`` there are none.

    Args:
        spec: as for `archdsl.load`.
        axes: the values of each axis, by name: a parameter of the network, ``input`` or
            ``preset``. Text is read as on the command line: ``"32..128:16"``.
        where: condition that points must satisfy, such as ``"params < 5M and depth >
            20"``.
        pareto: figures or axes; only points that no other point dominates in these are
            kept, such as ``"params,-depth"``. A minus means that more is better.
        sort: figures or axes to sort by, in the same notation as `pareto`.
        top: how many points to keep.
        columns: figures in the records; by default parameters, MACs and the figures
            used in other arguments. `FIGURES` lists them.
        everything: whether records contain all points, with `kept` and `error`.
        sample: how many random points to compute instead of all.
        seed: seed of the random choice.
        params: as for `archdsl.load`.
        input: as for `archdsl.load`.
        batch: batch size, for memory.
        dtype: data type of parameters and activations, for memory.
        optimizer: optimiser whose state is counted as memory.
        jobs: number of processes. By default, one per core, or only this one for short
            sweeps. The result does not depend on it.
        ray: whether to compute on a Ray cluster, or the address of one.
        journal: a file for rows while the sweep runs. If it exists, the sweep continues
            where the run that wrote it stopped. It is not deleted.
        restart: whether to start afresh even if there is a journal.
        progress: called once with the number of points; the function that it returns is
            called with the number of points done so far.
        train: how to train each point that satisfies `where`, in this process and one
            after the other. `accuracy` and `epochs` are figures then.

    Raises:
        SpecError: if the spec has errors, or no preset or parameter of that name.
        TypeError: if an argument has the wrong type.
        ValueError: if a number is below 1, or the dtype or optimizer is unknown.
        AxisError: if an axis is invalid.
        TooMany: if there are too many points for one run.
        ConditionError: if `where` is not a valid condition.
        ObjectiveError: if a figure is unknown.
        JournalError: if the journal belongs to another sweep.
        MissingExtra: if Ray or training is requested, and not installed.
        ClusterError: if the cluster cannot be used.
        Interrupted: if the user stops it; with the results so far.
    """
    check_types(params=params, batch=batch, dtype=dtype, optimizer=optimizer, seed=seed)
    check_types(where=where, top=top, sample=sample, jobs=jobs, everything=everything)
    check_types(restart=restart, progress=progress, journal=journal, ray=ray)
    if not isinstance(train, Training | None):
        raise TypeError(f"`train` must be a Training, not {type(train).__name__}")
    pareto = _split(texts("pareto", pareto or ()))
    sort = _split(texts("sort", sort or ()))
    columns = None if columns is None else texts("columns", columns)
    varied = _axes(axes)
    refuse_same_names(
        varied, {**(params or {}), **({} if input is None else {INPUT: 0})}
    )
    module, preset = open_spec(spec)
    _check(module, preset, varied, params or {})
    trained = tuple(TRAINED) if train is not None else ()
    known = tuple(dict.fromkeys((*FIGURES, *trained, *(axis.name for axis in varied))))
    options = _options(
        varied, known, where, pareto, sort, top, columns, everything, trained
    )
    task = Task(
        module=module,
        axes=varied,
        preset=preset,
        params=dict(params or {}),
        input=None if input is None else as_shape(input),
        setting={"batch": batch, "dtype": dtype, "optimizer": optimizer},
        figures=_needed(options),
        condition=_early(options.where, varied),
        trained=trained,
    )
    numbers = _numbers(varied, sample, seed)
    shown = module.file.source.name if spec == "-" else str(spec)
    rows: dict[int, PointRow] = {}
    if train is None:
        runner, size = _runner(jobs, ray, task)
    elif ray is not False or jobs not in (None, 1):
        raise ValueError("`train` is for one process: leave `jobs` and `ray` out")
    else:
        # Chunks of one point: each is saved as soon as it has been trained.
        runner, size = Trainers(train, numbers, options.where), 1
    tell = progress(len(numbers)) if progress is not None else _say_nothing
    try:
        if journal is None:
            _run(runner, size, task, numbers, rows, None, tell)
        else:
            path = _as_file(journal)
            if restart:
                path.unlink(missing_ok=True)
                if train is not None:
                    train.begin_anew(numbers)
            header = _header(task, numbers, train)
            widths = len(task.bounded), len(task.columns)
            with Journal(path, header, *widths) as book:
                _run(runner, size, task, numbers, rows, book, tell)
    except KeyboardInterrupt:
        raise Interrupted(Sweep(shown, task, numbers, rows, options)) from None
    return Sweep(shown, task, numbers, rows, options)


def _say_nothing(done: int) -> None:
    pass


def _run(
    runner: Runner,
    size: int,
    task: Task,
    numbers: Sequence[int],
    rows: dict[int, PointRow],
    journal: Journal | None,
    tell: ProgressCallback,
) -> None:
    """Compute the rows that are missing."""
    if journal is not None:
        rows.update(journal.rows)
    tell(len(rows))
    for chunk, found in runner(task, chunks_of(numbers, rows, size)):
        if journal is not None:
            journal.add(chunk.at, found)
        rows.update(enumerate(found, chunk.at))
        tell(len(rows))


# ---- arguments ------------------------------------------------------


def _axes(
    axes: Mapping[str, str | Iterable[object]] | Sequence[Axis],
) -> tuple[Axis, ...]:
    given: Any = axes
    if isinstance(given, Mapping):
        for name, values in given.items():
            if not isinstance(name, str) or not isinstance(values, Iterable):
                raise _no_axes(values if isinstance(name, str) else name)
        given = [make_axis(name, values) for name, values in given.items()]
    if not isinstance(given, list | tuple):
        raise _no_axes(given)
    for axis in given:
        if not isinstance(axis, Axis):
            raise _no_axes(axis)
    if not given:
        raise AxisError("nothing varies: name an axis, such as width=32..128:16")
    return tuple(given)


def _split(texts: Iterable[str]) -> list[str]:
    """Return objectives; a text is split at commas."""
    return [part for text in texts for part in text.split(",")]


def _as_file(path: str | Path) -> Path:
    try:
        if b"\0" in os.fsencode(path):
            raise ValueError
    except ValueError:  # also for lone surrogates
        raise ValueError(f"`journal`: no file is called {str(path)!r}") from None
    return Path(path)


def _no_axes(given: object) -> TypeError:
    kind = type(given).__name__
    return TypeError(f"`axes` must be lists of values by their names, not {kind}")


def _check(
    module: LoadedFile,
    preset: str | None,
    axes: Sequence[Axis],
    params: Mapping[str, object],
) -> None:
    """Refuse arguments that would make every point fail.

    Raises:
        AxisError: if an input is not a shape, or the spec names a preset and presets
            vary, too.
        SpecError: if the spec has errors, or no such preset or parameter.
    """
    by_name = {axis.name: axis for axis in axes}
    for shape in by_name[INPUT].values if INPUT in by_name else ():
        try:
            as_shape(shape)
        except (TypeError, ValueError) as error:
            raise AxisError(f"{INPUT}: {error}") from None
    presets: tuple[Any, ...] = (preset,)
    if PRESET in by_name:
        if preset is not None:
            raise AxisError(f"SPEC names the preset {preset}, but presets vary")
        presets = by_name[PRESET].values
    check_module(module)
    names = [*params, *(axis.name for axis in axes if axis.name not in _NO_PARAMETERS)]
    errors = Diagnostics()
    for name in presets:
        try:
            check_parameters(module, None if name is None else str(name), names)
        except SpecError as error:
            for diagnostic in error.diagnostics:
                errors.add(diagnostic)
    errors.raise_if_any()


_NO_PARAMETERS = (INPUT, PRESET)


def _options(
    axes: Sequence[Axis],
    known: Sequence[str],
    where: str | None,
    pareto: str | Iterable[str],
    sort: str | Iterable[str],
    top: int | None,
    columns: Iterable[str] | None,
    everything: bool,
    trained: Sequence[str],
) -> SweepOptions:
    condition = None
    if where is not None:
        condition = Condition(where)
        condition.check(known)
        condition.check_kinds(
            {
                **dict.fromkeys((*FIGURES, *trained), (0,)),
                **{a.name: a.shown for a in axes},
            }
        )
    objectives = parse_objectives(pareto, known) if pareto else ()
    order = parse_objectives(sort, known) if sort else ()
    asked = [o.name for o in (*objectives, *order)]
    if condition is not None:
        asked += [n for n in (*condition.names, *condition.words) if n in known]
    if columns is None:
        chosen = [*_DEFAULT_COLUMNS, *asked, *trained]
    else:
        chosen = [objective.name for objective in parse_objectives(columns, known)]
    own = {axis.name for axis in axes}
    shown = tuple(dict.fromkeys(name for name in chosen if name not in own))
    return SweepOptions(condition, objectives, order, top, shown, everything)


def _needed(options: SweepOptions) -> tuple[str, ...]:
    """Return the figures to compute, in a fixed order."""
    asked = {*options.columns, *(o.name for o in (*options.objectives, *options.sort))}
    if options.where is not None:
        asked |= {*options.where.names, *options.where.words}
    return tuple(name for name in FIGURES if name in asked)


def _early(where: Condition | None, axes: Sequence[Axis]) -> str | None:
    """Return the condition if it can be evaluated before the graph is analysed."""
    if where is None:
        return None
    cheap = {*QUICK, *(axis.name for axis in axes)}
    read = {*where.names, *(word for word in where.words if word in FIGURES)}
    return where.text if read <= cheap else None


def _numbers(axes: Sequence[Axis], sample: int | None, seed: int) -> Sequence[int]:
    """Return the numbers of the points to compute, in order."""
    total = count_points(axes)
    wanted = total if sample is None else min(sample, total)
    if wanted > MAX_POINTS:
        raise TooMany(
            f"{total:,} points are more than the {MAX_POINTS:,} of one sweep; draw "
            "some of them with --sample N"
        )
    if wanted == total:
        return range(total)
    if total > 2**62:
        raise TooMany(f"{total:,} points are more than a sweep can have")
    return sorted(random.Random(seed).sample(range(total), wanted))


def _runner(jobs: int | None, ray: str | bool, task: Task) -> tuple[Runner, int]:
    if ray is False:
        return some(jobs), CHUNK
    from .cluster import OnRay

    address = None if ray is True or ray in ("", "auto") else ray
    return OnRay(address, _digest(_header(task, ()))), CLUSTER_CHUNK


# ---- identity of a sweep --------------------------------------


def _header(
    task: Task, numbers: Sequence[int], train: Training | None = None
) -> dict[str, Any]:
    """Return everything that determines the rows of a sweep, for its journal."""
    axes = [[axis.name, list(axis.shown)] for axis in task.axes]
    params = {name: _text(value) for name, value in task.params.items()}
    setting = [
        task.preset,
        params,
        task.input,
        task.setting,
        task.figures,
        task.condition,
        None if train is None else train.about(),
    ]
    chosen = [len(numbers)] if isinstance(numbers, range) else list(numbers)
    return {
        "version": __version__,
        "spec": _digest(_texts(task.module)),
        "axes": _digest(axes),
        "setting": _digest(setting),
        "points": _digest(chosen),
    }


def _texts(module: LoadedFile) -> list[str]:
    """Return the texts of a spec and of all that it imports."""
    found = [module]
    for known in found:
        for part in known.shared():
            for _, origin in part.values():
                if all(origin is not other for other in found):
                    found.append(origin)
    return [known.file.source.text for known in found]


def _text(value: Any) -> str:
    span = getattr(value, "span", None)
    return repr(value) if span is None else str(span.text)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
