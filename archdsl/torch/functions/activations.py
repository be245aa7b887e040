"""Functions that work on each number alone, softmax, and dropout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from .function import Function, Module, ShapedCall
from .positions import UnknownDependence, over_all
from .rules import inputs, outputs

if TYPE_CHECKING:
    from torch import Tensor


def _softmax(x: Tensor, dim: int | None = None, **_: Any) -> Tensor:
    if dim is None:
        raise UnknownDependence("softmax without a dimension")
    return over_all(x, dim)


def _thop_softmax(call: ShapedCall) -> int:
    # Exponentials and divisions of all features, and the sums of all but one.
    features = (1, *call.input)[int(call.arguments["dim"])]
    return inputs(call) // features * (3 * features - 1)


_PLACE: Final = ", inplace=False"
# Patched by calflops, and by ptflops with its backend `pytorch`.
_PATCHED: Final = {"calflops": inputs, "ptflops_module": inputs}
_HOOKED: Final = {"ptflops_module": outputs}

ENTRIES: Final = (
    Function("F.relu", f"input{_PLACE}", "place", _PATCHED, "output"),
    Module("nn.ReLU", "inplace=False", "F.relu", _HOOKED),
    # nn.ReLU6 calls hardtanh, which no tool counts as a function.
    Function("F.relu6", f"input{_PLACE}", "place", _PATCHED, "copies"),
    Function("F.hardtanh", None, "place", {}, "copies"),
    Module("nn.ReLU6", "inplace=False", "F.hardtanh", _HOOKED),
    Module(
        "nn.Hardtanh",
        f"min_val=-1.0, max_val=1.0{_PLACE}, min_value=None, max_value=None",
        "F.hardtanh",
    ),
    Function(
        "F.leaky_relu",
        f"input, negative_slope=0.01{_PLACE}",
        "place",
        {"calflops": inputs},
        "output",
    ),
    Module("nn.LeakyReLU", f"negative_slope=0.01{_PLACE}", "F.leaky_relu", _HOOKED),
    Function("F.prelu", None, "place", _PATCHED),
    Module(
        "nn.PReLU",
        "num_parameters=1, init=0.25",
        "F.prelu",
        {**_HOOKED, "thop": inputs, "ultralytics_thop": inputs},
    ),
    Function("F.elu", f"input, alpha=1.0{_PLACE}", "place", _PATCHED, "output"),
    Module("nn.ELU", f"alpha=1.0{_PLACE}", "F.elu", _HOOKED),
    Function("F.selu", f"input{_PLACE}", "place", {}, "output"),
    Module("nn.SELU", "inplace=False", "F.selu", {}),
    Function("F.gelu", "input, approximate='none'", "place", _PATCHED),
    Module("nn.GELU", "approximate='none'", "F.gelu", _HOOKED),
    Function("F.silu", f"input{_PLACE}", "place", _PATCHED, "copies"),
    Module("nn.SiLU", "inplace=False", "F.silu", {}),
    Function("F.mish", f"input{_PLACE}", "place", {}, "copies"),
    Module("nn.Mish", "inplace=False", "F.mish", {}),
    Function("F.hardsigmoid", f"input{_PLACE}", "place", {}, "copies"),
    Module("nn.Hardsigmoid", "inplace=False", "F.hardsigmoid", {}),
    Function("F.hardswish", f"input{_PLACE}", "place", {}, "copies"),
    Module("nn.Hardswish", "inplace=False", "F.hardswish", {}),
    Function("torch.sigmoid", "input", "place", {}),
    Module("nn.Sigmoid", "", "torch.sigmoid", {}),
    Function("torch.tanh", "input", "place", {}),
    Module("nn.Tanh", "", "torch.tanh", {}),
    Function("torch.abs torch.square torch.sqrt torch.rsqrt", "input", "place", {}),
    Function("torch.reciprocal", "input", "place", {}),
    Function("F.softmax", "input, dim=None", _softmax, _PATCHED),
    Module(
        "nn.Softmax",
        "dim=None",
        "F.softmax",
        {"thop": _thop_softmax, "ultralytics_thop": _thop_softmax},
        ordered=True,
    ),
    Function("F.dropout", None, "place", {}),
    Module("nn.Dropout", f"p=0.5{_PLACE}", "F.dropout{axes}", {}),
    Function("F.alpha_dropout", None, "place", {}),
    Module("nn.AlphaDropout", f"p=0.5{_PLACE}", "F.alpha_dropout", {}),
    # No layer kind is one of these; an `op` may name them.
    Module("nn.CELU", f"alpha=1.0{_PLACE}", "F.celu"),
    Module("nn.FeatureAlphaDropout", f"p=0.5{_PLACE}", "F.feature_alpha_dropout"),
    Module("nn.RReLU", f"lower=0.125, upper=0.3333333333333333{_PLACE}", "F.rrelu"),
    Function("F.threshold", inplace="copies"),
    Module("nn.Threshold", f"threshold, value{_PLACE}", "F.threshold"),
)
