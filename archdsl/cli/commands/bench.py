"""`archdsl bench`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from archdsl.cli.factory import made_by
from archdsl.cli.options import (
    SpecCommand,
    device_options,
    find_device,
    json_option,
    load_network,
    spec_options,
    split_names,
)
from archdsl.cli.terminal import Progress, print_json, without_torch

if TYPE_CHECKING:
    from archdsl.backends.bench import Contestant, Ready, Result, Times, Workload
    from archdsl.ir import Network


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "--engines",
    callback=split_names,
    default="eager,inference",
    show_default=True,
    metavar="NAMES",
    help="Engines: eager, inference (the module of `compile --inference`), compile "
    "(torch.compile), onnxruntime, openvino.",
)
@click.option(
    "--against",
    multiple=True,
    metavar="MODULE:FACTORY",
    help="Also measure this module, such as torchvision.models:resnet50, which runs "
    "its code. May be repeated.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 65_536),
    default=1,
    show_default=True,
    help="Images per call.",
)
@click.option("--train", is_flag=True, help="Measure training steps with SGD.")
@click.option(
    "--dtype",
    type=click.Choice(("float32", "bfloat16")),
    default="float32",
    show_default=True,
    help="bfloat16 uses autocast in torch's engines; onnxruntime supports only "
    "float32.",
)
@click.option(
    "--channels-last",
    is_flag=True,
    help="Store the channels of a pixel together, in torch's engines.",
)
@click.option(
    "--on",
    type=click.Choice(("cpu", "cuda")),
    default="cpu",
    show_default=True,
    help="Where to run.",
)
@click.option(
    "--threads",
    type=click.IntRange(0, 1_024),
    default=0,
    metavar="N",
    help="Threads that an engine may use. By default, the engine decides.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0, 3_600),
    default=3.0,
    show_default=True,
    help="How long to measure each engine.",
)
@device_options(
    "Also estimate the least time on this device; see `archdsl list --devices`."
)
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    engines: tuple[str, ...],
    against: tuple[str, ...],
    batch: int,
    train: bool,
    dtype: str,
    channels_last: bool,
    on: str,
    threads: int,
    seconds: float,
    device_name: str | None,
    devices_file: str | None,
    as_json: bool,
) -> None:
    """Measure how fast a network runs, in several engines side by side.

    All engines get the same random weights and images, and take turns, so that other
    load on the machine affects all of them. Speeds and outputs are compared with those
    of the first engine.

    \b
    Examples:
      archdsl bench resnet18
      archdsl bench resnet50 --engines eager,onnxruntime,openvino --batch 8
      archdsl bench resnet50 --against torchvision.models:resnet50 --train --batch 8
    """
    from archdsl.backends.bench import (
        NotComparable,
        Workload,
        as_dict,
        contestants,
        report_text,
    )
    from archdsl.backends.extras import MissingExtra

    work = Workload(batch, train, dtype, channels_last, on, threads)
    network = load_network(spec, params, input_shape, symbolic=False)
    least = _roofline(network, work, device_name, devices_file)
    others = {factory: made_by(factory, {}) for factory in against}
    try:
        found = contestants(network, engines, work, against=others)
        results = _measured(found, seconds)
    except NotComparable as error:
        raise click.UsageError(str(error)) from None
    except MissingExtra:
        raise
    except (ImportError, OSError) as error:
        raise without_torch(error, "measurements need") from None
    if as_json:
        facts = as_dict(results, work, least)
        print_json({"name": network.name, **facts, "errors": []})
    else:
        sys.stdout.write(report_text(results, work, least))


def _roofline(
    network: Network, work: Workload, name: str | None, file: str | None
) -> float | None:
    from archdsl.passes.analysis import analyze

    device = find_device(name, file, work.dtype)
    if device is None:
        return None
    mode = "train" if work.train else "eval"
    time = analyze(
        network, batch=work.batch, dtype=work.dtype, mode=mode, device=device
    ).time
    return None if time is None else time.seconds


def _measured(found: list[Contestant], seconds: float) -> list[Result]:
    from archdsl.backends.bench import measure_times

    ready: list[Ready] = []
    with Progress(len(found), always=True) as progress:
        for one in found:
            progress.step(f"preparing {one.name}")
            ready.append(one.prepare())
    times: list[Times] = []
    with Progress(1, always=True) as progress:
        for times in measure_times([one.call for one in ready], seconds):
            progress.note(f"{len(times[0].rounds)} rounds")
    return _results(found, ready, times)


def _results(
    found: list[Contestant], ready: list[Ready], times: list[Times]
) -> list[Result]:
    from archdsl.backends.bench import Result

    outputs = [one.output() if one.output is not None else None for one in ready]
    first = outputs[0]
    results = []
    for one, made, own, time in zip(found, ready, outputs, times, strict=True):
        difference = None
        if first is not None and own is not None and first.shape == own.shape:
            difference = float(abs(own - first).max() / max(abs(first).max(), 1e-30))
        results.append(Result(one.name, time, made.load_seconds, difference))
    return results
