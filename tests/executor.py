"""An interpreter of networks: it computes step by step, by torch's functions.

This is a second, independent way to compute a network. The compiler writes classes,
whose text Python runs. The interpreter walks over the IR and calls one function for
each step, with weights from a dict by key. They share no code: only the arguments of
the layer kinds are read here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from archdsl.ir import Group, Network, Step

Sizes = tuple[int, ...]


class Own(NamedTuple):
    """A weight or buffer that a layer owns.

    Attributes:
        name: the last part of its key; empty if the layer is the weight itself.
        sizes: its sizes.
        role: ``weight``; for running statistics ``mean``, ``variance`` or ``counter``;
            for a vector of length 1, ``vector``.
    """

    name: str
    sizes: Sizes
    role: str = "weight"


class Call(NamedTuple):
    """The computation of one step.

    Attributes:
        op: the layer with its arguments.
        xs: the values that it reads.
        own: its weights and buffers, by name.
        training: the mode.
        axis: the axis of the channels, 1 or the last.
    """

    op: Any
    xs: Sequence[Tensor]
    own: Mapping[str, Tensor]
    training: bool
    axis: int

    @property
    def x(self) -> Tensor:
        """The first value."""
        return self.xs[0]

    @property
    def weight(self) -> Tensor:
        """The weight."""
        return self.own["weight"]

    @property
    def bias(self) -> Tensor | None:
        """The bias, if there is one."""
        return self.own.get("bias")


class Kind(NamedTuple):
    """What a layer kind computes.

    Attributes:
        run: computes the output.
        owns: returns the weights and buffers in torch's order, given a layer, the sizes
            of its first input and the axis of its channels.
    """

    run: Callable[[Call], Tensor]
    owns: Callable[[Any, Sizes, int], tuple[Own, ...]] = lambda op, sizes, axis: ()


# ---- convolutions and linear layers -----------------------------------------------


def _padded(
    c: Call, stride: Sequence[int], value: float = 0.0
) -> tuple[Tensor, Sequence[int]]:
    """Return the first value, padded here if the padding is uneven, and padding to add.

    With ``same``, the output has ceil(size / stride) units, and an odd unit of padding
    goes to the end (TensorFlow, `tf.nn.convolution`, padding SAME). By default, an odd
    kernel keeps the size at stride 1, and an even one is not padded.
    """
    op = c.op
    mode = getattr(op, "pad_mode", "zeros")
    if op.pad == "same":
        ends = []
        for n, k, s, d in zip(
            c.x.shape[2:], op.kernel, stride, op.dilation, strict=True
        ):
            total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)
            ends.append((total // 2, total - total // 2))
    else:
        pads = op.pad
        if pads is None:
            pairs = zip(op.kernel, op.dilation, strict=True)
            pads = [d * (k // 2) if k % 2 else 0 for k, d in pairs]
        if mode == "zeros":
            return c.x, pads
        ends = [(pad, pad) for pad in pads]
    if mode != "zeros":
        return _continued(c.x, mode, ends), [0] * len(ends)
    sides = [n for pair in reversed(ends) for n in pair]
    return F.pad(c.x, sides, value=value), [0] * len(ends)


def _of_axes(name: str, c: Call) -> Any:
    """Return torch's function for maps with as many axes as the first value."""
    return getattr(F, f"{name}{c.x.dim() - 2}d")


def _conv(c: Call, weight: Tensor | None = None) -> Tensor:
    x, pad = _padded(c, c.op.stride)
    conv: Callable[..., Tensor] = _of_axes("conv", c)
    places = c.op.stride, pad, c.op.dilation, c.op.groups
    return conv(x, c.weight if weight is None else weight, c.bias, *places)


def _standardised(c: Call) -> Tensor:
    """Convolve with filters of mean 0 and variance 1, times their gains."""
    dims = [*range(1, c.weight.dim())]
    variance, mean = torch.var_mean(c.weight, dims, correction=0, keepdim=True)
    weight = (c.weight - mean) / (variance + c.op.eps).sqrt()
    if c.op.gamma is not None:
        weight = weight * c.own["gain"] * c.op.gamma / math.sqrt(weight[0].numel())
    return _conv(c, weight)


def _conv_transposed(c: Call, weight: Tensor | None = None) -> Tensor:
    op = c.op
    places = op.stride, op.pad, op.out_pad, op.groups, op.dilation
    conv: Callable[..., Tensor] = _of_axes("conv_transpose", c)
    return conv(c.x, c.weight if weight is None else weight, c.bias, *places)


_SPECTRAL: Final = "parametrizations.weight"


def _divided(c: Call, outputs: int = 0) -> Tensor:
    """Return the weight divided by its largest singular value (Miyato et al. 2018).

    Args:
        c: the call.
        outputs: the axis of the weight that becomes the rows of the matrix.
    """
    weight = c.own[f"{_SPECTRAL}.original"]
    rows = weight.movedim(outputs, 0).flatten(1)
    left, right = c.own[f"{_SPECTRAL}.0._u"], c.own[f"{_SPECTRAL}.0._v"]
    if c.training:
        with torch.no_grad():
            left.copy_(_unit(rows @ right))
            right.copy_(_unit(left @ rows))
    # Cloned, as a later call may change them.
    return weight / torch.einsum("i,ij,j", left.clone(), rows, right.clone())


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp(min=1e-12)


def _owns_spectral(
    owns: Callable[[Any, Sizes, int], tuple[Own, ...]], outputs: int = 0
) -> Callable[[Any, Sizes, int], tuple[Own, ...]]:
    """Return the weights and buffers of a kind with spectral norm."""

    def found(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
        weight, *bias = owns(op, sizes, axis)
        rows = weight.sizes[outputs]
        return (
            *bias,
            Own(f"{_SPECTRAL}.original", weight.sizes),
            Own(f"{_SPECTRAL}.0._u", (rows,), "vector"),
            Own(f"{_SPECTRAL}.0._v", (math.prod(weight.sizes) // rows,), "vector"),
        )

    return found


def _owns_conv(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    width = op.width or sizes[0]
    return _with_bias(op, (width, sizes[0] // op.groups, *op.kernel), width)


def _owns_standardised(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    own = _owns_conv(op, sizes, axis)
    filters = own[0].sizes
    gain = Own("gain", (filters[0], *[1] * (len(filters) - 1)))
    return own if op.gamma is None else (*own, gain)


def _owns_transposed(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    width = op.width or sizes[0]
    return _with_bias(op, (sizes[0], width // op.groups, *op.kernel), width)


def _owns_linear(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    return _with_bias(op, (op.width, _channels(sizes, axis)), op.width)


def _channels(sizes: Sizes, axis: int) -> int:
    return sizes[-1] if axis == -1 else sizes[0]


def _with_bias(op: Any, weight: Sizes, width: int) -> tuple[Own, ...]:
    bias = () if op.bias is False else (Own("bias", (width,)),)
    return (Own("weight", weight), *bias)


# ---- norms, and trained factors ---------------------------------------------------


def _batch_norm(c: Call) -> Tensor:
    mean, variance = c.own["running_mean"], c.own["running_var"]
    if c.training:
        c.own["num_batches_tracked"].add_(1)
    return F.batch_norm(
        c.x, mean, variance, c.weight, c.bias, c.training, c.op.momentum, c.op.eps
    )


def _layer_norm(c: Call) -> Tensor:
    last = c.x.movedim(c.axis, -1)
    normal = F.layer_norm(last, last.shape[-1:], c.weight, c.bias, c.op.eps)
    return normal.movedim(-1, c.axis)


def _line_up(factors: Tensor, c: Call) -> Tensor:
    """Reshape one factor per channel to broadcast over the first value."""
    sizes = [1] * c.x.dim()
    sizes[c.axis] = -1
    return factors.reshape(sizes)


def _affine(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    channels = (_channels(sizes, axis),)
    both = Own("weight", channels), Own("bias", channels)
    return both if getattr(op, "shift", True) else both[:1]


def _running(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    return (
        *_affine(op, sizes, axis),
        Own("running_mean", sizes[:1], "mean"),
        Own("running_var", sizes[:1], "variance"),
        Own("num_batches_tracked", (), "counter"),
    )


def _owns_slopes(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    return (Own("weight", (sizes[0] if op.per_channel else 1,)),)


def _owns_factors(op: Any, sizes: Sizes, axis: int) -> tuple[Own, ...]:
    if op.form in ("scalar", "single"):
        return (Own("", () if op.form == "scalar" else (1,)),)
    if op.form == "vector":
        return (Own("", (sizes[axis if axis == -1 else 0],)),)
    plain = axis == -1 or len(sizes) == 1
    own = (sizes[-1],) if plain else (sizes[0], *[1] * len(sizes[1:]))
    if op.form == "batch":
        own = (*[1] * (len(sizes) + 1 - len(own)), *own)
    return (Own("", own),)


def _reshape(c: Call) -> Tensor:
    flat = c.x.flatten(1)
    return flat[:, None] if c.op.into == "sequence" else flat[:, :, None, None]


def _own(c: Call) -> Tensor:
    own = c.own[""]
    return _line_up(own.flatten(), c) if own.dim() else own


# ---- windows ----------------------------------------------------------------------


def _max_pool(c: Call) -> Tensor:
    op = c.op
    stride = op.stride or op.kernel
    x, pad = _padded(c, stride, -torch.inf)
    pool: Callable[..., Tensor] = _of_axes("max_pool", c)
    return pool(x, op.kernel, stride, pad, op.dilation, op.ceil)


def _avg_pool(c: Call) -> Tensor:
    op = c.op
    stride = op.stride or op.kernel
    pool: Callable[..., Tensor] = _of_axes("avg_pool", c)
    return pool(c.x, op.kernel, stride, op.pad, op.ceil, op.count_pad)


def _l2_pool(c: Call) -> Tensor:
    first = 2 if c.axis == 1 else 1
    dims = [*range(first, first + c.x.dim() - 2)]
    total = (c.x * c.x).sum(dims, keepdim=True)
    # Where the sum is zero, torch's gradient of the root is zero, too.
    return torch.where(total > 0, total, 1).sqrt() * (total > 0)


def _upsample(c: Call) -> Tensor:
    size = c.op.size
    if size is None:
        factors = c.op.scale or (2, 2)
        size = [n * f for n, f in zip(c.x.shape[2:], factors, strict=True)]
    return _interpolate(c, size)


def _interpolate(c: Call, size: Sequence[int]) -> Tensor:
    corners = None if c.op.mode == "nearest" else c.op.align
    return F.interpolate(c.x, [*size], mode=c.op.mode, align_corners=corners)


def _crop(c: Call) -> Tensor:
    x = c.x
    for axis in range(2, x.dim()):
        kept = c.xs[1].shape[axis]
        x = x.narrow(axis, (x.shape[axis] - kept) // 2, kept)
    return x


def _continued(x: Tensor, mode: str, ends: Sequence[tuple[int, int]]) -> Tensor:
    """Pad a map with positions of its own."""
    for axis, (before, after) in enumerate(ends, 2):
        size = x.shape[axis]
        places = torch.arange(-before, size + after)
        if mode == "reflect":
            places = size - 1 - (size - 1 - places.abs()).abs()
        elif mode == "circular":
            places = places % size
        x = x.index_select(axis, places.clamp(0, size - 1))
    return x


def _pad(c: Call) -> Tensor:
    op = c.op
    sides = (op.front, op.back), (op.top, op.bottom), (op.left, op.right)
    pairs = zip(op.size, sides[-len(op.size) :], strict=True)
    return _continued(c.x, op.mode, [(n + a, n + b) for n, (a, b) in pairs])


def _zeropad(c: Call) -> Tensor:
    op = c.op
    sides = [op.left, op.right, op.top, op.bottom, op.front, op.back]
    return F.pad(c.x, sides[: 2 * (c.x.dim() - 2)])


# ---- channels, branches, and chance ------------------------------------------------


def _chunk(c: Call) -> Tensor:
    size = c.x.shape[1] // c.op.of
    return c.x.narrow(1, (c.op.place - 1) * size, size)


def _slice(c: Call) -> Tensor:
    stop = c.x.shape[1] if c.op.stop is None else c.op.stop
    return c.x.narrow(1, c.op.start, stop - c.op.start)


def _softmax(c: Call) -> Tensor:
    if c.op.of is None:
        return F.softmax(c.x, c.axis)
    return torch.cat(tuple(torch.stack(c.x.chunk(c.op.of, 1)).softmax(0)), 1)


def _spatial_softmax(c: Call) -> Tensor:
    dims = [*range(2, c.x.dim())]
    powers = (c.x - c.x.amax(dims, keepdim=True)).exp()
    return powers / powers.sum(dims, keepdim=True)


def _sum_pool(c: Call) -> Tensor:
    first = 2 if c.axis == 1 else 1
    return c.x.sum([*range(first, first + c.x.dim() - 2)], keepdim=True)


def _shuffle(c: Call) -> Tensor:
    groups = c.op.groups
    parted = c.x.unflatten(1, (groups, c.x.shape[1] // groups))
    return parted.transpose(1, 2).flatten(1, 2)


def _permute(c: Call) -> Tensor:
    return c.x.movedim(*((1, -1) if c.op.channels == "last" else (-1, 1)))


def _sum(c: Call) -> Tensor:
    total = c.x
    for x in c.xs[1:]:
        total = total + x
    return total


def _product(c: Call) -> Tensor:
    total = c.x
    for x in c.xs[1:]:
        total = total * x
    return total


def _stochastic_depth(c: Call) -> Tensor:
    survival = 1 - c.op.p
    if not c.training or survival == 1:
        return c.x
    kept = c.x.new_empty([len(c.x), *[1] * (c.x.dim() - 1)]).bernoulli_(survival)
    return c.x * (kept / survival if survival else kept)


def _input_scale(c: Call) -> Tensor:
    mean = c.x.new_tensor([0.485, 0.456, 0.406])
    deviation = c.x.new_tensor([0.229, 0.224, 0.225])
    return c.x * _line_up(deviation / 0.5, c) + _line_up((mean - 0.5) / 0.5, c)


KINDS: Final[Mapping[str, Kind]] = {
    "abs": Kind(lambda c: torch.where(c.x < 0, -c.x, c.x)),
    "adaptiveavgpool": Kind(lambda c: _of_axes("adaptive_avg_pool", c)(c.x, c.op.size)),
    "adaptivemaxpool": Kind(lambda c: _of_axes("adaptive_max_pool", c)(c.x, c.op.size)),
    "add": Kind(_sum),
    "alphadropout": Kind(lambda c: F.alpha_dropout(c.x, c.op.p, c.training)),
    "avgpool": Kind(_avg_pool),
    "bn": Kind(_batch_norm, _running),
    "channelmean": Kind(lambda c: c.x.sum(c.axis, keepdim=True) / c.x.shape[c.axis]),
    "chunk": Kind(_chunk),
    "concat": Kind(lambda c: torch.cat([*c.xs], c.axis)),
    "conv": Kind(_conv, _owns_conv),
    "convtranspose": Kind(_conv_transposed, _owns_transposed),
    "crop": Kind(_crop),
    "difference": Kind(lambda c: (c.xs[0] - c.xs[1]).abs()),
    "dropout": Kind(lambda c: F.dropout(c.x, c.op.p, c.training)),
    "dropout2d": Kind(lambda c: _of_axes("dropout", c)(c.x, c.op.p, c.training)),
    "elu": Kind(lambda c: F.elu(c.x, c.op.alpha)),
    "flatten": Kind(lambda c: c.x.flatten(1)),
    "gelu": Kind(lambda c: F.gelu(c.x)),
    "globalavgpool": Kind(
        lambda c: _of_axes("adaptive_avg_pool", c)(c.x, 1).flatten(1)
    ),
    "globalmaxpool": Kind(
        lambda c: _of_axes("adaptive_max_pool", c)(c.x, 1).flatten(1)
    ),
    "groupnorm": Kind(
        lambda c: F.group_norm(c.x, c.op.groups, c.weight, c.bias, c.op.eps), _affine
    ),
    "groupsum": Kind(lambda c: sum(c.x.chunk(c.op.groups, 1), torch.tensor(0.0))),
    "hardsigmoid": Kind(lambda c: F.hardsigmoid(c.x)),
    "hardswish": Kind(lambda c: F.hardswish(c.x)),
    "identity": Kind(lambda c: c.x),
    "inputscale": Kind(_input_scale),
    "instancenorm": Kind(
        lambda c: F.instance_norm(
            c.x, None, None, c.own.get("weight"), c.bias, eps=c.op.eps
        ),
        lambda op, sizes, axis: _affine(op, sizes, axis) if op.affine else (),
    ),
    "layernorm": Kind(_layer_norm, _affine),
    "l2pool": Kind(_l2_pool),
    "layershift": Kind(lambda c: c.x + _own(c), _owns_factors),
    "layerscale": Kind(lambda c: c.x * _own(c), _owns_factors),
    "leakyrelu": Kind(lambda c: F.leaky_relu(c.x, c.op.slope)),
    "linear": Kind(lambda c: F.linear(c.x, c.weight, c.bias), _owns_linear),
    "lrn": Kind(
        lambda c: F.local_response_norm(c.x, c.op.size, c.op.alpha, c.op.beta, c.op.k)
    ),
    "maxpool": Kind(_max_pool),
    "mish": Kind(lambda c: F.mish(c.x)),
    "mul": Kind(_product),
    "permute": Kind(_permute),
    "pixelshuffle": Kind(lambda c: F.pixel_shuffle(c.x, c.op.factor)),
    "pixelunshuffle": Kind(lambda c: F.pixel_unshuffle(c.x, c.op.factor)),
    "prelu": Kind(lambda c: F.prelu(c.x, c.weight), _owns_slopes),
    "relu": Kind(lambda c: F.relu(c.x)),
    "reciprocal": Kind(lambda c: 1 / c.x),
    "reshape": Kind(_reshape),
    "rsqrt": Kind(lambda c: c.x**-0.5),
    "relu6": Kind(lambda c: F.relu6(c.x)),
    "resize": Kind(lambda c: _interpolate(c, c.xs[1].shape[2:])),
    "scale": Kind(lambda c: c.x * c.op.factor),
    "selu": Kind(lambda c: F.selu(c.x)),
    "shift": Kind(lambda c: c.x + c.op.number),
    "shuffle": Kind(_shuffle),
    "sigmoid": Kind(lambda c: torch.sigmoid(c.x)),
    "silu": Kind(lambda c: F.silu(c.x)),
    "slice": Kind(_slice),
    "snconv": Kind(lambda c: _conv(c, _divided(c)), _owns_spectral(_owns_conv)),
    "snconvtranspose": Kind(
        lambda c: _conv_transposed(c, _divided(c, 1)),
        _owns_spectral(_owns_transposed, 1),
    ),
    "snlinear": Kind(
        lambda c: F.linear(c.x, _divided(c), c.bias), _owns_spectral(_owns_linear)
    ),
    "softmax": Kind(_softmax),
    "spatialsoftmax": Kind(_spatial_softmax),
    "sumpool": Kind(_sum_pool),
    "sqrt": Kind(lambda c: c.x**0.5),
    "square": Kind(lambda c: c.x * c.x),
    "stochasticdepth": Kind(_stochastic_depth),
    "tanh": Kind(lambda c: torch.tanh(c.x)),
    "upsample": Kind(_upsample),
    "pad": Kind(_pad),
    "wsconv": Kind(_standardised, _owns_standardised),
    "zeropad": Kind(_zeropad),
}


# ---- whole networks ---------------------------------------------------------------


def keys(network: Network) -> dict[str, Own]:
    """Return what a network's `state_dict` must hold, in order.

    A module lists its own parameters, its buffers, then its parts in the order in which
    they were made; a network makes those first that it says are registered first, and
    the others in the order of its steps.
    """
    tree: dict[str, Any] = {}
    axes = _axes(network)
    firsts: dict[str, Sequence[str]] = {}
    _note_firsts(network.root, firsts)
    for step in network.steps():
        if step.shared:
            continue
        axis = axes[step.inputs[0]]
        for own in KINDS[step.op.word].owns(step.op, step.input_shapes[0], axis):
            *parts, last = (f"{step.path}.{own.name}" if own.name else step.path).split(
                "."
            )
            node = tree
            for part in parts:
                node = node.setdefault(part, {})
            node[last] = own
    for path, names in firsts.items():
        owner = tree
        for part in path.split(".") if path else ():
            owner = owner[part]
        for name in reversed(names):
            _move_ahead(owner, name.split("."))
    return dict(_flat(tree, ""))


def _note_firsts(group: Group, firsts: dict[str, Sequence[str]]) -> None:
    """Collect the names that `register` statements list, by the path of the group."""
    if group.registered:
        firsts[group.path] = group.registered
    for child in group.children:
        if isinstance(child, Group):
            _note_firsts(child, firsts)


def _move_ahead(tree: dict[str, Any], names: Sequence[str]) -> None:
    """Move a part to the front of its namespace."""
    first, *further = names
    if first not in tree:
        return  # only another call has a projection
    part = tree.pop(first)
    rest = dict(tree)
    tree.clear()
    tree[first] = part
    tree.update(rest)
    if further:
        _move_ahead(part, further)


def _flat(tree: Mapping[str, Any], path: str) -> Iterator[tuple[str, Own]]:
    parts = {name: part for name, part in tree.items() if isinstance(part, dict)}
    for name, own in tree.items():
        if name not in parts:
            yield path + name, own
    for name, part in parts.items():
        yield from _flat(part, f"{path}{name}.")


def _axes(network: Network) -> dict[int, int]:
    """Return the axis of the channels of each value: 1, or the last."""
    axes = {port.value: 1 for port in network.inputs}
    for step in network.steps():
        axes[step.output] = axes[step.inputs[0]]
        if step.op.word == "permute":
            axes[step.output] = -1 if step.op.channels == "last" else 1
    return axes


def draw_state(network: Network, seed: int) -> dict[str, Tensor]:
    """Return random weights and statistics, in float64, by key."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for key, own in keys(network).items():
        drawn = torch.rand(own.sizes, generator=generator, dtype=torch.float64)
        state[key] = {
            "weight": drawn - 0.5,
            "mean": drawn - 0.5,
            "variance": drawn + 0.5,
            "counter": (drawn * 9).long(),
            "vector": (drawn + 0.1) / (drawn + 0.1).norm(),
        }[own.role]
    return state


def execute(
    network: Network,
    state: Mapping[str, Tensor],
    inputs: Sequence[Tensor],
    training: bool,
) -> dict[str, Tensor]:
    """Return the outputs of a network by name, the main one first.

    Args:
        network: the network to compute.
        state: its weights and buffers by key; running statistics change in training.
        inputs: the inputs, in the network's order.
        training: the mode; training outputs only exist in training.
    """
    values = {p.value: x for p, x in zip(network.inputs, inputs, strict=True)}
    axes = _axes(network)
    # Steps that only training outputs need run last.
    for step in sorted(network.steps(), key=lambda step: step.training):
        if training or not step.training:
            xs = [values[number] for number in step.inputs]
            axis = axes[step.inputs[0]]
            own = _owned(step, state, axis)
            values[step.output] = KINDS[step.op.word].run(
                Call(step.op, xs, own, training, axis)
            )
    return {
        port.name: values[port.value]
        for port in network.outputs
        if training or not port.training
    }


def _owned(step: Step, state: Mapping[str, Tensor], axis: int) -> dict[str, Tensor]:
    """Return a layer's weights; all uses of a shared layer have the same path."""
    owns = KINDS[step.op.word].owns(step.op, step.input_shapes[0], axis)
    return {
        own.name: state[f"{step.path}.{own.name}" if own.name else step.path]
        for own in owns
    }
