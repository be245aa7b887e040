"""Setting up a trainer for a network, data and a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends import torch as emitting
from archdsl.backends.checkpoints import match, read_weights, state_dict, wanted
from archdsl.ir import Network
from archdsl.values import Shape

from . import folder, states
from .data import Data, unusable
from .loop import LoopOptions, Trainer, Watch
from .recipe import Images, Recipe
from .scaling import ImageScale
from .views import check_views

if TYPE_CHECKING:
    from torch import nn

# Mean and deviation of ImageNet's colours, as used by torchvision's networks.
_IMAGENET: Final = ImageScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Their averages, for grey images.
_GREY: Final = ImageScale((0.449,), (0.226,))


class Start(NamedTuple):
    """The initial weights.

    Attributes:
        weights: a checkpoint; None for random weights.
        leave_out: paths of parts that do not take their weights from it.
        freeze: paths of parts that keep their weights.
    """

    weights: Path | None = None
    leave_out: tuple[str, ...] = ()
    freeze: tuple[str, ...] = ()

    def about(self) -> dict[str, Any]:
        """Return what must not change when a run is resumed."""
        return {
            "weights": None if self.weights is None else str(self.weights),
            "except": list(self.leave_out),
            "freeze": list(self.freeze),
        }


def classes_of(network: Network) -> tuple[Shape, int]:
    """Return the input and the number of classes of an image classifier.

    Raises:
        SpecError: if the network is something else.
    """
    outputs = [port for port in network.outputs if not port.training]
    if len(network.inputs) != 1 or len(network.inputs[0].shape) != 3:
        raise unusable(
            f"{network.name} does not take one image, so it cannot be trained here",
            "train the module that `archdsl compile` writes in a loop of your own",
            "A1105",
        )
    wrong = [port for port in network.outputs if len(port.shape) != 1]
    if len(outputs) != 1 or wrong:
        raise unusable(
            f"{network.name} does not give one score for each class, so it cannot be "
            "trained here",
            "train the module that `archdsl compile` writes in a loop of your own",
            "A1105",
        )
    main = outputs[0].shape[0]
    for port in network.outputs:
        if port.shape[0] != main:
            raise unusable(
                f"the head `{port.name}` has {port.shape[0]:,} outputs, and the main "
                f"output {main:,}",
                code="A1105",
            )
    return tuple(int(size) for size in network.inputs[0].shape), int(main)


def usual_scale(channels: int) -> ImageScale:
    """Return the usual normalisation of images from files."""
    if channels == 3:
        return _IMAGENET
    return ImageScale(_GREY.mean * channels, _GREY.std * channels)


def scale_of(data: Data, channels: int, how: Images) -> ImageScale:
    """Return the normalisation: the recipe's, or mean and deviation of the data."""
    import numpy as np

    if how.mean is not None and how.std is not None:
        return ImageScale(how.mean, how.std)
    images = getattr(data.train, "images", None)
    if images is None:
        return usual_scale(channels)
    # In chunks, as float64 takes eight times the memory of bytes.
    sums, squares, count = np.zeros(channels), np.zeros(channels), 0
    for at in range(0, len(images), 4096):
        part = images[at : at + 4096].astype(np.float64)
        part = part / 255 if images.dtype == np.uint8 else part
        sums += part.sum((0, 1, 2))
        squares += (part**2).sum((0, 1, 2))
        count += part.size // channels
    mean = sums / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    std[std == 0] = 1.0  # a constant channel
    return ImageScale(tuple(map(float, mean)), tuple(map(float, std)))


def trainer(
    network: Network,
    data: Data,
    recipe: Recipe,
    run: Path,
    options: LoopOptions,
    watch: Watch,
    start: Start,
    *,
    resume: bool,
) -> tuple[Trainer, folder.Run]:
    """Return a trainer that is ready for its next step.

    Args:
        network: the network.
        data: the images.
        recipe: how it is trained.
        run: the folder of the run.
        options: how the run is carried out.
        watch: the observer.
        start: the initial weights.
        resume: whether to continue from the newest state in the folder, if any.

    Raises:
        MissingExtra: if a library is not installed.
        OSError: if the folder cannot be written.
        SpecError: if something does not fit.
    """
    import torch

    shape, _ = classes_of(network)
    check_views(data, shape, recipe.images)
    text = emitting.emit(network)
    scale = scale_of(data, shape[0], recipe.images)
    what = folder.run_info(
        network, text, recipe, data, scale, options.seed, start.about()
    )
    # A run that ended before its first state cannot be continued.
    has_run = resume and states.exist(run)
    if has_run:
        folder.check_same(run, what)
    torch.manual_seed(options.seed)
    module = emitting.build(network, recompute=options.recompute)
    _check_frozen(network, start.freeze)
    if start.weights is not None:
        load_weights(network, module, start.weights, start.leave_out)
    made = Trainer(
        network, module, data, recipe, scale, run, options, watch, start.freeze
    )
    found = states.newest(run) if has_run else None
    if found is not None:
        made.load(found.state)
        for path in found.broken:
            watch.say(f"{path} is damaged; continuing from {found.path.name}")
        watch.say(f"continuing after step {made.step:,}")
    if made.is_first and not has_run:
        folder.write_run(run, what, text)
    return made, what


def load_weights(
    network: Network,
    module: nn.Module,
    weights: Path,
    leave_out: Sequence[str] = (),
) -> None:
    """Load the weights of a checkpoint into a module.

    Args:
        network: the module's network.
        module: the module.
        weights: the checkpoint.
        leave_out: paths of parts that keep their initial weights.

    Raises:
        MissingExtra: if the package that reads it is not installed.
        SpecError: if it is not a checkpoint, or one of another network.
    """
    try:
        found = match(network, read_weights(weights), leave_out=leave_out)
    except ValueError as error:
        raise unusable(str(error), code="A1105") from None
    if not found.complete:
        lacking = [one.key for one in found.missing]
        lacking += [one.tensor.key for one in found.reshaped]
        raise unusable(
            f"{weights} does not fit {network.name}: {lacking[0]} and "
            f"{len(lacking) - 1:,} more",
            "`archdsl weights` says what fits; with --except, `train` leaves parts out",
            "A1105",
        )
    module.load_state_dict(state_dict(found), strict=False)


def _check_frozen(network: Network, paths: Sequence[str]) -> None:
    keys = [one.key for one in wanted(network)]
    for path in paths:
        if not any(key.startswith(f"{path}.") for key in keys):
            raise unusable(f"the network has no weights at `{path}`", code="A1105")
