"""Contexts: what determines the meaning of a name at one place of a spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from archdsl.conditions import Test
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.elaborate.faults import BlockCall
from archdsl.elaborate.namespaces import Namespace
from archdsl.limits import MAX_STEPS
from archdsl.source import Span
from archdsl.symbolic import Poly
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile

# The meaning of a name of a block's body in conditions.
Meaning = Test | Poly


class Budget:
    """Counts steps of work, so that a small spec cannot cause endless work."""

    def __init__(self, steps: int = MAX_STEPS) -> None:
        self.left = steps

    def spend(self, span: Span, steps: int = 1) -> None:
        """Count some work.

        Raises:
            SpecError: if it was too much.
        """
        self.left -= steps
        if self.left < 0:
            message = f"the spec takes more than {MAX_STEPS:,} steps to expand"
            raise SpecError([Diagnostic("A0907", message, span)])


class Again(NamedTuple):
    """Another use of an earlier part, by `same`.

    Attributes:
        span: the place of the `same`.
        space: the namespace of the earlier part.
        name: the label of the earlier part.
        alias: what it is called in this use.
    """

    span: Span
    space: Namespace
    name: str
    alias: str


class Context:
    """Everything that determines the meaning of a name at one place.

    Attributes:
        module: the file that contains the text.
        env: parameters and loop variables.
        space: the namespace in which parts are named.
        trail: the calls that led here, innermost first, for messages.
        depth: nesting depth of calls and bodies.
        level: nesting depth of namespaces inside one block, for the name of their
            input.
        lets: what names of a block's body stand for in conditions; None where these
            are not recorded.
        training: whether this only serves outputs of the training mode.
        again: the use of an earlier part that this belongs to, if any.
        inside: the function whose body is being evaluated, if any.
        within: the enclosing structure, if this is not at the level of the network
            itself: `a branch`.
        budget: the work that one network may still use.
    """

    __slots__ = (
        "again",
        "budget",
        "depth",
        "env",
        "inside",
        "lets",
        "level",
        "module",
        "space",
        "trail",
        "training",
        "within",
    )

    def __init__(
        self,
        module: LoadedFile,
        env: Mapping[str, Any],
        space: Namespace,
        trail: tuple[BlockCall, ...] = (),
        depth: int = 0,
        level: int = 0,
        training: bool = False,
        inside: t.FunctionDef | None = None,
        again: Again | None = None,
        budget: Budget | None = None,
        within: str = "",
        lets: Mapping[str, Meaning] | None = None,
    ) -> None:
        self.inside = inside
        self.lets = lets
        self.within = within
        self.again = again
        self.budget = budget or Budget()
        self.module = module
        self.env = env
        self.space = space
        self.trail = trail
        self.depth = depth
        self.level = level
        self.training = training

    def replace(self, **changes: Any) -> Context:
        """Return a copy with some attributes changed."""
        made = Context.__new__(Context)
        made.module = self.module
        made.env = self.env
        made.space = self.space
        made.trail = self.trail
        made.depth = self.depth
        made.level = self.level
        made.lets = self.lets
        made.training = self.training
        made.inside = self.inside
        made.within = self.within
        made.again = self.again
        made.budget = self.budget
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    def bind(self, names: Mapping[str, Any]) -> Context:
        """Return a copy with additional names."""
        return self.replace(env={**self.env, **names})

    @property
    def shared(self) -> bool:
        """Whether this repeats an earlier part, with the same weights."""
        return self.again is not None

    def alias_of(self, name: str) -> str:
        """Return what a part is called here, if it is what a `same` repeats."""
        again = self.again
        if again is None or again.space is not self.space or again.name != name:
            return ""
        return again.alias

    def is_parameter(self, name: str) -> bool:
        """Return whether a name is a boolean parameter of the enclosing block."""
        return (
            bool(self.trail)
            and isinstance(self.env.get(name), bool)
            and any(p.name == name for p in self.trail[0].definition.params)
        )

    def notes(self) -> tuple[str, ...]:
        """Return the calls that led here, as lines of a message."""
        return tuple(call.note() for call in self.trail)
