"""Computes the rows of a sweep on a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from archdsl import __version__
from archdsl.backends.extras import MissingExtra

from .figures import Evaluator, PointRow, Task
from .run import ClusterError, Done, PointChunk

_EVALUATORS: dict[str, Evaluator] = {}


class OnRay(NamedTuple):
    """Computes chunks on a Ray cluster.

    The cluster's machines need the same version of archdsl; the spec is sent to them.

    Attributes:
        address: address of the cluster. Without one, it is taken from ``RAY_ADDRESS``
            in the environment, or a cluster is started on this machine.
        key: identifies the sweep on the cluster.
    """

    address: str | None
    key: str

    def __call__(self, task: Task, chunks: Sequence[PointChunk]) -> Iterator[Done]:
        try:
            import ray
        except ImportError:
            raise MissingExtra("a sweep on a cluster", "Ray", "ray") from None
        mine = not ray.is_initialized()
        if mine:
            _connect(ray, self.address)
        try:
            yield from self._run(ray, task, chunks)
        finally:
            if mine:
                ray.shutdown()

    def _run(
        self, ray: Any, task: Task, chunks: Sequence[PointChunk]
    ) -> Iterator[Done]:
        """Yield chunks as they are done; two per core are in progress at a time."""
        sent = ray.put(task)
        remote = ray.remote(rows_there)
        most = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        under_way: dict[Any, PointChunk] = {}
        waiting = iter(chunks)
        while True:
            for chunk in waiting:
                reference = remote.remote(self.key, sent, tuple(chunk.points))
                under_way[reference] = chunk
                if len(under_way) >= most:
                    break
            if not under_way:
                return
            done, _ = ray.wait(list(under_way), num_returns=1)
            for reference in done:
                version, rows = ray.get(reference)
                if version != __version__:
                    raise ClusterError(
                        f"a machine of the cluster has archdsl {version}, but this "
                        f"one has {__version__}"
                    )
                yield under_way.pop(reference), rows


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the cluster at {address}" if address else "a cluster"
        reason = " ".join(str(error).split())
        raise ClusterError(f"cannot use {where}: {reason}") from None


def rows_there(
    key: str, task: Task, points: Sequence[int]
) -> tuple[str, list[PointRow]]:
    """Compute rows on a machine of the cluster; return its version of archdsl, too."""
    if key not in _EVALUATORS:
        _EVALUATORS.clear()
        _EVALUATORS[key] = Evaluator(task)
    evaluator = _EVALUATORS[key]
    return __version__, [evaluator.row(point) for point in points]
