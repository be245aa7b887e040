"""`archdsl train`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from archdsl.cli import completion
from archdsl.cli.files import writing
from archdsl.cli.options import (
    DATA,
    INPUT_FILE,
    OUTPUT,
    SpecCommand,
    changes_option,
    device_options,
    find_device,
    json_option,
    load_proved,
    processor_option,
    spec_options,
    split_params,
)
from archdsl.cli.terminal import print_json
from archdsl.cli.training import Shown, find_recipe, running

if TYPE_CHECKING:
    from archdsl.backends.training import Data, LoopOptions, Recipe, Start
    from archdsl.ir import Network
    from archdsl.passes.devices import Device

# With more, a GPU rarely waits for decoding.
_MOST_WORKERS: Final = 8


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "--data",
    "data_name",
    required=True,
    metavar="DATA",
    help=DATA,
)
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME|FILE",
    shell_complete=completion.recipes,
    help="How to train: a shipped recipe, or a TOML file.  [default: digits for "
    "--data digits]",
)
@changes_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=OUTPUT,
    metavar="FOLDER",
    help="Folder for states, metrics and weights.",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in the folder, or start one if there is none.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of weights, order and augmentation.",
)
@click.option(
    "--weights",
    type=INPUT_FILE,
    metavar="FILE",
    help="Start from the weights of a checkpoint, in any format that `archdsl "
    "weights` reads.",
)
@click.option(
    "--except",
    "leave_out",
    multiple=True,
    metavar="PATH",
    help="Do not read a layer or block from --weights, such as a head for other "
    "classes. May be repeated.",
)
@click.option(
    "--freeze",
    multiple=True,
    metavar="PATH,...",
    help="Do not change the weights and running statistics of these layers and blocks.",
)
@processor_option
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    metavar="N",
    help="Processes that read images.  [default: one for each core and a folder, but "
    "8 at most; 0 otherwise]",
)
@click.option(
    "--compile", "compiled", is_flag=True, help="Compile the module with torch.compile."
)
@click.option(
    "--recompute",
    is_flag=True,
    help="Recompute each block in the backward pass, to save memory.",
)
@click.option(
    "--shard",
    is_flag=True,
    help="Shard weights and the optimizer's state over the processes of torchrun.",
)
@click.option(
    "--save-every",
    type=click.IntRange(1, 1_000_000_000),
    metavar="STEPS",
    help="Save the state each time this many steps are done.  [default: after each "
    "epoch, and every ten minutes]",
)
@click.option(
    "--log",
    "trackers",
    multiple=True,
    type=click.Choice(("wandb", "mlflow")),
    help="Also send the metrics of each epoch to this service. May be repeated.",
)
@click.option(
    "--steps",
    "most_steps",
    type=click.IntRange(1, 1_000_000_000),
    metavar="N",
    help="Stop after N steps, and save the state.",
)
@device_options("Estimate the time of an epoch for this device.  [default: this one]")
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    data_name: str,
    recipe_name: str | None,
    changes: tuple[str, ...],
    output: Path,
    resume: bool,
    weights: str | None,
    leave_out: tuple[str, ...],
    freeze: tuple[str, ...],
    device_name: str | None,
    devices_file: str | None,
    as_json: bool,
    workers: int | None,
    **options: Any,
) -> None:
    """Train a network that classifies images.

    Writes to a folder: the weights (weights.safetensors), the PyTorch module that they
    belong to (model.py), the spec, the metrics of each epoch (metrics.csv) and states
    to resume from. With --resume, a run that was stopped or killed continues exactly
    where it was; on a CPU, it ends with the same weights, bit for bit.

    For several GPUs, torchrun starts one process for each. With --shard, each process
    keeps only its share of the weights (FSDP2):

    \b
      torchrun --nproc-per-node 8 -m archdsl train SPEC ...

    \b
    Examples:
      archdsl train tutorial/depth:residual20 --input 1x8x8 --data digits -o runs/digits
      archdsl train resnet50 --data imagenet --recipe imagenet_resnet -o runs/resnet50
      archdsl train resnet18 -D classes=2 --weights resnet18.pth --except fc -o pets
              --data images --recipe imagenet_resnet --set optimizer.lr=0.01
    """
    from archdsl.backends.training import LoopOptions, Start, classes_of, load_data

    if leave_out and weights is None:
        raise click.UsageError("--except needs --weights")
    params, more = split_params(spec, params)
    recipe = find_recipe(recipe_name, data_name, (*changes, *more))
    device = find_device(device_name, devices_file, "float32")
    network = load_proved(spec, params, input_shape)
    _check_folder(output, resume)
    frozen = tuple(path for text in freeze for path in text.split(",") if path)
    start = Start(None if weights is None else Path(weights), leave_out, frozen)
    watch = Shown()
    with running(network.name, "training needs"), writing(output):
        data = load_data(data_name, *classes_of(network))
        if workers is None:
            workers = _workers(data)
        chosen = LoopOptions(workers=workers, **options)
        for note in data.notes:
            watch.say(f"note: {note}")
        _train(network, data, recipe, output, chosen, watch, start, resume, device)
    if as_json and watch.is_first:
        print_json({**watch.result(network.name, output), "errors": []})
    watch.pass_on()
    watch.leave()


def _train(
    network: Network,
    data: Data,
    recipe: Recipe,
    output: Path,
    options: LoopOptions,
    watch: Shown,
    start: Start,
    resume: bool,
    device: Device | None,
) -> None:
    from archdsl.backends.training import Stopped, folder, outlook, trainer

    made, what = trainer(
        network, data, recipe, output, options, watch, start, resume=resume
    )
    watch.begin(made)
    processor = made.fabric.device.type
    known = outlook.outlook(
        network,
        recipe,
        data,
        world=made.fabric.world_size,
        memory_bytes=outlook.memory_of(processor),
        device=device or outlook.this_device(processor, recipe.precision),
        recompute=options.recompute,
    )
    for line in outlook.lines(known, recipe, data, made.loader.steps()):
        watch.say(line)
    if options.shard:
        watch.say(
            "note: this memory is for all weights; each process only holds a share"
        )
    stopped = None
    try:
        with watch.signals():
            made.train()
    except Stopped as error:
        stopped = error
    finally:
        watch.end()
        if made.is_first and made.bad:
            folder.write_bad(output, made.bad)
    if stopped is None:
        trained = made.trained()
        if made.is_first:
            weights = folder.write_weights(output, trained, what, made.history[-1])
            watch.say(f"wrote {weights}")
    made.close()
    watch.done(known, stopped)


def _check_folder(output: Path, resume: bool) -> None:
    """Refuse to overwrite a run or a file."""
    from archdsl.backends.training import states

    if not resume and states.exist(output):
        raise click.UsageError(
            f"{output} holds a run: continue it with --resume, or give another folder"
        )
    if output.exists() and not output.is_dir():
        raise click.UsageError(f"{output} is not a folder")


def _workers(data: Data) -> int:
    """Return the default number of processes that read images."""
    return 0 if data.root is None else min(os.cpu_count() or 1, _MOST_WORKERS)
