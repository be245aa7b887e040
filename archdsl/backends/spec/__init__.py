"""Writing a network as the text of a spec."""

from __future__ import annotations

from collections.abc import Iterator

from archdsl.backends.spec.parts import Unwritable
from archdsl.backends.spec.same import network_difference
from archdsl.backends.spec.spec import SpecText
from archdsl.diagnostics import SpecError
from archdsl.elaborate import elaborate
from archdsl.ir import Network
from archdsl.symbolic import is_symbolic
from archdsl.syntax.loader import load_text
from archdsl.values import Shape


def write_spec(network: Network) -> str:
    """Return the text of a spec that describes a network.

    Blocks and repeats are kept, and so are those parameters of blocks that something
    depends on. Loops, conditions and functions of the original spec are replaced by
    what they produced. Before it is returned, the text is parsed again, and must
    describe this network with all its paths, values and chains.

    Raises:
        Unwritable: if no such text was found.
    """
    reason = ""
    symbolic = any(map(is_symbolic, _shapes(network)))
    for merged in (True, False):
        try:
            spec = SpecText(network, merged)
            text = spec.text()
            again = elaborate(load_text(text, "<expanded>"), symbolic=symbolic)
        except Unwritable as error:
            reason = reason or str(error)
            continue
        except SpecError as error:
            found = error.diagnostics[0]
            reason = reason or f"line {found.span and found.span.line}: {found.message}"
            continue
        differs = network_difference(network, again, spec.names)
        if not differs:
            return text
        reason = reason or differs
    raise Unwritable(f"no spec describes {network.name}: {reason}")


def _shapes(network: Network) -> Iterator[Shape]:
    """Yield the input shapes of layers; they carry expressions in every group."""
    return (shape for step in network.steps() for shape in step.input_shapes)


__all__ = ["Unwritable", "write_spec"]
