"""Export every shipped network to ONNX, and compare onnxruntime with the torch module.

    python benchmarks/bench_export.py                 all shipped networks
    python benchmarks/bench_export.py --only resnet50 --only googlenet
    python benchmarks/bench_export.py --write         keeps the table in export.md

Both get the same images and the same weights: torch's initial ones, but with other
running statistics than those of a new module. The file is also
checked whole by onnx. Times are of one thread at batch 1, in CPU time, which other
processes disturb less: medians of calls that take turns. Fails if a difference exceeds
1e-5 of the largest output, unless single precision itself costs the module that much.
"""

import argparse
import datetime
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from page import machine  # noqa: E402
from torch import Tensor  # noqa: E402

import archdsl  # noqa: E402
from archdsl.backends.onnx import Exported  # noqa: E402
from archdsl.backends.text import show_bytes  # noqa: E402
from archdsl.backends.views.time import show_seconds  # noqa: E402
from tests.comparing import named_outputs, with_statistics  # noqa: E402

REPORT = Path(__file__).with_name("export.md")
TOLERANCE = 1e-5
MOST_ROUNDS = 7
SECONDS_EACH = 6.0


class Row(NamedTuple):
    """One network.

    `off` is the largest difference to the module as a share of the largest output,
    `spread` that of the module to itself in double precision.
    """

    name: str
    made: Exported
    size: int
    seconds: float
    off: float
    spread: float
    torch: float
    onnx: float


def measured(name: str) -> Row:
    network = archdsl.load(name)
    torch.manual_seed(0)
    module = with_statistics(archdsl.build(network))
    images = [torch.randn(1, *port.shape) for port in network.inputs]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "net.onnx")
        start = time.perf_counter()
        made = archdsl.export_onnx(network, path, weights=module.state_dict())
        seconds = time.perf_counter() - start
        size = len(made.model) + len(made.data)
        made = replace(
            made, model=b"", data=b""
        )  # both at once may not fit into memory
        onnx.checker.check_model(path, full_check=True)
        session = session_of(path)
        found = run(session, images)
        with torch.no_grad():
            wanted = named_outputs(network, module(*images))
            times = medians(lambda: module(*images), lambda: run(session, images))
    off = worst(found, wanted)
    spread = 0.0
    if off > TOLERANCE:
        with torch.no_grad():
            double = module.double()(*[image.double() for image in images])
        exact = named_outputs(network, double)
        spread = worst({n: v.numpy() for n, v in wanted.items()}, exact)
    return Row(name, made, size, seconds, off, spread, *times)


def session_of(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


def run(
    session: onnxruntime.InferenceSession, images: list[Tensor]
) -> dict[str, np.ndarray]:
    names = [one.name for one in session.get_inputs()]
    values = [image.numpy() for image in images]
    outputs = session.run(None, dict(zip(names, values, strict=True)))
    found = [one.name for one in session.get_outputs()]
    return dict(zip(found, outputs, strict=True))


def worst(found: dict[str, np.ndarray], wanted: dict[str, Tensor]) -> float:
    """Return the largest difference, as a share of its output's largest value."""
    assert list(found) == list(wanted)
    return max(
        float(np.abs(found[name] - value.double().numpy()).max())
        / float(value.abs().max())
        for name, value in wanted.items()
    )


def medians(*calls: Callable[[], object]) -> list[float]:
    """Return the median seconds of calls, which take turns."""
    times: list[list[float]] = [[] for _ in calls]
    while len(times[0]) < MOST_ROUNDS and sum(map(sum, times)) < SECONDS_EACH:
        for call, seconds in zip(calls, times, strict=True):
            start = time.process_time()
            call()
            seconds.append(time.process_time() - start)
    return [statistics.median(seconds) for seconds in times]


def failed(row: Row) -> bool:
    return not row.off <= max(TOLERANCE, 4 * row.spread)


def cells(row: Row) -> list[str]:
    made = row.made
    (_, shape), *_ = made.inputs.items()
    off = f"{row.off:.1e}" + (f" (torch {row.spread:.1e})" if row.spread else "")
    return [
        f"`{row.name}`",
        f"{made.nodes:,}",
        f"{made.folded:,}",
        show_bytes(row.size),
        show_seconds(row.seconds),
        "any" if isinstance(shape[-1], str) else "fixed",
        off,
        show_seconds(row.torch),
        show_seconds(row.onnx),
        f"{row.torch / row.onnx:.2f}",
    ]


HEAD = (
    "network",
    "nodes",
    "norms folded",
    "size",
    "export takes",
    "height, width",
    "difference",
    "torch",
    "onnxruntime",
    "times as fast",
)


def page(rows: list[Row]) -> str:
    today = datetime.date.today().isoformat()
    ratios = [row.torch / row.onnx for row in rows]
    lines = [
        "# Exported models",
        "",
        f"{machine()}, torch {torch.__version__}, onnx {onnx.__version__}, "
        f"onnxruntime {onnxruntime.__version__}, {today}.",
        "Evaluation mode, float32, batch 1, each network's own input size, one thread; "
        "medians of calls that take turns, in CPU time.",
        "Written by `python benchmarks/bench_export.py --write`.",
        "",
        "The difference is the largest between onnxruntime and the emitted module in "
        "eager torch, as a share of the largest output. Where it exceeds 1e-5, the "
        "module's own difference to double precision is given, too.",
        "",
        f"{len(rows)} networks; the largest difference is "
        f"{max(row.off for row in rows):.1e}, the median "
        f"{statistics.median(row.off for row in rows):.1e}. onnxruntime is "
        f"{min(ratios):.2f} to {max(ratios):.2f} times as fast as eager torch, in the "
        f"median {statistics.median(ratios):.2f} times.",
        "",
        f"| {' | '.join(HEAD)} |",
        "| --- |" + " ---: |" * (len(HEAD) - 1),
        *(f"| {' | '.join(cells(row))} |" for row in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", help="these networks")
    parser.add_argument("--write", action="store_true", help="keep the table")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.only or archdsl.list_models():
        rows.append(measured(name))
        print(" | ".join(cells(rows[-1])), flush=True)
    text = page(rows)
    if options.write:
        REPORT.write_text(text, encoding="utf-8")
    print(text)
    bad = [row.name for row in rows if failed(row)]
    if bad:
        sys.exit(f"outputs differ from torch's: {', '.join(bad)}")


if __name__ == "__main__":
    main()
