"""Applies all rules to all networks of a spec, except where the spec silences them."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from archdsl.diagnostics import Diagnostic
from archdsl.ir import Network
from archdsl.resources import specs_dir
from archdsl.source import Span
from archdsl.syntax import tree as t

from .allow import Allow, Allows, Mistake, allows, definitions
from .net import Net
from .rule import (
    ABOUT_ALLOWS,
    BAD_ALLOW,
    NOTHING,
    STALE_ALLOW,
    Edit,
    Finding,
    Fix,
    Rule,
    Saving,
    all_rules,
)

_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Advice:
    """A rule's finding at one place of a spec.

    Attributes:
        code: the rule's code.
        name: the rule's name.
        message: what was found, in one sentence with its figures.
        span: the place.
        label: shown at the place.
        notes: further facts.
        help: the suggested edit.
        layers: paths of the layers concerned, in the first of `networks`.
        networks: the networks of the file in which it was found.
        saving: what following it saves in the first of them.
        fix: the suggestion as an edit of the text, if it can be made automatically.
    """

    code: str
    name: str
    message: str
    span: Span
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str | None = None
    layers: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    saving: Saving = NOTHING
    fix: Fix | None = None

    def __repr__(self) -> str:
        return f"<Advice {self.code} at {self.span!r}: {self.message}>"

    def __str__(self) -> str:
        return self.diagnostic().render()

    def diagnostic(self) -> Diagnostic:
        """Return the advice as a warning."""
        return Diagnostic(
            self.code,
            self.message,
            self.span,
            label=self.label,
            notes=self.notes,
            help=self.help,
            severity="warning",
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the advice as plain data, as `--json` prints it."""
        fix = self.fix
        return {
            **self.diagnostic().as_dict(),
            "rule": self.name,
            "layers": list(self.layers),
            "networks": list(self.networks),
            "saves": self.saving._asdict(),
            "fix": fix
            and {
                "safe": fix.safe,
                "edits": [edit._asdict() for edit in fix.edits],
            },
        }


class Report(NamedTuple):
    """The findings in one spec.

    Attributes:
        advice: in the order of the text.
        silenced: how many comments silence something.
    """

    advice: tuple[Advice, ...]
    silenced: int


def lint(
    file: t.File,
    networks: Sequence[Network],
    *,
    imported: Iterable[t.File] = (),
    codes: Collection[str] | None = None,
    complete: bool = True,
) -> Report:
    """Return the advice about a spec.

    Args:
        file: the spec's tree.
        networks: networks of the spec.
        imported: trees of other files, whose comments apply there.
        codes: codes of the rules to apply; all if omitted.
        complete: whether these are all networks of the spec, as it defines them; only
            then is a comment that silences nothing reported.
    """

    def wanted(code: str) -> bool:
        return codes is None or code in codes

    stale = complete and wanted(STALE_ALLOW)
    nets = [Net(network, file) for network in networks]
    own, mistakes = allows(file)
    others = [
        each for other in imported if other is not file for each in allows(other)[0]
    ]
    silencing = Allows([*own, *others])
    kept = []
    for code, rule in all_rules().items():
        # Whether a comment is stale depends on all rules together.
        if wanted(code) or (stale and own):
            found = list(_of_rule(rule(), nets, silencing))
            kept += found if wanted(code) else []
    if wanted(BAD_ALLOW):
        kept += [_of_mistake(mistake) for mistake in mistakes]
    if stale:
        kept += [a for each in _looked_at(own, file, nets) for a in _of_stale(each)]
    kept.sort(key=lambda advice: (advice.span.start, advice.code))
    return Report(tuple(kept), sum(bool(each.used) for each in (*own, *others)))


# ---- one rule -----------------------------------------------------------------


class _Place(NamedTuple):
    """The findings of a rule at one place of one network."""

    net: Net
    findings: list[Finding]

    @property
    def worst(self) -> Finding:
        """The finding that saves most."""
        return max(self.findings, key=lambda f: (f.saving.macs, f.saving.params))

    @property
    def saving(self) -> Saving:
        """The savings of all findings together."""
        total = NOTHING
        for finding in self.findings:
            total = total.plus(finding.saving)
        return total


def _of_rule(rule: Rule, nets: Sequence[Net], silencing: Allows) -> Iterator[Advice]:
    by_place: dict[Span, list[_Place]] = {}
    flagged: Counter[tuple[Span, str]] = Counter()
    for net in nets:
        for span, place in _places(rule, net).items():
            steps = (finding.node.step for finding in place.findings)
            flagged.update(_origin(step) for step in steps if not step.shared)
            heard = [
                finding
                for finding in place.findings
                if not silencing.silence(rule.code, net.spans(finding.node))
            ]
            if heard:
                by_place.setdefault(span, []).append(_Place(net, heard))
    if not by_place:
        return
    steps = (node.step for net in nets for node in net.graph.nodes)
    there = Counter(_origin(step) for step in steps if not step.shared)
    for span, places in by_place.items():
        step = places[0].worst.node.step
        always = flagged[_origin(step)] == there[_origin(step)]
        yield _merged(rule, span, places, always)


def _origin(step: Any) -> tuple[Span, str]:
    return step.span, step.op.word


def _places(rule: Rule, net: Net) -> Mapping[Span, _Place]:
    """Return the findings of a rule by place, if they are worth reporting."""
    found: dict[Span, _Place] = {}
    for finding in rule.check(net):
        place = found.setdefault(net.place(finding.node), _Place(net, []))
        place.findings.append(finding)
    return {span: place for span, place in found.items() if _is_worth(rule, place)}


def _is_worth(rule: Rule, place: _Place) -> bool:
    if not rule.least:
        return True
    saving, net = place.saving, place.net
    shares = net.share(saving.params, net.params), net.share(saving.macs, net.macs)
    return max(shares) >= rule.least


def _merged(rule: Rule, span: Span, places: Sequence[_Place], always: bool) -> Advice:
    """Return the findings at one place in several layers and networks as one.

    A fix changes all layers that are written there, so it must be right for all of
    them.
    """
    place = places[0]
    worst, net = place.worst, place.net
    paths = tuple(dict.fromkeys(f.node.step.path for f in place.findings))
    return Advice(
        code=rule.code,
        name=rule.name,
        message=worst.message,
        span=span,
        label=worst.label,
        notes=(*worst.notes, *_notes(place, paths, places)),
        help=worst.help,
        layers=paths,
        networks=tuple(each.net.network.name for each in places),
        saving=place.saving,
        fix=worst.fix if always and net.is_written_here(worst.node) else None,
    )


def _notes(
    place: _Place, paths: Sequence[str], places: Sequence[_Place]
) -> Iterator[str]:
    worst, net = place.worst, place.net
    if not net.is_written_here(worst.node):
        span = worst.node.step.span
        where = f"line {span.line} of {_shown(span.source.name)}"
        yield f"it is {worst.node.step.path}, {worst.node.op.label()}, {where}"
    if len(paths) > 1:
        others = [path for path in paths if path != worst.node.step.path]
        rest = len(others) - _SHOWN
        shown = ", ".join(others[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
        together = f"; together {place.saving}" if any(place.saving) else ""
        figures = f"the figures are for {worst.node.step.path}"
        yield f"{figures}; also found at {shown}{together}"
    if len(places) > 1:
        names = [each.net.network.name for each in places]
        rest = len(names) - _SHOWN
        shown = ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
        yield f"the figures are for {names[0]}; also found in {shown}"


def _shown(name: str) -> str:
    """Return the name of a file as in imports."""
    path = os.path.abspath(name)
    std = os.path.join(specs_dir(), "std")
    if name.startswith("std/") or os.path.dirname(path) == str(std):
        return f"std/{os.path.basename(name)}"
    return os.path.basename(name)


# ---- what silences rules ------------------------------------------------------


def _of_mistake(mistake: Mistake) -> Advice:
    return Advice(
        BAD_ALLOW,
        ABOUT_ALLOWS[BAD_ALLOW],
        mistake.message,
        mistake.span,
        label="this silences nothing",
        help=mistake.help,
    )


def _looked_at(
    silencing: Sequence[Allow], file: t.File, nets: Sequence[Net]
) -> Iterator[Allow]:
    """Yield the comments, except those about blocks that no network calls."""
    unused = [allow for allow in silencing if allow.stale]
    if not unused:
        return
    steps = (net.places(node) for net in nets for node in net.graph.nodes)
    starts = sorted({span.start for places in steps for span in places})
    uncalled = []
    for start, end in definitions(file):
        at = bisect_left(starts, start)
        if at == len(starts) or starts[at] >= end:
            uncalled.append((start, end))
    for allow in unused:
        about = allow.ranges or ((allow.span.start, allow.span.end),)
        if not any(a < end and start < b for a, b in about for start, end in uncalled):
            yield allow


def _of_stale(allow: Allow) -> Iterator[Advice]:
    stale = allow.stale
    if not stale:
        return
    words = " and ".join(stale)
    whole = len(stale) == len(allow.codes)
    yield Advice(
        STALE_ALLOW,
        ABOUT_ALLOWS[STALE_ALLOW],
        f"there is no finding of {words} here to silence",
        allow.span,
        help="remove the comment" if whole else f"remove {words} from it",
        fix=_without_comment(allow) if whole else None,
    )


def _without_comment(allow: Allow) -> Fix:
    """Return an edit that removes a comment, with its line if it has its own."""
    span = allow.span
    text = span.source.text
    begin = text.rfind("\n", 0, span.start) + 1
    start, end = span.start, span.end
    if not text[begin:start].strip():
        start = begin
        after = text.find("\n", end)
        end = len(text) if after < 0 else after + 1
    else:
        while text[start - 1] in " \t":
            start -= 1
    return Fix((Edit(start, end, ""),), safe=True)
