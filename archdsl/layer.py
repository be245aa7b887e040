"""What a layer kind declares about itself, in one place.

Each kind is one class in one file of `archdsl.ops`, named after its word. Its
fields are its arguments; its methods, the facets below, are computed from its
own arguments and the shapes of its inputs alone. Everything else in the
package reads these declarations; nothing else names a kind.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from math import gcd
from typing import Any, ClassVar, Final

from .symbolic import is_symbolic
from .values import (
    POINTWISE,
    Last,
    Operations,
    Saved,
    Scratch,
    Shape,
    Tensor,
    TorchForm,
    Window,
    channels,
    show_shape,
    sizes,
)

REQUIRED: Any = object()
_NO_SCRATCH = Scratch()

# What the operations besides MACs are for in each family; ``other`` in the rest.
_FAMILY: Final[Mapping[str, str]] = {
    "conv": "bias",
    "linear": "bias",
    "norm": "norm",
    "activation": "activation",
    "pool": "pool",
    "merge": "add",
}


class Mismatch(Exception):
    """A layer that does not fit its inputs; becomes a diagnostic.

    Attributes:
        code: the diagnostic's code.
        message: what is wrong, in one sentence.
        label: what stands at the place.
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
    """Branches of a merge that do not fit each other.

    Attributes:
        aspect: what they differ in, with what each of the two has.
        places: which two of the inputs.
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
        default: its value when left out; `REQUIRED` if it must be given.
        position: its place among the arguments without a keyword, ``/`` for the
            stride's place, or None if it has only its keyword.
        minimum: the least value, for numbers and each part of a window.
        maximum: the largest value, or None.
        choices: the words a ``choice`` may be, and any other in place of a number.
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
    """Base of all layer kinds. Its attributes are its arguments, fixed once made.

    Class attributes:
        word: the word in a spec, and the file's name.
        also: what others call it, in small letters without `_`.
        family: ``conv``, ``linear``, ``norm``, ``activation``, ``pool``,
            ``merge``, ``dropout``, ``reshape`` or ``other``; colours diagrams, and
            says what its operations besides MACs are for.
        weighted: whether the layer counts towards depth.
        arity: number of inputs; None for two or more.
        sources: number of inputs whose values it reads, None for all; of the others
            it reads the shape alone.
        absorbs_bias: whether it cancels a bias added right before it.
        autocast: what torch's autocast computes it in: ``lower``, the dtype that it is
            given; ``wide``, that of the parameters; ``input``, the widest of its
            inputs. As on a CPU, see `passes.autocast`.
        spares_weight: whether autograd does not keep its weight where its input needs
            no gradient.
        gathers: whether it works on a copy of an input whose memory has gaps.
        read_only: whether its output is a view that torch lets no step write over.
        shifts_variance: whether its output varies more in training than in inference.
        idempotent: whether a second one right behind it changes nothing.
        sign: ``positive`` if no output is below zero, ``kept`` if none is where no
            input is; empty if one may be.
        channelwise: whether in inference it multiplies each channel by a number and
            adds another, and nothing else.
        pools_batch: whether in training its statistics are those of all samples.
        sums_to_one: whether its outputs are shares of one, over the channels.
        maximum: whether each output is the largest input of its window.
        selects: whether it takes some of the channels, and nothing else.
        scatters: whether it makes channels of positions, or positions of channels.
        of_any_size: for a pool with a window, the word of the kind that pools a map of
            any size to a given one in the same way.
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
    gathers: ClassVar[bool] = False
    read_only: ClassVar[bool] = False
    shifts_variance: ClassVar[bool] = False
    idempotent: ClassVar[bool] = False
    sign: ClassVar[str] = ""
    channelwise: ClassVar[bool] = False
    pools_batch: ClassVar[bool] = False
    sums_to_one: ClassVar[bool] = False
    maximum: ClassVar[bool] = False
    selects: ClassVar[bool] = False
    scatters: ClassVar[bool] = False
    of_any_size: ClassVar[str] = ""
    fields: ClassVar[dict[str, Field]] = {}

    def __init_subclass__(cls) -> None:
        """Collect the arguments that the class declares."""
        cls.fields = dict(cls.fields)
        for name, value in list(vars(cls).items()):
            if isinstance(value, Field):
                value.name = name
                cls.fields[name] = value

    def __init__(self, **values: Any) -> None:
        own = self.__dict__
        for name, field in self.fields.items():
            own[name] = values.get(name, field.default)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((self.word, tuple(self.__dict__.items())))

    def __repr__(self) -> str:
        values = ", ".join(f"{k}={v!r}" for k, v in self.__dict__.items())
        return f"{type(self).__name__}({values})"

    def replace(self, **values: Any) -> Layer:
        """Return a copy with some arguments changed."""
        return type(self)(**{**self.__dict__, **values})

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
        """Return operations for one sample, besides the MACs, in inference.

        Every addition, multiplication, division, comparison, root, power or
        elementary function of one number is one operation. A window counts in
        full where it reaches over the padding, as it does in the MACs.
        """
        return 0

    def operations(
        self, inputs: tuple[Shape, ...], output: Shape, training: bool
    ) -> Operations:
        """Return operations for one sample, besides the MACs, by what they are for.

        Those of inference sum to `elementwise`. By default they are all for what the
        kind's family says, and the same in training.
        """
        return self.all_for(_FAMILY.get(self.family, "other"), inputs, output)

    def all_for(
        self, purpose: str, inputs: tuple[Shape, ...], output: Shape
    ) -> Operations:
        """Return those of `elementwise`, all for one purpose of `Operations`."""
        number = self.elementwise(inputs, output)
        return Operations(**{purpose: number}) if number else Operations()

    def backward_macs(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> int:
        """Return multiply-accumulates of the backward pass for one sample.

        By default those of the forward pass are products of the weights and the
        inputs, so that the gradient of either takes as many again.

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
        return POINTWISE

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return the channels of each input that some of the output depend on.

        Kinds that say nothing else treat each channel by itself.
        """
        return (some,) * len(inputs)

    def opaque(self) -> bool:
        """Return whether a unit may see less than all where `window` gives None."""
        return False

    def aliases(self, training: bool) -> bool:
        """Return whether the output is the input's own memory in that mode."""
        return False

    def erases(self, training: bool) -> bool:
        """Return whether the output is zero in that mode, whatever the input is."""
        return False

    def is_positive(self, inputs: Sequence[bool]) -> bool:
        """Return whether no output is below zero, told which inputs are known so."""
        return self.sign == "positive" or (self.sign == "kept" and all(inputs))

    def normed(self, inputs: tuple[Shape, ...]) -> int:
        """Return of how many values of a sample it takes each mean, 0 if it takes none.

        The deviation is that of the same values.
        """
        return 0

    def cancels_bias(self, inputs: tuple[Shape, ...]) -> bool:
        """Return whether what is added to a whole channel before it changes nothing.

        Where its statistics are those of the batch, that is in training.
        """
        return self.absorbs_bias

    def passes(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether the output is the input, with these arguments, in any mode."""
        return inputs == (output,) and self.aliases(True) and self.aliases(False)

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return what autograd keeps for the backward pass in training."""
        return Saved()

    def scratch(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> Scratch:
        """Return what the layer allocates for a while, in either pass.

        Args:
            inputs: shapes of the inputs.
            output: the output's shape.
            gradients: for each input, whether its gradient is needed.
        """
        return _NO_SCRATCH

    def shares_gradient(self, inputs: tuple[Shape, ...], output: Shape) -> bool:
        """Return whether its inputs' gradients are its output's own, or parts of it.

        Otherwise, each is made anew.
        """
        return self.aliases(True)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return the layer's form in torch."""
        raise NotImplementedError(self.word)

    @property
    def structure(self) -> Layer | type[Layer]:
        """What equal copies have in common: all but the rate of a dropout."""
        return type(self) if self.family == "dropout" else self

    def label(self) -> str:
        """Return the text of the layer in a diagram or table."""
        return self.word


def need_map(inputs: Shape, word: str) -> tuple[int, int, int]:
    """Return (channels, height, width), or refuse any other shape.

    Raises:
        Mismatch: if the shape is not that of a feature map, its channels first.
    """
    if isinstance(inputs, Last):
        raise Mismatch(
            f"{word} needs the channels first, and its input has them last "
            f"({show_shape(inputs)})",
            help="put `permute first` before it",
        )
    if len(inputs) != 3:
        raise Mismatch(
            f"{word} needs a feature map, and its input is a vector of "
            f"{int(inputs[0])}",
            help="put it before `flatten` or `globalavgpool`",
        )
    return inputs


def need_equal(word: str, inputs: tuple[Shape, ...], *, wide: bool) -> None:
    """Refuse branches of different shapes.

    Args:
        word: of the layer kind.
        inputs: shapes of the branches.
        wide: whether their channels must agree, too.

    Raises:
        Differ: if two branches do.
    """
    for place, other in enumerate(inputs[1:], 1):
        aspect = difference(inputs[0], other, wide)
        if aspect:
            what = "channels and size" if wide else "size"
            help = f"make the branches agree in {what}"
            raise Differ(word, aspect, (0, place), help)


def difference(first: Shape, other: Shape, wide: bool) -> str:
    """Say what two shapes differ in; nothing if they agree."""
    if _kind_of(first) != _kind_of(other):
        return f"kind ({_kind_of(first)} and {_kind_of(other)})"
    if wide and channels(first) != channels(other):
        if sizes(first) != sizes(other):
            return f"shape ({show_shape(first)} and {show_shape(other)})"
        noun = "channels" if len(first) == 3 else "features"
        return f"{noun} ({int(channels(first))} and {int(channels(other))})"
    if sizes(first) != sizes(other):
        return f"size ({show_shape(sizes(first))} and {show_shape(sizes(other))})"
    return ""


def _kind_of(shape: Shape) -> str:
    if isinstance(shape, Last):
        return "a map with its channels last"
    return "a feature map" if len(shape) == 3 else "a vector"


def slide(
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
    return tuple(
        d * (k // 2) if k % 2 else 0 for k, d in zip(kernel, dilation, strict=True)
    )


def same_pads(
    size: int, kernel: int, stride: int, dilation: int = 1
) -> tuple[int, int]:
    """Return the padding before and after that gives size / stride units, rounded up.

    The odd one goes to the end.

    Source: TensorFlow's notes on convolution, for the padding "SAME"; the sum of both
    is max((ceil(size / stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0).
    """
    total = max(dilation * (kernel - 1) - (size - 1) % stride, 0)
    return total // 2, total - total // 2


def adaptive(inputs: Shape, output: Shape) -> Window:
    """Return the hull of the windows of adaptive pooling.

    Output unit o reads inputs floor(o * n / m) to ceil((o + 1) * n / m) - 1 along an
    axis of n inputs and m outputs.
    """
    pairs = list(zip(sizes(inputs), sizes(output), strict=True))
    stride = tuple(n // gcd(n, m) for n, m in pairs)
    up = tuple(m // gcd(n, m) for n, m in pairs)
    # Unit o sees i where o * n < (i + 1) * m and i * m < (o + 1) * n.
    return Window(
        kernel=tuple(n + m - 1 for n, m in zip(stride, up, strict=True)),
        stride=stride,
        pad=tuple(m - 1 for m in up),
        up=up,
    )


def adaptive_taps(inputs: Shape, output: Shape) -> int:
    """Return the inputs that all windows of adaptive pooling read together."""
    total = channels(output)
    for n, m in zip(sizes(inputs), sizes(output), strict=True):
        total *= sum(-(-(i + 1) * n // m) - i * n // m for i in range(m))
    return total


def interpolation(inputs: Shape, output: Shape, *, linear: bool, align: bool) -> Window:
    """Return the window of a map resized by interpolation.

    Along an axis of n inputs and m outputs, unit o reads the input at
    (o + 1/2) n / m - 1/2, or at o (n - 1) / (m - 1) with the corners aligned: there
    the two units around it mix, unless it falls on one. Without interpolation, it
    takes unit floor(o n / m).
    """
    parts = []
    for n, m in zip(sizes(inputs), sizes(output), strict=True):
        corners = align and min(n, m) > 1
        step, up = (n - 1, m - 1) if corners else (n, m)
        common = gcd(step, up)
        step, up = step // common, up // common
        # In steps of 1 / up of an input unit: where the first and the last one lie.
        first, last = 1 - up, 0
        if corners:
            last = up - 1
        elif linear and not align:
            first = (step - 3 * up) // 2 + 1
            last = -(-(step + up) // 2) - 1
        parts.append((last - first + 1, step, -first, up))
    kernel, stride, pad, up_ = zip(*parts, strict=True)
    return Window(kernel, stride, pad, up=up_)


def given(*options: tuple[str, Any, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the (name, value) of those whose value is not torch's default.

    A value that a block's parameter decides is always written, and so is one that
    only happens to equal what a parameter decides.
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
    """Return the channels that some of the output read, where each reads its group.

    Args:
        some: channels of the output.
        groups: how many there are.
        before: channels of the input.
        after: channels of the output.
    """
    size = before // groups
    known = sorted({channel * groups // after for channel in some})
    return ([c for n in known for c in range(n * size, n * size + size)],)


def conv_tensors(weight: Shape, bias: bool, out_channels: int) -> tuple[Tensor, ...]:
    """Return a weight and, if asked for, its bias."""
    if bias:
        return Tensor("weight", weight), Tensor("bias", (out_channels,))
    return (Tensor("weight", weight),)


def count(shape: Shape) -> int:
    """Return the number of elements of a shape."""
    product = 1
    for n in shape:
        product *= n
    return product


# ---- the registry: one file a kind, found by its name -----------------------

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
