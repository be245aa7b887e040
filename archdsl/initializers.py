"""Initialisation schemes, which `init` statements name.

Sources: Glorot & Bengio 2010 (xavier); He et al. 2015, "Delving deep into
rectifiers" (kaiming).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Scheme(NamedTuple):
    """An initialisation scheme.

    Attributes:
        function: name in `torch.nn.init`.
        arguments: its arguments by name, with type and help. All are optional.
        help: one line for the manual.
    """

    function: str
    arguments: Mapping[str, tuple[type, str]]
    help: str


_GAIN = {"gain": (float, "factor for the scale")}
_KAIMING = {
    "mode": (str, '"fan_in" or "fan_out"'),
    "nonlinearity": (str, 'activation that follows, such as "relu" or "linear"'),
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

_MODES = ("fan_in", "fan_out")


def refusal(scheme: str, arguments: Mapping[str, Any]) -> str:
    """Return why torch would refuse such arguments of a scheme, or an empty text."""
    if arguments.get("mode", _MODES[0]) not in _MODES:
        return f'`mode` is "fan_in" or "fan_out", not "{arguments["mode"]}"'
    if arguments.get("nonlinearity") in _MODES:
        return f'`nonlinearity` cannot be "{arguments["nonlinearity"]}"'
    for name in ("std", "gain"):
        if arguments.get(name, 1.0) < 0:
            return f"`{name}` cannot be below 0"
    if scheme == "trunc_normal" and arguments.get("std") == 0:
        return "`std` cannot be 0"
    bounds = {"uniform": (0.0, 1.0), "trunc_normal": (-2.0, 2.0)}
    if scheme in bounds:
        low, high = bounds[scheme]
        low, high = arguments.get("a", low), arguments.get("b", high)
        if low > high:
            return f"the lower bound {low:g} is above the upper bound {high:g}"
    return ""
