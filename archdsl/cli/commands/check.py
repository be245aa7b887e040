"""`archdsl check`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from archdsl.cli.options import json_option
from archdsl.cli.terminal import Progress, count, print_json, say_diagnostics, status_of
from archdsl.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from archdsl.syntax.loader import Module

NO_NETWORK = "A0601"


class Checked(NamedTuple):
    """What was found about one SPEC."""

    spec: str
    networks: list[str]
    errors: list[Diagnostic]


@click.command()
@click.argument("specs", nargs=-1, required=True, metavar="SPEC...")
@json_option
def command(specs: tuple[str, ...], as_json: bool) -> int:
    """Check the syntax, names, shapes and claims of specs.

    Every preset of every SPEC is checked, what it claims with `expect` too, and all
    errors of all of them are shown.

    \b
    Examples:
      archdsl check net.arch
      archdsl check specs/*.arch
      archdsl check --json resnet:resnet18
    """
    checked = _check_all(specs)
    errors = [error for one in checked for error in one.errors]
    if as_json:
        files = [_as_dict(one) for one in checked]
        print_json({"files": files, "errors": [e.as_dict() for e in errors]})
        return status_of(errors)
    for one in checked:
        if not one.errors:
            click.echo(f"{one.spec}: ok ({_summary(one.networks)})")
    if errors:
        say_diagnostics(errors)
    return status_of(errors)


def _check_all(specs: tuple[str, ...]) -> list[Checked]:
    checked = []
    with Progress(len(specs)) as progress:
        for spec in specs:
            progress.step(spec)
            checked.append(_check(spec))
    return checked


def _check(spec: str) -> Checked:
    from archdsl.api import open_spec
    from archdsl.cli.variants import variants

    try:
        module, preset = open_spec(spec)
    except SpecError as error:
        return Checked(spec, [], error.diagnostics)
    networks = [preset] if preset else variants(module)
    errors: list[Diagnostic] = []
    for name in networks:
        errors += _check_network(module, name)
    if not networks:
        # That a library has no network is no fault of it; its blocks may have some.
        errors = [e for e in _check_network(module, None) if e.code != NO_NETWORK]
    return Checked(spec, networks, _each_once(errors))


def _check_network(module: Module, name: str | None) -> list[Diagnostic]:
    from archdsl.api import elaborate_module
    from archdsl.passes.analysis import analyze
    from archdsl.passes.expect import check_expectations

    try:
        network = elaborate_module(module, preset=name)
    except SpecError as error:
        return error.diagnostics
    return check_expectations(network, analyze(network))


def _each_once(errors: list[Diagnostic]) -> list[Diagnostic]:
    """Drop what several presets have in common."""
    kept = {(e.code, e.message, e.span): e for e in reversed(errors)}
    return list(reversed(kept.values()))


def _as_dict(one: Checked) -> dict[str, object]:
    return {"file": one.spec, "ok": not one.errors, "networks": one.networks}


def _summary(networks: list[str]) -> str:
    if not networks:
        return "blocks only"
    return networks[0] if len(networks) == 1 else count(len(networks), "network")
