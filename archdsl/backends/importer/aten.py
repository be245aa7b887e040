"""Operations of PyTorch's core (`torch.ops.aten`) as the functions that modules call.

A program of torch.export contains `aten.conv2d` where the module's code has `F.conv2d`.
Most have the same name and arguments in both. Those of the table below do not. Any
other operation is refused, since some have effects outside the network: `from_file`,
for example, reads files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from archdsl.backends.importer.calls import BATCH

Arguments = dict[str, Any]
AtenFunction = Callable[[Arguments], Any]

# Functions of torch with the same arguments, by the name of their module.
_SAME: Final = {
    "torch": (
        *("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d"),
        *("conv_transpose3d", "sigmoid", "tanh", "prelu", "abs", "sqrt", "square"),
        *("flatten", "permute", "transpose", "unflatten", "chunk", "channel_shuffle"),
        *("pixel_shuffle", "pixel_unshuffle", "exp", "neg", "amax", "reciprocal"),
        *("rsqrt", "erf", "clamp", "roll", "flip", "bernoulli", "relu", "softmax"),
    ),
    "F": (
        *("linear", "silu", "mish", "hardswish", "hardsigmoid", "elu", "selu"),
        *("celu", "leaky_relu", "gelu", "softplus", "max_pool1d", "max_pool2d"),
        *("max_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d", "relu6"),
        *("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"),
        *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d"),
        *("layer_norm", "group_norm", "pad", "relu"),
    ),
}
# Arguments that the public functions do not have; they change no value.
_LESS: Final = ("cudnn_enabled", "cudnn_enable", "memory_format", "generator")
_NOTHING: Final = (
    *("contiguous", "clone", "detach", "detach_", "alias", "lift_fresh_copy"),
    *("_to_copy", "to"),
)


def known() -> dict[str, AtenFunction]:
    """Return the function for each operation, by its name without the overload."""
    import torch
    from torch.nn import functional

    homes = {"torch": torch, "F": functional}
    found: dict[str, AtenFunction] = {}
    for home, names in _SAME.items():
        for name in names:
            function = getattr(homes[home], name, None)
            if function is not None:
                found[name] = _called(function)
    found.update(dict.fromkeys(_NOTHING, lambda a: a["input"]))
    found.update(_OTHERS)
    for name, one in list(found.items()):
        found.setdefault(f"{name}_", one)  # in place; later operations read the result
    return found


def _called(function: Callable[..., Any]) -> AtenFunction:
    def call(a: Arguments) -> Any:
        given = {name: value for name, value in a.items() if name not in _LESS}
        return function(given.pop("input"), **given)

    return call


# ---- arguments that differ ------------------------------------------------------


def _batch_norm(a: Arguments) -> Any:
    from torch.nn import functional as F

    return F.batch_norm(
        a["input"],
        a["running_mean"],
        a["running_var"],
        a["weight"],
        a["bias"],
        a.get("training", False),
        a["momentum"],
        a["eps"],
    )


def _instance_norm(a: Arguments) -> Any:
    from torch.nn import functional as F

    return F.instance_norm(
        a["input"],
        a["running_mean"],
        a["running_var"],
        a["weight"],
        a["bias"],
        a["use_input_stats"],
        a["momentum"],
        a["eps"],
    )


def _dropout(name: str) -> AtenFunction:
    def call(a: Arguments) -> Any:
        from torch.nn import functional as F

        training = a.get("train", False)
        return getattr(F, name)(a["input"], a["p"], training=training)

    return call


def _hardtanh(a: Arguments) -> Any:
    from torch.nn import functional as F

    low, high = a.get("min_val", -1.0), a.get("max_val", 1.0)
    if (low, high) == (0, 6):
        return F.relu6(a["input"])
    return F.hardtanh(a["input"], low, high)


def _sum(a: Arguments) -> Any:
    alpha = a.get("alpha", 1)
    return a["input"] + (a["other"] if alpha == 1 else a["other"] * alpha)


def _difference(a: Arguments) -> Any:
    alpha = a.get("alpha", 1)
    return a["input"] - (a["other"] if alpha == 1 else a["other"] * alpha)


def _reversed_difference(a: Arguments) -> Any:
    return -1.0 * a["input"] + a["other"]


def _mean(a: Arguments) -> Any:
    return a["input"].mean(a["dim"], keepdim=a.get("keepdim", False))


def _cat(a: Arguments) -> Any:
    import torch

    return torch.cat(a["tensors"], a.get("dim", 0))


def _softmax(a: Arguments) -> Any:
    from torch.nn import functional as F

    return F.softmax(a["input"], a["dim"])


def _sizes(a: Arguments, name: str) -> list[int]:
    """Return sizes with the batch size of the replay in place of the file's."""
    sizes = list(a[name])
    batch = a.get("batch")
    if batch is not None and sizes and sizes[0] == batch:
        sizes[0] = BATCH
    return sizes


def _view(a: Arguments) -> Any:
    name = "size" if "size" in a else "shape"
    return a["input"].reshape(_sizes(a, name))


def _expand(a: Arguments) -> Any:
    return a["input"].expand(_sizes(a, "size"))


def _empty(a: Arguments) -> Any:
    import torch

    return torch.empty(_sizes(a, "size"), device="meta")


def _bernoulli(a: Arguments) -> Any:
    return a["input"].bernoulli_(a["p"])


def _transposed(a: Arguments) -> Any:
    return a["input"].t()


def _slice(a: Arguments) -> Any:
    dim, step = a.get("dim", 0), a.get("step", 1)
    start, end = a.get("start"), a.get("end")
    whole: list[slice] = [slice(None)] * (dim % a["input"].dim())
    size = a["input"].shape[dim]
    if end is not None and end >= size:
        end = None
    return a["input"][(*whole, slice(start, end, step))]


def _upsample(mode: str) -> AtenFunction:
    def call(a: Arguments) -> Any:
        from torch.nn import functional as F

        more = {} if mode == "nearest" else {"align_corners": a["align_corners"]}
        factors = a.get("scale_factors")
        if factors is None:
            scales = [a.get(name) for name in ("scales", "scales_d")]
            scales += [a.get("scales_h"), a.get("scales_w")]
            factors = [one for one in scales if one is not None] or None
        size = a.get("output_size")
        if factors is not None:
            return F.interpolate(a["input"], scale_factor=factors, mode=mode, **more)
        return F.interpolate(a["input"], size=size, mode=mode, **more)

    return call


def _constant_pad(a: Arguments) -> Any:
    from torch.nn import functional as F

    return F.pad(a["input"], list(a["pad"]), "constant", a.get("value", 0))


def _split(a: Arguments) -> Any:
    import torch

    sizes = a["split_size"] if "split_size" in a else a["split_sizes"]
    return torch.split(a["input"], sizes, a.get("dim", 0))


# ---- operations of decomposed programs ------------------------------------------


def _convolution(a: Arguments) -> Any:
    from torch.nn import functional as F

    axes = a["input"].dim() - 2
    more = {name: a[name] for name in ("stride", "padding", "dilation", "groups")}
    if a.get("transposed"):
        function = getattr(F, f"conv_transpose{axes}d")
        more["output_padding"] = a["output_padding"]
    else:
        function = getattr(F, f"conv{axes}d")
    return function(a["input"], a["weight"], a["bias"], **more)


def _first(function: AtenFunction) -> AtenFunction:
    """Return an operation that has more results than the public function."""
    return lambda a: (function(a),)


def _addmm(a: Arguments) -> Any:
    from torch.nn import functional as F

    if a.get("beta", 1) != 1 or a.get("alpha", 1) != 1:
        raise ValueError("a sum with factors is not a linear layer")
    return F.linear(a["mat1"], _untransposed(a["mat2"]), a["input"])


def _mm(a: Arguments) -> Any:
    from torch.nn import functional as F

    return F.linear(a["input"], _untransposed(a["mat2"]))


def _untransposed(weight: Any) -> Any:
    """Return the weight whose transpose is given.

    Raises:
        ValueError: if it is not a transpose.
    """
    weight = getattr(weight, "of", None)
    if weight is None:
        raise ValueError("the second factor is not the transpose of a weight")
    return weight


class _Transpose:
    """The transpose of a weight, which is only used in products."""

    def __init__(self, of: Any) -> None:
        self.of = of


def _permute(a: Arguments) -> Any:
    from torch import nn

    dims = tuple(a.get("dims", (1, 0)))
    if isinstance(a["input"], nn.Parameter) and dims == (1, 0):
        return _Transpose(a["input"])
    return a["input"].permute(dims)


def _norm(name: str, sizes: str) -> AtenFunction:
    def call(a: Arguments) -> Any:
        from torch.nn import functional as F

        function = getattr(F, name)
        return (function(a["input"], a[sizes], a["weight"], a["bias"], a["eps"]),)

    return call


def _max_pool(a: Arguments) -> Any:
    from torch.nn import functional as F

    axes = a["input"].dim() - 2
    given = {name: value for name, value in a.items() if name != "input"}
    given.pop("batch", None)
    return (getattr(F, f"max_pool{axes}d")(a["input"], **given),)


def _average(a: Arguments) -> Any:
    from torch.nn import functional as F

    axes = a["input"].dim() - 2
    return getattr(F, f"adaptive_avg_pool{axes}d")(a["input"], a["output_size"])


_OTHERS: Final[dict[str, AtenFunction]] = {
    "batch_norm": _batch_norm,
    "_native_batch_norm_legit_no_training": _first(_batch_norm),
    "instance_norm": _instance_norm,
    "native_layer_norm": _norm("layer_norm", "normalized_shape"),
    "dropout": _dropout("dropout"),
    "feature_dropout": _dropout("dropout2d"),
    "alpha_dropout": _dropout("alpha_dropout"),
    "hardtanh": _hardtanh,
    "add": _sum,
    "sub": _difference,
    "rsub": _reversed_difference,
    "mul": lambda a: a["input"] * a["other"],
    "div": lambda a: a["input"] / a["other"],
    "pow": lambda a: a["input"] ** a["exponent"],
    "mean": _mean,
    "cat": _cat,
    "softmax": _softmax,
    "_softmax": _softmax,
    "view": _view,
    "_unsafe_view": _view,
    "reshape": _view,
    "expand": _expand,
    "empty": _empty,
    "bernoulli": _bernoulli,
    "t": _permute,
    "permute": _permute,
    "unsqueeze": lambda a: a["input"].unsqueeze(a["dim"]),
    "squeeze": lambda a: a["input"].squeeze(*([a["dim"]] if "dim" in a else [])),
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "upsample_nearest1d": _upsample("nearest"),
    "upsample_nearest2d": _upsample("nearest"),
    "upsample_nearest3d": _upsample("nearest"),
    "upsample_linear1d": _upsample("linear"),
    "upsample_bilinear2d": _upsample("bilinear"),
    "upsample_trilinear3d": _upsample("trilinear"),
    "constant_pad_nd": _constant_pad,
    "convolution": _convolution,
    "addmm": _addmm,
    "mm": _mm,
    "max_pool2d_with_indices": _max_pool,
    "max_pool3d_with_indices": _max_pool,
    "_adaptive_avg_pool2d": _average,
    "_adaptive_avg_pool3d": _average,
}
# Operations whose sizes include that of the batch.
SIZED: Final = ("view", "_unsafe_view", "reshape", "expand", "empty")
