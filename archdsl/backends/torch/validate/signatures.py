"""The parameters of torch's callables, so that equal calls have one canonical form."""

from __future__ import annotations

import ast
from typing import Any, Final

from archdsl.backends.torch.validate.values import Value, refuse
from archdsl.values import without_axes

# As Python declares them; `stride=kernel_size` is a default that follows another
# argument. `inplace` is kept apart, and `input` is the tensor itself.
_NORM: Final = "num_features, eps=1e-5, momentum=0.1, affine={}, track_running_stats={}"
_CONV: Final = "in_channels, out_channels, kernel_size, stride=1, padding=0, "
_POOL: Final = "kernel_size, stride=kernel_size, padding=0, "
_AVERAGE: Final = (
    f"{_POOL}ceil_mode=False, count_include_pad=True, divisor_override=None"
)
_MAXIMUM: Final = f"{_POOL}dilation=1, "
_PLACE: Final = ", inplace=False"
_RESIZE: Final = "size=None, scale_factor=None, mode='nearest', align_corners=None, "
_KAIMING: Final = "tensor, a=0, mode='fan_in', nonlinearity='leaky_relu'"

# Names without a number of axes are for any number: `nn.Conv`.
SIGNATURES: Final[dict[str, str]] = {
    "nn.AdaptiveAvgPool": "output_size",
    "nn.AdaptiveMaxPool": "output_size, return_indices=False",
    "nn.AlphaDropout": f"p=0.5{_PLACE}",
    "nn.AvgPool": _AVERAGE,
    "nn.BatchNorm": _NORM.format(True, True),
    "nn.ChannelShuffle": "groups",
    "nn.Conv": f"{_CONV}dilation=1, groups=1, bias=True, padding_mode='zeros'",
    "nn.ConvTranspose": (
        f"{_CONV}output_padding=0, groups=1, bias=True, dilation=1, "
        "padding_mode='zeros'"
    ),
    "nn.Dropout": f"p=0.5{_PLACE}",
    "nn.ELU": f"alpha=1.0{_PLACE}",
    "nn.Flatten": "start_dim=1, end_dim=-1",
    "nn.GELU": "approximate='none'",
    "nn.GroupNorm": "num_groups, num_channels, eps=1e-5, affine=True",
    "nn.Hardsigmoid": _PLACE[2:],
    "nn.Hardswish": _PLACE[2:],
    "nn.InstanceNorm": _NORM.format(False, False),
    "nn.LayerNorm": "normalized_shape, eps=1e-5, elementwise_affine=True, bias=True",
    "nn.LeakyReLU": f"negative_slope=0.01{_PLACE}",
    "nn.Linear": "in_features, out_features, bias=True",
    "nn.LocalResponseNorm": "size, alpha=1e-4, beta=0.75, k=1.0",
    "nn.MaxPool": f"{_MAXIMUM}return_indices=False, ceil_mode=False",
    "nn.Mish": _PLACE[2:],
    "nn.PReLU": "num_parameters=1, init=0.25",
    "nn.Parameter": "data=None, requires_grad=True",
    "nn.PixelShuffle": "upscale_factor",
    "nn.PixelUnshuffle": "downscale_factor",
    "nn.ReLU": _PLACE[2:],
    "nn.ReLU6": _PLACE[2:],
    "nn.SELU": _PLACE[2:],
    "nn.SiLU": _PLACE[2:],
    "nn.Sigmoid": "",
    "nn.ReflectionPad": "padding",
    "nn.ReplicationPad": "padding",
    "nn.CircularPad": "padding",
    "nn.Softmax": "dim=None",
    "nn.Tanh": "",
    "nn.Upsample": f"{_RESIZE}recompute_scale_factor=None",
    "nn.ZeroPad": "padding",
    "nn.init.constant_": "tensor, val",
    "nn.init.kaiming_normal_": _KAIMING,
    "nn.init.kaiming_uniform_": _KAIMING,
    "nn.init.normal_": "tensor, mean=0.0, std=1.0",
    "nn.init.ones_": "tensor",
    "nn.init.trunc_normal_": "tensor, mean=0.0, std=1.0, a=-2.0, b=2.0",
    "nn.init.uniform_": "tensor, a=0.0, b=1.0",
    "nn.init.xavier_normal_": "tensor, gain=1.0",
    "nn.init.xavier_uniform_": "tensor, gain=1.0",
    "nn.init.zeros_": "tensor",
    "F.adaptive_avg_pool": "input, output_size",
    "F.adaptive_max_pool": "input, output_size, return_indices=False",
    "F.avg_pool": f"input, {_AVERAGE}",
    "F.channel_shuffle": "input, groups",
    "F.elu": f"input, alpha=1.0{_PLACE}",
    "F.gelu": "input, approximate='none'",
    "F.hardsigmoid": f"input{_PLACE}",
    "F.hardswish": f"input{_PLACE}",
    "F.interpolate": f"input, {_RESIZE}recompute_scale_factor=None, antialias=False",
    "F.leaky_relu": f"input, negative_slope=0.01{_PLACE}",
    "F.local_response_norm": "input, size, alpha=1e-4, beta=0.75, k=1.0",
    "F.max_pool": f"input, {_MAXIMUM}ceil_mode=False, return_indices=False",
    "F.mish": f"input{_PLACE}",
    "F.pixel_shuffle": "input, upscale_factor",
    "F.pixel_unshuffle": "input, downscale_factor",
    "F.relu": f"input{_PLACE}",
    "F.relu6": f"input{_PLACE}",
    "F.selu": f"input{_PLACE}",
    "F.silu": f"input{_PLACE}",
    "F.softmax": "input, dim=None",
    "torch.abs": "input",
    "torch.cat": "tensors, dim=0",
    "torch.chunk": "input, chunks, dim=0",
    "torch.flatten": "input, start_dim=0, end_dim=-1",
    "torch.full": "size, fill_value",
    "torch.sigmoid": "input",
    "torch.tanh": "input",
}

_REQUIRED: Final = object()
# How many numbers stand for the axes of a map, or their sides.
_PER_AXIS: Final = (1, 2, 3, 4, 6)


class _Follows:
    """A default that is another argument's value."""

    def __init__(self, place: int) -> None:
        self.place = place


class Signature:
    """Names and defaults of a callable's parameters.

    Attributes:
        names: in order.
        defaults: by position; parameters without one are required.
    """

    def __init__(self, names: list[str], defaults: list[Any]) -> None:
        self.names = names
        self.defaults = defaults
        self.places = {name: place for place, name in enumerate(names)}
        self.inplace = self.places.get("inplace", -1)
        self.follow = [
            (place, d.place)
            for place, d in enumerate(defaults)
            if isinstance(d, _Follows)
        ]

    def bind(self, args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
        """Return all arguments in order, in canonical form."""
        values = self.defaults.copy()
        if len(args) > len(values):
            refuse(f"{len(args)} arguments where {len(values)} are taken")
        for place, value in enumerate(args):
            values[place] = normal(value)
        for name, value in kwargs.items():
            found = self.places.get(name)
            if found is None or found < len(args):
                refuse(f"`{name}` is not an argument here, or is given twice")
            values[found] = normal(value)
        for place, source in self.follow:
            if isinstance(values[place], _Follows) or values[place] is None:
                values[place] = values[source]
        if _REQUIRED in values:
            refuse(f"`{self.names[values.index(_REQUIRED)]}` is not given")
        return values


def declared(arguments: ast.arguments) -> Signature | None:
    """Return the signature of a definition, None if it takes any number."""
    if arguments.vararg or arguments.kwarg:
        return None
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    defaults: list[Any] = [_REQUIRED] * (len(names) - len(arguments.defaults))
    for default in arguments.defaults:
        if isinstance(default, ast.Name):
            defaults.append(_Follows(names.index(default.id)))
        else:
            defaults.append(normal(ast.literal_eval(default)))
    for arg, late in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        names.append(arg.arg)
        defaults.append(_REQUIRED if late is None else normal(ast.literal_eval(late)))
    return Signature(names, defaults)


_FOUND: dict[str, Signature | None] = {}


def signature(name: str) -> Signature | None:
    """Return the signature of a torch callable, None if it is not known."""
    if name not in _FOUND:
        text = SIGNATURES.get(name) or SIGNATURES.get(without_axes(name))
        found = None
        if text is not None:
            function = ast.parse(f"def f({text}): pass").body[0]
            assert isinstance(function, ast.FunctionDef)
            found = declared(function.args)
        _FOUND[name] = found
    return _FOUND[name]


def bound(
    name: str, args: list[Any], kwargs: dict[str, Any], known: Signature | None = None
) -> tuple[tuple[Any, ...], bool]:
    """Return the arguments of a call in canonical form, and whether it runs in place.

    Without a known signature, they stay as written.
    """
    known = known or signature(name)
    if known is None:
        inplace = bool(kwargs.get("inplace", False))
        named = sorted((n, normal(v)) for n, v in kwargs.items() if n != "inplace")
        return (*map(normal, args), *named), inplace
    values = known.bind(args, kwargs)
    if known.inplace < 0:
        return tuple(values), False
    inplace = values.pop(known.inplace) == normal(True)
    return tuple(values), inplace


def normal(value: Any) -> Any:
    """Return the canonical form of a value, which is the same for equal arguments.

    Equal numbers, for the axes or the sides, become a single number; a list becomes a
    tuple, in which one or three numbers are a shape; a truth value is not a number.
    """
    if type(value) is int:  # the usual case
        return value
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, tuple | list):
        parts = tuple([normal(part) for part in value])
        lengths = _PER_AXIS if isinstance(value, tuple) else (2, 4)
        if len(parts) in lengths and parts.count(parts[0]) == len(parts):
            return parts if type(parts[0]) is Value else parts[0]
        return parts
    if isinstance(value, slice):
        return "slice", value.start, value.stop, value.step
    return value
