"""The memory that optimisers keep between steps, and allocate during a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

OptimizerName = Literal["sgd", "momentum", "adam"]
OPTIMIZERS: Final[tuple[str, ...]] = get_args(OptimizerName)
# Adam counts its steps for each parameter, in a 32-bit float.
_COUNT_BYTES: Final = 4


def check_optimizer(optimizer: str) -> None:
    """Refuse the name of an unknown optimiser.

    Raises:
        ValueError: if there is no such optimiser.
    """
    if optimizer not in OPTIMIZERS:
        names = ", ".join(OPTIMIZERS)
        raise ValueError(f"optimizer must be one of {names}, not {optimizer}")


def state_bytes(parameters: int, tensors: int, optimizer: str) -> int:
    """Return the bytes that an optimiser keeps between steps.

    Args:
        parameters: bytes of all parameters that get a gradient.
        tensors: their number.
        optimizer: ``sgd`` keeps nothing, ``momentum`` one momentum a parameter, and
            ``adam`` two moments and a count of its steps.

    Raises:
        ValueError: if there is no such optimiser.
    """
    check_optimizer(optimizer)
    if optimizer == "sgd":
        return 0
    if optimizer == "momentum":
        return parameters
    return 2 * parameters + _COUNT_BYTES * tensors


def step_bytes(parameters: Sequence[int], optimizer: str) -> int:
    """Return the most bytes that an optimiser allocates during a step and frees again.

    It takes one parameter after the other, as torch does by default on a CPU. Adam
    computes a root and a quotient for each, and still holds the previous parameter's
    quotient. If torch updates all at once (`foreach`), these exist for all parameters
    together.
    """
    if optimizer != "adam":
        return 0
    before = [0, *parameters]
    pairs = zip(before, parameters, strict=False)
    return max([last + 2 * this for last, this in pairs], default=0)
