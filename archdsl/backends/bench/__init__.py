"""How fast a network runs in several engines, measured side by side.

engines  what runs a network: eager modules, torch.compile, onnxruntime, OpenVINO
machine  the rates that simple calls reach on this machine
timing   interleaved timing of several contestants
report   the result as text and as plain data
"""

from __future__ import annotations

from archdsl.backends.bench.engines import (
    ENGINES,
    Contestant,
    NotComparable,
    Ready,
    Workload,
    contestants,
)
from archdsl.backends.bench.report import Result, as_dict, report_text
from archdsl.backends.bench.timing import Times, measure_times

__all__ = [
    "ENGINES",
    "Contestant",
    "NotComparable",
    "Ready",
    "Result",
    "Times",
    "Workload",
    "as_dict",
    "contestants",
    "measure_times",
    "report_text",
]
