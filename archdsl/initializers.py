"""How parameters can start: the schemes that `init` statements name.

Sources: Glorot & Bengio 2010 (xavier); He et al. 2015, "Delving deep into
rectifiers" (kaiming).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Scheme(NamedTuple):
    """One scheme.

    Attributes:
        function: name in `torch.nn.init`.
        arguments: what it takes, by name: type and help. All may be left out.
        help: one line for the manual.
    """

    function: str
    arguments: Mapping[str, tuple[type, str]]
    help: str


_GAIN = {"gain": (float, "factor on the scale")}
_KAIMING = {
    "mode": (str, '"fan_in" or "fan_out"'),
    "nonlinearity": (str, 'what follows, such as "relu" or "linear"'),
    "a": (float, "slope of a leaky relu"),
}

SCHEMES: dict[str, Scheme] = {
    "constant": Scheme(
        "constant_", {"val": (float, "the value")}, "one value everywhere"
    ),
    "kaiming_normal": Scheme("kaiming_normal_", _KAIMING, "normal, variance 2 / fan"),
    "kaiming_uniform": Scheme(
        "kaiming_uniform_", _KAIMING, "uniform, variance 2 / fan"
    ),
    "normal": Scheme(
        "normal_",
        {"mean": (float, "mean"), "std": (float, "standard deviation")},
        "normal",
    ),
    "trunc_normal": Scheme(
        "trunc_normal_",
        {
            "mean": (float, "mean"),
            "std": (float, "standard deviation"),
            "a": (float, "lower bound"),
            "b": (float, "upper bound"),
        },
        "normal, cut off at a and b (-2 and 2)",
    ),
    "uniform": Scheme(
        "uniform_",
        {"a": (float, "lower bound"), "b": (float, "upper bound")},
        "uniform",
    ),
    "xavier_normal": Scheme(
        "xavier_normal_", _GAIN, "normal, variance 2 / (fan_in + fan_out)"
    ),
    "xavier_uniform": Scheme(
        "xavier_uniform_", _GAIN, "uniform, variance 2 / (fan_in + fan_out)"
    ),
}
