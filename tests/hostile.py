"""Hostile calls of the command: wrong values for every option, and the expected result.

Each case is a number, the seed of a command, options and values. Options are read from
the commands themselves, so new ones are tried without an edit here. Whatever the call,
the command must end with one of its statuses, explain itself in words, print JSON if
--json is given, and never report a user's mistake as an internal error.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from types import FrameType
from typing import NamedTuple

import click

from archdsl.cli import main
from archdsl.cli.app import COMMANDS, app
from archdsl.elaborate.evaluate import FUNCTIONS
from archdsl.limits import MAX_FILE_BYTES

STATUSES = {0, 1, 2, 3, 4}
# Seconds of wall time after which a call counts as hanging, even on a busy machine.
PATIENCE = 120

NET = """arch 1

block unit<width, stride = 1> {
    residual { conv 3x3 width /stride -> bn -> relu -> conv 3x3 -> bn } -> relu
}

network net<unit = unit, width = 8, layers = [1, 2], wide = false, name = "a"> {
    input 3x16x16
    conv 3x3 width kernel_init
    for i, count in layers { stage{i + 1}: seq { unit<width * 2 ** i>  x(count) } }
    if wide or name == "b" { conv 1x1 32 }
    globalavgpool -> linear 10
}

preset small = net<width = 4>
    expect params < 1M
""".replace(" kernel_init", "").replace("1M", "1_000_000")

# ---- values ---------------------------------------------------------------------

NUMBERS = (
    *("0", "1", "2", "3", "7", "-1", "-0", "0.5", "-2.5", "1e3", "1e400", "1e-400"),
    *("nan", "inf", "-inf", "1_000", "007", "0x10", "2147483647", "2147483648"),
    *("9" * 40, "9" * 5000, "-" + "9" * 5000, "9" * 400 + ".5", "1." + "0" * 5000),
)
TEXTS = (
    *(
        "",
        " ",
        "a",
        "é",
        "漢字",
        "🙂",
        "\u202e",
        "\ufeff",
        "\0",
        "\x1b[31m",
        "\n",
        "\r",
    ),
    *("[", "]", "(", ")", "<", ">", "{", "}", "|", "[[[[", "()" * 50, '"', "'", "\\"),
    *(
        "#",
        "@",
        "@a.b",
        "--",
        "-",
        "--help",
        "=",
        "==",
        ",",
        ",,",
        ";",
        ":",
        "::",
        "...",
    ),
    *("%", "%s", "{0}", "$HOME", "~", "*", "?", "None", "True", "true", "false"),
    *("x" * 3000, "(" * 3000, "[" * 300 + "]" * 300, "-" * 3000 + "1", "\udc80"),
    *("relu", "conv", "unit", "net", "small", "self", "class", "lambda: 0", "3x3"),
    *("3x224x224", "0x0", "1x1x1x1", "3x-1x2", "99999999999x1x1", "10"),
)
FIGURES = ("params", "macs", "depth", "receptive_field", "saved_bytes", "layers")
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "<", "<=", "==", "!=", "in", "and")
SPECS = (
    *("net.arch", "net.arch", "net.arch", "net.arch:small", "net.arch:nope"),
    *(
        "with space.arch",
        "new\nline.arch",
        "漢字.arch",
        "alexnet",
        "resnet18",
        "-",
        "-:a",
    ),
    *(
        "folder",
        "folder.arch",
        "missing.arch",
        "binary.arch",
        "empty.arch",
        "pipe.arch",
    ),
    *(
        "loop.arch",
        "climbs.arch",
        "large.arch",
        "secret.arch",
        "bad.arch",
        "latin.arch",
    ),
    *(
        "/dev/null",
        "/dev/zero",
        "/dev/full",
        "",
        ":",
        "a:b:c",
        ".",
        "..",
        "/",
        "/proc/self/mem",
    ),
)
FILES = (
    *("out.py", "out.svg", "out.dot", "out.csv", "out.json", "out.jsonl", "out", "-"),
    *("folder", "missing/out.py", "missing/out.svg", "pipe.arch/out.csv", "/dev/null"),
    *(
        "/dev/full",
        "loop.arch",
        "",
        "x" * 300 + ".py",
        "new\nline.svg",
        ".svg",
        "é.dot",
    ),
    *("devices.toml", "bad.toml", "binary.arch", "\0.py"),
)
AXES = (
    *("width=4", "width=4,8", "width=4..8:2", "wide=true,false", "layers=[1,1],[2]"),
    *("name=a,b", "unit=unit,relu", "preset=small", "input=3x16x16,3x8x8", "width=4,x"),
    *("width=1..2000000", "width=8..4", "width=1..2:0", "width=0.1..0.3:0.1", "width="),
    *(
        "width=0,-1,99999999999",
        "=",
        "a=1",
        "width",
        "width=1,,2",
        "input=5",
        "layers=[[[",
    ),
)

# ---- expressions ----------------------------------------------------------------

# Values of each type.
ATOMS: dict[str, tuple[str, ...]] = {
    "number": (
        *("0", "1", "2", "3", "8", "-1", "0.5", "channels", "width", "2147483647"),
        *("1e308", "-1e308", "1e-300", "-0.0"),
    ),
    "truth": ("true", "false"),
    "list": (
        "[]",
        "[1]",
        "[1, 2]",
        '["a", 1]',
        "[[1], [2]]",
        "range(3)",
        "3x3",
        "[true]",
    ),
    "other": ('"a"', '""', "conv", "relu", "unit", "nothing", "f"),
}
OF_LISTS = ("count", "len", "sum", "unique")
LISTS = ("range", "unique")


def expression(
    random: Random,
    depth: int = 3,
    kind: str = "",
    atoms: dict[str, tuple[str, ...]] = ATOMS,
) -> str:
    """Return an expression, usually of a type: ``number``, ``truth`` or ``list``."""
    kinds = tuple(ATOMS)
    if not kind or random.randrange(12) == 0:
        kind = random.choice(kinds)

    def part(kind: str) -> str:
        return expression(random, depth - 1, kind, atoms)

    chosen = random.randrange(5)
    if depth == 0 or chosen == 0 or kind == "other":
        return random.choice(atoms[kind])
    if chosen == 1:
        return f"({part(kind)} if {part('truth')} else {part(kind)})"
    if kind == "truth":
        operator = random.choice(("<", "<=", ">", ">=", "==", "!=", "in", "and", "or"))
        sides = {"in": ("number", "list"), "and": 2 * ("truth",), "or": 2 * ("truth",)}
        left, right = sides.get(operator, ("number", "number"))
        text = f"({part(left)} {operator} {part(right)})"
        return f"(not {text})" if chosen == 2 else text
    if kind == "list" and chosen == 2:
        return f"[{part('number')} for i in {part('list')} if {part('truth')}]"
    if kind == "list" and chosen == 3:
        return f"[{part('number')}, {part('')}]"
    if kind == "number" and chosen == 2:
        return f"({part('number')} {random.choice(OPERATORS)} {part('number')})"
    if kind == "number" and chosen == 3:
        return random.choice((f"{part('list')}[{part('number')}]", f"(-{part(kind)})"))
    return _call(random, kind, part)


def _call(random: Random, kind: str, part: Callable[[str], str]) -> str:
    """Return a call of a function, usually with valid arguments."""
    names = LISTS if kind == "list" else tuple(n for n in FUNCTIONS if n not in LISTS)
    name = random.choice((*names, *names, *names, "nothing", "f"))
    _, least, most, _ = FUNCTIONS.get(name, (None, 1, 1, ""))
    number = random.randint(least, min(most, 3)) if random.randrange(8) else 3
    first = "list" if name in OF_LISTS else "number"
    arguments = [part("number" if place else first) for place in range(number)]
    return f"{name}({', '.join(arguments)})"


PLACES = (
    ("conv 3x3 ({})", "number"),
    ("x = {}; conv 3x3 (x)", "number"),
    ("conv 3x3 8 /({})", "number"),
    ("if {} {{ relu }}", "truth"),
    ("for i in {} {{ relu  x(i) }}", "list"),
    ("relu x({})", "number"),
    ("{{ relu }} x({})", "number"),
    ("dropout ({})", "number"),
    ("a{{{}}}: relu", "number"),
    ("conv 3x3 8 if {}", "truth"),
    ("expect params < {}", "number"),
    ("expect {}", "truth"),
    ("concat {{ conv 1x1 ({}) | relu }}", "number"),
    ("slice ({}), 2", "number"),
    ("crop ({})", "number"),
    ("adaptiveavgpool ({})", "number"),
    ("init conv weight=normal(std = {})", "number"),
    ("bn eps=({})", "number"),
    ("permute {}", "list"),
    ("unit<{}>", "number"),
    ("conv ({})", "list"),
)


def spec(random: Random) -> str:
    """Return a spec with expressions wherever the language allows them."""
    lines = "".join(
        f"    {place.format(expression(random, 3, kind))}\n"
        for place, kind in random.choices(PLACES, k=random.choice((1, 1, 2)))
    )
    head = "arch 1\nblock unit<a> { conv 3x3 a }\nfn f(x) = x\n"
    start = "network n<width = 4> {\n    input 3x16x16\n    conv 1x1 width\n"
    return f"{head}{start}{lines}}}\n"


# ---- calls ----------------------------------------------------------------------


class Call(NamedTuple):
    """A call of the command.

    Attributes:
        arguments: the arguments of the command.
        stdin: the contents of standard input.
    """

    arguments: list[str]
    stdin: bytes


def call(case: int) -> Call:
    """Return the hostile call with a number."""
    random = Random(f"call {case}")
    if case % 4 == 3:  # expressions of the language, through a command
        name = random.choice(
            ("check", "check", "analyze", "compile", "lint", "fmt", "render")
        )
        return Call([name, *_json(name, random), "-"], spec(random).encode())
    name = random.choice(COMMANDS)
    command = app.get_command(click.Context(app), name)
    assert command is not None
    arguments: list[str] = []
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            arguments += _argument(name, parameter, random)
    known = options(name)
    number = min(len(known), random.choice((0, 1, 1, 2, 3)))
    for option in random.sample(known, number):
        arguments[:0] = _option(option, random)
    if name == "list" and random.randrange(200):  # all networks take seconds
        arguments.append("--devices")
    if "--torch" in arguments and random.randrange(10):  # building is slow, too
        arguments.remove("--torch")
    if random.randrange(20) == 0:
        arguments.insert(random.randrange(len(arguments) + 1), random.choice(TEXTS))
    stdin = random.choice((b"", NET.encode(), b"\xff\xfe", spec(random).encode()))
    return Call([name, *arguments], stdin)


def to_text(asked: Call) -> str:
    """Return a call as text, for a report."""
    return json.dumps([asked.arguments, asked.stdin.decode("latin-1")], indent=1)


def from_text(text: str) -> Call:
    """Parse a call from text."""
    arguments, stdin = json.loads(text)
    return Call(arguments, stdin.encode("latin-1"))


def options(name: str) -> list[click.Option]:
    """Return the options of a command."""
    command = app.get_command(click.Context(app), name)
    assert command is not None
    return [p for p in command.params if isinstance(p, click.Option)]


def _json(command: str, random: Random) -> list[str]:
    return random.choice(([], ["--json"]))


def _argument(command: str, argument: click.Argument, random: Random) -> list[str]:
    if argument.name == "axes":
        axes = AXES if random.randrange(2) else AXES[:10]
        return [random.choice(axes) for _ in range(random.choice((0, 1, 1, 2)))]
    if command == "new":
        return [random.choice((*TEXTS, "a", "folder", "net", "b" * 300))]
    if command == "explain":
        return [
            random.choice((*TEXTS, *NUMBERS, "A0301", "W0101", "w0002", "odd-channels"))
        ]
    few = (0, 1, 1, 1, 2, 3) if argument.nargs == -1 else (0, 1, 1, 1, 1, 1, 1, 2)
    specs = SPECS if random.randrange(2) else SPECS[:4]
    return [random.choice(specs) for _ in range(random.choice(few))]


def _option(option: click.Option, random: Random) -> list[str]:
    flag = random.choice([*option.opts, *option.secondary_opts])
    if option.is_flag or option.count:
        return [flag]
    if flag == "--ray":  # may start a cluster
        return [f"{flag}=nowhere:1"]
    value = _value(option, random)
    return [f"{flag}={value}"] if flag.startswith("--") else [flag, value]


def _value(option: click.Option, random: Random) -> str:
    if option.name == "jobs":  # processes take long to start
        return random.choice(("1", "0", "-1", "x", "", *NUMBERS[-5:]))
    if option.name == "params":
        name = random.choice(("width", "layers", "unit", "wide", "name", "x", "é", ""))
        value = random.choice(
            (expression(random, 2, "number"), random.choice(TEXTS), *NUMBERS)
        )
        return f"{name}={value}"
    if option.name == "where":
        return random.choice(
            (_condition(random), _condition(random), random.choice(TEXTS))
        )
    if isinstance(option.type, click.Path):
        return random.choice(FILES if random.randrange(2) else FILES[:6])
    if isinstance(option.type, click.Choice) and random.randrange(3):
        return str(random.choice(option.type.choices))
    usual = {
        "input_shape": (
            "3x16x16",
            "3x8x8",
            "3x1x1",
            "8x16x16",
            "100",
            "3x100000x100000",
        ),
        "device_name": ("a100-sxm-40gb", "h100", "mine"),
        "budget": ("24GiB", "1B", "0", "9" * 18 + "TiB", "1.5 kB", "-1GB"),
    }
    names = [
        random.choice(("", "-", "max:")) + random.choice(FIGURES) for _ in range(3)
    ]
    usual |= dict.fromkeys(("pareto", "sort", "columns"), (",".join(names), names[0]))
    usual |= {"select": ("W0101", "odd-channels,W0102"), "ignore": ("w0101 W0102",)}
    known = usual.get(option.name or "", ())
    return random.choice(known if known and random.randrange(2) else (*TEXTS, *NUMBERS))


def _condition(random: Random) -> str:
    figures = (*FIGURES, "width", "5M", "1.5G", "9" * 5000)
    atoms = {
        **ATOMS,
        "number": ATOMS["number"] + figures,
        "list": (*ATOMS["list"], "layers"),
        "truth": (*ATOMS["truth"], "wide"),
    }
    return expression(random, 3, "truth", atoms)


# ---- checking the results -------------------------------------------------------


def furnish(folder: Path) -> None:
    """Create the files that the calls name."""
    for name in ("net.arch", "with space.arch", "new\nline.arch", "漢字.arch"):
        (folder / name).write_text(NET, encoding="utf-8")
    for name in ("folder", "folder.arch"):
        (folder / name).mkdir()
    (folder / "binary.arch").write_bytes(bytes(range(256)))
    (folder / "latin.arch").write_bytes("arch 1  # é".encode("latin-1"))
    (folder / "empty.arch").touch()
    (folder / "secret.arch").touch(mode=0)
    (folder / "large.arch").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    (folder / "bad.arch").write_text("arch 1\nnetwork n { input 3x8x8; conv }", "utf-8")
    (folder / "climbs.arch").write_text(
        'arch 1\nimport a from "../net.arch"\n', "utf-8"
    )
    (folder / "devices.toml").write_text('[mine]\ntitle = "x"\n', encoding="utf-8")
    (folder / "bad.toml").write_text("[[[", encoding="utf-8")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.arch")
    (folder / "loop.arch").symlink_to("loop.arch")


class Hangs(BaseException):
    """A call takes far too long; a BaseException, so that archdsl does not catch it."""


@contextmanager
def _patiently() -> Iterator[None]:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise Hangs(f"not done after {PATIENCE} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def examine_in(folder: Path, asked: Call) -> int:
    """Check a call in an empty folder, and return its status."""
    furnish(folder)
    with chdir(folder):
        return examine(asked)


def examine(asked: Call) -> int:
    """Check a call in the current folder, and return its status."""
    stdin = io.TextIOWrapper(io.BytesIO(asked.stdin), encoding="utf-8")
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    before, sys.stdin = sys.stdin, stdin
    try:
        with _patiently(), redirect_stdout(out), redirect_stderr(err):
            code = main(asked.arguments)
            out.flush()
            err.flush()
    except Hangs as error:
        raise AssertionError(str(error)) from None
    finally:
        sys.stdin = before
    printed, said = (s.buffer.getvalue().decode() for s in (out, err))  # type: ignore[attr-defined]
    assert code in STATUSES, f"status {code}\n{said}"
    assert "Traceback" not in said and "internal error" not in said, said
    assert code == 0 or said or printed, "it fails, and does not say why"
    if "--json" in asked.arguments and printed and "--help" not in asked.arguments:
        answer = json.loads(printed)
        assert answer["schema"] == 1
        failed = code not in (0, 1)
        assert not failed or answer["errors"], "JSON without the error"
    return code
