"""What was measured, as text and as plain data."""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from archdsl.backends.bench.engines import Workload
from archdsl.backends.bench.timing import Times
from archdsl.backends.text import align


class Result(NamedTuple):
    """What was measured of a contestant.

    Attributes:
        name: its name.
        times: seconds of a call.
        load_seconds: how long it took to be ready.
        difference: the largest difference of an output from the first contestant's, as
            a share of that one's largest absolute output; None in training.
    """

    name: str
    times: Times
    load_seconds: float
    difference: float | None


def report_text(
    results: Sequence[Result], work: Workload, roofline: float | None = None
) -> str:
    """Return a table of the results, the machine, and how they were measured.

    Args:
        results: the first is what the others are compared with.
        work: what was done.
        roofline: seconds that the analysis says are the least on a device, if asked.
    """
    first = results[0].times.median
    rows = [("", "ms", "quartiles", "images/s", "ratio", "ready in", "difference")]
    for one in results:
        low, high = one.times.quartiles
        middle = one.times.median
        rows.append(
            (
                one.name,
                f"{1e3 * middle:.2f}",
                f"{1e3 * low:.2f} to {1e3 * high:.2f}",
                f"{work.batch / middle:,.1f}",
                f"{first / middle:.2f}",
                f"{one.load_seconds:.1f} s",
                "-" if one.difference is None else f"{one.difference:.0e}",
            )
        )
    lines = align(rows, right=range(1, 7))
    notes = [("work", conditions_text(work)), ("machine", machine(work.on))]
    if roofline is not None:
        notes.append(("roofline", f"{1e3 * roofline:.2f} ms at least, by the analysis"))
    notes += [
        ("ratio", f"how many times faster than {results[0].name}"),
        (
            "difference",
            "largest difference of an output, as a share of the largest output",
        ),
    ]
    return "\n".join([*lines, "", *align(notes)]) + "\n"


def as_dict(
    results: Sequence[Result], work: Workload, roofline: float | None = None
) -> dict[str, Any]:
    """Return the results as plain data; times are in seconds."""
    return {
        "machine": machine(work.on),
        "date": datetime.date.today().isoformat(),
        "batch": work.batch,
        "train": work.train,
        "dtype": work.dtype,
        "channels_last": work.channels_last,
        "device": work.on,
        "threads": work.threads,
        "roofline": roofline,
        "results": [
            {
                "name": one.name,
                "seconds": one.times.median,
                "quartiles": list(one.times.quartiles),
                "rounds": len(one.times.rounds),
                "calls": one.times.calls,
                "load_seconds": one.load_seconds,
                "difference": one.difference,
            }
            for one in results
        ],
    }


def conditions_text(work: Workload) -> str:
    """Return what was done, in words."""
    what = "a step of training" if work.train else "inference"
    form = ", channels last" if work.channels_last else ""
    return f"{what}, batch {work.batch}, {work.dtype}{form}, {work.on}"


def machine(on: str = "cpu") -> str:
    """Return what figures were measured on: processor or GPU, and versions."""
    import torch

    name = torch.cuda.get_device_name() if on == "cuda" else processor()
    threads = "" if on == "cuda" else f", {torch.get_num_threads()} threads"
    return (
        f"{name}, {os.cpu_count()} cores{threads}, {platform.system()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}"
    )


def processor() -> str:
    """Return the model of the processor."""
    known = Path("/proc/cpuinfo")
    if known.exists():
        for line in known.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
