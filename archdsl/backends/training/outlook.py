"""What the analysis knows of a run before its first step."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, NamedTuple

from archdsl.backends.text import align, show_bytes
from archdsl.backends.views.time import show_seconds
from archdsl.ir import Network
from archdsl.passes.analysis import analyze
from archdsl.passes.devices import Device

from .data import Data
from .recipe import Recipe


class Outlook(NamedTuple):
    """What the analysis knows of a run.

    Attributes:
        params: number of parameters.
        trainable: how many of them the layers let train.
        batch: images that a process computes at once.
        step_bytes: peak of memory in a training step, in float32.
        memory_bytes: the device's memory; None if it is not known.
        largest_batch: images that fit into it at once; None if it is not known.
        epoch_seconds: least time of an epoch by the roofline; None without a device.
        device: that device's name.
    """

    params: int
    trainable: int
    batch: int
    step_bytes: int
    memory_bytes: int | None
    largest_batch: int | None
    epoch_seconds: float | None
    device: str | None

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
    device: Device | None,
    recompute: bool,
) -> Outlook:
    """Return what the analysis knows of a run.

    Args:
        network: the network.
        recipe: how it is trained.
        data: the images.
        world: number of processes.
        memory_bytes: memory of the device of each process.
        device: a device to estimate the time for.
        recompute: whether the backward pass runs blocks again.
    """
    how = recipe.optimizer
    kind = "sgd" if not how.momentum else "momentum"
    if how.kind != "sgd":  # with two moments, as adam has
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
    seconds = None
    if device is not None:
        timed = analyze(network, batch=batch, mode="train", device=device)
        one = timed.time
        if one is not None:
            seconds = one.seconds * images / world / batch
    return Outlook(
        facts.params,
        facts.trainable,
        batch,
        facts.memory.training_peak_bytes,
        memory_bytes,
        None if facts.fits is None else facts.fits.training_batch,
        seconds,
        None if device is None else device.name,
    )


def lines(known: Outlook, recipe: Recipe, data: Data, steps: int) -> list[str]:
    """Return what a user reads before the first step.

    Args:
        known: what the analysis knows.
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
    if known.epoch_seconds is not None:
        shown = show_seconds(known.epoch_seconds)
        rows.append(("an epoch", f"{shown} or more on {known.device}, by the roofline"))
    return align(rows)


def memory_of(processor: str) -> int | None:
    """Return the bytes of memory of the processor that torch uses; None if unknown."""
    import torch

    if processor == "cuda":
        return int(torch.cuda.get_device_properties(0).total_memory)
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
