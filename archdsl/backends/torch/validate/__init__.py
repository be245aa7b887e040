"""Translation validation: emitted text is read again, and has to be the network.

The text is parsed, its constructors and `forward` are run on symbolic values in both
modes, and the operations that they do are held against the steps of the IR. Nothing is
shared with what wrote the text.
"""

from __future__ import annotations

import ast

from archdsl.backends.torch.validate.demand import Demands, Different
from archdsl.backends.torch.validate.values import Refused
from archdsl.ir import Network, Step


class Miscompiled(Exception):
    """Emitted code that is not the network: a bug of ours, not of the spec.

    Attributes:
        step: the step that it is about, if there is one.
        why: what is wrong, in words.
        line: of the text, if it is known.
    """

    def __init__(self, step: Step | None, why: str, line: int | None = None) -> None:
        self.step = step
        self.why = why
        self.line = line
        super().__init__(self._message())

    def _message(self) -> str:
        if self.step is None:
            where = f", line {self.line} of it" if self.line else ""
            return f"the emitted code is not the network{where}: {self.why}"
        span = self.step.span
        place = f"{span.source.name}:{span.line}:{span.column}"
        name = f"`{self.step.path}` ({self.step.op.label()})"
        return f"{place}: the emitted code is not the network at {name}: {self.why}"


def parse(text: str) -> ast.Module:
    """Return the syntax tree of emitted text.

    Raises:
        Miscompiled: if it is not Python.
    """
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise Miscompiled(
            None, f"it is not Python: {error.msg}", error.lineno
        ) from None


def validate(tree: ast.Module, network: Network) -> None:
    """Demand that emitted text is a network, and nothing else.

    Args:
        tree: the syntax tree of the text.
        network: what it was emitted for.

    Raises:
        Miscompiled: naming the first step that differs.
    """
    try:
        Demands(network).check(tree)
    except Different as error:
        raise Miscompiled(error.step, error.why) from error
    except Refused as error:
        raise Miscompiled(None, str(error), error.line) from error


__all__ = ["Miscompiled", "parse", "validate"]
