"""`archdsl check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import click

from archdsl.cli import completion
from archdsl.cli.findings import Annotation, chosen_format, format_option, printed
from archdsl.cli.options import SpecCommand, check_run, json_option
from archdsl.cli.specs import expanded
from archdsl.cli.terminal import (
    Progress,
    counted,
    print_json,
    say_diagnostics,
    status_of,
    without_torch,
)
from archdsl.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from archdsl.backends.torch import ForeignImport
    from archdsl.backends.torch.verification import Agreement, FigureDifference
    from archdsl.ir import Network
    from archdsl.syntax.loader import LoadedFile

NO_NETWORK = "A0601"


class Checked(NamedTuple):
    """The result for one SPEC.

    Attributes:
        spec: as it was given.
        networks: names of its networks.
        errors: its errors.
        agreements: the results of comparing its networks with torch, by name.
    """

    spec: str
    networks: list[str]
    errors: list[Diagnostic]
    agreements: dict[str, Agreement]


@click.command(cls=SpecCommand)
@click.argument(
    "specs", nargs=-1, required=True, metavar="SPEC...", shell_complete=completion.specs
)
@click.option(
    "--torch",
    "with_torch",
    is_flag=True,
    help="Also build each network and compare the module with the analysis: shapes, "
    "parameters, MACs, saved bytes, receptive fields.",
)
@click.option(
    "--allow-foreign",
    is_flag=True,
    help="With --torch, import and run the Python code that each `op` names.",
)
@format_option
@json_option
def command(
    specs: tuple[str, ...],
    with_torch: bool,
    allow_foreign: bool,
    form: str | None,
    as_json: bool,
) -> int:
    """Check the syntax, names, shapes and claims of specs.

    Checks every preset of every SPEC, including its claims (`expect`), and shows all
    errors. A folder stands for all .arch files in it and below.

    \b
    Examples:
      archdsl check net.arch
      archdsl check specs/
      archdsl check --format github specs/
      archdsl check --json resnet:resnet18
      archdsl check --torch googlenet
    """
    form = chosen_format(form, as_json)
    foreign = allow_foreign if with_torch else None
    given, missing = expanded(specs)
    try:
        checked = _check_all(given, foreign)
    except (ImportError, OSError) as error:
        raise without_torch(error, "--torch needs") from None
    errors = [*missing, *(error for one in checked for error in one.errors)]
    if form in ("github", "sarif"):
        click.echo(printed([Annotation(error) for error in errors], form), nl=False)
        return status_of(errors)
    if form == "json":
        files = [_as_dict(one, with_torch) for one in checked]
        print_json({"files": files, "errors": [e.as_dict() for e in errors]})
        return status_of(errors)
    for one in checked:
        if not one.errors:
            click.echo(f"{one.spec}: ok ({_summary(one)})")
        for line in _skipped(one):
            click.echo(f"  {line}")
    if errors:
        say_diagnostics(errors)
    return status_of(errors)


def _check_all(specs: Sequence[str], foreign: bool | None) -> list[Checked]:
    """Check specs; unless `foreign` is None, with torch as well."""
    checked = []
    with Progress(len(specs), always=foreign is not None) as progress:
        for spec in specs:
            progress.step(spec)
            checked.append(_check(spec, foreign, progress))
    return checked


def _check(spec: str, foreign: bool | None, progress: Progress) -> Checked:
    from archdsl.api import open_spec
    from archdsl.variants import variants

    try:
        module, preset = open_spec(spec)
        names = [preset] if preset else variants(module)
        return _check_networks(spec, module, names, foreign, progress)
    except SpecError as error:
        return Checked(spec, [], error.diagnostics, {})


def _check_networks(
    spec: str,
    module: LoadedFile,
    networks: list[str],
    foreign: bool | None,
    progress: Progress,
) -> Checked:
    from archdsl.variants import Allowance

    errors: list[Diagnostic] = []
    agreements: dict[str, Agreement] = {}
    allowance = Allowance(spec, networks)
    for name in networks:
        progress.note(f"{spec}: {name}")
        network, wrong = _check_network(module, name)
        errors += wrong
        if network is not None:
            allowance.take(network)
        if network is not None and foreign is not None:
            found, wrong = _agree(network, name, foreign)
            errors += wrong
            if found is not None:
                agreements[name] = found
    if not networks:
        # A library need not have a network, but its blocks can have errors.
        _, wrong = _check_network(module, None)
        errors = [e for e in wrong if e.code != NO_NETWORK]
    return Checked(spec, networks, _each_once(errors), agreements)


def _check_network(
    module: LoadedFile, name: str | None
) -> tuple[Network | None, list[Diagnostic]]:
    from archdsl.api import elaborate_module
    from archdsl.passes.analysis import analyze
    from archdsl.passes.expect import check_expectations

    try:
        network = elaborate_module(module, preset=name)
    except SpecError as error:
        return None, error.diagnostics
    return network, check_expectations(network, analyze(network))


# ---- with torch -----------------------------------------------------------------


def _agree(
    network: Network, name: str, allow_foreign: bool
) -> tuple[Agreement | None, list[Diagnostic]]:
    """Return the result of comparing a network with torch, and its errors."""
    from archdsl.backends.torch import ForeignCode, ForeignImport
    from archdsl.backends.torch.verification import agree

    try:
        check_run(network)
        found = agree(network, allow_foreign=allow_foreign)
    except SpecError as error:
        return None, error.diagnostics
    except ForeignImport as error:
        return None, [_not_imported(error)]
    except ForeignCode as error:
        raise click.UsageError(
            f"{network.name} imports {', '.join(error.names)}: "
            "pass --allow-foreign if you trust that code"
        ) from None
    return found, [_differing(each, name, network) for each in found.differences]


def _not_imported(error: ForeignImport) -> Diagnostic:
    step = error.step
    return Diagnostic(
        "A0702",
        str(error),
        step.span,
        label=f"the class of {step.path}",
        help="install it, or add the folder of its module to PYTHONPATH",
    )


def _differing(difference: FigureDifference, name: str, network: Network) -> Diagnostic:
    """Return the error for a difference."""
    step = difference.step
    return Diagnostic(
        "A0701",
        f"{name}: {difference}",
        step.span if step else network.root.span,
        label=f"{step.path} here" if step else "",
        help="if no `op` of the spec declares it wrongly, this is a bug in archdsl: "
        "please report it",
    )


def _skipped(one: Checked) -> list[str]:
    """Return what could not be compared, each reason once."""
    found: dict[tuple[str, str], list[str]] = {}
    for name, agreement in one.agreements.items():
        for reason in agreement.skipped.items():
            found.setdefault(reason, []).append(name)
    return [
        f"not compared, {what} of {', '.join(names)}: {why}"
        for (what, why), names in found.items()
    ]


# ---- details --------------------------------------------------------------------


def _each_once(errors: list[Diagnostic]) -> list[Diagnostic]:
    """Drop errors that several presets share, except for the first."""
    kept = {(e.code, e.message, e.span): e for e in reversed(errors)}
    return list(reversed(kept.values()))


def _as_dict(one: Checked, with_torch: bool) -> dict[str, object]:
    facts = {"file": one.spec, "ok": not one.errors, "networks": one.networks}
    if with_torch:
        compared = {
            name: {
                "compared": dict(found.compared),
                "skipped": dict(found.skipped),
                "differences": [each.as_dict() for each in found.differences],
            }
            for name, found in one.agreements.items()
        }
        return {**facts, "torch": compared}
    return facts


def _summary(one: Checked) -> str:
    if not one.networks:
        return "blocks only"
    few = len(one.networks) == 1
    names = one.networks[0] if few else counted(len(one.networks), "network")
    figures = sum(sum(a.compared.values()) for a in one.agreements.values())
    return f"{names}, {figures:,} figures as in torch" if figures else names
