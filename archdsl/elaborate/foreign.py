"""Layer kinds that a spec declares itself, by `op`.

The spec names a class in a Python module, its arguments, and how to compute the output
shape. The module is not imported before the emitted code runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from archdsl.elaborate.contexts import Budget, Context
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.labels import names_read
from archdsl.elaborate.names import check_class, check_definition, check_parameter
from archdsl.elaborate.namespaces import Namespace
from archdsl.elaborate.types import show_value, type_name
from archdsl.layer import (
    REQUIRED,
    Layer,
    Mismatch,
    all_channels,
    arg,
    need_map,
    output_size,
    words,
)
from archdsl.symbolic import Sym, SymFloat
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile
from archdsl.values import (
    MOST_AXES,
    Dims,
    Saved,
    Shape,
    Tensor,
    TorchCall,
    TorchForm,
    Window,
    channels,
    pointwise,
    show_shape,
    sizes,
    sliding,
)

# What a setting may read beside the op's parameters.
NAMES = ("channels", "in_length", "in_depth", "in_height", "in_width")
# The names of a map's sizes, by the number of its axes.
_SIZES = {
    0: (),
    1: ("in_length",),
    2: ("in_height", "in_width"),
    3: ("in_depth", "in_height", "in_width"),
}
WINDOW = ("window", "stride", "pad", "dilation")
SETTINGS = (
    *("torch", "args", "shape", "params", "buffers", "macs", "family", "pointwise"),
    *WINDOW,
)
# What an op can be of, beside a layer of no family: these count for the depth.
FAMILIES = ("conv", "linear")
_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(\.[A-Za-z][A-Za-z0-9_]*)+")
_TYPES = {"int": "int", "float": "float", "bool": "bool", "kernel": "window"}
# Returns the value of an expression: `evaluate.evaluate`, which imports this module.
Evaluate = Callable[[t.Expr, Context], Any]
_KINDS: dict[int, tuple[t.OpDef, type[Foreign]]] = {}


def kind_of(
    definition: t.OpDef,
    module: LoadedFile,
    evaluate: Evaluate,
    budget: Budget | None = None,
) -> type[Foreign]:
    """Return the layer kind that an `op` declares.

    Args:
        definition: the declaration.
        module: the file that contains it.
        evaluate: computes its settings.
        budget: the work that the file may still use.

    Raises:
        Fault: if the declaration is incomplete or wrong.
    """
    known = _KINDS.get(id(definition))
    if known is not None and known[0] is definition:
        return known[1]
    settings = _settings(definition)
    path = _torch_path(definition, settings)
    family = _family(definition, settings)
    _check_names(definition)
    outside = Context(module, {}, Namespace("", False, None), budget=budget)
    fields: dict[str, Any] = {
        param.name: _field(param, place, outside, evaluate)
        for place, param in enumerate(definition.params)
    }
    base: dict[str, Any] = {
        "word": definition.name,
        "family": family or "other",
        "weighted": bool(family),
        "arity": len(definition.inputs) or 1,
        "definition": definition,
        "module": module,
        "settings": settings,
        "path": path,
        "known": {},
        "_compute": staticmethod(evaluate),
    }
    made = type(path[1], (Foreign,), {**base, **fields})
    _KINDS[id(definition)] = definition, made
    return made


def _settings(definition: t.OpDef) -> dict[str, t.Let]:
    found: dict[str, t.Let] = {}
    for setting in definition.settings:
        if setting.name not in SETTINGS:
            raise Fault(
                "A0201",
                f"an op has no setting `{setting.name}`",
                setting.span,
                help=f"its settings are {', '.join(SETTINGS)}",
            )
        if setting.name in found:
            raise Fault("A0206", f"`{setting.name}` is given twice", setting.span)
        found[setting.name] = setting
    if "torch" not in found:
        raise Fault(
            "A0202",
            f"op `{definition.name}` does not name its torch class",
            definition.span,
            help='write `torch = "module.Class"`',
        )
    return found


def _torch_path(definition: t.OpDef, settings: dict[str, t.Let]) -> tuple[str, str]:
    value = settings["torch"].value
    text = value.value if isinstance(value, t.Literal) else None
    if not isinstance(text, str) or not _PATH.fullmatch(text):
        raise Fault(
            "A0204",
            f"`torch` of op `{definition.name}` must name a class in a module",
            value.span,
            help='write `torch = "module.Class"`',
        )
    check_class(text, value.span)
    origin, _, name = text.rpartition(".")
    return origin, name


def _family(definition: t.OpDef, settings: dict[str, t.Let]) -> str:
    if "family" not in settings:
        return ""
    value = settings["family"].value
    family = value.value if isinstance(value, t.Literal) else None
    if family not in FAMILIES:
        raise Fault(
            "A0204",
            f"`family` of op `{definition.name}` must be a family that counts for the "
            "depth",
            value.span,
            help=" or ".join(f'write `family = "{one}"`' for one in FAMILIES),
        )
    return str(family)


def _check_names(definition: t.OpDef) -> None:
    """Refuse names that mean something else in a setting, or in archdsl."""
    params = [(param.name, param.span) for param in definition.params]
    for name, span in params:
        if name in Foreign.__annotations__ or hasattr(Foreign, name):
            raise Fault(
                "A0103",
                f"a parameter of an op cannot be called `{name}`, which says something "
                "of every layer",
                span,
                help="choose another name; the class gets its arguments by place",
            )
    if len(definition.inputs) == 1:
        raise Fault(
            "A0103",
            f"the only input of `{definition.name}` needs no name",
            definition.inputs[0][1],
            help="drop `(...)`: the settings read its `channels` and sizes",
        )
    for place, (name, span) in enumerate(definition.inputs):
        check_parameter(name, span)
        if name in dict([*params, *definition.inputs[:place]]):
            raise Fault("A0101", f"`{name}` is declared twice", span)
    for name, span in (*params, *definition.inputs):
        if name in NAMES:
            raise Fault(
                "A0103",
                f"`{name}` has a meaning of its own: it is said of what flows in",
                span,
                help="choose another name",
            )


def _field(param: t.Param, place: int, outside: Context, evaluate: Evaluate) -> Any:
    default = REQUIRED if param.default is None else evaluate(param.default, outside)
    type_ = param.type or ("int" if default is REQUIRED else type_name(default))
    if type_ not in _TYPES:
        raise Fault(
            "A0204",
            f"a parameter of an op is of type {', '.join(_TYPES)}, not `{type_}`",
            param.span,
        )
    return arg(_TYPES[type_], default, at=place, help=f"`{param.name}` of the op")


class Foreign(Layer):
    """A layer kind that a spec declares.

    Class attributes:
        known: the values of its settings, by everything that they depend on.
        budget: the work that the network may still use.
    """

    definition: t.OpDef
    module: LoadedFile
    settings: dict[str, t.Let]
    path: tuple[str, str]
    known: ClassVar[dict[Any, Any]]
    _compute: ClassVar[Evaluate]
    budget: ClassVar[Budget | None] = None

    def shape(self, *inputs: Shape) -> Shape:
        """Return the `shape` declared in the spec, or else the input's shape.

        Errors in the other settings are raised here, too, while the spec is read.
        """
        output = self._shape(inputs)
        self.tensors(*inputs)
        self.macs(inputs, output)
        self.window(inputs, output)
        self.torch(inputs, output)
        return output

    def _shape(self, inputs: tuple[Shape, ...]) -> Shape:
        if "shape" not in self.settings:
            return inputs[0]
        value = self._value("shape", inputs)
        parts = value if isinstance(value, tuple) else (value,)
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in parts)
        if not 1 <= len(parts) <= MOST_AXES + 1 or not whole or min(parts) < 1:
            raise Mismatch(
                f"{self.word}: its output would be {show_value(value)}, which is not "
                "a shape",
                help="an output is [channels, height, width] or [features]; a map can "
                "also have one or three sizes",
            )
        return tuple(parts)

    def tensors(self, *inputs: Shape) -> tuple[Tensor, ...]:
        """Return as many parameters and buffers as the spec declares.

        Their names are not known.
        """
        params, buffers = (self._number(n, inputs) for n in ("params", "buffers"))
        found = Tensor("*", (params,)), Tensor("*", (buffers,), trainable=False)
        return tuple([tensor for tensor in found if tensor.elements])

    def macs(self, inputs: tuple[Shape, ...], output: Shape) -> int:
        """Return the MACs declared in the spec, or 0."""
        return self._number("macs", inputs)

    def backward_macs(
        self, inputs: tuple[Shape, ...], output: Shape, gradients: tuple[bool, ...]
    ) -> int:
        """Return those of the gradients of both factors of each product.

        One of them is a weight if there are any.
        """
        trained = any(tensor.trainable for tensor in self.tensors(*inputs))
        return self.macs(inputs, output) * min(2, trained + sum(gradients))

    def window(self, inputs: tuple[Shape, ...], output: Shape) -> Window | None:
        """Return the window that the spec declares; None if it declares none."""
        is_pointwise = self._is_pointwise(inputs)
        given = [name for name in WINDOW if name in self.settings]
        if not given and not is_pointwise:
            return None
        if is_pointwise and given:
            raise Mismatch(
                f"{self.word}: it is pointwise, and has a `{given[0]}`",
                help="say one of both",
            )
        if given and "window" not in given:
            raise Mismatch(
                f"{self.word}: it has a `{given[0]}`, and no `window`",
                help="say what each position sees: `window = 3x3`",
            )
        for shape in inputs[1:]:
            if sizes(shape) != sizes(inputs[0]):
                raise Mismatch(
                    f"{self.word}: its inputs {show_shape(inputs[0])} and "
                    f"{show_shape(shape)} differ in size, and one window is for all",
                    help=f"drop `{given[0] if given else 'pointwise'}`: each position "
                    "then sees at most the whole of them",
                )
        if not is_pointwise:
            return self._window(inputs, output)
        if sizes(inputs[0]) != sizes(output):
            raise Mismatch(
                f"{self.word}: it is declared pointwise, but its output "
                f"{show_shape(output)} differs in size from its input "
                f"{show_shape(inputs[0])}",
                help="let `shape` keep the input's sizes, or drop `pointwise`",
            )
        return pointwise(output)

    def _is_pointwise(self, inputs: tuple[Shape, ...]) -> bool:
        value = "pointwise" in self.settings and self._value("pointwise", inputs)
        if not isinstance(value, bool):
            raise Mismatch(
                f"{self.word}: `pointwise` would be {show_value(value)}",
                help="it is true or false",
            )
        return value

    def _window(self, inputs: tuple[Shape, ...], output: Shape) -> Window:
        read = sizes(need_map(inputs[0], self.word))
        window, stride, pad, dilation = (
            self._along(name, least, inputs)
            for name, least in zip(WINDOW, (1, 1, 0, 1), strict=True)
        )
        made = tuple(
            output_size(self.word, size, kernel, step, (border, border), apart)
            for size, kernel, step, border, apart in zip(
                read, window, stride, pad, dilation, strict=True
            )
        )
        if made != sizes(output):
            raise Mismatch(
                f"{self.word}: its window gives a size of {show_shape(made)}, and "
                f"`shape` says {show_shape(output)}",
                help="make `shape`, `window`, `stride`, `pad` and `dilation` agree",
            )
        return sliding(window, stride, pad, dilation)

    def _along(
        self, setting: str, least: int, inputs: tuple[Shape, ...]
    ) -> tuple[int, ...]:
        """Return a setting's number for each axis of a map."""
        axes = len(inputs[0]) - 1
        value = self._value(setting, inputs) if setting in self.settings else least
        parts = value if isinstance(value, tuple) else (value,) * axes
        whole = all(isinstance(n, int) and not isinstance(n, bool) for n in parts)
        if not whole or len(parts) != axes or min(parts) < least:
            raise Mismatch(
                f"{self.word}: `{setting}` would be {show_value(value)}",
                help=f"it is one number, or one for each axis, {least} or more",
            )
        return tuple([int(n) for n in parts])

    def opaque(self) -> bool:
        """Return True: it is not known what it reads of its input."""
        return True

    def saved(self, inputs: tuple[Shape, ...], output: Shape) -> Saved:
        """Return input and output: it is not known what its backward pass reads."""
        return Saved(input=True, output=True)

    def channels_read(
        self, some: Sequence[int], inputs: tuple[Shape, ...], output: Shape
    ) -> tuple[Sequence[int], ...]:
        """Return all channels: it is not known which it reads."""
        return all_channels(inputs)

    def torch(self, inputs: tuple[Shape, ...], output: Shape) -> TorchForm:
        """Return a call of the class in the spec."""
        origin, name = self.path
        if "args" in self.settings:
            value = self._value("args", inputs)
            several = isinstance(value, tuple) and not isinstance(value, Dims)
            args = value if several else (value,)
        else:
            args = tuple(getattr(self, n) for n in self.fields)
        if origin == "torch.nn":
            return TorchForm(TorchCall(f"nn.{name}", args))
        return TorchForm(TorchCall(name, args), origin=origin)

    def _number(self, setting: str, inputs: tuple[Shape, ...]) -> int:
        if setting not in self.settings:
            return 0
        value = self._value(setting, inputs)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise Mismatch(
                f"{self.word}: `{setting}` would be {show_value(value)}",
                help="it is an integer, 0 or more",
            )
        return int(value)

    def _value(self, setting: str, inputs: tuple[Shape, ...]) -> Any:
        shape = inputs[0]
        env = {name: getattr(self, name) for name in self.fields}
        for (name, _), each in zip(self.definition.inputs, inputs, strict=False):
            env[name] = (channels(each), *map(int, sizes(each)))
        env["channels"] = channels(shape)
        spatial = sizes(shape)
        for name, size in zip(_SIZES[len(spatial)], spatial, strict=True):
            env[name] = int(size)
        key = setting, *((name, _exactly(value)) for name, value in env.items())
        if key not in self.known:
            self.known[key] = self._evaluate(setting, env, shape)
        return self.known[key]

    def _evaluate(self, setting: str, env: dict[str, Any], shape: Shape) -> Any:
        space = Namespace("", False, None)
        context = Context(self.module, env, space, budget=self.budget)
        try:
            return type(self)._compute(self.settings[setting].value, context)
        except Fault as fault:
            if fault.code == "A0104":  # one of `NAMES`, or reported in the declaration
                need_map(shape, self.word)
                unknown = set(NAMES[1:]) - set(_SIZES[len(shape) - 1])
                if used := sorted(unknown & names_read(self.settings[setting].value)):
                    raise Mismatch(
                        f"{self.word}: `{used[0]}` does not exist for its input, "
                        f"which is {show_shape(shape)}",
                        help="a sequence has `in_length`, an image `in_height` and "
                        "`in_width`, a video `in_depth`, too",
                    ) from None
                fault.code = ""
            raise Mismatch(f"{self.word}: {fault.message}", code=fault.code) from None


def _exactly(value: Any) -> Any:
    """Return a key that distinguishes a value from others that compare equal to it."""
    if isinstance(value, tuple):
        return tuple(_exactly(part) for part in value)
    if isinstance(value, Sym):
        return int(value), value.poly
    if isinstance(value, SymFloat):
        return value.name, float(value)
    return type(value), value


def check_op(
    definition: t.OpDef, module: LoadedFile, evaluate: Evaluate, budget: Budget
) -> None:
    """Refuse a declaration that no call could use.

    Raises:
        Fault: with the reason.
    """
    check_definition(definition.name, definition.span, words(), "layer")
    kind_of(definition, module, evaluate, budget)
