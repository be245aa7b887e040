"""The command group; each command's module is imported only when it runs."""

from __future__ import annotations

from importlib import import_module
from keyword import iskeyword

import click

from archdsl import __version__
from archdsl.diagnostics import did_you_mean

COMMANDS = (
    "analyze",
    "bench",
    "check",
    "compare",
    "compile",
    "evaluate",
    "expand",
    "explain",
    "export",
    "fmt",
    "import",
    "lint",
    "list",
    "lsp",
    "new",
    "plot",
    "render",
    "run",
    "schema",
    "sweep",
    "train",
    "weights",
)


class LazyGroup(click.Group):
    """A group that imports each command from the module of its name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, importing its module."""
        if cmd_name not in COMMANDS:
            return None
        # A Python keyword cannot name a module.
        name = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        module = import_module(f"archdsl.cli.commands.{name}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the arguments name, or suggest one."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            hint = did_you_mean(name, COMMANDS)
            ctx.fail(f"there is no command `{name}`" + (f"; {hint}" if hint else ""))
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"archdsl {__version__}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 90},
)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_version,
    help="Show the version and exit.",
)
def app() -> None:
    """Describe convolutional networks, analyse them, and compile them to PyTorch.

    A SPEC is the path of an .arch file, the name of a shipped network or preset
    (googlenet, resnet18), either of them with a preset after a colon
    (net.arch:small), or - for standard input.

    \b
    Examples:
      archdsl analyze googlenet
      archdsl compile resnet:resnet18 -o resnet18.py
      archdsl render net.arch -o net.svg
      archdsl check *.arch

    \b
    Exit status:
      0  all is well          3  an extra is not installed   130  interrupted
      1  errors in a spec     4  a limit was hit
      2  wrong usage         70  a bug in archdsl
    """
