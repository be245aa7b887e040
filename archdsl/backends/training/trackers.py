"""Sending metrics to trackers, by Lightning's loggers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from archdsl import files
from archdsl.backends.extras import need_working

from .data import unusable

TRACKERS: Final = ("wandb", "mlflow")
# The environment variable that tells a tracker where to send metrics.
_SETTINGS: Final = {"wandb": "WANDB_MODE", "mlflow": "MLFLOW_TRACKING_URI"}
# The file with the trackers' ids of the run.
_HELD: Final = "trackers.json"


class Tracker:
    """Sends the metrics of a run to Weights & Biases or MLflow.

    The tracker's own settings say where to. A resumed run continues there as well.

    Args:
        name: one of `TRACKERS`.
        run: the folder of the run.
        network: name of the network, to group runs by.

    Raises:
        MissingExtra: if a library is not installed.
        SpecError: if the tracker does not start.
    """

    def __init__(self, name: str, run: Path, network: str) -> None:
        self.name, self._run = name, run
        what = f"`--log {name}`"
        need_working(what, name, name, name)
        lightning = "pytorch-lightning, and where it is installed, a torchvision that "
        lightning += "goes with the installed torch"
        loggers: Any = need_working(what, lightning, name, "pytorch_lightning.loggers")
        held = _held(run).get(name)
        try:
            self._logger: Any = (
                loggers.WandbLogger(
                    name=run.name, save_dir=run, version=held, project=network
                )
                if name == "wandb"
                else loggers.MLFlowLogger(
                    network, run.name, save_dir=str(run / "mlruns"), run_id=held
                )
            )
        except Exception as error:  # of the tracker's own kinds
            reason = " ".join(str(error).split())
            raise unusable(
                f"{name} cannot be started: {reason}",
                f"check its own settings, such as `{_SETTINGS[name]}`",
                "A1107",
            ) from None

    def send(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Send the metrics of an epoch.

        Raises:
            Exception: of the tracker's own kinds, if it cannot be reached.
        """
        self._logger.log_metrics(metrics, epoch)
        held = _held(self._run)
        if self.name not in held:
            held[self.name] = self._logger.version
            files.write(self._run / _HELD, f"{json.dumps(held)}\n".encode())

    def close(self, *, finished: bool) -> None:
        """End the tracker's run.

        Raises:
            Exception: of the tracker's own kinds, if it cannot be reached.
        """
        self._logger.finalize("success" if finished else "KILLED")


def _held(run: Path) -> dict[str, str]:
    """Return the trackers' ids of a run."""
    try:
        held = json.loads((run / _HELD).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(held, dict):
        return {}
    return {name: one for name, one in held.items() if isinstance(one, str)}
