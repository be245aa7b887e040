"""How a network is run, with the defaults of every command and function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NamedTuple, TypedDict, get_args

from .dtypes import ITEM_BYTES
from .optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from .devices import Device

Mode = Literal["eval", "train"]
MODES: Final[tuple[str, ...]] = get_args(Mode)


class Setting(NamedTuple):
    """How the network is run.

    Attributes:
        batch: batch size, for memory and memory traffic.
        dtype: data type of parameters and activations, for memory and memory traffic.
        optimizer: optimiser whose state is counted as memory: ``sgd``, ``momentum`` or
            ``adam``.
        mode: the mode whose operations are counted: ``eval`` for inference, or
            ``train`` for the forward pass in training, including auxiliary heads.
        recompute: whether the backward pass recomputes blocks, for memory.
        tool: a tool whose count to compute as well; see `conventions.TOOLS`.
        device: the device for which to estimate the time, if any.
        budget: bytes of memory for which to find the largest batch, if any.
    """

    batch: int = 1
    dtype: str = "float32"
    optimizer: str = "sgd"
    mode: str = "eval"
    recompute: bool = False
    tool: str | None = None
    device: Device | None = None
    budget: int | None = None


class Given(TypedDict, total=False):
    """The parts of a `Setting` by name, where the others keep their defaults."""

    batch: int
    dtype: str
    optimizer: str
    mode: str
    recompute: bool
    tool: str | None
    device: Device | None
    budget: int | None


DEFAULT: Final = Setting()


def checked(setting: Setting) -> Setting:
    """Return a setting if every part of it has a value that is allowed.

    Raises:
        ValueError: if the batch, dtype, optimiser, mode or tool is invalid, or if the
            device has no rate for the dtype.
    """
    from archdsl.torch.counting import TOOLS

    if setting.batch < 1:
        raise ValueError(f"batch must be 1 or more, not {setting.batch}")
    for what, value, known in (
        ("dtype", setting.dtype, ITEM_BYTES),
        ("optimizer", setting.optimizer, OPTIMIZERS),
        ("mode", setting.mode, MODES),
        ("tool", setting.tool or "mac", TOOLS),
    ):
        if value not in known:
            raise ValueError(f"{what} must be one of {', '.join(known)}, not {value}")
    if setting.device is not None:
        setting.device.matrix_rate(setting.dtype)
    return setting
