"""Time grows linearly with the size of a network, not quadratically.

The bounds are loose, since other processes share the machine;
`benchmarks/bench_scaling.py` measures exactly.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import archdsl
from tests.conftest import ROOT
from tests.timing import cpu_seconds, small_heap

# Ten times the size may take this many times as long; quadratic time would be 100.
TEN_TIMES = 30.0


def load_benchmark() -> ModuleType:
    folder = ROOT / "benchmarks"
    path = folder / "bench_scaling.py"
    spec = importlib.util.spec_from_file_location("bench_scaling", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules["bench_scaling"] = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


bench = load_benchmark()


@pytest.fixture(autouse=True)
def only_the_work(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")
    with small_heap():
        yield


@pytest.mark.parametrize("name", bench.CHAINS)
def test_chains_take_linear_time(name: str) -> None:
    make = bench.CHAINS[name]
    bench.run(make(10))
    small, large = bench.best(make(300), 3), bench.best(make(3_000), 2)
    assert large.total < TEN_TIMES * small.total


@pytest.mark.parametrize("name", bench.DENSE)
def test_dense_blocks_take_no_more_than_the_square_of_their_edges(name: str) -> None:
    make, sizes = bench.DENSE[name]
    bench.run(make(3))
    small, large = bench.best(make(sizes[0]), 3), bench.best(make(sizes[1]), 2)
    assert large.edges > 2 * small.edges
    assert bench.exponent(small, large) < 2


@pytest.mark.parametrize("make", [bench.written, bench.joined, bench.repeated])
def test_ten_thousand_convolutions_are_no_limit(make: object) -> None:
    assert callable(make)
    network = archdsl.loads(make(10_000), symbolic=False)
    facts = archdsl.analyze(network)
    assert facts.params == 9 * 16 * 3 + 9 * 16 * 16 * 9_999 + 16 * 10_000
    assert facts.depth == 10_000
    field = facts.receptive_field
    assert field is not None and field.size == (20_001, 20_001)


def test_long_forward_passes_are_emitted_in_linear_time() -> None:
    def seconds(n: int) -> float:
        network = archdsl.loads(bench.written(n))
        return cpu_seconds(lambda: archdsl.emit(network))

    seconds(10)
    assert seconds(2_000) < TEN_TIMES * seconds(200)


def test_all_shipped_networks_are_listed_in_seconds(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "archdsl", "list"],
        env={**os.environ, "ARCHDSL_CACHE": "on", "XDG_CACHE_HOME": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert cpu < 2 * bench.LIST_LIMIT
