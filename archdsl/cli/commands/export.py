"""`archdsl export`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from archdsl.cli import status
from archdsl.cli.files import writing
from archdsl.cli.images import image_options
from archdsl.cli.options import (
    INPUT_FILE,
    INPUT_FOLDER,
    OUTPUT_FILE,
    SpecCommand,
    json_option,
    load_proved,
    spec_options,
)
from archdsl.cli.terminal import Failure, print_json, say

if TYPE_CHECKING:
    from archdsl.backends.exported import Exported, Format, Int8
    from archdsl.backends.targets.check import Check
    from archdsl.ir import Network


@click.command(cls=SpecCommand)
@spec_options
@click.option(
    "--weights",
    type=INPUT_FILE,
    metavar="FILE",
    help="The network's state_dict: .safetensors, .npz, or .pt, which needs torch.",
)
@click.option(
    "--random",
    "seed",
    type=click.IntRange(0, 2**32 - 1),
    metavar="SEED",
    help="Use random weights with this seed, to measure speed before training.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=OUTPUT_FILE,
    metavar="FILE",
    help="Write the model there: .onnx; .pt2 with --torch, .xml with --openvino, .pte "
    "with --executorch.",
)
@click.option(
    "--torch",
    "as_torch",
    is_flag=True,
    help="Write a torch.export program instead.",
)
@click.option(
    "--openvino",
    "as_openvino",
    is_flag=True,
    help="Write an OpenVINO model instead, with its weights beside it in .bin.",
)
@click.option(
    "--executorch",
    "as_executorch",
    is_flag=True,
    help="Write an ExecuTorch program instead, for phones; its batch size is fixed, "
    "by default to 1.",
)
@click.option(
    "--opset",
    type=click.IntRange(18, 26),
    default=18,
    show_default=True,
    help="Version of ONNX's operators. Older ones run in more places.",
)
@click.option(
    "--fold/--no-fold",
    default=True,
    show_default=True,
    help="Fold batch norms into neighbouring layers, and merge convolutions whose "
    "outputs are added, as in RepVGG.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Fix the batch size. By default, it is free.",
)
@click.option(
    "--fixed-size",
    is_flag=True,
    help="Fix height and width, too. By default, they are free if all layers allow "
    "that; with --torch and --executorch, they are always fixed.",
)
@click.option(
    "--check",
    "checks",
    is_flag=True,
    help="Run the file, and compare its outputs with the PyTorch module's.",
)
@click.option(
    "--int8",
    "int8_folder",
    type=INPUT_FOLDER,
    metavar="FOLDER",
    help="Quantise the ONNX model to int8, with activation ranges from the images in "
    "this folder.",
)
@image_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    weights: str | None,
    seed: int | None,
    output: Path,
    as_torch: bool,
    as_openvino: bool,
    as_executorch: bool,
    int8_folder: Path | None,
    checks: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Export a network with its weights as an ONNX model, for inference.

    The claims (`expect`) of the spec are checked first. The model is made from the spec
    itself, without torch, and checked by onnx. It computes what the PyTorch module
    computes in evaluation mode. The batch size is free, and so are height and width if
    all layers allow that.

    With --int8, convolutions and other products are computed in int8: less exact, and
    faster if the processor has instructions for int8. The ranges of activations are
    measured on the images of a folder, prepared by --crop, --mean and --std. The effect
    on size, speed and outputs is printed.

    \b
    Examples:
      archdsl export resnet50 --weights resnet50.safetensors -o resnet50.onnx
      archdsl export resnet:resnet18 -D classes=10 --weights best.pt -o resnet18.onnx
      archdsl export googlenet --random 0 -o googlenet.onnx --check
      archdsl export resnet50 --weights resnet50.pt --torch -o resnet50.pt2
      archdsl export resnet50 --weights resnet50.pt --int8 photos -o resnet50.onnx
    """
    if (weights is None) == (seed is None):
        raise click.UsageError(
            "give either --weights FILE, or --random SEED for an untrained network"
        )
    if str(output) == "-":
        raise click.UsageError("a model is written to a file: use -o FILE.onnx")
    flags = {
        "--torch": as_torch,
        "--openvino": as_openvino,
        "--executorch": as_executorch,
        "--int8": int8_folder is not None,
    }
    format = _format(ctx, [name for name, value in flags.items() if value], output)
    images = {key: options.pop(key) for key in ("crop", "mean", "deviation")}
    network = load_proved(spec, params, input_shape)
    with _failing(weights):
        given = _weights(network, weights, seed)
        made = _export(network, given, format, output, options)
        if int8_folder is not None:
            from archdsl.backends.targets.quantise import quantised

            made = quantised(made, network, int8_folder, **images)
    with writing(output):
        made.save(output)
    found = None
    if checks:
        from archdsl.backends.targets.check import check_export

        with _failing(weights):
            found = check_export(output, made, network, given)
    if as_json:
        print_json({**_facts(made, output, found), "errors": []})
    else:
        for line in _summary(made, output, found):
            click.echo(line)
    if found is None or found.agrees or made.int8 is not None:
        return status.OK
    say(
        f"{output} does not compute what the module does: it is off by "
        f"{found.difference:.1e}, and rounding by {found.own:.1e}"
    )
    return status.SPEC_ERRORS


_FORMATS: dict[str, Format] = {
    "--torch": "torch",
    "--openvino": "openvino",
    "--executorch": "executorch",
}


def _format(ctx: click.Context, given: list[str], output: Path) -> Format:
    """Return the format that the options ask for.

    Args:
        ctx: the context of the command.
        given: the options that choose one, or --int8.
        output: the file.

    Raises:
        UsageError: if they contradict each other, or the name of the file.
    """
    from archdsl.backends.exported import SUFFIXES

    if len(given) > 1:
        raise click.UsageError(f"{given[0]} and {given[1]} exclude each other")
    unread: dict[str, str] = {}
    if given != ["--int8"]:
        unread |= dict.fromkeys(("crop", "mean", "deviation"), "without --int8")
    format = _FORMATS.get(given[0], "onnx") if given else "onnx"
    if format != "onnx":
        unread["opset"] = f"with {given[0]}"
    if format in ("torch", "executorch"):
        unread["fixed_size"] = f"with {given[0]}"
    for name, when in unread.items():
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = {"deviation": "--std"}.get(name, f"--{name.replace('_', '-')}")
            raise click.UsageError(f"{option} has no effect {when}")
    wanted = SUFFIXES[format]
    if format != "onnx" and output.suffix != wanted:
        raise click.UsageError(f"with {given[0]}, the file's name ends in {wanted}")
    return format


@contextmanager
def _failing(weights: str | None) -> Iterator[None]:
    """Turn errors of libraries, weights and images into messages.

    Raises:
        Failure: with the message.
    """
    from archdsl.backends import onnx
    from archdsl.backends.onnx.images import NoImage

    try:
        yield
    except (onnx.WrongWeights, NoImage) as error:
        raise Failure(str(error), status.USAGE) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        what = error.filename or weights
        raise Failure(f"cannot read {what}: {reason}", status.USAGE) from None


def _weights(network: Network, weights: str | None, seed: int | None) -> dict[str, Any]:
    from archdsl.backends import onnx

    if weights is not None:
        return onnx.read_tensors(Path(weights))
    assert seed is not None
    return onnx.drawn(network, seed)


def _export(
    network: Network,
    weights: dict[str, Any],
    format: Format,
    output: Path,
    options: dict[str, Any],
) -> Exported:
    """Export a model, with the options of its format."""
    from archdsl.backends import onnx

    if format == "onnx":
        return onnx.export(network, weights, path=output, **options)
    del options["opset"]
    if format == "openvino":
        from archdsl.backends.targets import openvino

        return openvino.export(network, weights, **options)
    del options["fixed_size"]
    if format == "executorch":
        from archdsl.backends.targets import executorch

        return executorch.export(network, weights, **options)
    from archdsl.backends.targets import program

    return program.export(network, weights, **options)


def _facts(made: Exported, output: Path, found: Check | None) -> dict[str, object]:
    return {
        "name": made.name,
        "file": str(output),
        "format": made.format,
        "bytes": made.size,
        "opset": made.opset,
        "nodes": made.nodes,
        "folded": made.folded,
        "inputs": _ports(made.inputs),
        "outputs": _ports(made.outputs),
        "fixed_by": made.fixed_by or None,
        "int8": asdict(made.int8) if made.int8 is not None else None,
        "check": found._asdict() if found is not None else None,
    }


def _ports(ports: dict[str, list[int | str]]) -> list[dict[str, object]]:
    """Return dimensions by name; a free one is null."""
    return [
        {"name": name, "shape": [n if isinstance(n, int) else None for n in shape]}
        for name, shape in ports.items()
    ]


def _summary(made: Exported, output: Path, found: Check | None) -> list[str]:
    from archdsl.backends.text import align, show_bytes
    from archdsl.elaborate.types import counted

    parts = [show_bytes(made.size), *_about(made)]
    if made.folded:
        parts.append(f"{counted(made.folded, 'batch norm')} folded")
    lines = [f"{output}: {', '.join(parts)}"]
    if made.format == "openvino":
        lines.append(f"  its weights are in {made.beside(output)}")
    elif made.data:
        lines.append(f"  its weights, of more than 2 GiB, are in {output}.data")
    ports = [("input", made.inputs), ("output", made.outputs)]
    rows = [
        (f"  {what}", name, " x ".join(map(str, shape)))
        for what, ports_of in ports
        for name, shape in ports_of.items()
    ]
    lines += align(rows)
    if made.fixed_by:
        lines.append(f"  height and width are fixed: {made.fixed_by}")
    if made.int8 is not None:
        lines += [f"  {line}" for line in _int8(made, made.int8)]
    if found is not None:
        lines.append(
            f"  checked: off by {found.difference:.1e} of the largest output; the "
            f"module in float32 by {found.own:.1e}"
        )
    return lines


def _about(made: Exported) -> list[str]:
    names = {
        "openvino": "OpenVINO",
        "torch": "torch.export",
        "executorch": "ExecuTorch",
    }
    version = names.get(made.format, f"opset {made.opset}")
    return [version, f"{made.nodes:,} nodes"]


def _int8(made: Exported, about: Int8) -> list[str]:
    """Return sentences about the effect of int8."""
    from archdsl.backends.text import show_bytes
    from archdsl.backends.views.time import show_seconds
    from archdsl.elaborate.types import counted

    images = counted(about.images, "image")
    before, after = show_seconds(about.seconds_before), show_seconds(about.seconds)
    lines = [
        f"int8 by {images}: {show_bytes(about.bytes_before)} became "
        f"{show_bytes(made.size)}",
        f"a call takes {after} on this machine, and {before} in float32",
        f"outputs change by at most {100 * about.largest_change:.1f} % of the largest",
    ]
    if about.same_class is not None:
        lines.append(f"{100 * about.same_class:.1f} % of the images keep their class")
    return lines
