"""The base class of layer kinds, and their registry.

Each kind is one class in one file of `archdsl.ops`, named after its word in specs. Its
fields are its arguments. Its methods, the facets below, depend only on its own
arguments and the shapes of its inputs. Everything else in the package works from these
declarations, and mentions no specific kind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from math import gcd, prod
from typing import Any, ClassVar, Final

from .limits import MAX_INTEGER
from .symbolic import is_symbolic
from .values import (
    MOST_AXES,
    Kernel,
    Last,
    Operations,
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchForm,
    Window,
    channels,
    is_map,
    ones,
    pointwise,
    show_shape,
    sizes,
    sliding,
    with_sizes,
)

REQUIRED: Any = object()
_NO_SCRATCH = Scratch()

# The purpose of each family's operations other than MACs; ``other`` for the rest.
_FAMILY: Final[Mapping[str, str]] = {
    "conv": "bias",
    "linear": "bias",
    "norm": "norm",
    "activation": "activation",
    "pool": "pool",
    "merge": "add",
}


class Mismatch(Exception):
    """A layer that does not fit its inputs; it is turned into a diagnostic.

    Attributes:
        code: the diagnostic's code.
        message: what is wrong, in one sentence.
        label: shown at the place in the spec.
        help: what to do about it.
    """

    def __init__(
        self,
        message: str,
        *,
        label: str = "",
        help: str | None = None,
        code: str = "A0302",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.label = label
        self.help = help


class Differ(Mismatch):
    """Branches of a merge that do not meet the condition each other.

    Attributes:
        aspect: what they differ in, and the value of each.
        places: indices of the two inputs.
    """

    def __init__(
        self, word: str, aspect: str, places: tuple[int, int], help: str
    ) -> None:
        message = f"{word}: the branches differ in {aspect}"
        super().__init__(message, help=help, code="A0301")
        self.aspect = aspect
        self.places = places


class Field:
    """One argument of a layer kind.

    Attributes:
        name: its keyword.
        type: ``int``, ``float``, ``bool``, ``window``, ``pads`` or ``choice``.
        default: its value if omitted; `REQUIRED` if it must be given.
        position: its index among the positional arguments, ``/`` for the place of the
            stride, or None if it can only be given by keyword.
        minimum: the smallest value, for numbers and each part of a window.
        maximum: the largest value, or None.
        choices: the words that a ``choice`` can be; for a number, words that can be
            given instead.
        help: one line for the manual.
    """

    __slots__ = (
        "choices",
        "default",
        "help",
        "maximum",
        "minimum",
        "name",
        "position",
        "type",
    )

    def __init__(
        self,
        type: str,
        default: Any,
        help: str,
        position: int | str | None,
        minimum: float | None,
        maximum: float | None,
        choices: tuple[str, ...],
    ) -> None:
        self.name = ""
        self.type = type
        self.default = default
        self.help = help
        self.position = position
        self.minimum = minimum
        self.maximum = maximum
        self.choices = choices

    def default_for(self, axes: int) -> Any:
        """Return the default on maps with some axes.

        A window's is declared for two, with the same number for each.
        """
        default = self.default
        return default[:1] * axes if isinstance(default, tuple) else default

    def refusal(self, value: Any) -> str:
        """Return why a value cannot be the argument's, or nothing."""
        if value is None:
            return "" if self.default is None else "is missing"
        if isinstance(value, str):
            return "" if value in self.choices else f"cannot be {value!r}"
        parts = value if self.type == "window" else (value,)
        if not isinstance(parts, tuple) or not 1 <= len(parts) <= MOST_AXES:
            return f"is of 1 to {MOST_AXES} sizes, not {value!r}"
        wanted: Any = _TYPES.get(self.type, ())
        low, high = self.minimum, self.maximum
        part: Any
        for part in parts:
            if not isinstance(part, wanted) or (type(part) is bool) != (wanted is bool):
                return f"cannot be {value!r}"
            if not abs(part) <= MAX_INTEGER:  # nor is it a number at all
                return f"cannot be {value!r}"
            if (low is not None and part < low) or (high is not None and part > high):
                return f"is out of bounds: {value!r}"
        return ""


# A float is always one: numbers in a spec are converted.
_TYPES: Final[Mapping[str, type]] = {
    "int": int,
    "float": float,
    "bool": bool,
    "window": int,
}


def arg(
    type: str,
    default: Any = REQUIRED,
    *,
    help: str,
    at: int | str | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """Declare an argument of a layer kind; see `Field`."""
    return Field(type, default, help, at, minimum, maximum, choices)


class Layer:
    """Base of all layer kinds. The attributes of an instance are its arguments, and
    frozen.

    Class attributes:
        word: the word in a spec, and the file's name.
        also: other names for it, in lower case and without ``_``, for suggestions.
        family: ``conv``, ``linear``, ``norm``, ``activation``, ``pool``, ``merge``,
            ``dropout``, ``reshape`` or ``other``. It decides the colour in diagrams,
            and the category of the operations other than MACs.
        weighted: whether the layer counts towards depth.
        arity: number of inputs; None for two or more.
        sources: number of inputs whose values it reads, None for all; of the others, it
            only reads the shape.
        absorbs_bias: whether it cancels a bias added right before it.
        autocast: the dtype it computes in under torch's autocast: ``lower``, the given
            lower dtype; ``wide``, that of the parameters; ``input``, the widest of its
            inputs. As on a CPU, see `passes.autocast`.
        spares_weight: whether autograd does not keep its weight if its input needs no
            gradient.
        baked: for a kind that computes the weight that it uses from its own tensors,
            the word of the kind that owns such a weight; empty for others.
        advances: whether a run in training changes buffers that the next run reads, so
            that running it twice is not the same as once.
        gathers: whether it copies an input that is not contiguous before it reads it.
        views: whether its output is a view of another tensor; see `is_view`.
        shifts_variance: whether its output has a larger variance in training than in
            inference.
        idempotent: whether applying it twice in a row is the same as once.
        sign: ``positive`` if outputs are never negative, ``kept`` if they are not for
            inputs that are not; empty if they may be.
        channelwise: whether in inference it only scales and shifts each channel.
        multiplies: whether all it does is to multiply each channel by a number; see
            `multipliers`.
        scales: whether its weight can absorb a factor for each channel of its
            output, and its bias a summand; see `scaled`.
        pools_batch: whether its statistics in training are over all samples of the
            batch.
        sums: whether it adds up its inputs.
        sums_to_one: whether its outputs sum to 1 over the channels.
        maximum: whether each output is the maximum of its window.
        selects: whether all it does is to select some of the channels.
        scatters: whether it turns channels into positions, or positions into channels.
        of_any_size: for a pool with a window, the word of the corresponding adaptive
            pool, whose output size is given.
        fields: its arguments, by name.
        positional: those that can be given without their name, in order.
        required: those that must be given.
        windows: the names of those that have a size for each spatial axis.
    """

    word: ClassVar[str] = ""
    also: ClassVar[tuple[str, ...]] = ()
    family: ClassVar[str] = "other"
    weighted: ClassVar[bool] = False
    arity: ClassVar[int | None] = 1
    sources: ClassVar[int | None] = None
    absorbs_bias: ClassVar[bool] = False
    autocast: ClassVar[str] = "input"
    spares_weight: ClassVar[bool] = False
    baked: ClassVar[str] = ""
    advances: ClassVar[bool] = False
    gathers: ClassVar[bool] = False
    views: ClassVar[bool] = False
    shifts_variance: ClassVar[bool] = False
    idempotent: ClassVar[bool] = False
    sign: ClassVar[str] = ""
    channelwise: ClassVar[bool] = False
    multiplies: ClassVar[bool] = False
    scales: ClassVar[bool] = False
    pools_batch: ClassVar[bool] = False
    sums: ClassVar[bool] = False
    sums_to_one: ClassVar[bool] = False
    maximum: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    scatters: ClassVar[bool] = False
    of_any_size: ClassVar[str] = ""
    fields: ClassVar[dict[str, Field]] = {}
    positional: ClassVar[tuple[Field, ...]] = ()
    required: ClassVar[tuple[Field, ...]] = ()
    windows: ClassVar[tuple[str, ...]] = ()
    _defaults: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls) -> None:
        """Collect the arguments that the class declares."""
        bases = reversed(cls.__bases__)
        cls.fields = {n: f for b in bases for n, f in getattr(b, "fields", {}).items()}
        for name, value in list(vars(cls).items()):
            if isinstance(value, Field):
                value.name = name
                cls.fields[name] = value
        # Those by place first, whatever a base class declares.
        order = sorted(cls.fields.items(), key=lambda one: one[1].position is None)
        cls.fields = dict(order)
        placed = [f for f in cls.fields.values() if isinstance(f.position, int)]
        cls.positional = tuple(sorted(placed, key=lambda f: int(f.position or 0)))
        cls.required = tuple([f for f in cls.fields.values() if f.default is REQUIRED])
        cls.windows = tuple([n for n, f in cls.fields.items() if f.type == "window"])
        cls._defaults = {name: field.default for name, field in cls.fields.items()}

    def __init__(self, **values: Any) -> None:
        own = self.__dict__
        own.update(self._defaults)
        own.update(values)
        self._check_names()
        if len(self.windows) > 1 and (axes := self.axes or 2) != 2:
            for name in self.windows:
                if name not in values:
                    own[name] = self.fields[name].default_for(axes)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.word, tuple(self.__dict__.items())))

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items())
        return f"{type(self).__name__}({values})"

    def replace(self, **values: Any) -> Layer:
        """Return a copy with some arguments changed."""
        made: Layer = object.__new__(type(self))
        made.__dict__.update(self.__dict__)
        made.__dict__.update(values)
        made._check_names()
        return made

    def _check_names(self) -> None:
        """Refuse an argument that the kind does not have."""
        if len(self.__dict__) != len(self.fields):
            unknown = ", ".join(self.__dict__.keys() - self.fields.keys())
            raise TypeError(f"{self.word} has no argument {unknown}")

    @property
    def axes(self) -> int | None:
        """The number of sizes in its windows, None if it has none."""
        for name in self.windows:
            value = self.__dict__[name]
            if isinstance(value, tuple):
                return len(value)
        return None

    # ---- facets

    def shape(self, *inputs: Shape) -> Shape:
        """Return the output's shape.

        Raises:
            Mismatch: if the layer does not fit its inputs.
        """
        return inputs[0]

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return the layer's parameters and buffers, in `state_dict` order."""
        return ()

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return multiply-accumulates for one sample; biases are not counted."""
        return 0

    def elementwise(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return operations other than MACs for one sample in inference.

        Every addition, multiplication, division, comparison, root, power or elementary
        function of one number is one operation. Windows count in full even where they
        cover padding, as they do for MACs.
        """
        return 0

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return operations other than MACs for one sample, by purpose.

        In inference, they sum to `elementwise`. By default, they all belong to the
        purpose of the kind's family, and are the same in training.
        """
        return self.all_for(_FAMILY.get(self.family, "other"), inputs, output)

    def all_for(
        self, purpose: str, inputs: tuple[Shape, ...], output: Shape
    ) -> Operations:
        """Return the operations of `elementwise`, all for one purpose."""
        number = self.elementwise(inputs, output)
        return Operations(**{purpose: number}) if number else Operations()

    def backward_macs(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> int:
        """Return multiply-accumulates of the backward pass for one sample.

        By default, the MACs of the forward pass are products of weights and inputs, so
        the gradient of the weights and that of the input take as many each.

        Args:
            inputs: shapes of the inputs.
            output: the output's shape.
            gradients: for each input, whether its gradient is needed.
        """
        macs = self.macs(inputs, output)
        if not macs:
            return 0
        trained = any(tensor.trainable for tensor in self.tensors(*inputs))
        return macs * (trained + sum(gradients))

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return what an output unit sees, or None if it sees the whole input."""
        return pointwise(output)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels of each input that the given output channels depend on.

        By default, each output channel depends on the same channel of the inputs.
        """
        return (some,) * len(inputs)

    def opaque(self) -> bool:
        """Return whether a unit may see less than everything if `window` is None."""
        return False

    def is_view(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether torch makes its output as a view, if only of its own result.

        Nothing is written over a view: torch refuses that if an operation returns
        several views, and for other views copies gradients in the backward pass.
        """
        return self.views

    def aliases(self, training: bool) -> bool:
        """Return whether the output shares the input's memory in that mode."""
        return False

    def erases(self, training: bool) -> bool:
        """Return whether the output is zero for any input in that mode."""
        return False

    def is_positive(self, inputs: Sequence[bool]) -> bool:
        """Return whether the output is never negative, given which inputs are not."""
        return self.sign == "positive" or (self.sign == "kept" and all(inputs))

    def normed(self, inputs: tuple[Shape, ...]) -> int:
        """Return the number of values of a sample over which it takes each mean; 0 if
        it takes none.

        The deviation is taken over the same values.
        """
        return 0

    def cancels_bias(self, inputs: tuple[Shape, ...]) -> bool:
        """Return whether adding a constant to a channel of its input changes nothing.

        If its statistics are those of the batch, this refers to training.
        """
        return self.absorbs_bias

    def returns_input(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether what torch returns in training is the input itself.

        Unlike a view, it is not a separate operation in the backward pass.
        """
        return self.aliases(True) and not self.is_view(inputs, output)

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the output always equals the input, with these arguments."""
        return inputs == (output,) and self.aliases(True) and self.aliases(False)

    def channel_affine(self, own: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return what a channelwise kind multiplies by in inference, and what it adds.

        Args:
            own: its tensors, by name.

        Returns:
            Two tensors with a number for each channel.
        """
        raise NotImplementedError(self.word)

    def multipliers(self, like: Any, *own: Any) -> Any:
        """Return what a kind that multiplies channels multiplies each of them by.

        Args:
            like: a one for each channel, of the type that the result has.
            own: its tensors, in order.

        Returns:
            A tensor with a number for each channel.
        """
        raise NotImplementedError(self.word)

    def scaled(self, weight: Any, factors: Any) -> Any:
        """Return the weight that multiplies the output's channels by numbers.

        Args:
            weight: the layer's own.
            factors: a tensor with a number for each channel of the output.
        """
        raise NotImplementedError(self.word)

    def as_kernel(self, inputs: tuple[Shape, ...], output: Shape) -> Kernel | None:
        """Return the convolution that it equals in inference, or None.

        On a vector, which is a map of 1x1, its kernel has this size. A padding that
        differs from side to side, or with the size of the map, is none of a kernel.
        """
        return None

    def of_kernel(self, weight: Any) -> Any:
        """Return the layer's own weight, for that of its convolution."""
        return weight

    def kernel_of(self, own: Mapping[str, Any]) -> tuple[Any, Any | None]:
        """Return weight and bias of the convolution that it is in inference.

        Args:
            own: its tensors, by name.

        Returns:
            A tensor (out, in / groups, *size), where a size of 1 along each axis counts
            as 1x1 for any number of axes, and one with a number for each channel of the
            output, or None if nothing is added.
        """
        raise NotImplementedError(self.word)

    def weight_of(self, own: Mapping[str, Any]) -> Any:
        """Return the weight that it uses in inference.

        Args:
            own: its tensors, by name.
        """
        return own["weight"]

    def settled(self, own: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the buffers that follow from its other tensors at the start.

        Args:
            own: its tensors, by name.
        """
        return {}

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return what autograd keeps for the backward pass in training."""
        return Saved()

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return what the layer allocates temporarily, in either pass.

        Args:
            inputs: shapes of the inputs.
            output: the output's shape.
            gradients: for each input, whether its gradient is needed.
        """
        return _NO_SCRATCH

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the gradients of its inputs are its output's gradient, or
        views of it.

        Otherwise, each one is a new tensor.
        """
        return self.aliases(True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return how the layer is written in torch."""
        raise NotImplementedError(self.word)

    @property
    def structure(self) -> Layer | type[Layer]:
        """What equal copies have in common: all but the rate of a dropout."""
        return type(self) if self.family == "dropout" else self

    def label(self) -> str:
        """Return the text of the layer in a diagram or table."""
        return self.word


def need_map(inputs: Shape, word: str, axes: int | None = None) -> Shape:
    """Return the shape of a feature map with its channels first; refuse any other.

    Args:
        inputs: the shape.
        word: the word of the layer kind.
        axes: how many spatial axes the map must have, if not any number.

    Raises:
        Mismatch: if the shape is another one.
    """
    if isinstance(inputs, Last):
        raise Mismatch(
            f"{word} needs the channels first, but its input has them last "
            f"({show_shape(inputs)})",
            help="put `permute first` before it",
        )
    if not is_map(inputs):
        raise Mismatch(
            f"{word} needs a feature map, but its input is a vector of "
            f"{int(inputs[0])}",
            help="put it before `flatten` or `globalavgpool`",
        )
    if axes is not None and len(inputs) != axes + 1:
        raise Mismatch(
            f"{word} needs a map with {_counted(axes)}, but its input has "
            f"{len(inputs) - 1} ({show_shape(inputs)})",
        )
    return inputs


def need_any_map(inputs: Shape, word: str) -> Shape:
    """Return the shape of a map, wherever its channels are; refuse that of a vector.

    Raises:
        Mismatch: if it is one.
    """
    return inputs if isinstance(inputs, Last) else need_map(inputs, word)


def whole_axes(inputs: Shape) -> tuple[int, ...]:
    """Return the spatial axes of a batch of maps, as torch counts them."""
    first = 1 if isinstance(inputs, Last) else 2
    return tuple(range(first, first + len(sizes(inputs))))


def of_one_position(inputs: Shape, word: str) -> Shape:
    """Return a map's shape with a size of 1 along each axis.

    Args:
        inputs: the shape of the map, channels first or last.
        word: the layer's kind.

    Raises:
        Mismatch: if it is no map.
    """
    return with_sizes(inputs, ones(len(sizes(need_any_map(inputs, word)))))


def need_groups(word: str, before: int, after: int, groups: int) -> None:
    """Refuse channels that do not divide into a convolution's groups.

    Args:
        word: the layer's kind.
        before: its input channels.
        after: its output channels.
        groups: its groups.

    Raises:
        Mismatch: if they do not.
    """
    for name, value in (("input", before), ("output", after)):
        if value % groups:
            raise Mismatch(
                f"{word}: {value} {name} channels do not divide into {groups} groups",
                help="groups must divide both the input and the output channels",
                code="A0304",
            )


def need_axes(inputs: Shape, layer: Layer) -> Shape:
    """Return the shape of a map that the windows of a layer fit; refuse any other.

    Raises:
        Mismatch: if it is not a map with its channels first, or a window has not one
            size for each of its spatial axes.
    """
    need_map(inputs, layer.word)
    axes, own = len(inputs) - 1, layer.__dict__
    for name in layer.windows:
        value = own[name]
        if isinstance(value, tuple) and len(value) != axes:
            same = len(set(value)) == 1
            size = show_shape((value[0],) * axes) if same else "x".join("n" * axes)
            raise Mismatch(
                f"{layer.word}: `{name}` has {len(value)} "
                f"{'size' if len(value) == 1 else 'sizes'}, and its input has "
                f"{_counted(axes)}",
                help=f"write one size for each axis: `{size}`",
            )
    return inputs


def _counted(axes: int) -> str:
    return "1 spatial axis" if axes == 1 else f"{axes} spatial axes"


def need_equal(word: str, inputs: tuple[Shape, ...], *, wide: bool) -> None:
    """Refuse branches of different shapes.

    Args:
        word: the word of the layer kind.
        inputs: shapes of the branches.
        wide: whether their channels must agree, too.

    Raises:
        Differ: if two branches do.
    """
    for place, other in enumerate(inputs[1:], 1):
        aspect = shape_difference(inputs[0], other, wide)
        if aspect:
            what = "channels and size" if wide else "size"
            help = f"make the branches agree in {what}"
            raise Differ(word, aspect, (0, place), help)


def shape_difference(first: Shape, other: Shape, wide: bool) -> str:
    """Return a description of how two shapes differ; empty if they are equal."""
    if first == other and type(first) is type(other):
        return ""
    if _kind_of(first) != _kind_of(other):
        return f"kind ({_kind_of(first)} and {_kind_of(other)})"
    if wide and channels(first) != channels(other):
        if sizes(first) != sizes(other):
            return f"shape ({show_shape(first)} and {show_shape(other)})"
        noun = "channels" if is_map(first) else "features"
        return f"{noun} ({int(channels(first))} and {int(channels(other))})"
    if sizes(first) != sizes(other):
        return f"size ({show_shape(sizes(first))} and {show_shape(sizes(other))})"
    return ""


def _kind_of(shape: Shape) -> str:
    if isinstance(shape, Last):
        kind = "a map with its channels last"
    else:
        kind = "a feature map" if is_map(shape) else "a vector"
    return kind if len(shape) in (1, 3) else f"{kind} of {_counted(len(shape) - 1)}"


def output_size(
    word: str,
    size: int,
    kernel: int,
    stride: int,
    pads: tuple[int, int],
    dilation: int,
    ceil: bool = False,
) -> int:
    """Return the output size of a sliding window along one axis.

    Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic", relation 6;
    with `ceil`, torch's rule that the last window starts inside input or left pad.

    Raises:
        Mismatch: if the window is larger than the padded input.
    """
    reach = dilation * (kernel - 1) + 1
    room = size + pads[0] + pads[1] - reach
    out = -(-room // stride) + 1 if ceil else room // stride + 1
    if out < 1:
        raise Mismatch(
            f"{word}: a window of {reach} is larger than the padded input of "
            f"{size + pads[0] + pads[1]}",
            help="use a smaller kernel, more padding, or a larger input",
            code="A0303",
        )
    return out - 1 if ceil and (out - 1) * stride >= size + pads[0] else out


def same_pad(kernel: tuple[int, ...], dilation: tuple[int, ...]) -> tuple[int, ...]:
    """Return the padding that keeps the size at stride 1; 0 for an even kernel."""
    axes = zip(kernel, dilation, strict=True)
    return tuple([d * (k // 2) if k % 2 else 0 for k, d in axes])


def same_pads(
    size: int, kernel: int, stride: int, dilation: int = 1
) -> tuple[int, int]:
    """Return the padding before and after for size / stride outputs, rounded up.

    If the total is odd, the end gets one more.

    Source: TensorFlow's notes on convolution, for the padding "SAME"; the sum of both
    is max((ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0).
    """
    total = max(dilation * (kernel - 1) - (size - 1) % stride, 0)
    return total // 2, total - total // 2


def adaptive(inputs: Shape, output: Shape) -> Window:
    """Return a window that contains all windows of adaptive pooling.

    Output unit o reads inputs floor(o * n / m) to ceil((o + 1) * n / m) - 1 along an
    axis of n inputs and m outputs.
    """
    pairs = list(zip(sizes(inputs), sizes(output), strict=True))
    stride = tuple(n // gcd(n, m) for n, m in pairs)
    up = tuple(m // gcd(n, m) for n, m in pairs)
    # Unit o sees i where o * n < (i + 1) * m and i * m < (o + 1) * n.
    return sliding(
        kernel=tuple(n + m - 1 for n, m in zip(stride, up, strict=True)),
        stride=stride,
        pad=tuple(m - 1 for m in up),
        up=up,
    )


def adaptive_taps(inputs: Shape, output: Shape) -> int:
    """Return how many inputs all windows of adaptive pooling read in total."""
    total = channels(output)
    for n, m in zip(sizes(inputs), sizes(output), strict=True):
        total *= sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    return total


# The interpolation that is linear along each axis, by the number of axes.
LINEAR: Final[Mapping[int, str]] = {1: "linear", 2: "bilinear", 3: "trilinear"}


def need_mode(word: str, inputs: Shape, mode: str, *, align: bool) -> None:
    """Refuse an interpolation that a map does not have.

    Args:
        word: the word of the layer kind.
        inputs: shape of the map.
        mode: ``nearest``, or one of `LINEAR`.
        align: whether the corners keep their place.

    Raises:
        Mismatch: if the mode is that of maps with other axes, or does not interpolate
            and the corners would be aligned.
    """
    own = LINEAR[len(inputs) - 1]
    if mode not in ("nearest", own):
        raise Mismatch(
            f"{word}: `{mode}` is for other maps than {show_shape(inputs)}, with "
            f"{_counted(len(inputs) - 1)}",
            help=f"write `mode={own}`",
        )
    if align and mode == "nearest":
        raise Mismatch(
            f"{word}: `align` has no meaning without interpolation",
            help=f"use `mode={own}`, or leave `align` out",
        )


def interpolated(output: Shape, mode: str) -> int:
    """Return the operations of an interpolation.

    Each output is a sum of products with both neighbours along each axis.
    """
    terms = 2 ** (len(output) - 1)
    return 0 if mode == "nearest" else (2 * terms - 1) * count(output)


def interpolation(inputs: Shape, output: Shape, *, linear: bool, align: bool) -> Window:
    """Return the window of a map that is resized by interpolation.

    Along an axis of n inputs and m outputs, output o samples the input at (o + 1/2) n /
    m - 1/2, or at o (n - 1) / (m - 1) if the corners are aligned. The value is
    interpolated between the two neighbouring units, unless the position falls on one.
    Without interpolation, it is unit floor(o n / m).
    """
    parts = []
    for n, m in zip(sizes(inputs), sizes(output), strict=True):
        corners = align and min(n, m) > 1
        step, up = (n - 1, m - 1) if corners else (n, m)
        common = gcd(step, up)
        step, up = step // common, up // common
        # Positions of the first and last unit, in steps of 1 / up of an input unit.
        first, last = 1 - up, 0
        if corners:
            last = up - 1
        elif linear and not align:
            first = (step - 3 * up) // 2 + 1
            last = -(-(step + up) // 2) - 1
        parts.append((last - first + 1, step, -first, up))
    kernel, stride, pad, up_ = zip(*parts, strict=True)
    return sliding(kernel, stride, pad, up=up_)


def given(*options: tuple[str, Any, Any]) -> tuple[tuple[str, Any], ...]:
    """Return those (name, value) pairs whose value is not torch's default.

    A value that depends on a parameter of the block is always included, even if it
    happens to equal the default.
    """
    return tuple(
        (name, value)
        for name, value, default in options
        if value != default or is_symbolic(value) or is_symbolic(default)
    )


def all_channels(inputs: tuple[Shape, ...]) -> tuple[Sequence[int], ...]:
    """Return all channels of each input."""
    return tuple([range(channels(shape)) for shape in inputs])


def group_channels(
    some: Sequence[int], groups: int, before: int, after: int
) -> tuple[Sequence[int], ...]:
    """Return the input channels that given output channels read in a grouped layer.

    Args:
        some: channels of the output.
        groups: number of groups.
        before: number of input channels.
        after: number of output channels.
    """
    size = before // groups
    known = sorted({channel * groups // after for channel in some})
    return ([c for n in known for c in range(n * size, n * size + size)],)


def conv_tensors(weight: Shape, bias: bool, out_channels: int) -> tuple[Tensor, ...]:
    """Return a weight and, if requested, its bias."""
    if bias:
        return Tensor("weight", weight), Tensor("bias", (out_channels,))
    return (Tensor("weight", weight),)


def count(shape: Shape) -> int:
    """Return the number of elements of a shape."""
    return prod(shape)


# ---- the registry: one kind per file, found by its name ---------------------

_LOADED: dict[str, type[Layer]] = {}


def kind(word: str) -> type[Layer] | None:
    """Return the layer kind of a word, importing only its own file."""
    found = _LOADED.get(word)
    if found is None and word in words():
        module = import_module(f"archdsl.ops.{word}")
        found = next(
            value
            for value in vars(module).values()
            if isinstance(value, type)
            and issubclass(value, Layer)
            and value.word == word
        )
        _LOADED[word] = found
    return found


def words() -> frozenset[str]:
    """Return the words of all layer kinds."""
    if not _WORDS:
        folder = os.path.join(os.path.dirname(__file__), "ops")
        names = (os.path.splitext(f) for f in os.listdir(folder))
        _WORDS.update(n for n, end in names if end == ".py" and not n.startswith("_"))
    return frozenset(_WORDS)


_WORDS: set[str] = set()


def all_kinds() -> list[type[Layer]]:
    """Return every layer kind, by word."""
    found = [kind(word) for word in sorted(words())]
    return [k for k in found if k is not None]
