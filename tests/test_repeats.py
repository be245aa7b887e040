"""Repeats, loops and shared layers run as often as the spec says, in any form.

Bodies of blocks are composed of pieces. Each piece is written twice: in the language,
and in Python, with convolutions taken in the order of the spec. The emitted module must
give the same values, whatever is next to a repeat, whether its number is a literal, a
default or a parameter, and whatever other calls there are.
"""

from __future__ import annotations

import ast
import itertools
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import archdsl
from tests.comparing import faults
from tests.oracle import fill

Take = Callable[[], Callable[[Tensor], Tensor]]


class Piece(NamedTuple):
    """A part of a body.

    Attributes:
        text: the part in the language; `$` stands for a prefix of its labels.
        run: the same in Python, for a number of copies.
    """

    text: str
    run: Callable[[Tensor, int, Take], Tensor]


def chain(x: Tensor, count: int, take: Take) -> Tensor:
    for _ in range(count):
        x = take()(x)
    return x


def tanhs(x: Tensor, count: int, take: Take) -> Tensor:
    for _ in range(count):
        x = take()(x).tanh()
    return x


def sums(x: Tensor, count: int, take: Take) -> Tensor:
    for _ in range(count):
        x = x + take()(x)
    return x


def dense(x: Tensor, count: int, take: Take) -> Tensor:
    for _ in range(count):
        x = torch.cat([x, take()(x)], 1)
    return x


def once(x: Tensor, count: int, take: Take) -> Tensor:
    return take()(x)


def beside(x: Tensor, count: int, take: Take) -> Tensor:
    return x + take()(x)


def around(x: Tensor, count: int, take: Take) -> Tensor:
    return x + chain(x, count, take)


def twice(x: Tensor, count: int, take: Take) -> Tensor:
    conv = take()
    return conv(conv(x))


def twice_around(x: Tensor, count: int, take: Take) -> Tensor:
    conv = take()
    return conv(chain(conv(x), count, take))


def again(x: Tensor, count: int, take: Take) -> Tensor:
    conv = take()
    for _ in range(count + 1):
        x = conv(x)
    return x


def first_again(x: Tensor, count: int, take: Take) -> Tensor:
    convs = [take() for _ in range(count + 1)]
    for conv in (*convs, convs[0]):
        x = conv(x)
    return x


def pairs(x: Tensor, count: int, take: Take) -> Tensor:
    for _ in range(count):
        x = take()(x)
        x = take()(x).tanh()
    return x


def nested(x: Tensor, count: int, take: Take) -> Tensor:
    for _ in range(count * count):
        x = take()(x)
    return x


def inner_part(x: Tensor, count: int, take: Take) -> Tensor:
    conv = take()
    return conv(tanhs(conv(x), count, take))


def tapped_twice(x: Tensor, count: int, take: Take) -> Tensor:
    p = take()(x)
    conv = take()
    x = (conv(p) + p).tanh()
    return conv(x) + p


def tapped_outside(x: Tensor, count: int, take: Take) -> Tensor:
    p = take()(x)
    conv = take()
    x = conv(p.tanh()) + p
    return x + (conv(p) + p)


PIECES = [
    Piece("conv 3x3", once),
    Piece("add { | conv 3x3 }", beside),
    Piece("tanh", lambda x, count, take: x.tanh()),
    Piece("conv 3x3  x(count)", chain),
    Piece("conv 3x3 -> tanh  x(count)", tanhs),
    Piece("$k: conv 3x3  x(count)", chain),
    Piece("conv 3x3 -> conv 3x3 -> tanh  x(count)", pairs),
    Piece("for i in range(count) {\n    $k{i}: conv 3x3\n}", chain),
    Piece("for i in range(count) {\n    $k{i}: conv 3x3 -> tanh\n}", tanhs),
    Piece("for i in range(count) {\n    conv 3x3  x(count)\n}", nested),
    Piece("for i in range(count) {\n    add { | $k{i}: conv 3x3 }\n}", sums),
    Piece("residual { conv 3x3  x(count) }", around),
    Piece("residual { conv 3x3 }  x(count)", sums),
    Piece("concat { | conv 3x3 }  x(count)", dense),
    Piece("seq { conv 3x3  x(count) }", chain),
    Piece("$p: { conv 3x3 -> tanh  x(count) }", tanhs),
    Piece("$p: seq { conv 3x3 -> tanh  x(count) }", tanhs),
    Piece("$c: conv 3x3\nsame $c", twice),
    Piece("$c: conv 3x3\nconv 3x3  x(count)\nsame $c", twice_around),
    Piece("$c: conv 3x3\nfor i in range(count) {\n    same $c\n}", again),
    Piece("for i in range(count + 1) {\n    $k{i}: conv 3x3\n}\nsame $k0", first_again),
    Piece("$p: {\n    c: conv 3x3\n    same c\n}", twice),
    Piece(
        "$p: {\n    c: conv 3x3\n    conv 3x3 -> tanh  x(count)\n    same c\n}",
        inner_part,
    ),
    Piece("$p: { conv 3x3 }\nsame $p", twice),
    Piece(
        "$p: conv 3x3\n$t: { add { conv 3x3 | @$p } }\ntanh\nsame $t",
        tapped_twice,
    ),
    Piece(
        "$p: conv 3x3\ntanh\n$t: {\n    s: { add { conv 3x3 | @$p } }\n}\n"
        "add { | @$p -> same $t }",
        tapped_outside,
    ),
]


def body(pieces: tuple[Piece, ...]) -> str:
    lines = "\n".join(p.text.replace("$", "abc"[n]) for n, p in enumerate(pieces))
    return "".join(f"    {line}\n" for line in lines.splitlines())


def in_blocks(pieces: tuple[Piece, ...], counts: tuple[int, ...]) -> str:
    text = body(pieces)
    reads = "count" in text
    calls = [f"    unit<{count}>\n" if reads else "    unit\n" for count in counts]
    return (
        f"arch 1\n\nblock unit{'<count>' if reads else ''} {{\n{text}}}\n\n"
        f"network Net {{\n    input 2x5x5\n{''.join(calls)}}}\n"
    )


def in_network(pieces: tuple[Piece, ...], count: int) -> str:
    # Uses the parameter, since an unused one would be refused.
    text = f"{body(pieces)}    seq {{ tanh if count < 0 }}\n"
    return f"arch 1\n\nnetwork Net<count = {count}> {{\n    input 2x5x5\n{text}}}\n"


def check(network: archdsl.Network, runs: list[tuple[Piece, int]]) -> None:
    """Check a module's values, and that each convolution is in it once."""
    for node in ast.walk(ast.parse(archdsl.emit(network))):
        if isinstance(node, ast.FunctionDef):
            read = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
            assert {arg.arg for arg in node.args.args} <= {*read, "self"}
    module = archdsl.build(network).eval().double()
    fill(module)
    paths = dict.fromkeys(s.path for s in network.steps() if s.op.word == "conv")
    convs = {path: module.get_submodule(path) for path in paths}
    wanted = {f"{path}.{kind}" for path in paths for kind in ("weight", "bias")}
    assert module.state_dict().keys() == wanted
    left = iter(convs.values())
    x = torch.randn(2, 2, 5, 5, dtype=torch.float64)
    expected = x
    with torch.no_grad():
        for piece, count in runs:
            expected = piece.run(expected, count, lambda: next(left))
        assert next(left, None) is None
        torch.testing.assert_close(module(x), expected)
    # Adding an observer or adapter to a module must not change what it computes.
    for part in [*module.modules()]:
        if not isinstance(part, nn.Sequential | nn.ModuleDict):
            part.register_module("observer", nn.Tanh())
    with torch.no_grad():
        torch.testing.assert_close(module(x), expected)


COUNTS = [(0,), (1,), (2,), (1, 2), (2, 1), (0, 2), (3, 0, 1), (1, 1), (2, 2, 3)]


def examples(seed: int, number: int) -> Iterator[tuple[tuple[Piece, ...], Any]]:
    """Yield combinations of pieces; all pairs occur about equally often."""
    drawn = random.Random(seed)
    several: list[tuple[Piece, ...]] = [*itertools.product(PIECES, repeat=2)]
    several += [tuple(drawn.sample(PIECES, 3)) for _ in several]
    for pieces in drawn.sample(several, number):
        yield pieces, drawn.choice(COUNTS)


@pytest.mark.parametrize("counts", COUNTS, ids=str)
@pytest.mark.parametrize("piece", PIECES, ids=lambda p: p.text)
def test_a_piece_alone(piece: Piece, counts: tuple[int, ...]) -> None:
    network = archdsl.loads(in_blocks((piece,), counts))
    check(network, [(piece, count) for count in counts])


@pytest.mark.parametrize(("pieces", "counts"), [*examples(1, 60)])
def test_pieces_in_blocks(pieces: tuple[Piece, ...], counts: tuple[int, ...]) -> None:
    network = archdsl.loads(in_blocks(pieces, counts))
    check(network, [(piece, count) for count in counts for piece in pieces])


@pytest.mark.parametrize("given", [0, 1, 2])
@pytest.mark.parametrize(("pieces", "counts"), [*examples(2, 20)])
def test_pieces_in_a_network(
    pieces: tuple[Piece, ...], counts: tuple[int, ...], given: int
) -> None:
    text = in_network(pieces, counts[0])
    network = archdsl.loads(text)
    check(network, [(piece, counts[0]) for piece in pieces])
    network = archdsl.loads(text, params={"count": given})
    check(network, [(piece, given) for piece in pieces])


# ---- counts other than those of the spec ------------------------------------------

BODIES = {
    "as the entry": "conv 3x3 -> bn  x(n)",
    "one width": "conv 3x3 k  x(n)",
    "twice the width": "conv 3x3 (2*channels)  x(n)\n    conv 1x1 k",
    "more channels": "conv 3x3 (channels+k)  x(n)",
    "more channels, then a layer": "conv 3x3 (channels+k)  x(n)\n    conv 1x1 k",
    "dense": "concat { identity | conv 3x3 k }  x(n)",
    "dense, then a layer": "concat { identity | conv 3x3 k }  x(n)\n    conv 1x1 k",
    "a layer after": "conv 3x3 k  x(n)\n    conv 1x1 k",
    "by the round": "for i in range(n) { conv 3x3 (k*(i+1)) }",
    "squares": "for i in range(n) { conv 3x3 (k*(i*i+1)) }",
    "no more than": "for i in range(n) { conv 3x3 (min([k*(i+1), 2*k])) }",
    "first": "for i in range(n) { conv 3x3 (k if i == 0 else 2*k) }",
    "blocks": "for i in range(n) { unit<w = k*(i+1)> }",
    "windows": "for i in range(n) { conv (3+2*i) k }",
}


def _stack(body: str, n: int, seq: bool) -> archdsl.Network:
    return archdsl.loads(
        "arch 1\nblock unit<w> { conv 3x3 w -> bn }\n"
        f"block stack<n, k = 4> {'seq' if seq else ''} {{\n    {body}\n"
        + ("" if "k" in body.replace("unit<w = k", "k") else "    conv 1x1 k\n")
        + f"}}\nnetwork Net {{\n    input 8x8x8\n    stack<n = {n}>\n}}\n"
    )


def _sizes(module: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in module.state_dict().values()]


@pytest.mark.parametrize("seq", [False, True])
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
def test_a_class_that_takes_a_count_is_right_for_any(body: str, seq: bool) -> None:
    """A class that is built with another count computes what the spec would."""
    for known in (1, 2, 3):
        text = archdsl.emit(_stack(body, known, seq))
        scope: dict[str, Any] = {}
        exec(compile(text, "<emitted>", "exec", dont_inherit=True), scope)
        made = ast.parse(text).body
        (stack,) = (d for d in made if getattr(d, "name", "") == "Stack")
        names = {one.arg for one in ast.walk(stack) if isinstance(one, ast.arg)}
        if "n" not in names:
            continue  # each copy is written out
        for n in (1, 2, 3, 4, 5):
            given = {"in_channels": 8, "n": n, "k": 4}
            found = scope["Stack"](**{a: v for a, v in given.items() if a in names})
            assert _sizes(found) == _sizes(archdsl.build(_stack(body, n, seq)))


def test_a_count_is_still_an_argument() -> None:
    for body in ("conv 3x3 k  x(n)", "concat { identity | conv 3x3 k }  x(n)"):
        assert "for i in range(n)" in archdsl.emit(_stack(body, 3, seq=True))


@pytest.mark.parametrize(
    "body",
    [
        "g: { conv 1x1 -> bn; t: tanh }  x(n); same g1; add { @g2 | same g2 }",
        "g{}x: residual { conv 1x1 }  x(n); c: conv 3x3 -> relu  x2; same c2; same g2x",
        "for i in range(n) { a{i}: conv 3x3 -> b{i}_: bn  x2 }; same a11; same b0_2",
        "residual { a: conv 3x3  x2; same a1 }; add { k: relu  x(n - 1) | same k1 }",
        "q: seq { conv 3x3 -> relu; { conv 1x1; bn }  x(n) }  x2; same q2; same q1",
    ],
)
def test_a_copy_of_a_repeat_runs_again(body: str) -> None:
    assert not faults(f"arch 1\nnetwork Net<n = 2> {{ input 3x8x8; {body} }}\n")


def test_a_named_projection_that_only_the_first_round_has() -> None:
    text = """arch 1
block unit<width, count = 3> {
    residual<projection = proj> { conv 3x3 width -> bn }  x(count)
}
network n {
    input 4x6x6
    unit<8>
    unit<8>
    unit<6, 2>
}
"""
    assert not faults(text)
