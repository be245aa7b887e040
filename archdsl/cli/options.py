"""Arguments and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from archdsl.cli import completion
from archdsl.passes.dtypes import ITEM_BYTES
from archdsl.passes.optimizers import OPTIMIZERS
from archdsl.passes.setting import DEFAULT

if TYPE_CHECKING:
    from archdsl.diagnostics import Diagnostic, SpecError
    from archdsl.ir import Network
    from archdsl.passes.devices import Device

Command = Callable[..., Any]
# Where the context keeps the values of -D: those with a dot in the key, and others.
_DOTTED: Final = "archdsl.dotted"
_NAMED: Final = "archdsl.named"


class _File(click.Path):
    """The path of a file; a null byte in it is a usage error."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Any:
        """Return the path."""
        try:
            return super().convert(value, param, ctx)
        except ValueError:  # a null byte
            self.fail(f"no file is called {value!r}", param, ctx)


class SpecCommand(click.Command):
    """A command that accepts ``-:NAME``, a preset of standard input, as a SPEC."""

    def make_parser(self, ctx: click.Context) -> Any:
        """Return a parser that does not mistake such a SPEC for an option."""
        parser: Any = super().make_parser(ctx)
        process = parser._process_opts

        def process_others(arg: str, state: Any) -> None:
            if arg.startswith("-:"):
                state.largs.append(arg)
            else:
                process(arg, state)

        parser._process_opts = process_others
        return parser


OUTPUT = _File(path_type=Path)
OUTPUT_FILE = _File(dir_okay=False, path_type=Path)
INPUT_FILE = _File(exists=True, dir_okay=False)
INPUT_FOLDER = _File(exists=True, file_okay=False, path_type=Path)


def _shape(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, ...] | None:
    from archdsl.api import as_shape

    try:
        return None if value is None else as_shape(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _parameters(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> dict[str, object]:
    """Return the parameters, without those that only a recipe can have."""
    if any(each.name == "changes" for each in ctx.command.params):
        dotted = [text for text in values if "." in text.partition("=")[0]]
        ctx.meta[_DOTTED] = tuple(dotted)
        values = tuple(text for text in values if text not in dotted)
    named = ctx.meta[_NAMED] = named_values(values)
    return {name: _value(f"{name}={value}", value) for name, value in named.items()}


def split_params(
    spec: str,
    params: dict[str, object],
    varied: Mapping[str, object] | None = None,
    *,
    trains: bool = True,
) -> tuple[dict[str, object], tuple[str, ...]]:
    """Split the values of -D into those of the network and those of the recipe.

    A key belongs to the recipe if it has a dot, or if recipes have it and the network
    has no such parameter.

    Args:
        spec: the network.
        params: all values of keys without a dot.
        varied: values of further parameters of the network.
        trains: whether there is a recipe.

    Raises:
        SpecError: if the spec or a parameter has mistakes.
    """
    from archdsl.api import load
    from archdsl.backends.training.recipe import Recipe

    meta = click.get_current_context().meta
    changes: tuple[str, ...] = meta[_DOTTED]
    shared = Recipe.model_fields.keys() & params.keys()
    if shared and trains:
        rest = {name: value for name, value in params.items() if name not in shared}
        network = load(spec, params={**rest, **(varied or {})})
        shared -= {each.name for each in network.root.parameters}
        changes += tuple(f"{name}={meta[_NAMED][name]}" for name in sorted(shared))
        params = {n: value for n, value in params.items() if n not in shared}
    return params, changes


def named_values(values: Sequence[str]) -> dict[str, str]:
    """Return the values of several ``name=value``, by their names.

    Raises:
        BadParameter: if one is not of this form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for text in values:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"`{text}` is not of the form name=value")
        if name in found:
            raise click.BadParameter(f"`{name}` is given twice")
        found[name] = value
    return found


def _value(text: str, value: str) -> object:
    from archdsl.diagnostics import Diagnostic, SpecError
    from archdsl.limits import MAX_LIST
    from archdsl.source import Source
    from archdsl.syntax.parser import check_characters, check_nesting, parse_expression
    from archdsl.syntax.tree import Name

    if value.count(",") > MAX_LIST:
        # Checked before parsing, which would take seconds.
        message = f"{text[:20]}...: a list has more than {MAX_LIST:,} items"
        raise SpecError([Diagnostic("A0906", message)])
    source = Source("-D", text)
    try:
        check_characters(source)
        check_nesting(source)
        at = len(text) - len(value)
        expr = parse_expression(source, value, at, argument=True)
    except SpecError as error:
        raise click.BadParameter(f"{text}: {error.diagnostics[0].message}") from None
    # A single word may name a block or a layer kind, or be a string.
    return expr.id if isinstance(expr, Name) else expr


def spec_options(command: Command) -> Command:
    """Add SPEC, -D and --input to a command."""
    return network_options(
        click.argument("spec", shell_complete=completion.specs)(command)
    )


def network_options(command: Command) -> Command:
    """Add -D and --input to a command."""
    for option in (
        click.option(
            "--input",
            "input_shape",
            callback=_shape,
            metavar="SHAPE",
            help="Shape of the input without the batch, such as 3x64x64.",
        ),
        click.option(
            "-D",
            "params",
            multiple=True,
            callback=_parameters,
            metavar="NAME=VALUE",
            help="Set a parameter of the network, such as classes=10, unit=bottleneck, "
            "layers=[2,2,2,2] or kernel=3x3. May be repeated.",
        ),
    ):
        command = option(command)
    return command


def parse_size(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> int | None:
    """Return the bytes of a size such as 24GiB or 80 GB."""
    from archdsl.cli.sizes import parse_bytes

    try:
        return None if value is None else parse_bytes(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def run_options(command: Command) -> Command:
    """Add --batch, --dtype and --optimizer to a command."""
    for option in (
        click.option(
            "--optimizer",
            type=click.Choice(OPTIMIZERS),
            default=DEFAULT.optimizer,
            show_default=True,
            help="Optimizer, whose state counts as memory.",
        ),
        click.option(
            "--dtype",
            type=click.Choice(tuple(ITEM_BYTES)),
            default=DEFAULT.dtype,
            show_default=True,
            help="Data type of weights and activations, for memory, bytes and time.",
        ),
        click.option(
            "--batch",
            type=click.IntRange(1, 1_000_000),
            default=DEFAULT.batch,
            show_default=True,
            help="Batch size, for memory, bytes and time.",
        ),
    ):
        command = option(command)
    return command


def device_options(help: str) -> Callable[[Command], Command]:
    """Return a decorator that adds --device, with this help, and --devices."""

    def add(command: Command) -> Command:
        for option in (
            click.option(
                "--devices",
                "devices_file",
                type=INPUT_FILE,
                help="A TOML file with further devices.",
            ),
            click.option(
                "--device",
                "device_name",
                shell_complete=completion.devices,
                metavar="NAME",
                help=help,
            ),
        ):
            command = option(command)
        return command

    return add


def find_device(name: str | None, file: str | None, dtype: str) -> Device | None:
    """Return the device that the options of `device_options` name.

    Raises:
        UsageError: if there is none, or if it has no rate for the dtype.
    """
    if name is None and file is None:
        return None
    if name is None:
        raise click.UsageError(
            "--devices needs --device, with the name of one of its devices"
        )
    from archdsl.passes.devices import DeviceError, device, devices

    try:
        found = device(name, devices(file))
        found.matrix_rate(dtype)
    except DeviceError as error:
        raise click.UsageError(str(error)) from None
    return found


def split_names(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[str, ...] | None:
    """Return names separated by commas."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())


def split_numbers(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> tuple[int, ...]:
    """Return numbers separated by commas, each at least 1."""
    found = []
    for part in split_names(ctx, param, value) or ():
        if not (part.isascii() and part.isdigit() and 0 < int(part[:9]) == int(part)):
            raise click.BadParameter(
                f"`{part[:40]}` is not a whole number of at least 1", ctx, param
            )
        found.append(int(part))
    return tuple(found)


def pass_options(command: Command) -> Command:
    """Add -O and --passes, which choose transformations, to a command."""
    for option in (
        click.option(
            "--passes",
            callback=split_names,
            metavar="NAME,NAME",
            help="Apply these passes, in this order; `archdsl explain passes` lists "
            "them.",
        ),
        click.option(
            "-O",
            "level",
            type=click.IntRange(0, 2),
            metavar="0|1|2",
            help="Apply all passes up to this level.  [default: 1; 2 for inference]",
        ),
    ):
        command = option(command)
    return command


def find_passes(
    level: int | None, passes: tuple[str, ...] | None, inference: bool
) -> list[str]:
    """Return the names of the transformations that `pass_options` ask for.

    Raises:
        UsageError: if they contradict each other, or a name is unknown.
    """
    from archdsl.transforms import names_of

    try:
        return names_of(level, passes, inference=inference)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


processor_option = click.option(
    "--on",
    "processor",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="Device to compute on; auto takes a GPU if torch finds one.",
)

DATA: Final = (
    "digits (scikit-learn's), synthetic (random images), torchvision:SET:FOLDER (such "
    "as torchvision:CIFAR10:data), an .npz file with `images` and `labels`, or a "
    "folder: with a folder for each class, with WebDataset's shards, or saved by "
    "Hugging Face's datasets."
)
changes_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a value of the recipe, such as epochs=5 or optimizer.lr=0.05; -D does "
    "so, too, unless the network has such a parameter. May be repeated.",
)

width_option = click.option(
    "--width",
    type=click.IntRange(min=0),
    metavar="N",
    help="Fit tables into N columns; 0 means no limit.  [default: the terminal's "
    "width; 0 in a pipe]",
)
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Print JSON. Errors are printed as {"schema": 1, "errors": [...]}, too.',
)


def load_network(
    spec: str,
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    *,
    symbolic: bool,
) -> Network:
    """Return the network that the options of `spec_options` describe."""
    from archdsl.api import load

    return load(spec, params=params, input=input_shape, symbolic=symbolic)


def check_written(network: Network) -> None:
    """Refuse a network that would take too long to compile or draw.

    Raises:
        SpecError: if it has too many layers.
    """
    from archdsl.limits import MAX_WRITTEN

    _check_layers(network, MAX_WRITTEN, "compiled or drawn")


def check_run(network: Network) -> None:
    """Refuse a network that would take too long to run layer by layer in torch.

    Raises:
        SpecError: if it has too many layers.
    """
    from archdsl.limits import MAX_RUN

    _check_layers(network, MAX_RUN, "run in torch")


def _check_layers(network: Network, most: int, done: str) -> None:
    layers = sum(1 for _ in network.steps())
    if layers > most:
        message = (
            f"{network.name} has {layers:,} layers, and one that is {done} can have "
            f"at most {most:,}"
        )
        help = "`archdsl analyze` and `check` accept larger ones"
        raise too_large(network, message, help)


def too_large(network: Network, message: str, help: str) -> SpecError:
    """Return the error for a network that is too large for a command."""
    from archdsl.diagnostics import Diagnostic, SpecError

    return SpecError([Diagnostic("A0912", message, network.root.span, help=help)])


def load_proved(
    spec: str, params: dict[str, object], input_shape: tuple[int, ...] | None
) -> Network:
    """Return the network that the options of `spec_options` describe, to be compiled.

    Raises:
        SpecError: also if a claim (`expect`) of the spec does not hold, or the network
            is too large.
    """
    from archdsl.diagnostics import SpecError
    from archdsl.passes.analysis import analyze
    from archdsl.passes.expect import check_expectations

    network = load_network(spec, params, input_shape, symbolic=True)
    check_written(network)
    if network.expectations:
        refuted = check_expectations(network, analyze(network))
        if refuted:
            raise SpecError(refuted)
    return network


def load_networks(
    specs: Sequence[str],
    params: dict[str, object] | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> tuple[list[Network], list[Diagnostic]]:
    """Return the networks of several specs, and the errors of all of them.

    Raises:
        UsageError: if standard input is given twice.
    """
    from archdsl.api import find_spec, load
    from archdsl.cli.terminal import Progress
    from archdsl.diagnostics import SpecError

    networks, errors = [], []
    reads_stdin = False
    with Progress(len(specs)) as progress:
        for spec in specs:
            progress.step(spec)
            try:
                if find_spec(spec)[0] is None:
                    if reads_stdin:
                        raise click.UsageError("only one SPEC can be standard input")
                    reads_stdin = True
                networks.append(
                    load(spec, params=params, input=input_shape, symbolic=False)
                )
            except SpecError as error:
                errors += error.diagnostics
    return networks, errors
