"""Translation validation: emitted text is read back and compared with the network.

The text is parsed, its constructors and `forward` are executed on symbolic values in
both modes, and the resulting operations are compared with the steps of the IR. No code
is shared with the emitter.
"""

from __future__ import annotations

import ast

from archdsl.backends.torch.style import DEFAULT, Style
from archdsl.backends.torch.validate.demand import Demands, Different
from archdsl.backends.torch.validate.values import Refused
from archdsl.ir import Network, Step


class Miscompiled(Exception):
    """Emitted code that does not match its network, which is a bug in archdsl.

    Attributes:
        step: the step concerned, if there is one.
        why: what is wrong, in words.
        code: the statement concerned, if it is known.
    """

    def __init__(self, step: Step | None, why: str, code: str = "") -> None:
        self.step = step
        self.why = why
        self.code = code
        super().__init__(self._message())

    def _message(self) -> str:
        if self.step is None:
            where = f" at `{self.code}`" if self.code else ""
            return f"the emitted code is not the network{where}: {self.why}"
        span = self.step.span
        place = f"{span.source.name}:{span.line}:{span.column}"
        name = f"`{self.step.path}` ({self.step.op.label()})"
        return f"{place}: the emitted code is not the network at {name}: {self.why}"


def parse_module(text: str) -> ast.Module:
    """Return the syntax tree of emitted text.

    Raises:
        Miscompiled: if it is not Python.
    """
    try:
        return ast.parse(text)
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise Miscompiled(None, f"it is not Python: {error.msg}", line) from None


def validate(tree: ast.Module, network: Network, style: Style = DEFAULT) -> None:
    """Check that emitted text computes a network, and does nothing else.

    Args:
        tree: the syntax tree of the text.
        network: the network that it was emitted for.
        style: how it is to be written.

    Raises:
        Miscompiled: naming the first step that differs.
    """
    compare(tree, Demands(network, style))


def compare(tree: ast.Module, demands: Demands) -> None:
    """Like `validate`, for a network that several texts are compared with."""
    try:
        demands.check(tree)
    except Different as error:
        raise Miscompiled(error.step, error.why) from error
    except Refused as error:
        raise Miscompiled(None, str(error), _statement(tree, error.line)) from error
    except RecursionError as error:
        raise Miscompiled(None, "its calls have no end") from error


def _statement(tree: ast.Module, line: int | None) -> str:
    """Return the first line of the innermost statement at a line."""
    at = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.stmt)
        and node.lineno <= (line or 0) <= (node.end_lineno or 0)
    ]
    return ast.unparse(at[-1]).partition("\n")[0] if at else ""


__all__ = ["Demands", "Miscompiled", "compare", "parse_module", "validate"]
