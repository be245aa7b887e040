"""`archdsl weights`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archdsl.cli import status
from archdsl.cli.files import write_bytes
from archdsl.cli.options import (
    INPUT_FILE,
    OUTPUT_FILE,
    SpecCommand,
    find_passes,
    json_option,
    load_network,
    pass_options,
    spec_options,
)
from archdsl.cli.terminal import Failure, print_json, say

if TYPE_CHECKING:
    from archdsl.backends.checkpoints import Match, Rules
    from archdsl.ir import Network
    from archdsl.transforms import Pipeline


@click.command(cls=SpecCommand)
@spec_options
@click.argument("checkpoint", type=INPUT_FILE)
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE.safetensors",
    help="Write the tensors that fit to this file, under the network's names.",
)
@click.option(
    "--map",
    "rules_name",
    metavar="NAME|FILE",
    help="Rename the tensors first, by shipped rules or those of a file. By default, "
    "the shipped rules are tried.",
)
@click.option(
    "--except",
    "leave_out",
    multiple=True,
    metavar="PATH",
    help="Leave a layer or block out, such as a head for other classes. May be "
    "repeated.",
)
@click.option(
    "--part",
    metavar="KEY",
    help="Take the weights under this key of the file, such as state_dict_ema.",
)
@click.option(
    "--by-order",
    is_flag=True,
    help="Where names differ and several layers have the same shapes, pair them in "
    "order.",
)
@click.option(
    "--adapt-input",
    is_flag=True,
    help="Adapt convolutions of the input to another number of channels: a single "
    "channel gets the sum of all weights, more channels repeat them.",
)
@click.option(
    "--for",
    "purpose",
    type=click.Choice(("training", "inference")),
    default="training",
    show_default=True,
    help="Write the weights of the module that `archdsl compile --inference` makes.",
)
@pass_options
@json_option
def command(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    checkpoint: str,
    output: Path | None,
    rules_name: str | None,
    leave_out: tuple[str, ...],
    part: str | None,
    by_order: bool,
    adapt_input: bool,
    purpose: str,
    level: int | None,
    passes: tuple[str, ...] | None,
    as_json: bool,
) -> int:
    """Compare a checkpoint with a network, and convert it.

    Shows which tensors of the file fit, which the network lacks, and which have another
    shape or are left over. The file is a safetensors file, the index of several, or a
    file of torch.save; no code in it is run. A prefix of all names (`module.` of DDP,
    `_orig_mod.` of torch.compile, `model.` of Lightning) is removed if that helps.
    Older names that the spec gives with `renamed from` are accepted. Where names
    differ, layers with the same shapes are suggested.

    With --for inference, -O or --passes, the output has the weights of the module that
    `archdsl compile` makes with these options.

    Ends with status 1, and writes nothing, if a tensor that the network needs is
    missing.

    \b
    Examples:
      archdsl weights resnet50 resnet50.pth
      archdsl weights resnet50 hf.safetensors --map huggingface-resnet
      archdsl weights resnet18 -D classes=10 old.pth --except fc -o new.safetensors
      archdsl weights net.arch old.pth --by-order -o new.safetensors
      archdsl weights gray.arch rgb.pth --adapt-input -o gray.safetensors
      archdsl weights repvgg_a0 best.pt --for inference -o deploy.safetensors
    """
    from archdsl.backends.checkpoints import match, read_weights
    from archdsl.backends.checkpoints import text as texts
    from archdsl.transforms import pipeline

    inference = purpose == "inference"
    chosen = pipeline(passes=find_passes(level, passes, inference), inference=inference)
    network = load_network(spec, params, input_shape, symbolic=False)
    rules = _rules(rules_name)
    held = read_weights(Path(checkpoint), part)
    try:
        found = match(network, held, rules=rules, leave_out=leave_out)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    found = found.with_suggestions(by_order=by_order)
    if adapt_input:
        found = found.with_adapted_input(network)
    if as_json:
        written = str(output) if output is not None and found.complete else None
        print_json({**texts.as_dict(found), "output": written, "errors": []})
    else:
        sys.stdout.write(texts.match_text(found, spec))
    if output is not None:
        _write(found, output, network, chosen)
    return status.OK if found.complete else status.SPEC_ERRORS


def _write(found: Match, output: Path, network: Network, chosen: Pipeline) -> None:
    from archdsl.backends.checkpoints import safetensors_bytes, tensors_of, transformed

    if not found.complete:
        say(f"{output} is not written, as tensors are missing")
        return
    source = found.checkpoint.path.name
    about = {"format": "pt", "network": network.name, "source": source}
    try:
        tensors = transformed(tensors_of(found), chosen.recipe(network))
        data = safetensors_bytes(tensors, about)
    except KeyError as error:
        message = (
            f"--except leaves out {error.args[0]}, from which other weights are "
            "computed"
        )
        raise Failure(message, status.USAGE) from None
    write_bytes(output, data)
    say(f"wrote {output}")


def _rules(name: str | None) -> Rules | None:
    """Return shipped rules by name, or rules from a file."""
    if name is None:
        return None
    from archdsl.backends.checkpoints import maps, parse_rules, shipped_rules
    from archdsl.source import Source

    known = shipped_rules(name)
    if known is not None:
        return known
    path = Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise click.BadParameter(
            f"`{name}` is neither a readable file nor a shipped layout; the layouts "
            f"are {', '.join(maps())}",
            param_hint="'--map'",
        ) from None
    return parse_rules(Source(name, text))
