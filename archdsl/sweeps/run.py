"""Computes the rows of a sweep: in this process, in several, or on a cluster."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Self

from .figures import Evaluator, PointRow, Task

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

# Points per chunk; an interrupted run loses at most one chunk per process.
CHUNK: Final = 50
CLUSTER_CHUNK: Final = 500
# Seconds of work before processes are started; starting them takes tenths of one.
_PATIENCE: Final = 1.0
# Thresholds of the garbage collector: new objects before a collection, and generations.
_COLLECT: Final = (500_000, 20, 100)


class ClusterError(Exception):
    """A cluster that cannot be used; the message says why."""


class PointChunk(NamedTuple):
    """Points that are computed together.

    Attributes:
        at: index of the first point in the sweep.
        points: the numbers of the points.
    """

    at: int
    points: Sequence[int]


Done = tuple[PointChunk, list[PointRow]]


class Runner(Protocol):
    """Computes chunks, in any order."""

    def __call__(self, task: Task, chunks: Sequence[PointChunk]) -> Iterator[Done]: ...


def chunks_of(points: Sequence[int], known: Any, size: int) -> list[PointChunk]:
    """Return the points that are not known yet, in chunks of at most a given size.

    Args:
        points: all points.
        known: the indices of those that are known.
        size: largest size of a chunk.
    """
    found = []
    at = 0
    while at < len(points):
        end = at
        while end < len(points) and end - at < size and end not in known:
            end += 1
        if end > at:
            found.append(PointChunk(at, points[at:end]))
        at = max(end, at + 1)
    return found


def here(task: Task, chunks: Sequence[PointChunk]) -> Iterator[Done]:
    """Compute chunks in this process, in order."""
    evaluator = Evaluator(task)
    with _patient_collector():
        for chunk in chunks:
            yield chunk, [evaluator.row(point) for point in chunk.points]


@contextmanager
def _patient_collector() -> Iterator[None]:
    """Run the garbage collector less often: most objects made here stay alive."""
    before = gc.get_threshold()
    gc.set_threshold(*_COLLECT)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def some(jobs: int | None) -> Runner:
    """Return a runner with a number of processes.

    By default, there is one per core that this process may use, or only this process
    for short sweeps.
    """
    if jobs == 1 or not _can_start():
        return here
    if jobs is not None:
        return _Processes(jobs)
    cores = available_cores()
    return here if cores == 1 else _Patient(cores)


def _can_start() -> bool:
    """Return whether a new process can import the script that started this one."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    return path is None or os.path.exists(path)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Patient(NamedTuple):
    """Starts processes only if the sweep turns out to take a while."""

    jobs: int

    def __call__(self, task: Task, chunks: Sequence[PointChunk]) -> Iterator[Done]:
        start = time.monotonic()
        count = 0
        for done in here(task, chunks):
            yield done
            count += 1
            spent = time.monotonic() - start
            left = spent * (len(chunks) - count) / count
            if spent > _PATIENCE / 2 and left > _PATIENCE:
                break
        yield from _Processes(self.jobs)(task, chunks[count:])


# ---- processes on this machine ----------------------------------------------


class _Processes(NamedTuple):
    """Computes chunks in several processes."""

    jobs: int

    def __call__(self, task: Task, chunks: Sequence[PointChunk]) -> Iterator[Done]:
        if not chunks:
            return
        from concurrent.futures import ProcessPoolExecutor
        from concurrent.futures.process import BrokenProcessPool
        from multiprocessing import get_context

        # A fork would copy the locks of threads that it does not copy.
        left = {chunk.at: chunk for chunk in chunks}
        pool = ProcessPoolExecutor(
            min(self.jobs, len(chunks)),
            mp_context=get_context("spawn"),
            initializer=_begin,
            initargs=(task,),
        )
        broken = False
        with _Held() as held:
            try:
                for done in _unordered(
                    chunks,
                    2 * self.jobs,
                    lambda chunk: _submit(pool, chunk),
                    held.deliver,
                ):
                    del left[done[0].at]
                    yield done
                pool.shutdown()
            except BrokenProcessPool:
                # The system killed a process, most likely because memory ran out. Or a
                # signal went to all processes, and to this one, too.
                broken = True
                _stop(pool)
                held.deliver()
            except BaseException:
                _stop(pool)
                raise
        if broken:
            yield from here(task, [*left.values()])


# Seconds after which a signal is noticed.
_NOTICED: Final = 0.1


class _Held:
    """Holds signals to stop while a pool is in use.

    The exception that they raise could come while the pool holds one of its locks, and
    ending its processes would then wait for ever.
    """

    def __init__(self) -> None:
        self._received: list[tuple[int, FrameType | None]] = []
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the place of the handlers; only the main thread has any."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if callable(before):
                    self._before[number] = before
                    signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        """Put the handlers back, and deliver what was received."""
        self._end()

    def deliver(self) -> None:
        """Call the handler of a signal that was received, which raises an exception."""
        if self._received:
            self._end()

    def _end(self) -> None:
        before, self._before = self._before, {}
        for number, handler in before.items():
            signal.signal(number, handler)
        received, self._received = self._received, []
        for number, frame in received[:1]:
            before[number](number, frame)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received.append((number, frame))


def _submit(pool: ProcessPoolExecutor, chunk: PointChunk) -> Future[list[PointRow]]:
    """Begin a chunk, for which the pool may start a process.

    The process inherits that SIGINT is blocked: until it ignores SIGINT by itself, one
    that goes to all processes would end it with a traceback.
    """
    if not _CAN_BLOCK:
        return pool.submit(_rows, tuple(chunk.points))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        return pool.submit(_rows, tuple(chunk.points))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# Whether signals can be blocked, as they cannot on Windows.
_CAN_BLOCK: Final = hasattr(signal, "pthread_sigmask")


def _unordered(
    chunks: Sequence[PointChunk],
    most: int,
    submit: Callable[[PointChunk], Future[list[PointRow]]],
    check: Callable[[], None],
) -> Iterator[Done]:
    """Yield chunks as they are done; several are in progress at any time.

    Args:
        chunks: the chunks.
        most: how many are in progress.
        submit: begins one.
        check: called several times a second; it may raise an exception.
    """
    from concurrent.futures import FIRST_COMPLETED, wait

    under_way: dict[Future[list[PointRow]], PointChunk] = {}
    waiting = iter(chunks)
    while True:
        for chunk in waiting:
            under_way[submit(chunk)] = chunk
            if len(under_way) >= most:
                break
        if not under_way:
            return
        done: set[Future[list[PointRow]]] = set()
        while not done:
            check()
            done, _ = wait(under_way, _NOTICED, return_when=FIRST_COMPLETED)
        for future in done:
            yield under_way.pop(future), future.result()


def _stop(pool: ProcessPoolExecutor) -> None:
    """End processes whose results are no longer needed."""
    for process in list((pool._processes or {}).values()):
        process.terminate()
    pool.shutdown(cancel_futures=True)


_EVALUATOR: list[Evaluator] = []


def _begin(task: Task) -> None:
    """Initialise a worker process."""
    # The parent process decides when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _CAN_BLOCK:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    _EVALUATOR[:] = [Evaluator(task)]
    # Most objects created so far stay alive, so the collector need not scan them again.
    gc.freeze()
    gc.set_threshold(*_COLLECT)


def _leave_with_parent() -> None:
    """End this process when its parent is gone, even if that was killed."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _rows(points: Sequence[int]) -> list[PointRow]:
    return [_EVALUATOR[0].row(point) for point in points]
