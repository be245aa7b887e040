"""Measuring gradients for commands, with error messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from archdsl.api import analyze
from archdsl.limits import MAX_RUN_MACS

from . import status
from .options import Command, check_run, too_large
from .terminal import Failure, Progress, without_torch

if TYPE_CHECKING:
    from archdsl.backends.torch.gradients import Gradients
    from archdsl.ir import Network

# Batch norm cannot train on a single sample where maps are 1x1.
_BATCH = 8


def runs_option(command: Command) -> Command:
    """Add --runs to a command."""
    return click.option(
        "--runs",
        type=click.IntRange(1, 1000),
        default=1,
        show_default=True,
        help="Number of runs for gradients, with seeds 0, 1, ...; shows the medians.",
    )(command)


def _check_macs(network: Network, batch: int, runs: int) -> None:
    macs = analyze(network).macs * batch * runs
    if macs > MAX_RUN_MACS:
        message = (
            f"{runs} runs of {network.name} with {batch} samples take "
            f"{macs / 1e12:,.1f} T MACs, and {MAX_RUN_MACS / 1e12:.0f} T are the most"
        )
        help = "a smaller --batch, --runs or --input takes fewer"
        raise too_large(network, message, help)


def measure_gradients(network: Network, *, batch: int, runs: int) -> Gradients:
    """Return the gradients of a network at initialisation.

    Args:
        network: the network.
        batch: the value of `--batch`; 8 samples are used if it was not given.
        runs: number of runs.

    Raises:
        SpecError: if it has too many layers or takes too many MACs.
        Failure: if torch is not installed or runs out of memory, or if the network
            cannot train on such a batch.
        UsageError: if the spec names Python code.
    """
    from archdsl.backends.torch import ForeignCode
    from archdsl.backends.torch.gradients import gradient_norms

    check_run(network)
    source = click.get_current_context().get_parameter_source("batch")
    size = _BATCH if source is ParameterSource.DEFAULT else batch
    _check_macs(network, size, runs)
    try:
        with Progress(1, always=True) as progress:
            progress.step(f"running {network.name} {runs} times")
            return gradient_norms(network, batch=size, seeds=range(runs))
    except ForeignCode as error:
        raise click.UsageError(
            f"{network.name} imports {', '.join(error.names)}, which this command "
            "does not run"
        ) from None
    except (ImportError, OSError) as error:
        raise without_torch(error, "gradients need") from None
    except ValueError as error:  # raised by batch norm for one value per channel
        message = f"{network.name} cannot train on a batch of {size}: {error}"
        raise Failure(message, status.USAGE) from None
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        message = f"there is not enough memory for {network.name} and a batch of {size}"
        raise Failure(message, status.LIMIT) from None
