"""The base class of lint rules, their findings, and the registry.

Each rule is a class in a file of its own in `archdsl.linter.rules`. The file has the
rule's name, and the class docstring is the rule's page in the manual.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from inspect import cleandoc
from textwrap import indent
from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from archdsl.diagnostics import did_you_mean

if TYPE_CHECKING:
    from archdsl.ir.graph import Node

    from .net import Net

# Rules about the comments that silence rules.
BAD_ALLOW = "W0001"
STALE_ALLOW = "W0002"
ABOUT_ALLOWS = {BAD_ALLOW: "bad-allow", STALE_ALLOW: "stale-allow"}


class Saving(NamedTuple):
    """What following a piece of advice would save; negative if it costs.

    Attributes:
        params: elements of parameters.
        macs: multiply-accumulates of inference for one sample.
        bytes: bytes kept by autograd in training, for one sample in float32; 0 if the
            rule does not estimate them.
    """

    params: int = 0
    macs: int = 0
    bytes: int = 0

    def plus(self, other: Saving) -> Saving:
        """Return the sum of two."""
        return Saving(*(a + b for a, b in zip(self, other, strict=True)))

    def __str__(self) -> str:
        words = (
            ("weights", self.params),
            ("MACs", self.macs),
            ("bytes", self.bytes),
        )
        parts = [f"{n:,} {word}" for word, n in words if n]
        return " and ".join(parts) or "nothing"


NOTHING: Final = Saving()


class Edit(NamedTuple):
    """A change of a spec's text.

    Attributes:
        start: offset of the first character to replace.
        end: offset behind the last one.
        text: the replacement.
    """

    start: int
    end: int
    text: str


class Fix(NamedTuple):
    """Edits that follow a piece of advice; they are made all together or not at all.

    Attributes:
        edits: in the order of the text, without overlap.
        safe: whether the network computes the same after them.
        drops: names of the tensors that they remove, such as ``bias``.
    """

    edits: tuple[Edit, ...]
    safe: bool = False
    drops: frozenset[str] = frozenset()


class Finding(NamedTuple):
    """What a rule reports about one layer.

    Attributes:
        node: the layer.
        message: what was found, in one sentence with its figures.
        saving: what following the advice would save.
        label: shown at the place in the spec.
        notes: further facts.
        help: the suggested edit.
        fix: the suggestion as an edit of the text, if it can be made automatically.
    """

    node: Node
    message: str
    saving: Saving = NOTHING
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str | None = None
    fix: Fix | None = None


class Rule(ABC):
    """Base of all rules.

    Class attributes:
        code: stable identifier, such as ``W0101``.
        name: the file's name, with hyphens.
        title: what it finds, in a few words.
        bad: an example with a finding.
        good: the same example, repaired.
        least: the smallest share of the network's weights or MACs that must be saved
            at one place for the rule to report it.
    """

    code: ClassVar[str]
    name: ClassVar[str]
    title: ClassVar[str]
    bad: ClassVar[str]
    good: ClassVar[str]
    least: ClassVar[float] = 0.0

    @abstractmethod
    def check(self, net: Net) -> Iterator[Finding]:
        """Yield the rule's findings in a network, one for each layer concerned."""

    @classmethod
    def text(cls) -> str:
        """Return the explanation of the rule, in paragraphs."""
        return cleandoc(cls.__doc__ or "")

    @classmethod
    def page(cls) -> str:
        """Return the rule's page, as `archdsl explain` prints it."""
        parts = [f"{cls.code} ({cls.name}): {cls.title}", cls.text()]
        for heading, spec in (("Found:", cls.bad), ("Better:", cls.good)):
            parts.append(f"{heading}\n\n{indent(spec.rstrip(), ' ' * 4)}")
        return "\n\n".join(parts)


def net(*statements: str, size: str = "3x32x32", before: str = "") -> str:
    """Return a spec of one small network, for a rule's example."""
    body = "".join(f"    {line}\n" for line in statements)
    head = f"{before}\n\n" if before else ""
    return f"arch 1\n\n{head}network net {{\n    input {size}\n{body}}}\n"


# ---- the registry: one rule per file ----------------------------------------

_RULES: dict[str, type[Rule]] = {}


def all_rules() -> dict[str, type[Rule]]:
    """Return every rule by its code, in the order of the codes."""
    if not _RULES:
        folder = os.path.join(os.path.dirname(__file__), "rules")
        found = {}
        for file in os.listdir(folder):
            name, end = os.path.splitext(file)
            if end == ".py" and not name.startswith("_"):
                rule = _rule_of(name)
                found[rule.code] = rule
        _RULES.update(sorted(found.items()))
    return _RULES


def codes_of(words: Iterable[str]) -> frozenset[str]:
    """Return the codes of rules that are given by code or name.

    Raises:
        ValueError: if there is no such rule.
    """
    names = {rule.name: code for code, rule in all_rules().items()}
    known = [*ABOUT_ALLOWS, *all_rules(), *names]
    found = set()
    for word in words:
        code = names.get(word, word.upper())
        if code not in known:
            hint = did_you_mean(word, known)
            raise ValueError(
                f"there is no rule `{word}`" + (f"; {hint}" if hint else "")
            )
        found.add(code)
    return frozenset(found)


def chosen_rules(select: Iterable[str], ignore: Iterable[str]) -> frozenset[str] | None:
    """Return the codes of the rules to apply, None for all.

    Args:
        select: codes or names of rules; all where there are none.
        ignore: codes or names of rules to leave out.

    Raises:
        ValueError: if there is no such rule.
    """
    wanted, unwanted = codes_of(select), codes_of(ignore)
    if not wanted and not unwanted:
        return None
    return (wanted or frozenset({*ABOUT_ALLOWS, *all_rules()})) - unwanted


def _rule_of(name: str) -> type[Rule]:
    module = import_module(f"archdsl.linter.rules.{name}")
    return next(
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Rule)
        and value.__module__ == module.__name__
    )
