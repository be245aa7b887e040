"""Metrics for TensorBoard, if it is installed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Board:
    """Writes metrics for TensorBoard.

    Args:
        folder: the folder to write to.
        epoch: the first epoch to write; if a killed run has already written it or later
            ones, these are dropped.
    """

    def __init__(self, folder: Path, epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # The writer's thread prints its error, and the writer raises it here as well.
        self._before = threading.excepthook
        threading.excepthook = self._hook
        make: Any = SummaryWriter
        self._writer = make(folder, purge_step=epoch)

    def _hook(self, error: threading.ExceptHookArgs) -> None:
        if type(error.thread).__module__.partition(".")[0] != "tensorboard":
            self._before(error)

    def add(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Write the metrics of an epoch.

        Raises:
            OSError: if they cannot be written.
        """
        for key, value in metrics.items():
            if key != "epoch":  # the x axis
                self._writer.add_scalar(key, value, epoch)
        self._writer.flush()

    def close(self) -> None:
        """End the writer and its thread."""
        self._writer.close()
        threading.excepthook = self._before


def has_tensorboard() -> bool:
    """Return whether TensorBoard is installed."""
    return find_spec("tensorboard") is not None
