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
        where = "" if self.line is None else f" (line {self.line} of the emitted code)"
        if self.step is None:
            return f"the emitted code is not the network: {self.why}{where}"
        span = self.step.span
        place = f"{span.source.name}:{span.line}:{span.column}"
        name = f"`{self.step.path}` ({self.step.op.label()})"
        return f"{place}: the emitted code is not the network at {name}: {self.why}{where}"


def validate(text: str | ast.Module, network: Network) -> None:
    """Demand that emitted text is a network, and nothing else.

    Args:
        text: of a module, or its syntax tree.
        network: what it was emitted for.

    Raises:
        Miscompiled: naming the first step that differs.
    """
    try:
        tree = ast.parse(text) if isinstance(text, str) else text
        Demands(network).check(tree)
    except Different as error:
        raise Miscompiled(error.step, error.why) from error
    except SyntaxError as error:
        raise Miscompiled(None, f"it is not Python: {error.msg}", error.lineno) from None
    except Refused as error:
        raise Miscompiled(None, str(error), error.line) from error


__all__ = ["Miscompiled", "validate"]
