"""What the analysis predicts about a run before its first step."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from typing import Any, Final, NamedTuple

from archdsl.backends.bench.machine import (
    MEASURED,
    known_device,
    launch_seconds,
    measured_device,
)
from archdsl.backends.text import align, show_bytes
from archdsl.backends.views.time import show_seconds
from archdsl.ir import Network
from archdsl.passes.analysis import analyze
from archdsl.passes.devices import Device

from .data import Data
from .recipe import Recipe

# How long each rate of this machine is measured.
_SECONDS: Final = 0.03


class Outlook(NamedTuple):
    """What the analysis predicts about a run.

    Attributes:
        params: number of parameters.
        trainable: number of trainable ones.
        batch: images that a process computes at once.
        step_bytes: peak memory of a training step, in float32.
        memory_bytes: the device's memory; None if it is not known.
        largest_batch: the most images that fit into it; None if it is not known.
        epoch_seconds: lower bound for the time of an epoch, by the roofline model.
        device: name of the device; ``measured`` is this machine.
    """

    params: int
    trainable: int
    batch: int
    step_bytes: int
    memory_bytes: int | None
    largest_batch: int | None
    epoch_seconds: float
    device: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return self._asdict()


def outlook(
    network: Network,
    recipe: Recipe,
    data: Data,
    *,
    world: int,
    memory_bytes: int | None,
    device: Device,
    recompute: bool,
) -> Outlook:
    """Predict memory and time of a run.

    Args:
        network: the network.
        recipe: how it is trained.
        data: the images.
        world: number of processes.
        memory_bytes: memory of the device of each process.
        device: a device to estimate the time for.
        recompute: whether the backward pass recomputes blocks.
    """
    how = recipe.optimizer
    kind = "sgd" if not how.momentum else "momentum"
    if how.kind != "sgd":  # two moments per parameter, as Adam has
        kind = "adam"
    images = len(data.train.labels)
    batch = max(min(recipe.batch, images) // world // recipe.accumulate, 1)
    facts = analyze(
        network,
        batch=batch,
        optimizer=kind,
        mode="train",
        budget=memory_bytes,
        recompute=recompute,
    )
    # A device without a rate for bfloat16 is assumed to gain nothing from it.
    dtype = recipe.precision if recipe.precision in device.matrix else "float32"
    timed = analyze(network, batch=batch, mode="train", device=device, dtype=dtype).time
    assert timed is not None  # as a device is given
    return Outlook(
        facts.params,
        facts.trainable,
        batch,
        facts.memory.training_peak_bytes,
        memory_bytes,
        None if facts.fits is None else facts.fits.training_batch,
        timed.seconds * images / world / batch,
        device.name,
    )


def lines(known: Outlook, recipe: Recipe, data: Data, steps: int) -> list[str]:
    """Return the lines that the user sees before the first step.

    Args:
        known: the prediction.
        recipe: how the network is trained.
        data: the images.
        steps: steps of an epoch.
    """
    numbers = f"{len(data.train.labels):,} to train with, {len(data.test.labels):,} to "
    numbers += f"test with, {len(data.classes):,} classes"
    size = min(recipe.batch, len(data.train.labels))
    each = f"{steps:,} an epoch, {steps * recipe.epochs:,} in all, each of "
    each += f"{size:,} images"
    memory = f"{show_bytes(known.step_bytes)} for {known.batch:,} images at once"
    if recipe.precision == "bfloat16":
        memory += ", in float32; bfloat16 needs less"
    rows = [
        ("parameters", f"{known.params:,}"),
        ("images", numbers),
        ("steps", each),
        ("memory", memory),
    ]
    if known.memory_bytes is not None:
        room = show_bytes(known.memory_bytes)
        rows.append(("largest batch", f"{known.largest_batch:,} images in {room}"))
    where = f"on {known.device}"
    if known.device == MEASURED:
        where = "at the rates that this machine just reached"
    shown = show_seconds(known.epoch_seconds)
    rows.append(("an epoch", f"{shown} or more {where}, by the roofline"))
    found = align(rows)
    if known.largest_batch is not None and known.batch > known.largest_batch:
        found.append(
            "note: a step needs more memory than there is: use smaller batches, "
            "--recompute, or `--set accumulate=2`"
        )
    return found


@cache
def this_device(processor: str, precision: str) -> Device:
    """Return the device that torch computes on, measured if it is not a known one.

    Args:
        processor: ``cpu`` or ``cuda``.
        precision: the recipe's.
    """
    known = known_device() if processor == "cuda" else None
    if known is not None:
        return known
    # On a CPU, no more memory than such a process needs anyway.
    size = (4096, 1 << 26) if processor == "cuda" else (1024, 1 << 22)
    dtypes = tuple(dict.fromkeys(("float32", precision)))
    found = measured_device(processor, _SECONDS, *size, dtypes=dtypes)
    launch = launch_seconds(processor, _SECONDS)
    return found._replace(launch_seconds=launch)


def memory_of(processor: str) -> int | None:
    """Return the bytes of memory of the processor that torch uses; None if unknown."""
    import torch

    if processor == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
