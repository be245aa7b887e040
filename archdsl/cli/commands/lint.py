"""`archdsl lint`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from archdsl.cli import completion, status
from archdsl.cli.findings import Annotation, chosen_format, format_option, printed
from archdsl.cli.options import Command, SpecCommand, json_option, network_options
from archdsl.cli.specs import expanded
from archdsl.cli.terminal import (
    Progress,
    counted,
    print_diff,
    print_json,
    say,
    say_diagnostics,
    status_of,
    wants_color,
)
from archdsl.diagnostics import Diagnostic, SpecError

if TYPE_CHECKING:
    from archdsl.ir import Network
    from archdsl.linter.check import Advice
    from archdsl.linter.fix import FixedSpec
    from archdsl.source import Source
    from archdsl.syntax.loader import LoadedFile


class LintOptions(NamedTuple):
    """Which rules to apply, and to which networks."""

    params: dict[str, object]
    input: tuple[int, ...] | None
    codes: Collection[str] | None


class Linted(NamedTuple):
    """The result for one SPEC.

    Attributes:
        spec: as the user named it.
        source: the original text; None if it could not be read.
        networks: names of the networks that were checked.
        advice: the findings that remain after `--fix`.
        silenced: number of comments that silence findings.
        errors: why it could not be checked.
        fixed: the spec after `--fix`.
    """

    spec: str
    source: Source | None
    networks: list[str]
    advice: list[Advice]
    silenced: int
    errors: list[Diagnostic]
    fixed: FixedSpec | None = None


def _codes(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> frozenset[str]:
    """Return the codes in a list of codes or names of rules."""
    from archdsl.linter.rule import codes_of

    try:
        return codes_of((value or "").replace(",", " ").split())
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def _rule_options(command: Command) -> Command:
    for option in (
        click.option(
            "--list",
            "lists_rules",
            is_flag=True,
            help="Print all rules, and exit.",
        ),
        click.option(
            "--ignore",
            callback=_codes,
            shell_complete=completion.rules,
            metavar="CODES",
            help="Skip these rules.",
        ),
        click.option(
            "--select",
            callback=_codes,
            shell_complete=completion.rules,
            metavar="CODES",
            help="Apply only these rules, such as W0101,W0103.",
        ),
    ):
        command = option(command)
    return command


@click.command(cls=SpecCommand)
@click.argument("specs", nargs=-1, metavar="SPEC...", shell_complete=completion.specs)
@_rule_options
@network_options
@click.option(
    "--fix",
    is_flag=True,
    help="Apply the edits that do not change the network's results.",
)
@click.option(
    "--unsafe",
    is_flag=True,
    help="With --fix, also apply edits that do.",
)
@click.option("--diff", is_flag=True, help="Print what --fix would change.")
@click.option("--exit-zero", is_flag=True, help="Exit with 0 despite findings.")
@format_option
@json_option
def command(
    specs: tuple[str, ...],
    select: frozenset[str],
    ignore: frozenset[str],
    params: dict[str, object],
    input_shape: tuple[int, ...] | None,
    fix: bool,
    unsafe: bool,
    diff: bool,
    exit_zero: bool,
    lists_rules: bool,
    form: str | None,
    as_json: bool,
) -> int:
    """Suggest improvements to networks, with figures.

    Checks every preset of every SPEC. A folder stands for all .arch files in it and
    below. A comment such as `# lint: allow W0101 the paper's stem` silences a rule in
    a spec. --list prints all rules, `archdsl explain W0101` explains one. The exit
    status is 1 if there are findings.

    \b
    Examples:
      archdsl lint net.arch
      archdsl lint --select W0101,W0102 resnet:resnet50 --input 3x64x64
      archdsl lint --fix --diff specs/
      archdsl lint --format sarif specs/ > lint.sarif
    """
    from archdsl.linter.rule import chosen_rules

    form = chosen_format(form, as_json)
    if lists_rules:
        return _list_rules(form == "json")
    fixes = fix or diff
    given, missing = expanded(specs)
    _check_usage(given, missing, bool(params or input_shape), fixes, unsafe, form)
    options = LintOptions(params, input_shape, chosen_rules(select, ignore))
    linted = []
    with Progress(len(given)) as progress:
        for spec in given:
            progress.step(spec)
            linted.append(_lint(spec, options, fix=fixes, unsafe=unsafe))
    if diff:
        _print_diffs(linted)
    elif fix:
        _write(linted)
    found = [advice for one in linted for advice in one.advice]
    errors = [*missing, *(error for one in linted for error in one.errors)]
    if form == "json":
        _print_json(linted, found, errors)
    elif form != "text":
        both = [
            *map(Annotation, errors),
            *(Annotation(a.diagnostic(), a.fix) for a in found),
        ]
        click.echo(printed(both, form), nl=False)
    elif not diff:
        _print_text(linted, found, to_stderr=fix and "-" in specs)
    _say_rest(linted, found, errors if form == "text" else [], diff=diff)
    if errors:
        return status_of(errors)
    bad = found or (diff and any(_changed(linted)))
    return status.SPEC_ERRORS if bad and not exit_zero else status.OK


def _check_usage(
    specs: Sequence[str],
    missing: Sequence[Diagnostic],
    changed: bool,
    fix: bool,
    unsafe: bool,
    form: str,
) -> None:
    """Refuse options that do not go together."""
    if not specs and not missing:
        raise click.MissingParameter(param_type="argument", param_hint="'SPEC...'")
    if unsafe and not fix:
        raise click.UsageError("--unsafe needs --fix or --diff")
    if not fix:
        return
    if changed:
        raise click.UsageError(
            "--fix changes the spec as written: leave -D and --input out"
        )
    if form != "text" and "-" in specs:
        what = "--json" if form == "json" else f"--format {form}"
        raise click.UsageError(f"{what} and the fixed spec would both go to stdout")
    for spec in specs:
        named = ":" in spec or not spec.endswith(".arch")
        if named and _preset(spec):
            raise click.UsageError(f"--fix takes a whole file, not a preset: {spec}")


def _preset(spec: str) -> str | None:
    from archdsl.api import find_spec

    try:
        return find_spec(spec)[1]
    except SpecError:  # reported later, with the other errors
        return None


# ---- one spec -------------------------------------------------------------------


def _lint(spec: str, options: LintOptions, *, fix: bool, unsafe: bool) -> Linted:
    from archdsl.api import lint_module, open_spec
    from archdsl.variants import variants

    try:
        module, preset = open_spec(spec)
        source = module.file.source
        names = [preset] if preset else variants(module)
        fixed = _fixed(module, options, unsafe) if fix else None
        module = fixed.module if fixed else module
        found = lint_module(
            module, preset, options.params, options.input, options.codes, spec
        )
    except SpecError as error:
        return Linted(spec, None, [], [], 0, error.diagnostics)
    return Linted(spec, source, names, list(found.advice), found.silenced, [], fixed)


def _fixed(module: LoadedFile, options: LintOptions, unsafe: bool) -> FixedSpec:
    from archdsl.api import elaborate_all
    from archdsl.linter.fix import fix_spec
    from archdsl.source import Source
    from archdsl.syntax.loader import Loader
    from archdsl.variants import variants

    name, path = module.file.source.name, module.path

    def load(text: str) -> LoadedFile:
        return Loader(path.parent if path else None).load(Source(name, text), path)

    def networks(new: LoadedFile) -> list[Network]:
        return elaborate_all(
            new, variants(new), params=options.params, input=options.input
        )

    return fix_spec(module, load, networks, codes=options.codes, unsafe=unsafe)


# ---- output ------------------------------------------------------------


def _list_rules(as_json: bool) -> int:
    from archdsl.backends.text import align
    from archdsl.linter.rule import all_rules

    rules = all_rules().values()
    if as_json:
        fields = ("code", "name", "title")
        listed = [{name: getattr(rule, name) for name in fields} for rule in rules]
        print_json({"rules": listed, "errors": []})
    else:
        click.echo("\n".join(align([(r.code, r.name, r.title) for r in rules])))
    return status.OK


def _changed(linted: list[Linted]) -> Iterator[tuple[Linted, FixedSpec]]:
    for one in linted:
        if one.fixed is not None and one.fixed.done:
            yield one, one.fixed


def _write(linted: list[Linted]) -> None:
    from archdsl.api import find_spec
    from archdsl.cli.files import write_bytes

    for one in linted:
        if one.spec == "-" and one.fixed is not None:
            sys.stdout.write(one.fixed.text)
    for one, fixed in _changed(linted):
        path, _ = find_spec(one.spec)
        if path is not None:
            write_bytes(Path(path), fixed.text.encode())
        say(f"{one.spec}: {counted(len(fixed.done), 'finding')} fixed")


def _print_diffs(linted: list[Linted]) -> None:
    for one, fixed in _changed(linted):
        assert one.source is not None
        print_diff(one.source.name, one.source.text, fixed.text, "fixed")


def _print_json(
    linted: list[Linted], found: list[Advice], errors: list[Diagnostic]
) -> None:
    print_json(
        {
            "files": [_as_dict(one) for one in linted],
            "findings": [advice.as_dict() for advice in found],
            "errors": [error.as_dict() for error in errors],
        }
    )


def _as_dict(one: Linted) -> dict[str, object]:
    fixed = one.fixed
    return {
        "file": one.spec,
        "networks": one.networks,
        "findings": len(one.advice),
        "silenced": one.silenced,
        "fixed": len(fixed.done) if fixed else 0,
        "not_fixed": [
            {"code": each.advice.code, "reason": each.reason}
            for each in (fixed.refused if fixed else ())
        ],
    }


def _print_text(linted: list[Linted], found: list[Advice], *, to_stderr: bool) -> None:
    color = wants_color(sys.stderr if to_stderr else sys.stdout)
    for advice in found:
        click.echo(advice.diagnostic().render(color) + "\n", err=to_stderr)
    for one in linted:
        if not one.advice and not one.errors:
            click.echo(f"{one.spec}: ok ({_summary(one)})", err=to_stderr)


def _say_rest(
    linted: list[Linted],
    found: list[Advice],
    errors: list[Diagnostic],
    *,
    diff: bool,
) -> None:
    """Print to stderr what was not fixed, errors, and the number of findings."""
    sys.stdout.flush()
    for one, fixed in _changed(linted):
        if diff:
            say(f"{one.spec}: {counted(len(fixed.done), 'finding')} would be fixed")
    for one in linted:
        for each in one.fixed.refused if one.fixed else ():
            say(f"{one.spec}: {each.advice.code} is not fixed: {each.reason}")
    if errors:
        say_diagnostics(errors)
    if found:
        say(_count(found))


def _summary(one: Linted) -> str:
    networks = "blocks only"
    if one.networks:
        several = len(one.networks) > 1
        networks = counted(len(one.networks), "network") if several else one.networks[0]
    silenced = f", {counted(one.silenced, 'comment')} silencing" if one.silenced else ""
    return networks + silenced


def _count(found: list[Advice]) -> str:
    """Return the number of findings, and of those that `--fix` could fix."""
    safe = sum(advice.fix is not None and advice.fix.safe for advice in found)
    changing = sum(advice.fix is not None for advice in found) - safe
    parts = [counted(len(found), "finding")]
    if safe:
        parts.append(f"{safe} for --fix")
    if changing:
        parts.append(f"{changing} for --fix --unsafe")
    return ", ".join(parts)
