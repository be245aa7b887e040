"""Options and fixtures that several test files share."""

from __future__ import annotations

import ctypes
import difflib
import gc
import logging
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings

from archdsl.cli import COLLECTOR
from archdsl.resources import specs_dir
from archdsl.source import Source
from archdsl.syntax import parser

# The same examples in every run, so that a change can only fail by its own fault.
# `--hypothesis-profile search` draws others.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("same")

# pytest-xdist keeps every core busy, so threads within workers would only slow it down.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A garbage collection after each small compilation would scan all that tests keep.
os.environ.setdefault("TORCH_DYNAMO_RUN_GC_AFTER_COMPILE", "0")

# Options of glibc's mallopt: how much free memory at the end of the heap is returned to
# the system, and from which size on a block is mapped by itself.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

ROOT = Path(__file__).parent.parent
# The property of a test's report that names the golden file that it has rewritten.
_REWRITTEN = "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden",
        action="store_true",
        help="rewrite the golden files whose contents pass all other checks",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--update-golden") and os.environ.get("CI"):
        raise pytest.UsageError("--update-golden: golden files are not rewritten in CI")
    # Collect garbage as rarely as the command does.
    gc.set_threshold(*COLLECTOR)
    _keep_memory()


def _keep_memory() -> None:
    """Let malloc keep freed memory, since the next network needs as much again.

    The system clears each page that it hands out. For large networks, that takes as
    long as their convolutions.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of a preset one after the other, whichever files they are in.

    They share its modules, and `tests.oracle` only keeps those of a few presets.
    """
    cases = [_case(item) for item in items]
    first = {case: place for place, case in reversed([*enumerate(cases)])}
    places = [place if c is None else first[c] for place, c in enumerate(cases)]
    order = sorted(range(len(items)), key=places.__getitem__)
    items[:] = [items[place] for place in order]


def _case(item: pytest.Item) -> str | None:
    """Return the preset of a test, with its options."""
    case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
    return getattr(case, "id", None)


def pytest_collection_finish() -> None:
    """Keep what is the same in all tests from taking time in each."""
    # Objects that stay alive anyway need not be scanned.
    gc.collect()
    gc.freeze()
    # pytest listens to loggers that do not pass records on. With a listener, torch
    # writes every graph and guard of a compilation to this one, as text.
    logging.getLogger("torch.__trace").propagate = True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rewritten = sorted(
        str(path)
        for report in terminalreporter.stats.get("passed", ())
        for name, path in report.user_properties
        if name == _REWRITTEN
    )
    if rewritten:
        terminalreporter.section("golden files rewritten: review them")
        for path in rewritten:
            terminalreporter.line(path)


@pytest.fixture(autouse=True)
def few_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep only the trees of shipped specs between runs.

    The cache has room for some hundreds. Thousands of small specs would evict those
    that are read repeatedly, and storing each would take longer than parsing it.
    """
    store = parser.store_tree
    monkeypatch.setattr(
        parser, "store_tree", lambda file: _is_shipped(file.source) and store(file)
    )


def _is_shipped(source: Source) -> bool:
    return source.text in _shipped_texts()


@cache
def _shipped_texts() -> frozenset[str]:
    return frozenset(p.read_text("utf-8") for p in specs_dir().rglob("*.arch"))


@pytest.fixture(scope="module")
def quick_on_meta() -> Iterator[None]:
    """Make the meta device fast for all tests of a file."""
    from tests.oracle import quick_shapes

    with quick_shapes():
        yield


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compare a text with a golden file, byte for byte, or rewrite the file.

    Call it last, so that a file is only written if everything else passes.
    """

    def check(path: Path, text: str) -> None:
        found = path.read_bytes().decode() if path.exists() else None
        if text == found:
            return
        name = path.relative_to(ROOT).as_posix()
        if not request.config.getoption("--update-golden"):
            pytest.fail(_difference(name, found, text), pytrace=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
        request.node.user_properties.append((_REWRITTEN, name))

    return check


def _difference(name: str, golden: str | None, text: str) -> str:
    if golden is None:
        return f"{name} is missing; --update-golden writes it"
    lines = difflib.unified_diff(
        golden.splitlines(keepends=True),
        text.splitlines(keepends=True),
        name,
        "now",
    )
    return "".join(lines)
