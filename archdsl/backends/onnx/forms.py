"""What torch's callables are in ONNX, one function for each.

Layer kinds declare which torch callable they are, and this table says what each
callable is in ONNX. So a new kind needs nothing here if its callables are in the table,
and one function for each callable that is not. Names leave out the number of spatial
axes: `nn.Conv` stands for `nn.Conv1d`, `nn.Conv2d` and `nn.Conv3d`, and nothing here
depends on that number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from archdsl.backends.onnx.graph import LayerCall
from archdsl.layer import same_pads
from archdsl.spectral import WRAPPER, within
from archdsl.values import Last, TorchCall, TorchForm, without_axes

Emit = Callable[[LayerCall], str]
# The reshape of a bare parameter, so that it broadcasts over a feature map.
_VIEW: Final = re.compile(r"\.view\([^)]*\)")
# As the end of a slice: up to the end of the axis, whatever its size.
_LAST: Final = 2**31 - 1


class OnnxForm(NamedTuple):
    """How a torch callable is written in ONNX.

    Attributes:
        emit: adds the nodes, and returns the name of the output.
        names: the names of the parameters that may be given by position.
    """

    emit: Emit
    names: tuple[str, ...]


FORMS: Final[dict[str, OnnxForm]] = {}


def name_of(form: TorchForm) -> str:
    """Return the key of a layer's form in the table.

    It is the name of the module, or else the function without its named arguments. For
    a bare parameter, it is the expression that uses it.
    """
    if form.function is not None and "{self}" in form.function:
        return _VIEW.sub("", form.function)
    if form.module is not None:
        return without_axes(form.module.name)
    text = form.function or ""
    for name, _ in form.kwargs:
        text = text.replace(f", {name}={{{name}}}", "")
    return text


def _form(name: str, *names: str) -> Callable[[Emit], Emit]:
    """Add a function to the table."""

    def enter(emit: Emit) -> Emit:
        FORMS[name] = OnnxForm(emit, names)
        return emit

    return enter


# ---- convolutions and linear layers ------------------------------------------------


@_form(WRAPPER)
def _replaced(c: LayerCall) -> str:
    """Emit the wrapped layer; its weight is the one computed by the wrapper."""
    made = within(TorchCall(WRAPPER, c.args))
    form = FORMS[without_axes(made.name)]
    c.bind(made, form.names)
    return form.emit(c)


@_form("nn.Conv", "in_channels", "out_channels")
@_form("StdConv", "in_channels", "out_channels")
@_form("ScaledStdConv", "in_channels", "out_channels")
def _conv(c: LayerCall) -> str:
    pads, mode = _pads_of(c), c.argument("padding_mode", "zeros")
    if mode == "zeros":
        return _convolve(c, c.x.name, *_weight_and_bias(c), pads=_begins_and_ends(pads))
    return _convolve(c, _continued(c, pads, mode), *_weight_and_bias(c))


@_form("SameConv", "in_channels", "out_channels")
@_form("SameStdConv", "in_channels", "out_channels")
@_form("SameScaledStdConv", "in_channels", "out_channels")
def _same_conv(c: LayerCall) -> str:
    return _convolve(c, c.x.name, *_weight_and_bias(c), **_same(c))


def _pads_of(c: LayerCall) -> list[tuple[int, int]]:
    kernel, dilation = c.per_axis("kernel_size"), c.per_axis("dilation", 1)
    if c.argument("padding", 0) == "same":  # only without a stride
        return [same_pads(1, k, 1, d) for k, d in zip(kernel, dilation, strict=True)]
    return [(pad, pad) for pad in c.per_axis("padding", 0)]


def _convolve(c: LayerCall, *inputs: str, **padding: Any) -> str:
    return c.op(
        "Conv",
        *inputs,
        kernel_shape=c.per_axis("kernel_size"),
        strides=c.per_axis("stride", 1),
        dilations=c.per_axis("dilation", 1),
        group=c.argument("groups", 1),
        **padding,
    )


@_form("nn.ConvTranspose", "in_channels", "out_channels")
def _conv_transposed(c: LayerCall) -> str:
    return c.op(
        "ConvTranspose",
        c.x,
        *_weight_and_bias(c),
        kernel_shape=c.per_axis("kernel_size"),
        strides=c.per_axis("stride", 1),
        pads=c.per_axis("padding", 0) * 2,
        output_padding=c.per_axis("output_padding", 0),
        dilations=c.per_axis("dilation", 1),
        group=c.argument("groups", 1),
    )


@_form("nn.Linear")
def _linear(c: LayerCall) -> str:
    if c.x.rank == 2:
        return c.op("Gemm", c.x, *_weight_and_bias(c), transB=1)
    product = c.op("MatMul", c.x, c.weight("weight", lambda w: w.T.copy(), ".T"))
    return c.op("Add", product, c.weight("bias")) if c.has("bias") else product


def _weight_and_bias(c: LayerCall) -> list[str]:
    return [c.weight("weight"), *([c.weight("bias")] if c.has("bias") else [])]


def _same(c: LayerCall) -> dict[str, Any]:
    """Return the padding for which a stride gives ceil(size / stride) outputs."""
    windows = list(
        zip(
            c.per_axis("kernel_size"),
            c.per_axis("stride", 1),
            c.per_axis("dilation", 1),
            strict=True,
        )
    )
    if not c.x.free:
        pads = [same_pads(n, *w) for n, w in zip(c.sizes, windows, strict=True)]
        return {"pads": _begins_and_ends(pads)}
    # Runtimes refuse dilation here, and compute negative padding if the stride is
    # larger than the kernel.
    if any(d > 1 or k < s for k, s, d in windows):
        c.fixed("pads by its input's size, with windows that runtimes cannot pad")
    return {"auto_pad": "SAME_UPPER"}


def _begins_and_ends(pads: Sequence[tuple[int, int]]) -> list[int]:
    """Return padding in ONNX's order: before every axis, then after every axis."""
    return [first for first, _ in pads] + [last for _, last in pads]


# ---- pools -------------------------------------------------------------------------


@_form("nn.MaxPool")
def _max_pool(c: LayerCall) -> str:
    pads = [(pad, pad) for pad in c.per_axis("padding", 0)]
    if not c.argument("ceil_mode", False):
        return _max(c, pads=_begins_and_ends(pads))
    if c.x.free:
        _round_up(c, pads)
        return _max(c, pads=_begins_and_ends(pads), ceil_mode=1)
    return _max(c, pads=_begins_and_ends(_reaching(c, pads)))


def _round_up(c: LayerCall, pads: Sequence[tuple[int, int]]) -> None:
    """Refuse inputs of any size if the last window may begin behind the input.

    Torch leaves such a window out; older versions of ONNX do not. If n is the size, the
    last window begins before n + 2 * pad - kernel + stride, where the kernel includes
    the gaps of dilation, and torch wants it before n + pad.
    """
    windows = zip(
        c.per_axis("kernel_size"),
        _stride(c),
        c.per_axis("dilation", 1),
        pads,
        strict=True,
    )
    if any(s + pad > d * (k - 1) + 1 for k, s, d, (pad, _) in windows):
        c.fixed("rounds its output's size up, and its last window may be outside")


@_form("SameMaxPool", "kernel_size", "stride", "dilation")
def _same_max_pool(c: LayerCall) -> str:
    return _max(c, **_same(c))


def _max(c: LayerCall, **padding: Any) -> str:
    kernel = c.per_axis("kernel_size")
    x, pads = c.x.name, padding.get("pads", [])
    if any(pad >= k for pad, k in zip(pads, kernel * 2, strict=False)):
        # Runtimes refuse padding as large as the kernel, which a dilated pool can have.
        x = _pad(c, pads, float("-inf"))
        padding["pads"] = [0] * len(pads)
    return c.op(
        "MaxPool",
        x,
        kernel_shape=kernel,
        strides=_stride(c),
        dilations=c.per_axis("dilation", 1),
        **padding,
    )


@_form("nn.AvgPool")
def _avg_pool(c: LayerCall) -> str:
    counts = c.argument("count_include_pad", True)
    pads = [(pad, pad) for pad in c.per_axis("padding", 0)]
    if not c.argument("ceil_mode", False):
        return _average(c, c.x.name, _begins_and_ends(pads), int(counts))
    # Torch never counts what a window covers beyond the padding, but may count the
    # padding itself; padding that counts is therefore added by a node of its own.
    x = c.x.name
    apart = counts and any(first for first, _ in pads)
    if c.x.free:
        if apart:
            c.fixed("rounds its output's size up and averages over padding")
        _round_up(c, pads)
        return _average(c, x, _begins_and_ends(pads), 0, ceil_mode=1)
    whole = _reaching(c, pads)
    if apart:
        x = _pad(c, _begins_and_ends(pads), 0.0)
        pairs = zip(whole, pads, strict=True)
        whole = [(0, end[1] - pad[1]) for end, pad in pairs]
    return _average(c, x, _begins_and_ends(whole), 0)


def _average(c: LayerCall, x: str, pads: list[int], counts: int, **more: Any) -> str:
    return c.op(
        "AveragePool",
        x,
        kernel_shape=c.per_axis("kernel_size"),
        strides=_stride(c),
        pads=pads,
        count_include_pad=counts,
        **more,
    )


def _stride(c: LayerCall) -> tuple[int, ...]:
    return c.per_axis("stride", c.per_axis("kernel_size"))


def _reaching(c: LayerCall, pads: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the padding, enlarged so that the last window fits in."""
    found = []
    for n, m, k, s, d, (first, last) in zip(
        c.sizes,
        c.out_sizes,
        c.per_axis("kernel_size"),
        _stride(c),
        c.per_axis("dilation", 1),
        pads,
        strict=True,
    ):
        found.append((first, max(last, (m - 1) * s + d * (k - 1) + 1 - n - first)))
    return found


@_form("nn.AdaptiveAvgPool", "output_size")
def _adaptive_average(c: LayerCall) -> str:
    return _adaptive(c, "AveragePool", "ReduceMean")


@_form("nn.AdaptiveMaxPool", "output_size")
def _adaptive_maximum(c: LayerCall) -> str:
    return _adaptive(c, "MaxPool", "ReduceMax")


def _adaptive(c: LayerCall, pool: str, reduce: str) -> str:
    """Return pooling to a given size, for which ONNX only has size 1.

    If all windows have the same size, it is an ordinary pool. Otherwise, each axis is
    split: output i of m reads the inputs floor(i * n / m) to ceil((i + 1) * n / m) - 1
    of n.
    """
    wanted = c.per_axis("output_size")
    if all(m == 1 for m in wanted):
        c.free = False
        return c.op(f"Global{pool}", c.x)
    c.fixed("pools to a given size, which ONNX has no operator for")
    pairs = list(zip(c.sizes, wanted, strict=True))
    if all(n == m for n, m in pairs):
        return c.x.name
    if all(n % m == 0 for n, m in pairs):
        window = [n // m for n, m in pairs]
        return c.op(pool, c.x, kernel_shape=window, strides=window)
    x = c.x.name
    for axis, (n, m) in zip(c.axes, pairs, strict=True):
        bounds = [(i * n // m, -(-(i + 1) * n // m)) for i in range(m)]
        on = c.integers([axis], "axis")
        units = [
            c.op(reduce, _cut(c, x, [first], [last], [axis]), on, keepdims=1)
            for first, last in bounds
        ]
        x = c.op("Concat", *units, axis=axis)
    return x


# ---- norms, and trained factors ----------------------------------------------------


@_form("nn.BatchNorm", "num_features")
def _batch_norm(c: LayerCall) -> str:
    names = ("weight", "bias", "running_mean", "running_var")
    own = [c.weight(name) for name in names]
    return c.op("BatchNormalization", c.x, *own, epsilon=c.argument("eps", 1e-5))


@_form("nn.LayerNorm", "normalized_shape")
def _layer_norm(c: LayerCall) -> str:
    return _norm_last(c, c.x.name)


@_form("LayerNorm", "normalized_shape")
def _layer_norm_of_map(c: LayerCall) -> str:
    last = c.op("Transpose", c.x, perm=[0, *c.axes, 1])
    back = [0, c.x.rank - 1, *(axis - 1 for axis in c.axes)]
    return c.op("Transpose", _norm_last(c, last), perm=back)


def _norm_last(c: LayerCall, x: str) -> str:
    own = _weight_and_bias(c)
    return c.op("LayerNormalization", x, *own, axis=-1, epsilon=c.argument("eps", 1e-5))


@_form("nn.InstanceNorm", "num_features")
def _instance_norm(c: LayerCall) -> str:
    if c.argument("affine", False):
        own = _weight_and_bias(c)
    else:
        own = _ones_and_zeros(c, c.x.shape[0])
    return c.op("InstanceNormalization", c.x, *own, epsilon=c.argument("eps", 1e-5))


@_form("nn.GroupNorm", "num_groups", "num_channels")
def _group_norm(c: LayerCall) -> str:
    # ONNX's own GroupNormalization changed its meaning in opset 21. This form is the
    # same in all opsets, and runtimes recognise it.
    groups = c.argument("num_groups")
    parted = c.op("Reshape", c.x, c.integers([0, groups, -1], "groups"))
    own = _ones_and_zeros(c, groups)
    eps = c.argument("eps", 1e-5)
    normed = c.op("InstanceNormalization", parted, *own, epsilon=eps)
    whole = c.op("Reshape", normed, _shape_of_input(c))
    over = (-1, *[1] * len(c.sizes))
    factors, summands = (
        c.weight(name, lambda w: w.reshape(over), f".{c.x.rank}d")
        for name in ("weight", "bias")
    )
    return c.op("Add", c.op("Mul", whole, factors), summands)


def _ones_and_zeros(c: LayerCall, count: int) -> list[str]:
    return [c.constant([n] * int(count), name) for n, name in ((1, "one"), (0, "zero"))]


@_form("nn.LocalResponseNorm", "size")
def _local_response_norm(c: LayerCall) -> str:
    size, k = c.argument("size"), c.argument("k", 1.0)
    alpha, beta = c.argument("alpha", 1e-4), c.argument("beta", 0.75)
    plane = len(c.sizes) == 2  # all that runtimes take
    if plane and size % 2 and min(alpha, beta) > 1e-30:
        return c.op("LRN", c.x, size=size, alpha=alpha, beta=beta, bias=k)
    # ONNX centres windows of even size differently, and runtimes refuse them, and
    # zero factors. So a 1x1 convolution sums the squares of neighbouring channels.
    import numpy as np

    channels = int(c.x.shape[0])
    apart = np.arange(channels)[None] - np.arange(channels)[:, None]
    near = (apart >= -(size // 2)) & (apart <= (size - 1) // 2)
    weight = (near * (alpha / size)).reshape(channels, channels, *[1] * len(c.sizes))
    sums = c.op(
        "Conv",
        c.op("Mul", c.x, c.x),
        c.constant(weight, "window"),
        c.constant([k] * channels, "k"),
    )
    return c.op("Div", c.x, c.op("Pow", sums, c.constant(beta, "beta")))


@_form("{self} * {0}")
def _layer_scale(c: LayerCall) -> str:
    return c.op("Mul", c.x, _own_of_channels(c))


@_form("{self} + {0}")
def _layer_shift(c: LayerCall) -> str:
    return c.op("Add", c.x, _own_of_channels(c))


def _own_of_channels(c: LayerCall) -> str:
    """Return a bare parameter, reshaped to broadcast over the input's channels."""
    sizes = (-1, *[1] * len(c.sizes))
    if c.graph.weights[c.key].ndim == 1 and not isinstance(c.x.shape, Last):
        return c.weight("", lambda w: w.reshape(sizes), ".factors")
    return c.weight("")


@_form("Scale", "factor")
def _scale(c: LayerCall) -> str:
    return c.op("Mul", c.x, c.constant(c.argument("factor"), "factor"))


@_form("Shift", "number")
def _shift(c: LayerCall) -> str:
    return c.op("Add", c.x, c.constant(c.argument("number"), "number"))


@_form("InputScale")
def _input_scale(c: LayerCall) -> str:
    import numpy as np

    # From normalisation by ImageNet's mean and deviation to one by 0.5 and 0.5, as
    # in the torch class of this kind.
    over = (3, *[1] * len(c.sizes))
    mean = np.array([0.485, 0.456, 0.406]).reshape(over)
    deviation = np.array([0.229, 0.224, 0.225]).reshape(over)
    scaled = c.op("Mul", c.x, c.constant(deviation / 0.5, "factors"))
    return c.op("Add", scaled, c.constant((mean - 0.5) / 0.5, "summands"))


# ---- activations -------------------------------------------------------------------


def _same_name(type: str) -> Emit:
    return lambda c: c.op(type, c.x)


for _torch, _onnx in (
    ("Abs", "Abs"),
    ("Reciprocal", "Reciprocal"),
    ("Sqrt", "Sqrt"),
    ("nn.Hardswish", "HardSwish"),
    ("nn.Mish", "Mish"),
    ("nn.ReLU", "Relu"),
    ("nn.SELU", "Selu"),
    ("nn.Sigmoid", "Sigmoid"),
    ("nn.Tanh", "Tanh"),
):
    FORMS[_torch] = OnnxForm(_same_name(_onnx), ())


@_form("Square")
def _square(c: LayerCall) -> str:
    return c.op("Mul", c.x, c.x)


@_form("Rsqrt")
def _rsqrt(c: LayerCall) -> str:
    return c.op("Reciprocal", c.op("Sqrt", c.x))


@_form("nn.ELU")
def _elu(c: LayerCall) -> str:
    return c.op("Elu", c.x, alpha=c.argument("alpha", 1.0))


@_form("nn.LeakyReLU")
def _leaky_relu(c: LayerCall) -> str:
    return c.op("LeakyRelu", c.x, alpha=c.argument("negative_slope", 0.01))


@_form("nn.PReLU")
def _prelu(c: LayerCall) -> str:
    over = (-1, *[1] * len(c.sizes))
    return c.op(
        "PRelu", c.x, c.weight("weight", lambda w: w.reshape(over), f".{c.x.rank}d")
    )


@_form("nn.ReLU6")
def _relu6(c: LayerCall) -> str:
    return c.op("Clip", c.x, c.constant(0, "low"), c.constant(6, "high"))


@_form("nn.SiLU")
def _silu(c: LayerCall) -> str:
    return c.op("Mul", c.x, c.op("Sigmoid", c.x))


@_form("nn.Hardsigmoid")
def _hard_sigmoid(c: LayerCall) -> str:
    return c.op("HardSigmoid", c.x, alpha=1 / 6, beta=0.5)


@_form("nn.GELU")
def _gelu(c: LayerCall) -> str:
    if c.graph.opset >= 20:
        return c.op("Gelu", c.x)
    error = c.op("Erf", c.op("Div", c.x, c.constant(2**0.5, "root")))
    twice = c.op("Mul", c.x, c.op("Add", error, c.constant(1, "one")))
    return c.op("Mul", twice, c.constant(0.5, "half"))


@_form("nn.Softmax")
def _softmax(c: LayerCall) -> str:
    return c.op("Softmax", c.x, axis=c.argument("dim"))


@_form("SpatialSoftmax")
def _spatial_softmax(c: LayerCall) -> str:
    row = c.op("Reshape", c.x, c.integers([0, 0, -1], "row"))
    return c.op("Reshape", c.op("Softmax", row, axis=2), _shape_of_input(c))


@_form("SoftmaxOfParts", "of")
def _softmax_of_parts(c: LayerCall) -> str:
    count = c.argument("of")
    parts = [0, count, int(c.x.shape[0]) // count, -1]
    parted = c.op("Reshape", c.x, c.integers(parts, "parts"))
    return c.op("Reshape", c.op("Softmax", parted, axis=1), _shape_of_input(c))


# ---- branches ----------------------------------------------------------------------


@_form("{*+}")
def _sum(c: LayerCall) -> str:
    return _chain(c, "Add")


@_form("{**}")
def _product(c: LayerCall) -> str:
    return _chain(c, "Mul")


def _chain(c: LayerCall, type: str) -> str:
    """Apply a binary operator to the inputs, from left to right."""
    total = c.x.name
    for other in c.inputs[1:]:
        total = c.op(type, total, other)
    return total


@_form("torch.cat([{*,}], 1)")
def _concat(c: LayerCall) -> str:
    return c.op("Concat", *c.inputs, axis=1)


@_form("torch.cat([{*,}], -1)")
def _concat_last(c: LayerCall) -> str:
    return c.op("Concat", *c.inputs, axis=-1)


@_form("torch.abs({0} - {1})")
def _difference(c: LayerCall) -> str:
    return c.op("Abs", c.op("Sub", *c.inputs))


# ---- sizes -------------------------------------------------------------------------


@_form("nn.Upsample")
def _upsample(c: LayerCall) -> str:
    if c.argument("size") is None:
        factors = (1, 1, *c.per_axis("scale_factor"))
        return _resize(c, "", c.constant(factors, "factors"))
    return _to_size(c)


@_form("F.interpolate({0}, size={1}.shape[2:])")
def _resize_like(c: LayerCall) -> str:
    if not any(value.free for value in c.inputs):
        return _to_size(c)
    return _resize(c, "", "", _whole(c, c.op("Shape", c.inputs[1], start=2)))


def _to_size(c: LayerCall) -> str:
    """Return a resize to a size that is known."""
    pairs = list(zip(c.sizes, c.out_sizes, strict=True))
    if c.argument("mode", "nearest") != "nearest":
        c.free = False
        return _resize(c, "", "", _whole(c, c.integers(c.out_sizes, "sizes")))
    c.fixed("selects pixels by its input's size")
    if all(m % n == 0 for n, m in pairs):
        factors = (1, 1, *(m // n for n, m in pairs))
        return _resize(c, "", c.constant(factors, "factors"))
    # Runtimes round the ratio of sizes differently. So the pixels are chosen here as
    # torch does it: pixel floor(i * n / m), in float32.
    import numpy as np

    x = c.x.name
    for axis, (n, m) in zip(c.axes, pairs, strict=True):
        ratio = np.float32(n) / np.float32(m)
        chosen = np.floor(np.arange(m, dtype=np.float32) * ratio).astype(int)
        places = c.integers(np.minimum(chosen, n - 1).tolist(), "pixels")
        x = c.op("Gather", x, places, axis=axis)
    return x


def _whole(c: LayerCall, sizes: str) -> str:
    """Return the full output shape, given the name of its spatial sizes.

    ONNX can resize some of the axes only, but onnxruntime's optimiser breaks that.
    """
    return c.op("Concat", c.op("Shape", c.x, end=2), sizes, axis=0)


def _resize(c: LayerCall, *how: str) -> str:
    attributes: dict[str, Any] = {}
    if c.argument("mode", "nearest") == "nearest":
        attributes.update(
            mode="nearest",
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )
    else:
        corners = c.argument("align_corners", False)
        attributes.update(
            mode="linear",
            coordinate_transformation_mode="align_corners" if corners else "half_pixel",
        )
    return c.op("Resize", c.x, *how, **attributes)


@_form("CenterCrop")
def _crop(c: LayerCall) -> str:
    if not any(value.free for value in c.inputs):
        pairs = zip(c.sizes, c.out_sizes, strict=True)
        first = [(n - m) // 2 for n, m in pairs]
        last = [start + m for start, m in zip(first, c.out_sizes, strict=True)]
        return _cut(c, c.x.name, first, last, c.axes)
    sizes = c.op("Shape", c.x, start=2)
    wanted = c.op("Shape", c.inputs[1], start=2)
    start = c.op("Div", c.op("Sub", sizes, wanted), c.integers([2], "two"))
    end = c.op("Add", start, wanted)
    return c.op("Slice", c.x, start, end, c.integers(c.axes, "axes"))


@_form("nn.ZeroPad", "padding")
def _zero_pad(c: LayerCall) -> str:
    return _pad(c, _begins_and_ends(_pairs_of(c)), 0.0)


@_form("nn.ReflectionPad", "padding")
def _reflection_pad(c: LayerCall) -> str:
    return _continued(c, _pairs_of(c), "reflect")


@_form("nn.ReplicationPad", "padding")
def _replication_pad(c: LayerCall) -> str:
    return _continued(c, _pairs_of(c), "replicate")


@_form("nn.CircularPad", "padding")
def _circular_pad(c: LayerCall) -> str:
    return _continued(c, _pairs_of(c), "circular")


def _pairs_of(c: LayerCall) -> list[tuple[int, int]]:
    """Return the padding before and after each axis; torch starts at the last."""
    sides = c.argument("padding")
    return list(zip(sides[::2], sides[1::2], strict=True))[::-1]


def _continued(c: LayerCall, pads: Sequence[tuple[int, int]], mode: str) -> str:
    """Return the input, padded with values of its own."""
    if mode != "circular":
        firsts, lasts = zip(*pads, strict=True)
        whole = c.integers([0, 0, *firsts, 0, 0, *lasts], "pads")
        return c.op("Pad", c.x, whole, mode="edge" if mode == "replicate" else mode)
    x = c.x.name
    for axis, (before, after) in zip(c.axes, pads, strict=True):
        # The last `before` positions, whatever the size.
        head = [_cut(c, x, [-before], [_LAST], [axis])] if before else []
        tail = [_cut(c, x, [0], [after], [axis])] if after else []
        if head or tail:
            x = c.op("Concat", *head, x, *tail, axis=axis)
    return x


def _pad(c: LayerCall, pads: Sequence[int], value: float) -> str:
    """Return the input with padding on its spatial axes."""
    count = len(pads) // 2
    whole = [0, 0, *pads[:count], 0, 0, *pads[count:]]
    return c.op("Pad", c.x, c.integers(whole, "pads"), c.constant(value, "padding"))


def _cut(
    c: LayerCall, x: str, first: Sequence[int], last: Sequence[int], axes: Sequence[int]
) -> str:
    """Return a slice of a tensor, from `first` up to before `last` along each axis."""
    given = (("first", first), ("last", last), ("axes", axes))
    return c.op("Slice", x, *(c.integers(values, name) for name, values in given))


# ---- channels ----------------------------------------------------------------------


@_form("Chunk", "index", "count")
def _chunk(c: LayerCall) -> str:
    size = int(c.x.shape[0]) // c.argument("count")
    start = c.argument("index") * size
    return _cut(c, c.x.name, [start], [start + size], [1])


@_form("Slice", "start", "stop")
def _slice(c: LayerCall) -> str:
    return _cut(c, c.x.name, [c.argument("start")], [c.argument("stop")], [1])


@_form("nn.ChannelShuffle", "groups")
def _shuffle(c: LayerCall) -> str:
    groups = c.argument("groups")
    parts = [0, groups, int(c.x.shape[0]) // groups, -1]
    parted = c.op("Reshape", c.x, c.integers(parts, "groups"))
    turned = c.op("Transpose", parted, perm=[0, 2, 1, 3])
    return c.op("Reshape", turned, _shape_of_input(c))


@_form("GroupSum", "groups")
def _group_sum(c: LayerCall) -> str:
    size = int(c.shape[0])
    starts = [n * size for n in range(c.argument("groups"))]
    return c.op("Sum", *(_cut(c, c.x.name, [n], [n + size], [1]) for n in starts))


@_form("ChannelMean", "dim")
def _channel_mean(c: LayerCall) -> str:
    axis = c.integers([c.argument("dim")], "axis")
    return c.op("ReduceMean", c.x, axis, keepdims=1)


@_form("L2Pool")
def _l2_pool(c: LayerCall) -> str:
    c.free = False
    return c.op("ReduceL2", c.x, c.integers(c.args, "axes"), keepdims=1)


@_form("SumPool")
def _sum_pool(c: LayerCall) -> str:
    c.free = False
    return c.op("ReduceSum", c.x, c.integers(c.args, "axes"), keepdims=1)


def _shape_of_input(c: LayerCall) -> str:
    """Return the shape of the input, as a constant where it is known."""
    if c.x.free:
        return c.op("Shape", c.x)
    return c.integers([0, *c.x.shape], "shape")


@_form("nn.PixelShuffle", "upscale_factor")
def _pixel_shuffle(c: LayerCall) -> str:
    return c.op("DepthToSpace", c.x, blocksize=c.argument("upscale_factor"), mode="CRD")


@_form("nn.PixelUnshuffle", "downscale_factor")
def _pixel_unshuffle(c: LayerCall) -> str:
    factor, channels = c.argument("downscale_factor"), int(c.x.shape[0])
    mixed = c.op("SpaceToDepth", c.x, blocksize=factor)
    # In ONNX's output, the place within a block is the outer index and the channel
    # the inner one; in torch's, it is the other way round.
    places = [
        place * channels + channel
        for channel in range(channels)
        for place in range(factor**2)
    ]
    return c.op("Gather", mixed, c.integers(places, "channels"), axis=1)


@_form("nn.Flatten")
def _flatten(c: LayerCall) -> str:
    c.fixed("has as many features as its input has pixels")
    return c.op("Flatten", c.x, axis=1)


@_form("Reshape")
def _reshape(c: LayerCall) -> str:
    return c.op("Reshape", c.x, c.integers([0, *c.args[1:]], "sizes"))


@_form("Permute")
def _permute(c: LayerCall) -> str:
    return c.op("Transpose", c.x, perm=c.args)


# ---- layers that do nothing in inference -------------------------------------------


def _nothing(c: LayerCall) -> str:
    return c.x.name


for _torch in (
    "nn.AlphaDropout",
    "nn.Dropout",
    "nn.Identity",
    "StochasticDepth",
):
    FORMS[_torch] = OnnxForm(_nothing, ())
