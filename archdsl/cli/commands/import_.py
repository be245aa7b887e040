"""`archdsl import`."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archdsl.cli import status
from archdsl.cli.factory import made_by, modules_of
from archdsl.cli.files import write_bytes
from archdsl.cli.options import OUTPUT_FILE, json_option, named_values
from archdsl.cli.terminal import Failure, print_json, say, without_torch

if TYPE_CHECKING:
    from archdsl.backends.importer import Imported


def _arguments(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, Any]:
    return {name: _value(text) for name, text in named_values(values).items()}


def _value(text: str) -> Any:
    """Return a number, truth value, list and so on; anything else is text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return text


def _shapes(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> list[tuple[int, ...]]:
    from archdsl.api import as_shape

    try:
        return [as_shape(value) for value in values]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command("import")
@click.argument("factory", metavar="MODULE:FACTORY|FILE")
@click.option(
    "-a",
    "--argument",
    "arguments",
    multiple=True,
    callback=_arguments,
    metavar="NAME=VALUE",
    help="Call the factory with this argument, such as num_classes=10. May be "
    "repeated.",
)
@click.option(
    "--family",
    callback=lambda ctx, param, value: value and value.split(","),
    metavar="NAME,NAME",
    help="Write the networks of several factories as one file, with shared blocks "
    "and a preset for each; the first is the default.",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    callback=_shapes,
    metavar="SHAPE",
    help="Shape of the input without the batch, such as 3x224x224. Repeat it for "
    "several inputs. For a FILE, only needed if it leaves sizes open.",
)
@click.option("--name", help="Name of the network; by default, that of its class.")
@click.option(
    "-o",
    "--output",
    type=OUTPUT_FILE,
    metavar="FILE.arch",
    help="Write the spec to this file instead of standard output.",
)
@click.option(
    "--partial",
    is_flag=True,
    help="Write the spec even if it does not compute the same.",
)
@click.option(
    "--any-order",
    is_flag=True,
    help="Accept that tensors within a layer have another order in the state_dict.",
)
@json_option
def command(
    factory: str,
    arguments: dict[str, Any],
    family: list[str] | None,
    inputs: list[tuple[int, ...]],
    name: str | None,
    output: Path | None,
    partial: bool,
    any_order: bool,
    as_json: bool,
) -> int:
    """Write a PyTorch module, or a network in a file, as a spec.

    MODULE:FACTORY is a Python module and a function or class in it that returns the
    network. This runs their code: import only what you would run. FILE is a
    torch.export program (.pt2) or an ONNX model (.onnx); no code in it is run.

    The network is traced without values. Module classes become blocks, and layers keep
    their names. Before the spec is written, its compiled module is compared with the
    original, with the same weights: names and shapes in the state_dict, outputs in
    evaluation and training mode, and buffers. If anything differs, the command ends
    with status 1 and names the first module that differs. A module that calls a
    function without a layer kind becomes a foreign layer (`op`) that names its class,
    if its constructor's arguments can be found.

    With --family, give MODULE without a factory. If networks have the same form, what
    differs becomes a parameter, such as the kind and the number of the blocks in a
    stage.

    A file holds a network in one mode and for one input size. The spec is compared in
    that mode and size: weights, and outputs, which torch or onnxruntime computes from
    the file.

    \b
    Examples:
      archdsl import torchvision.models:resnet18 --input 3x224x224 -o resnet18.arch
      archdsl import mynets:Net -a num_classes=10 --input 3x32x32
      archdsl import mynets:Pair --input 3x64x64 --input 1x64x64 --partial
      archdsl import torchvision.models --family resnet18,resnet34,resnet50 \\
          --input 3x224x224 -o resnet.arch
      archdsl import resnet18.pt2 -o resnet18.arch
      archdsl import net.onnx --input 3x224x224 -o net.arch
    """
    from archdsl.backends.importer import NotImported

    how = {"name": name or "", "any_order": any_order}
    try:
        found, reason = _imported(factory, arguments, family, inputs, how), ""
    except NotImported as error:
        if not partial or error.partial is None:
            more = "; --partial writes the spec all the same" if error.partial else ""
            raise Failure(f"{factory}: {error}{more}", status.SPEC_ERRORS) from None
        found, reason = error.partial, str(error)
        say(f"archdsl: {factory}: {reason}")
    text = found.text
    if reason:
        text = text.replace("\n", f"\n\n# Not equal to its module: {reason}.\n", 1)
    if output is not None:
        write_bytes(output, text.encode())
    if as_json:
        written = None if output is None else str(output)
        facts = {**found.as_dict(), "text": text, "file": written}
        print_json({**facts, "difference": reason or None, "errors": []})
    elif output is None:
        sys.stdout.write(text)
    else:
        click.echo(f"wrote {output}: {_summary(found)}")
    return status.SPEC_ERRORS if reason else status.OK


def _summary(found: Imported) -> str:
    text = f"{found.layers:,} layers in {found.lines:,} lines"
    if found.opaque:
        text += f", {found.opaque:,} of them foreign"
    if found.compared:
        text += f", equal in {', '.join(found.compared)}"
    return "\n".join((text, *found.notes))


def _is_file(factory: str) -> bool:
    return Path(factory).suffix.lower() in (".pt2", ".onnx")


def _imported(
    factory: str,
    arguments: dict[str, Any],
    family: list[str] | None,
    inputs: list[tuple[int, ...]],
    how: dict[str, Any],
) -> Imported:
    """Import a network or family, from a module's code or a file."""
    from archdsl.backends.importer import from_family, from_file, from_module

    if family is None and _is_file(factory):
        if arguments:
            raise click.UsageError("a file takes no arguments; leave -a out")
        with _reading(factory), _naming():
            return from_file(Path(factory), inputs or None, **how)
    if not inputs:
        what = "a module" if family is None else "--family"
        raise click.UsageError(f"{what} needs --input, such as --input 3x224x224")
    if family is None:
        module = made_by(factory, arguments)
        with _naming():
            return from_module(module, inputs, **how)
    modules = modules_of(factory, family, arguments)
    with _naming():
        return from_family(modules, inputs, **how)


@contextmanager
def _reading(file: str) -> Iterator[None]:
    """Turn a missing torch, and errors from reading a file, into messages."""
    try:
        import torch  # noqa: F401, TID251
    except (ImportError, OSError) as error:
        raise without_torch(error, "importing a network needs") from None
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise Failure(f"{file} cannot be read: {why}", status.USAGE) from None


@contextmanager
def _naming() -> Iterator[None]:
    """Turn an invalid name of a network into a usage error of --name."""
    from archdsl.backends.importer import NotImported

    try:
        yield
    except ValueError as error:
        if isinstance(error, NotImported):
            raise
        raise click.BadParameter(str(error), param_hint="'--name'") from None
