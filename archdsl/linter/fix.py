"""Follows advice by editing the text of a spec."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from archdsl.diagnostics import SpecError
from archdsl.ir import Network
from archdsl.passes.analysis import analyze
from archdsl.passes.expect import check_expectations
from archdsl.syntax.loader import LoadedFile
from archdsl.values import Shape

from .check import Advice, lint
from .rule import Edit

MAX_ROUNDS: Final = 100

Load = Callable[[str], LoadedFile]
Networks = Callable[[LoadedFile], Sequence[Network]]


class UnappliedFix(NamedTuple):
    """Advice that was not followed.

    Attributes:
        advice: the advice.
        reason: the reason, as the end of a sentence.
    """

    advice: Advice
    reason: str


class FixedSpec(NamedTuple):
    """A spec after its advice was followed.

    Attributes:
        text: its text.
        module: the spec, loaded.
        done: the advice that was followed.
        refused: the advice that was not.
    """

    text: str
    module: LoadedFile
    done: tuple[Advice, ...]
    refused: tuple[UnappliedFix, ...]


class _BadEdit(Exception):
    """An edit that would break the spec or change it too much."""


def fix_spec(
    module: LoadedFile,
    load: Load,
    networks: Networks,
    *,
    codes: Collection[str] | None = None,
    unsafe: bool = False,
) -> FixedSpec:
    """Follow the advice about a spec as far as possible by editing its text.

    After every edit, the spec loads, its networks have the same outputs, and its claims
    hold as before. After a safe edit, the keys and shapes of the `state_dict` are the
    same, too, except for those that the advice drops.

    Args:
        module: the spec.
        load: loads a text in place of the spec.
        networks: returns all networks of a loaded spec.
        codes: codes of the rules to follow; all if omitted.
        unsafe: whether to make edits that change what the networks compute, too.
    """
    fixer = _Fixer(module, networks(module), load, networks)
    for _ in range(MAX_ROUNDS):
        found = lint(
            fixer.module.file,
            fixer.nets,
            imported=fixer.module.files(),
            codes=codes,
        ).advice
        wanted = [a for a in found if a.fix and (a.fix.safe or unsafe)]
        wanted = [a for a in wanted if _key(a) not in fixer.refused]
        if not wanted:
            break
        fixer.apply(_apart(wanted))
    new = fixer.module
    refused = tuple(fixer.refused.values())
    return FixedSpec(new.file.source.text, new, tuple(fixer.done), refused)


class _Fixer:
    """A spec that is being edited, and the results for its advice."""

    def __init__(
        self,
        module: LoadedFile,
        nets: Sequence[Network],
        load: Load,
        networks: Networks,
    ) -> None:
        self.module = module
        self.nets = nets
        self.load = load
        self.networks = networks
        self.done: list[Advice] = []
        self.refused: dict[object, UnappliedFix] = {}

    def apply(self, part: Sequence[Advice]) -> None:
        """Make as many of the edits as possible, in the order of the text."""
        try:
            self._apply_all(part)
        except _BadEdit as unfit:
            if len(part) == 1:
                self.refused[_key(part[0])] = UnappliedFix(part[0], str(unfit))
                return
            # Later edits first, since they do not move the places of earlier ones.
            half = len(part) // 2
            self.apply(part[half:])
            self.apply(part[:half])
        else:
            self.done += part

    def _apply_all(self, part: Sequence[Advice]) -> None:
        """Make all of the edits.

        Raises:
            _BadEdit: if that would break the spec or change it too much.
        """
        fixes = [advice.fix for advice in part if advice.fix]
        edits = [edit for fix in fixes for edit in fix.edits]
        try:
            new = self.load(edited(self.module.file.source.text, edits))
            after = self.networks(new)
        except SpecError as error:
            first = error.diagnostics[0]
            raise _BadEdit(f"the spec would be refused: {first.message}") from None
        drops = frozenset[str]().union(*(fix.drops for fix in fixes))
        safe = all(fix.safe for fix in fixes)
        if [n.name for n in self.nets] != [n.name for n in after]:
            raise _BadEdit("the spec would describe different networks")
        for old, made in zip(self.nets, after, strict=True):
            _check_claims(old, made)
            _check_outputs(old, made)
            if safe:
                _check_state(old, made, drops)
        self.module, self.nets = new, after


def _key(advice: Advice) -> object:
    """Return a key that identifies a piece of advice, independent of its place."""
    return advice.code, advice.layers, advice.networks


def _apart(wanted: Iterable[Advice]) -> list[Advice]:
    """Return advice whose edits do not overlap."""
    kept: list[Advice] = []
    end = -1
    for advice in sorted(wanted, key=lambda a: a.fix.edits if a.fix else ()):
        assert advice.fix is not None
        if advice.fix.edits[0].start >= end:
            kept.append(advice)
            end = advice.fix.edits[-1].end
    return kept


def edited(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with non-overlapping edits applied."""
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


def _check_claims(old: Network, new: Network) -> None:
    if not new.expectations:
        return
    refuted = check_expectations(new, analyze(new))
    if refuted and not check_expectations(old, analyze(old)):
        claim = refuted[0]
        where = f"line {claim.span.line}: " if claim.span else ""
        raise _BadEdit(f"a claim of the spec would not hold ({where}{claim.message})")


def _check_outputs(old: Network, new: Network) -> None:
    before, after = (
        [(port.name, tuple(port.shape)) for port in network.outputs]
        for network in (old, new)
    )
    if before != after:
        raise _BadEdit(f"the output of {old.name} would have another shape")


def _check_state(old: Network, new: Network, drops: Collection[str]) -> None:
    before, after = _state(old), _state(new)
    for path, shape in before.items():
        if path in after:
            if after[path] != shape:
                raise _BadEdit(f"{'.'.join(path)} would have another shape")
        elif path[1] not in drops:
            raise _BadEdit(f"the state_dict would lose {'.'.join(path)}")
    for path in after:
        if path not in before:
            raise _BadEdit(f"the state_dict would have {'.'.join(path)} instead")


def _state(network: Network) -> Mapping[tuple[str, str], Shape]:
    """Return the shapes of the tensors of a network's `state_dict`."""
    return {
        (step.path, tensor.name): tuple(int(n) for n in tensor.shape)
        for step in network.steps()
        for tensor in step.op.tensors(*step.input_shapes)
    }
