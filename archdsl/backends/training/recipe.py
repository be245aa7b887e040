"""Recipes: how to train a network, as TOML, checked like a spec.

A recipe is data. Each key has a type and bounds. Unknown keys are refused with their
place, and so are keys that the chosen optimizer or schedule does not use.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError, did_you_mean
from archdsl.limits import MAX_FILE_BYTES
from archdsl.resources import recipes
from archdsl.source import Source, Span

from .places import KeyPlace, Path, places

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=0, le=2**31 - 1)]
PositiveCount = Annotated[int, Field(ge=1, le=2**31 - 1)]


def _tuple(value: Any) -> Any:
    """Turn TOML's lists into tuples, as strict validation refuses lists."""
    return tuple(value) if isinstance(value, list) else value


# pydantic 2.5 cannot apply Strict(False) to a pair.
_FROM_LIST: Final = BeforeValidator(_tuple)
Many = Annotated[tuple[Positive, ...], _FROM_LIST, Field(max_length=64)]
Pair = Annotated[tuple[Share, Share], _FROM_LIST]


class _Table(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False
    )


class Optimizer(_Table):
    """The optimizer.

    Attributes:
        kind: ``sgd``, ``adamw`` (Loshchilov & Hutter 2019), or ``lamb`` for large
            batches (You et al. 2020), which is timm's.
        lr: learning rate, before the schedule.
        momentum: the momentum of sgd.
        nesterov: whether sgd uses Nesterov momentum (Sutskever et al. 2013).
        betas: decay rates of the two moments of adamw and lamb.
        weight_decay: coefficient of weight decay.
        decay_all: whether norms and biases decay, too. By default, only tensors of two
            or more dimensions do (He et al. 2018, "Bag of tricks", section 3.1).
    """

    kind: Literal["sgd", "adamw", "lamb"] = "sgd"
    lr: Positive
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    betas: Pair = (0.9, 0.999)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    decay_all: bool = False


class Schedule(_Table):
    """How the learning rate changes from step to step.

    Attributes:
        kind: ``constant``; ``cosine`` to `final` (Loshchilov & Hutter 2017, equation
            5); ``step``, by `factor` at `milestones` or `every` so many epochs;
            ``plateau``, by `factor` if the test error has not fallen for `patience`
        epochs; ``one_cycle`` up and down (Smith & Topin 2018). warmup_epochs: how long
        it first rises linearly to the full rate (Goyal et al. 2017, section 2.2).
        warmup_start: the first rate, as a share of the full one. milestones: epochs
        after which the rate falls. every: epochs between two falls. factor: what the
        rate is multiplied by. patience: epochs without a better test error before a
        fall. final: the rate at the end, as a share of the full one. rise: share of the
        steps in which one_cycle rises.
    """

    kind: Literal["constant", "cosine", "step", "plateau", "one_cycle"] = "cosine"
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    warmup_start: Annotated[float, Field(gt=0, le=1)] = 0.01
    milestones: Many = ()
    every: Positive | None = None
    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Whole = 5
    final: Share = 0.0
    rise: Annotated[float, Field(gt=0, lt=1)] = 0.3


class Average(_Table):
    """A moving average of the weights; it is what is tested and saved.

    Attributes:
        decay: share of the old average in the new one.
        every: steps between two updates.
    """

    decay: Annotated[float, Field(gt=0, lt=1)]
    every: PositiveCount = 1


class Images(_Table):
    """How images are augmented and normalised.

    Attributes:
        pad: width of the border of zeros added before a random crop of the original
            size (He et al. 2015, section 4.2).
        crop: least and largest size of a random crop, as a share of the shorter side;
            the crop is scaled to the network's input (Simonyan & Zisserman 2014,
            section 3.1).
        resized_crop: the same as a share of the area, with an aspect ratio from 3/4 to
            4/3 (Szegedy et al. 2014, section 6).
        flip: whether half of the images are mirrored.
        colour: the share by which brightness, contrast and saturation may change.
        lighting: standard deviation of the shift along the principal components of
            the colours (Krizhevsky et al. 2012, section 4.1).
        policy: ``trivial`` for TrivialAugment (Mueller & Hutter 2021), ``rand`` for
            RandAugment (Cubuk et al. 2020); both are torchvision's.
        erase: probability that a rectangle is erased (Zhong et al. 2020).
        mixup: parameter of the beta distribution for mixup (Zhang et al. 2018).
        cutmix: the same for CutMix (Yun et al. 2019); if both are given, each gets half
            of the batches.
        test_crop: size of the centre crop for tests, as a share of the shorter side.
        mean: the mean of each channel, in 0 to 1; by default, that of the data.
        std: the standard deviation of each channel, likewise.
    """

    pad: Annotated[int, Field(ge=0, le=1024)] = 0
    crop: Pair | None = None
    resized_crop: Pair | None = None
    flip: bool = False
    colour: Share = 0.0
    lighting: Share = 0.0
    policy: Literal["none", "trivial", "rand"] = "none"
    erase: Share = 0.0
    mixup: Annotated[float, Field(ge=0, le=100)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=100)] = 0.0
    test_crop: Annotated[float, Field(gt=0, le=1)] = 1.0
    mean: Annotated[tuple[float, ...], _FROM_LIST] | None = None
    std: Many | None = None


class Recipe(_Table):
    """How to train a network.

    Attributes:
        about: a one-line description.
        source: where its numbers come from.
        epochs: passes over the data.
        batch: images per step, of all processes together.
        accumulate: number of parts that a batch is split into, to save memory.
        label_smoothing: share of the target spread over all classes (Szegedy et al.
            2016, section 7).
        auxiliary_weight: weight of the losses of auxiliary heads (Szegedy et al. 2014,
            section 5).
        clip_norm: the largest norm of all gradients together.
        precision: ``bfloat16`` uses torch's autocast.
        channels_last: whether tensors use torch's channels-last memory format.
        optimizer: its table.
        schedule: its table.
        ema: its table, if weights are averaged.
        images: its table.
    """

    about: str = ""
    source: str = ""
    epochs: PositiveCount
    batch: PositiveCount
    accumulate: PositiveCount = 1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    auxiliary_weight: Annotated[float, Field(ge=0, le=100)] = 0.3
    clip_norm: Positive | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    channels_last: bool = False
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    ema: Average | None = None
    images: Images = Images()


# Keys that only some kinds of optimizer or schedule use.
_ONLY: Final[Mapping[Path, tuple[str, ...]]] = {
    ("optimizer", "momentum"): ("sgd",),
    ("optimizer", "nesterov"): ("sgd",),
    ("optimizer", "betas"): ("adamw", "lamb"),
    ("schedule", "milestones"): ("step",),
    ("schedule", "every"): ("step",),
    ("schedule", "factor"): ("step", "plateau"),
    ("schedule", "patience"): ("plateau",),
    ("schedule", "final"): ("cosine", "one_cycle"),
    ("schedule", "rise"): ("one_cycle",),
    ("schedule", "warmup_epochs"): ("constant", "cosine", "step", "plateau"),
    ("schedule", "warmup_start"): ("constant", "cosine", "step", "plateau"),
}
_CROPS: Final = ("pad", "crop", "resized_crop")
_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "optimizer": Optimizer,
    "schedule": Schedule,
    "ema": Average,
    "images": Images,
}


# ---- reading


class _Read(NamedTuple):
    """A recipe's values, with their positions."""

    values: dict[str, Any]
    at: dict[Path, KeyPlace]


def shipped_recipe(name: str) -> Source | None:
    """Return the text of the shipped recipe with a name, or None."""
    path = recipes().get(name)
    return None if path is None else Source(name, path.read_text(encoding="utf-8"))


def parse_recipe(source: Source, changes: Sequence[str] = ()) -> Recipe:
    """Parse a recipe.

    Args:
        source: the text.
        changes: values that override its own, such as ``optimizer.lr=0.05``.

    Raises:
        SpecError: naming each mistake, with its place.
    """
    if len(source.text) > MAX_FILE_BYTES:
        message = f"{source.name} is larger than {MAX_FILE_BYTES:,} bytes"
        raise SpecError([Diagnostic("A0901", message)])
    read = _Read(_toml(source), places(source))
    for text in changes:
        _change(read, Source("--set", text))
    found = Diagnostics()
    try:
        recipe = Recipe.model_validate(read.values)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            found.add(_diagnostic(one, read, source))
        found.raise_if_any()
        raise
    for diagnostic in _contradictions(recipe, read, source):
        found.add(diagnostic)
    found.raise_if_any()
    return recipe


def _toml(source: Source) -> dict[str, Any]:
    try:
        return tomllib.loads(source.text)
    except tomllib.TOMLDecodeError as error:
        text = str(error)
        at = re.search(r"\(at line (\d+), column (\d+)\)", text)
        start = len(source.text)
        if at is not None:
            lines = source.text.splitlines(keepends=True)
            start = sum(map(len, lines[: int(at[1]) - 1])) + int(at[2]) - 1
        start = max(0, min(start, len(source.text.rstrip()) - 1))
        reason = text.partition(" (at ")[0]
        message = f"{source.name} is not TOML: {reason[:1].lower()}{reason[1:]}"
        raise SpecError(
            [Diagnostic("A1101", message, Span(source, start, start + 1))]
        ) from None
    except RecursionError:
        message = f"{source.name} is not a recipe: it is nested too deeply"
        raise SpecError([Diagnostic("A0902", message)]) from None


def _change(read: _Read, source: Source) -> None:
    """Override a value by ``key=value``; a word needs no quotes there."""
    key, equals, value = source.text.partition("=")
    if not equals or "\n" in source.text:
        message = f"`{source.text}` is not of the form key=value"
        help = "write `--set optimizer.lr=0.05`"
        raise SpecError([Diagnostic("A1101", message, help=help)])
    if re.fullmatch(r"[A-Za-z_][\w-]*", value) and value not in ("true", "false"):
        values = _toml(Source("--set", f'{key}="{value}"'))
    else:
        values = _toml(source)
    _merge(read.values, values)
    read.at.update(places(source))


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        held = into.get(key)
        if not isinstance(value, dict) or not isinstance(held, dict):
            into[key] = value
            continue
        kind = value.get("kind")
        if kind is not None and kind != held.get("kind"):
            # Drop the keys that belong to the old kind.
            for name in [*held]:
                if kind not in _ONLY.get((key, name), (kind,)):
                    del held[name]
        held.update(value)


# ---- mistakes


def _diagnostic(error: Any, read: _Read, source: Source) -> Diagnostic:
    """Return one of pydantic's errors as a diagnostic."""
    path = tuple(str(part) for part in error["loc"])
    name = ".".join(part for part in path if not part.isdecimal())
    match error["type"]:
        case "extra_forbidden":
            return _unknown(path, read, source)
        case "missing":
            message = f"`{name}` is missing in {source.name}"
            return Diagnostic("A1103", message, _place(path[:-1], read, source))
        case "literal_error":
            known = re.findall(r"'([^']*)'", error["ctx"]["expected"])
            hint = did_you_mean(str(error["input"]), known)
            return Diagnostic(
                "A1103",
                f"`{name}` cannot be {_shown(error['input'])}",
                _place(path, read, source),
                help=hint or f"it can be {', '.join(known)}",
            )
        case _:
            pass
    wanted = error["msg"].replace("Input should be ", "").replace("a valid ", "a ")
    wanted = _WORDS.get(error["type"], wanted)
    return Diagnostic(
        "A1103",
        f"`{name}` cannot be {_shown(error['input'])}",
        _place(path, read, source),
        label=f"not {wanted}",
    )


_WORDS: Final = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a text",
    "tuple_type": "a list",
    "model_type": "a table",
    "too_long": "a list of that length",
}


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    return str(list(value) if isinstance(value, tuple) else value)


def _unknown(path: Path, read: _Read, source: Source) -> Diagnostic:
    table = _TABLES.get(path[0]) if len(path) > 1 else Recipe
    known: Iterable[str] = () if table is None else table.model_fields
    where = f"`{path[0]}`" if len(path) > 1 else "a recipe"
    hint = did_you_mean(path[-1], known)
    if hint is None:
        # The key may be in the wrong table.
        homes = [
            f"{n}.{path[-1]}" for n, t in _TABLES.items() if path[-1] in t.model_fields
        ]
        homes += [path[-1]] if path[-1] in Recipe.model_fields else []
        hint = f"there is `{homes[0]}`" if homes else f"known are {', '.join(known)}"
    at = _place(path, read, source, key=True)
    return Diagnostic("A1102", f"{where} has no `{path[-1]}`", at, help=hint)


def _contradictions(
    recipe: Recipe, read: _Read, source: Source
) -> Iterable[Diagnostic]:
    """Yield mistakes in the combination of values."""

    def wrong(path: Path, message: str, help: str | None = None) -> Diagnostic:
        return Diagnostic("A1103", message, _place(path, read, source), help=help)

    tables: Mapping[str, Any] = {
        "optimizer": recipe.optimizer,
        "schedule": recipe.schedule,
    }
    for (table, key), kinds in _ONLY.items():
        held = tables[table]
        if key in held.model_fields_set and held.kind not in kinds:
            message = f"`{table}.{key}` applies to {kinds[0]}, not to {held.kind}"
            yield wrong((table, key), message, "take it out")
    schedule, images = recipe.schedule, recipe.images
    if schedule.kind == "step" and bool(schedule.milestones) == bool(schedule.every):
        message = "a step schedule has either `milestones` or `every`"
        yield wrong(("schedule",), message, "write `every = 30`, in epochs")
    if list(schedule.milestones) != sorted(set(schedule.milestones)):
        yield wrong(("schedule", "milestones"), "`milestones` must increase")
    if schedule.warmup_epochs >= recipe.epochs:
        yield wrong(("schedule", "warmup_epochs"), "the warm-up fills the whole run")
    if recipe.batch % recipe.accumulate:
        message = f"a batch of {recipe.batch} has no {recipe.accumulate} equal parts"
        yield wrong(("accumulate",), message)
    crops = [name for name in _CROPS if getattr(images, name)]
    if len(crops) > 1:
        message = f"`{crops[0]}` and `{crops[1]}` exclude each other"
        yield wrong(("images", crops[1]), message)
    for name in _CROPS[1:]:
        least, largest = getattr(images, name) or (1.0, 1.0)
        if not 0 < least <= largest:
            yield wrong(("images", name), f"`{name}` must be [least, largest], above 0")
    if (images.mean is None) != (images.std is None):
        yield wrong(("images",), "`mean` and `std` must be given together")
    elif images.mean and images.std and len(images.mean) != len(images.std):
        yield wrong(("images", "std"), "`mean` and `std` have different lengths")
    if recipe.optimizer.nesterov and not recipe.optimizer.momentum:
        yield wrong(("optimizer", "nesterov"), "`nesterov` needs a momentum")


def _place(path: Path, read: _Read, source: Source, *, key: bool = False) -> Span:
    """Return the position of a path, or of the nearest table around it."""
    while path and path not in read.at:
        path = path[:-1]
    if not path:
        return Span(source, 0, len(source.line(1)))
    place = read.at[path]
    return place.key if key else place.value
