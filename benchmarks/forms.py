"""Specs of any size, one for each form of the language."""

from collections.abc import Callable, Mapping
from typing import Final


def _each(line: str, n: int, sep: str = "\n") -> str:
    """Return a line n times, with its number in place of %."""
    return sep.join(line.replace("%", f"{i}") for i in range(n))


def _spec(body: str, before: str = "") -> str:
    return f"arch 1\n{before}\nnetwork net {{\n    input 3x8x8\n{body}\n}}\n"


def _lines(line: str, first: str = "") -> Callable[[int], str]:
    return lambda n: _spec(f"{first}\n{_each(line, n)}")


def _branches(branch: str, word: str = "concat") -> Callable[[int], str]:
    return lambda n: _spec(f"{word} {{ {_each(branch, n, ' | ')} }}")


def _above(line: str, body: str) -> Callable[[int], str]:
    """Return a function that writes definitions above a network that can use them."""
    return lambda n: _spec(_each(body, n) if "%" in body else body, _each(line, n))


CORRECT: Final[Mapping[str, Callable[[int], str]]] = {
    "lines": _lines("conv 3x3 8"),
    "one line": lambda n: _spec(_each("conv 3x3 8", n, " -> ")),
    "labels": _lines("l%: conv 3x3 8"),
    "groups": _lines("g%: { conv 1x1 3 -> relu }"),
    "seqs": _lines("s%: seq { conv 1x1 3 -> relu }"),
    "braces in braces": _lines(f"{'{ ' * 18}relu{' }' * 18}"),
    "residuals": _lines("residual { conv 3x3 3 -> relu }"),
    "projections": _lines("residual { conv 3x3 8 -> bn }"),
    "branches": _branches("conv 1x1 3"),
    "empty branches": _branches(""),
    "sums": _lines("add { conv 1x1 3 | conv 1x1 3 | relu }"),
    "one sum": _branches("conv 1x1 3", "add"),
    "taps of the last": lambda n: _spec(
        "l0: relu\n"
        + "\n".join(f"add {{ @l{i - 1} | relu }} -> l{i}: relu" for i in range(1, n))
    ),
    "taps of the first": _lines("add { @a | relu }", "a: relu"),
    "outputs": _lines("output o%: conv 1x1 2"),
    "outputs of a tap": _lines("output @a -> o%: conv 1x1 2", "a: relu"),
    "inputs": lambda n: (
        f"arch 1\n\nnetwork net {{\n{_each('    input i% 3x8x8', n)}\n"
        f"    concat {{ {_each('@i%', n, ' | ')} }}\n}}\n"
    ),
    "repeat": lambda n: _spec(f"{{ conv 1x1 3 -> relu }} x{n}"),
    "repeats": _lines("{ relu } x2"),
    "for": lambda n: _spec(f"for i in range({n}) {{ a{{i}}: conv 1x1 3 }}"),
    "fors": _lines("for i in range(2) { a%_{i}: relu }"),
    "ifs": _lines("if true { relu }"),
    "guards": _lines("relu if channels > 2"),
    "same": _lines("same a", "a: conv 1x1 3"),
    "calls": lambda n: _spec(_each("b<4>", n), "block b<w> { conv 1x1 w }"),
    "different calls": lambda n: _spec(
        "\n".join(f"b<{i % 50 + 1}>" for i in range(n)), "block b<w> { conv 1x1 w }"
    ),
    "blocks": _above("block b% { relu }", "b%"),
    "functions": _above("fn f%(n) = n + %", "conv 1x1 (f0(1))"),
    "functions of functions": lambda n: _spec(
        f"conv 1x1 (f{min(n - 1, 40)}(1))",
        "fn f0(n) = n\n"
        + "\n".join(f"fn f{i}(n) = f{i - 1}(n) + 1" for i in range(1, n)),
    ),
    "ops": _above('op o% { torch = "a.B%" }', "o%"),
    "initialisers": _lines("init conv weight=normal(std = 0.1)", "conv 1x1 3"),
    "initialised labels": lambda n: _spec(
        f"{_each('a%: conv 1x1 3', n)}\n{_each('init @a% weight=normal(std = 0.1)', n)}"
    ),
    "claims": _lines("expect params == 12", "conv 1x1 3"),
    "sums of numbers": _lines(f"conv 1x1 ({' + '.join(['1'] * 15)})"),
    "comments": _lines("relu  # a comment"),
    "allowed": _lines("conv 3x3 8  # lint: allow W0107 a reason\nbn"),
    "allowed in vain": _lines("# lint: allow W0107 a reason\nrelu"),
}
# Those with errors, which take time to be found and shown.
WRONG: Final[Mapping[str, Callable[[int], str]]] = {
    "unknown kinds": _lines("conw 3x3 %"),
    "unknown names": _lines("conv 1x1 v%"),
    "unknown taps": _lines("add { @z% | relu }"),
    "names given twice": _lines("a: relu"),
    "branches that differ": _lines("add { conv 1x1 2 | conv 1x1 4 }"),
}
