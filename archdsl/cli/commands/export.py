"""`archdsl export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archdsl.cli import status
from archdsl.cli.files import writing
from archdsl.cli.options import (
    INPUT_FILE,
    OUTPUT_FILE,
    SpecCommand,
    json_option,
    load_proved,
    spec_options,
)
from archdsl.cli.terminal import Failure, print_json

if TYPE_CHECKING:
    from archdsl.backends.onnx import Exported
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
    help="Random weights instead, to measure speed before training.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=OUTPUT_FILE,
    metavar="FILE.onnx",
    help="Write the model there.",
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
    help="Make batch norms part of the layer before them.",
)
@click.option(
    "--batch",
    type=click.IntRange(1, 1_000_000),
    metavar="N",
    help="Fix the batch size. Without it, it may be any.",
)
@click.option(
    "--fixed-size",
    is_flag=True,
    help="Fix height and width, too. Without it, they may be any if all layers allow.",
)
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    weights: str | None,
    seed: int | None,
    output: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Export a network with its weights as an ONNX model, for inference.

    The claims (`expect`) of the spec are checked first. The model is made from the spec
    itself, without torch, and checked by onnx. It computes what the PyTorch module does
    in evaluation mode; its batch may have any size, and so may its images if all layers
    allow that.

    \b
    Examples:
      archdsl export resnet50 --weights resnet50.safetensors -o resnet50.onnx
      archdsl export resnet:resnet18 -D classes=10 --weights best.pt -o resnet18.onnx
      archdsl export googlenet --random 0 -o googlenet.onnx
    """
    if (weights is None) == (seed is None):
        raise click.UsageError(
            "give either --weights FILE, or --random SEED for an untrained network"
        )
    if str(output) == "-":
        raise click.UsageError("a model is written to a file: use -o FILE.onnx")
    network = load_proved(spec, params, input_shape)
    made = _export(network, weights, seed, output, options)
    with writing(output):
        made.save(output)
    if as_json:
        print_json({**_facts(made, output), "errors": []})
    else:
        for line in _summary(made, output):
            click.echo(line)


def _export(
    network: Network,
    weights: str | None,
    seed: int | None,
    output: Path,
    options: dict[str, Any],
) -> Exported:
    """Return the model.

    Raises:
        Failure: if a library is missing, or the weights are not the network's.
    """
    from archdsl.backends import onnx

    try:
        if weights is not None:
            given = onnx.read(Path(weights))
        else:
            assert seed is not None
            given = onnx.drawn(network, seed)
        return onnx.export(network, given, path=output, **options)
    except onnx.MissingExtra as error:
        raise Failure(str(error), status.MISSING_EXTRA) from None
    except onnx.WrongWeights as error:
        raise Failure(str(error), status.USAGE) from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Failure(f"cannot read {weights}: {reason}", status.USAGE) from None


def _facts(made: Exported, output: Path) -> dict[str, object]:
    return {
        "name": made.name,
        "file": str(output),
        "bytes": len(made.model) + len(made.data),
        "opset": made.opset,
        "nodes": made.nodes,
        "folded": made.folded,
        "inputs": _ports(made.inputs),
        "outputs": _ports(made.outputs),
        "fixed_by": made.fixed_by or None,
    }


def _ports(ports: dict[str, list[int | str]]) -> list[dict[str, object]]:
    """Return dimensions by name; one that may be any is null."""
    return [
        {"name": name, "shape": [n if isinstance(n, int) else None for n in shape]}
        for name, shape in ports.items()
    ]


def _summary(made: Exported, output: Path) -> list[str]:
    from archdsl.backends.text import align, show_bytes

    size = show_bytes(len(made.model) + len(made.data))
    parts = [size, f"opset {made.opset}", f"{made.nodes:,} nodes"]
    if made.folded:
        parts.append(f"{made.folded:,} batch norms folded")
    lines = [f"{output}: {', '.join(parts)}"]
    if made.data:
        lines.append(f"  its weights, of more than 2 GiB, are in {output}.data")
    ports = [("input", made.inputs), ("output", made.outputs)]
    rows = [
        (f"  {what}", name, " x ".join(map(str, shape)))
        for what, found in ports
        for name, shape in found.items()
    ]
    lines += align(rows)
    if made.fixed_by:
        lines.append(f"  height and width are fixed: {made.fixed_by}")
    return lines
