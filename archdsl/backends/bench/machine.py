"""The rates that this machine reaches, for the roofline of what no table has."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from archdsl.passes.devices import Device, devices

# What the device is called that was measured.
MEASURED: Final = "measured"


def least_seconds(
    run: Callable[[], object],
    where: str,
    seconds: float,
    calls: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the least seconds of a call, of several measured together.

    Args:
        run: the call.
        where: ``cpu`` or ``cuda``.
        seconds: how long to go on; at least three rounds are measured.
        calls: the calls of a round.
        clock: what measures.
    """
    run()
    found, end = float("inf"), time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        synchronize(where)
        start = clock()
        for _ in range(calls):
            run()
        synchronize(where)
        found = min(found, (clock() - start) / calls)
        rounds += 1
    return found


def synchronize(where: str) -> None:
    """Wait for what runs on a GPU."""
    import torch

    if where == "cuda":
        torch.cuda.synchronize()


def measured_device(
    where: str,
    seconds: float,
    side: int,
    copied: int,
    clock: Callable[[], float] = time.perf_counter,
    dtypes: Sequence[str] = ("float32",),
) -> Device:
    """Return a device with the rates that simple calls of torch reach.

    Args:
        where: ``cpu`` or ``cuda``.
        seconds: how long to measure each.
        side: the side of the matrices that are multiplied.
        copied: how many float32 are copied.
        clock: what measures.
        dtypes: types of the matrices, ``float32`` first.
    """
    import torch

    # Without torch's generator, which is not ours to move.
    matrix = {}
    for name in dtypes:
        dtype = getattr(torch, name)
        one, other = (torch.ones(side, side, device=where, dtype=dtype) for _ in "ab")
        spent = least_seconds(
            partial(torch.matmul, one, other), where, seconds, clock=clock
        )
        matrix[name] = 2 * side**3 / spent
    source = torch.ones(copied, device=where)
    target = torch.empty_like(source)
    copy = least_seconds(lambda: target.copy_(source), where, seconds, clock=clock)
    return Device(
        name=MEASURED,
        title="this machine",
        matrix=matrix,
        # The same units of a CPU do both.
        vector={"float32": matrix["float32"]},
        bandwidth=2 * source.nbytes / copy,
        source="measured",
    )


def launch_seconds(
    where: str, seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the least time from one call of torch to the next."""
    import torch

    tiny = torch.ones(1, device=where)
    return least_seconds(
        lambda: torch.relu(tiny), where, seconds, calls=2000, clock=clock
    )


def known_device() -> Device | None:
    """Return the device of the table for torch's GPU; None if it is not in it."""
    import torch

    name = torch.cuda.get_device_name()
    memory = torch.cuda.get_device_properties(0).total_memory
    words = name.lower().replace("-", " ").split()
    for found in devices().values():
        chip = found.name.removeprefix("rtx-").partition("-")[0]
        near = found.memory_bytes and abs(found.memory_bytes / memory - 1) < 0.15
        if chip in words and near and ("PCIe" in found.title) == ("pcie" in words):
            return found
    return None
