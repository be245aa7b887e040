"""Text that the pages of several benchmarks share."""

import os
import platform
from collections.abc import Callable, Mapping

from archdsl.backends.bench.report import processor


def machine() -> str:
    """Return a description of the machine."""
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()}, "
        f"Python {platform.python_version()}"
    )


def sections(
    parts: Mapping[str, Callable[[int], tuple[list[str], bool]]], runs: int
) -> tuple[str, list[str]]:
    """Measure and print each part.

    Args:
        parts: by title, what gives the lines for a number of runs, and whether they
            keep to their limit.
        runs: how many.

    Returns:
        the text of all parts, and the titles of those that missed their limit.
    """
    text, missed = "", []
    for title, measure in parts.items():
        lines, met = measure(runs)
        missed += [] if met else [title]
        part = "\n".join([f"## {title}", "", *lines, ""])
        print(part, flush=True)
        text += f"\n{part}"
    return text, missed
