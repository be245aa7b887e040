"""Search for specs that break archdsl, for any length of time.

`mutants` corrupts shipped specs and `offspring` random ones (tests/mutations.py).
`specs` (tests/generated.py) and `manual` (tests/manual_specs.py) are random specs whose
modules are compared with the analysis and with an executor (tests/comparing.py).
`calls` are hostile calls of the command (tests/hostile.py). Every case has a number, so
that it can be repeated:

    python scripts/soak.py mutants --to 100000 --jobs 2
    python scripts/soak.py mutants --case 4711

A run continues where an earlier one with the same folder stopped. The folder has
`done.jsonl`, with a line for each batch of cases, and for each case that failed a
folder with the spec, the error and the command that repeats it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
BATCH = 100
KINDS = ("mutants", "offspring", "specs", "manual", "calls")
# Seconds of real time after which a case counts as hanging, even on a busy machine.
PATIENCE = 60


class Hangs(Exception):
    """A case that takes far too long."""


def _stop(_signal: int, _frame: Any) -> None:
    raise Hangs(f"not done after {PATIENCE} s")


def text_of(kind: str, case: int) -> str:
    """Return the spec, or the call, of a case."""
    from tests import generated, hostile, manual_specs, mutations

    makers: dict[str, Callable[[int], str]] = {
        "mutants": mutations.mutant,
        "offspring": mutations.offspring,
        "specs": generated.specimen,
        "manual": manual_specs.specimen,
        "calls": lambda case: hostile.to_text(hostile.call(case)),
    }
    return makers[kind](case)


def examine(kind: str, text: str) -> tuple[str, float]:
    """Run a case; return its outcome, and the seconds that it took."""
    if kind == "calls":
        from tests import hostile

        start = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            status = hostile.examine_in(Path(folder), hostile.from_text(text))
        return f"status {status}", time.process_time() - start
    if kind not in ("specs", "manual"):
        from tests import mutations

        return mutations.examine(text)
    from tests.comparing import faults

    start = time.process_time()
    found = faults(text)
    assert not found, "\n".join(found)
    return "agrees", time.process_time() - start


def try_case(kind: str, case: int) -> dict[str, Any]:
    """Return what became of a case."""
    signal.signal(signal.SIGALRM, _stop)
    signal.alarm(PATIENCE)
    try:
        fate, seconds = examine(kind, text_of(kind, case))
    except Exception:
        return {"case": case, "fate": "broke", "error": traceback.format_exc()}
    finally:
        signal.alarm(0)
    return {"case": case, "fate": fate, "seconds": round(seconds, 3)}


def try_batch(kind: str, first: int, end: int, folder: Path) -> dict[str, Any]:
    """Try some cases, write down those that broke, and return a summary."""
    results = [try_case(kind, case) for case in range(first, end)]
    for result in results:
        if result["fate"] == "broke":
            write_down(kind, result["case"], result["error"], folder)
    return {
        "first": first,
        "end": end,
        "fates": dict(Counter(result["fate"] for result in results)),
        "slowest": max(
            ((r["seconds"], r["case"]) for r in results if "seconds" in r), default=None
        ),
    }


def write_down(kind: str, case: int, error: str, folder: Path) -> None:
    own = folder / f"{kind}-{case}"
    own.mkdir(parents=True, exist_ok=True)
    (own / "spec.arch").write_text(text_of(kind, case), "utf-8", newline="")
    command = f"python scripts/soak.py {kind} --case {case}"
    (own / "error.txt").write_text(f"{command}\n\n{error}", "utf-8")


def batches(first: int, end: int, done: set[tuple[int, int]]) -> Iterator[Any]:
    for start in range(first, end, BATCH):
        batch = start, min(start + BATCH, end)
        if batch not in done:
            yield batch


def finished(path: Path) -> list[dict[str, Any]]:
    """Return the batches that earlier runs finished; incomplete lines do not count."""
    found = []
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def soak(options: argparse.Namespace) -> int:
    folder: Path = options.out / options.kind
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "done.jsonl"
    earlier = finished(path)
    fates: Counter[str] = Counter()
    for batch in earlier:
        fates.update(batch["fates"])
    known = {(batch["first"], batch["end"]) for batch in earlier}
    todo = list(batches(options.first, options.to, known))
    start, count = time.monotonic(), 0
    with (
        ProcessPoolExecutor(
            options.jobs, initializer=_begin, initargs=(options.kind,)
        ) as pool,
        path.open("a", encoding="utf-8") as log,
    ):
        waiting = {
            pool.submit(try_batch, options.kind, *batch, folder): batch
            for batch in todo
        }
        try:
            for future in as_completed(waiting):
                batch = future.result()
                print(json.dumps(batch), file=log, flush=True)
                fates.update(batch["fates"])
                count += batch["end"] - batch["first"]
                say(fates, count / (time.monotonic() - start), len(todo) * BATCH)
                if options.seconds and time.monotonic() - start > options.seconds:
                    break
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    print(file=sys.stderr)
    print(f"{sum(fates.values()):,} cases: {dict(fates)}")
    return 1 if fates["broke"] else 0


def say(fates: Counter[str], rate: float, total: int) -> None:
    shown = ", ".join(f"{count:,} {fate}" for fate, count in fates.most_common())
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"{shown}; {rate:.0f} a second  ", end=end, file=sys.stderr, flush=True)


def _begin(kind: str) -> None:
    """Leave interrupts to the pool, and import everything that is needed.

    An import that a case's alarm interrupts could not be repaired.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    text = "arch 1\nnetwork Net {\n    input 3x8x8\n    conv 3x3\n}\n"
    first = text_of(kind, 0)
    examine(kind, first if kind == "calls" else text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("kind", choices=[*KINDS])
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="CASE")
    parser.add_argument("--to", type=int, default=100_000, metavar="CASE")
    parser.add_argument("--case", type=int, help="try one, and print its spec")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, help="stop after about this time")
    parser.add_argument("--out", type=Path, default=ROOT / ".soak")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Each case is a text that nobody reads again.
    os.environ["ARCHDSL_CACHE"] = "off"
    if options.case is None:
        return soak(options)
    print(text_of(options.kind, options.case))
    result = try_case(options.kind, options.case)
    print(result.pop("error", result))
    return 1 if result["fate"] == "broke" else 0


if __name__ == "__main__":
    sys.exit(main())
