"""Which network of a file is meant, and with which arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from archdsl.diagnostics import SpecError, did_you_mean
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.types import show_value
from archdsl.source import Span
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile


def choose(
    module: LoadedFile, name: str | None
) -> tuple[t.Definition, t.Preset | None]:
    """Return the network to elaborate, and the preset that sets its parameters.

    Raises:
        Fault: if there is none with that name, or no default without a name.
    """
    networks, presets = module.networks, module.presets
    if not networks:
        raise Fault(
            "A0601",
            "the file defines no network",
            Span(module.file.source, 0, 1),
            help="add `network name { input 3x224x224 ... }`",
        )
    if name is None:
        return _default(module, networks, presets)
    if name in presets:
        return _of_preset(presets[name], networks), presets[name]
    if name in networks:
        return networks[name], None
    known = [*presets, *networks]
    raise Fault(
        "A0602",
        f"{module.file.source.name} has no preset or network `{name}`",
        None,
        help=did_you_mean(name, known) or f"it has {', '.join(known)}",
    )


def _default(
    module: LoadedFile, networks: dict[str, t.Definition], presets: dict[str, t.Preset]
) -> tuple[t.Definition, t.Preset | None]:
    defaults = [p for p in presets.values() if p.is_default]
    if len(defaults) > 1:
        raise Fault("A0101", "two presets are the default", defaults[1].span)
    if defaults:
        return _of_preset(defaults[0], networks), defaults[0]
    if len(networks) > 1:
        raise Fault(
            "A0601",
            f"the file defines several networks: {', '.join(networks)}",
            list(networks.values())[1].span,
            help="name one: SPEC:NAME, or mark a `default preset`",
        )
    return next(iter(networks.values())), None


def _of_preset(preset: t.Preset, networks: dict[str, t.Definition]) -> t.Definition:
    if preset.network not in networks:
        raise Fault(
            "A0104",
            f"there is no network `{preset.network}`",
            preset.network_span,
            help=did_you_mean(preset.network, networks),
        )
    return networks[preset.network]


def check_parameters(
    module: LoadedFile, preset: str | None, params: Iterable[str]
) -> None:
    """Refuse names that are not parameters of a network.

    Raises:
        SpecError: naming the first one, or if there is no such preset.
    """
    try:
        definition, _ = choose(module, preset)
        _check_known(definition, params)
    except Fault as fault:
        raise SpecError([fault.diagnostic()]) from None


def preset_arguments(
    definition: t.Definition, angle: list[t.Arg], params: Mapping[str, Any]
) -> list[t.Arg]:
    """Return the arguments of a preset, overridden by those from outside."""
    names = [p.name for p in definition.params]
    _check_known(definition, params)
    kept: list[t.Arg] = []
    for at, argument in enumerate(angle):
        name = argument.name or (names[at] if at < len(names) else "")
        if name in params:
            # The position is kept, so that positional arguments still line up.
            argument = t.Arg(
                argument.name, _given(params[name], argument.span), argument.span
            )
        kept.append(argument)
    set_already = {
        a.name or (names[i] if i < len(names) else "") for i, a in enumerate(angle)
    }
    for name, value in params.items():
        if name not in set_already:
            kept.append(t.Arg(name, _given(value, definition.span), definition.span))
    return kept


def _check_known(definition: t.Definition, params: Iterable[str]) -> None:
    names = [p.name for p in definition.params]
    for name in params:
        if name not in names:
            raise Fault(
                "A0603",
                f"network `{definition.name}` has no parameter `{name}`",
                definition.span,
                help=did_you_mean(name, names)
                or (f"its parameters are {', '.join(names)}" if names else None),
            )


def _given(value: Any, span: Span) -> t.Expr:
    """Return a value from outside as an expression."""
    if isinstance(value, t.Expr):
        return value
    if isinstance(value, list | tuple):
        return t.ListExpr(span, [_given(v, span) for v in value])
    return t.Literal(span, value, show_value(value))
