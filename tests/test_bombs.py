"""Specs that would take too much time or memory, or read foreign files, are refused.

Each runs in its own process with a memory limit; its CPU time and memory are measured.
CPU time is used so that a busy machine fails no test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from archdsl.limits import MAX_FILE_BYTES, MAX_TOKENS
from tests.starter import Ended, Starter
from tests.timing import slowness

SECONDS = 2.0
DEEP = 10_000
FULL = MAX_FILE_BYTES - 100
MANY = MAX_TOKENS - 100
MIB = 1 << 20
MOST_RESIDENT = 500 * MIB
# The limit of address space; libraries already map about 300 MiB.
MOST_MAPPED = 1200 * MIB
PATIENCE = 60


def net(body: str, before: str = "") -> str:
    """Return a spec of one network, with definitions before it."""
    return f"arch 1\n{before}\nnetwork n {{\n    input 3x32x32\n{body}\n}}\n"


@cache
def starter() -> Starter:
    """Return the process that starts commands."""
    return Starter(ARCHDSL_CACHE="off")


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    """End the server after the last command."""
    yield
    if starter.cache_info().currsize:
        with starter():
            starter.cache_clear()


def run(folder: Path, *arguments: str, stdin: Path | None = None) -> Ended:
    """Run the command line in a folder, under limits."""
    limits = {"RLIMIT_AS": MOST_MAPPED, "RLIMIT_CPU": PATIENCE}
    return starter().start(folder, *arguments, stdin=stdin, **limits).end()


def check(ended: Ended, *codes: str) -> None:
    """Check that a spec was refused with one of these codes, quickly and cheaply."""
    assert "Traceback" not in ended.stderr
    assert ended.status == (4 if codes[0].startswith("A09") else 1), ended.stderr
    assert any(ended.stderr.startswith(f"error[{code}]: ") for code in codes), (
        ended.stderr
    )
    assert len(ended.stderr) < 100_000
    # The time of a process varies more than the measure of slowness.
    assert ended.seconds < SECONDS or ended.seconds < 1.5 * SECONDS * slowness()
    assert ended.resident < MOST_RESIDENT


def refuse(folder: Path, text: str | bytes, *codes: str) -> Ended:
    """Check that a text is refused by a command that expands all of it."""
    data = text.encode() if isinstance(text, str) else text
    (folder / "net.arch").write_bytes(data)
    # Tried again if other processes slowed the first run down.
    tries = [run(folder, "check", "net.arch")]
    while tries[-1].seconds > SECONDS and len(tries) < 3:
        tries.append(run(folder, "check", "net.arch"))
    best = min(tries, key=lambda ended: ended.seconds)
    check(best, *codes)
    return best


# ---- too many layers ---------------------------------------------------------


def blocks(depth: int, body: str, last: str = "relu") -> str:
    """Return blocks b0, b1 and so on; `$` in the body stands for the block before."""
    chain = [f"block b0 {{ {last} }}"]
    chain += [
        f"block b{i} {{ {body.replace('$', f'b{i - 1}')} }}" for i in range(1, depth)
    ]
    return net(f"b{depth - 1}", "\n".join(chain))


def numbered(depth: int, body: str) -> str:
    """Return the same, with a parameter that can differ in every call."""
    chain = ["block b0<n> { conv 1x1 (n % 7 + 1) }"]
    chain += [
        f"block b{i}<n> {{ {body.replace('$', f'b{i - 1}')} }}" for i in range(1, depth)
    ]
    return net(f"b{depth - 1}<1>", "\n".join(chain))


def loops(body: str) -> str:
    """Return a loop of 10,000 rounds within another one."""
    return f"for a in range(9999) {{ for b in range(9999) {{ {body} }} }}"


LAYERS = {
    "a repeat": (net("relu x1000000000"), "A0906"),
    "a repeat of 10^100": (net(f"relu x1{'0' * 100}"), "A0903"),
    "branches": (net(f"add {{ relu {'| relu ' * 20_000}}}"), "A0906"),
    "repeats in repeats": (net("{ " * 8 + "relu" + " x9000 }" * 8), "A0904"),
    "repeats of repeating blocks": (blocks(8, "$ x1000"), "A0904"),
    "doubling blocks": (blocks(40, "$; $"), "A0904"),
    "doubling blocks of convolutions": (blocks(40, "$; $", "conv 1x1 4"), "A0904"),
    "doubling empty blocks": (blocks(40, "$; $", ""), "A0904"),
    "doubling merges": (blocks(25, "add { $ | $ }"), "A0904"),
    "doubling channels": (blocks(32, "$; concat { | }"), "A0903"),
    "blocks in blocks": (blocks(100, "$"), "A0902"),
    "doubling with other numbers": (numbered(40, "$<2 * n>; $<2 * n + 1>"), "A0903"),
    "doubling under conditions": (
        numbered(28, "if n > 0 { $<2 * n>; $<2 * n + 1> }"),
        "A0904",
    ),
    "nested loops": (net(loops("relu")), "A0904"),
    "nested empty loops": (net(loops("")), "A0907"),
    "nested loops of layers left out": (net(loops("relu if a < 0")), "A0907"),
    "nested loops of empty blocks": (
        net(loops("e<a>"), "block e<n> { if n < 0 { relu } }"),
        "A0904",
    ),
    "braces passed on": (
        net("t { " * 20 + "relu" + " }" * 20, "block t<body: block> { body; body }"),
        "A0904",
    ),
    "upsampling without end": (net("upsample 1000x1000 x100"), "A0903"),
    "flattening too much": (net("upsample 30000x30000; flatten"), "A0903"),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layers(case: str, tmp_path: Path) -> None:
    refuse(tmp_path, *LAYERS[case])


# ---- exploding expressions ----------------------------------------------------


def rules(first: str, rule: str, count: int) -> list[str]:
    """Return values v0, v1 and so on; `$` in the rule stands for the value before."""
    after = [f"v{i} = {rule.replace('$', f'v{i - 1}')}" for i in range(1, count)]
    return [f"v0 = {first}", *after]


def values(first: str, rule: str, count: int, last: str) -> str:
    """Return a network with such values."""
    lines = [*rules(first, rule, count), last.replace("$", f"v{count - 1}")]
    return net("\n".join(lines))


def defaults(first: str, rule: str, count: int, last: str) -> str:
    """Return a block whose parameters are such values."""
    header = ", ".join(rules(first, rule, count))
    return net("b", f"block b<{header}> {{ {last.replace('$', f'v{count - 1}')} }}")


LETTERS = "abcdefgh"
SUM = f"({' + '.join(LETTERS)})"
MINIMA = "\n".join(rules("min(n, n + 1)", "min($, $ + 1)", 60))
DOUBLING = "\n".join(f"fn f{i}(n) = f{i - 1}(n) + f{i - 1}(n)" for i in range(1, 60))
COUNTING = """\
op g {
    torch = "a.B"
    shape = [sum([i for i in range(9999)]) % 7 + channels, in_height, in_width]
}"""
DEFAULTS = ", ".join(f"p{i} = sum(range(9999)) % 7" for i in range(200))
COUNTING_DEFAULTS = f'op g<{DEFAULTS}> {{ torch = "a.B" }}'
CUBE = "[[[a for a in range(9999)] for b in range(9999)] for c in range(9999)]"
EXPRESSIONS = {
    "a tower of powers": (net("conv 1x1 (2 ** 2 ** 2 ** 100)"), "A0903"),
    "a power of floats": (net("conv 1x1 (int(9.9 ** 9999.9))"), "A0903"),
    "a negative power": (net("conv 1x1 (int(0 ** -1))"), "A0207"),
    "a huge integer": (net(f"conv 1x1 {'9' * 100_000}"), "A0903"),
    "a huge float": (net(f"dropout 1e{'9' * 1000}"), "A0903"),
    "huge sizes": (net(f"conv {'9' * 5000}x{'9' * 5000}"), "A0903"),
    "squares of squares": (values("2", "$ * $", 60, "conv 1x1 $"), "A0903"),
    "doubled values": (values("1", "$ + $", 60, "conv 1x1 $"), "A0903"),
    "doubled lists": (values("[1]", "[$, $]", 60, "conv 1x1 (len($))"), "A0906"),
    "doubled lists, shown": (values("[1]", "[$, $]", 12, "conv 1x1 $"), "A0204"),
    "doubled lists, compared": (
        values("[1]", "[$, $]", 12, "relu  x(9999)\nrelu if $ == [$, $]"),
        "A0906",
    ),
    "doubled lists, as defaults": (
        defaults("[1]", "[$, $]", 60, "conv 1x1 (len($))"),
        "A0906",
    ),
    "doubled maxima": (
        defaults("1", "min($ + 1, $ + 2) + max($, 1)", 60, "conv 1x1 $"),
        "A0903",
    ),
    "doubled minima of a parameter": (
        net("c<4>", f"block c<n> {{\n{MINIMA}\nconv 1x1 v59\n}}"),
        "A0907",
    ),
    "a product of many sums": (
        net(
            "s<0, 0, 0, 0, 0, 0, 0, 0>",
            f"block s<{', '.join(LETTERS)}> {{ conv 1x1 ({' * '.join([SUM] * 30)}) }}",
        ),
        "A0907",
    ),
    "a long list": (net(f"conv 1x1 (len([{'1,' * (MANY // 2)}1]))"), "A0906"),
    "a range of a billion": (net("conv 1x1 (len(range(1_000_000_000)))"), "A0906"),
    "comprehensions in comprehensions": (net(f"conv 1x1 (len({CUBE}))"), "A0907"),
    "a long list again and again": (
        net(
            "big = [i for i in range(9000)]\n"
            "conv 1x1 (sum([sum(unique(big)) for i in range(9000)]))"
        ),
        "A0907",
    ),
    "functions that double": (
        net("conv 1x1 (f59(0) + 1)", f"fn f0(n) = n\n{DOUBLING}"),
        "A0907",
    ),
    "a function that calls itself": (net("conv 1x1 (f(1))", "fn f(n) = f(n)"), "A0104"),
    "an op that counts": (net("g x9999", COUNTING), "A0907"),
    "an op whose defaults count": (net("g", COUNTING_DEFAULTS), "A0907"),
    "many names": (net("\n".join(f"v{i} = {i}" for i in range(9_000))), "A0908"),
    "a label that divides": (
        net("for i in range(3) { a{1 // i}: relu }"),
        "A0207",
    ),
    "a long label": (net(f"{'a' * 100_000}: relu"), "A0103"),
    "a long name": (net(f"conv 1x1 {'a' * FULL}"), "A0104"),
    "a long word": (net("a" * FULL), "A0106"),
}


@pytest.mark.parametrize("case", EXPRESSIONS)
def test_expressions(case: str, tmp_path: Path) -> None:
    refuse(tmp_path, *EXPRESSIONS[case])


# ---- too much text -----------------------------------------------------------

TEXTS: dict[str, tuple[str | bytes, str]] = {
    "parentheses": (net(f"conv 1x1 {'(' * DEEP}1{')' * DEEP}"), "A0902"),
    "brackets": (net(f"conv 1x1 {'[' * DEEP}{']' * DEEP}"), "A0902"),
    "braces": (net(f"{'{' * DEEP}relu{'}' * DEEP}"), "A0902"),
    "open brackets": (net("{([" * DEEP), "A0902"),
    "angles": (net(f"a{'<a' * DEEP}{'>' * DEEP}"), "A0902"),
    "conditionals": (net(f"conv 1x1 ({'1 if true else ' * DEEP}1)"), "A0902"),
    "signs": (net(f"conv 1x1 ({'-' * DEEP}1)"), "A0902"),
    "negations": (net(f"relu if {'not ' * DEEP}true"), "A0902"),
    "powers": (net(f"conv 1x1 ({'1 ** ' * DEEP}1)"), "A0902"),
    "sums": (net(f"conv 1x1 ({'1 + ' * DEEP}1)"), "A0902"),
    "indices": (net(f"conv 1x1 (range(9){'[0]' * DEEP})"), "A0902"),
    "else if": (
        net(f"if false {{ relu }}{' else if false { relu }' * DEEP}"),
        "A0902",
    ),
    "numbers in a label": (net(f"a{'{1}' * DEEP}: relu"), "A0103"),
    "a file of valid layers": (net("relu\n" * (FULL // 5)), "A0901"),
    "a file of brackets": ("(" * FULL, "A0902"),
    "a file of signs": (net("$ " * (FULL // 2)), "A0002"),
    "a file of numbers": (net("1 " * (FULL // 2)), "A0001"),
    "a file of errors": (net("conv 3x3," * (FULL // 9)), "A0001"),
    "lines of errors": (net("conv 3x3, 8\n" * (FULL // 12)), "A0001"),
    "lines of unknown words": (net("convv 3x3\n" * (MANY // 3)), "A0106"),
    "a line of unknown words": (net(("convv 3x3;" * (MANY // 3))[:-1]), "A0106"),
    "NUL": (net("conv 3x3 \0 8"), "A0006"),
    "only NUL": (b"\0" * 100_000, "A0006"),
    "not UTF-8": (net("conv 3x3 8 # \xff").encode("latin-1"), "A0005"),
    "half a character": (net("#").encode() + b"\xed\xa0\x80\n", "A0005"),
    "UTF-16": (net("relu").encode("utf-16"), "A0005"),
    "nothing": (b"", "A0007"),
    "blanks": (" \n" * (FULL // 2), "A0007"),
    "too many comments": ("# comment\n" * (FULL // 5), "A0901"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_texts(case: str, tmp_path: Path) -> None:
    refuse(tmp_path, *TEXTS[case])


def test_many_blocks_in_a_row(tmp_path: Path) -> None:
    """Long chains of references between names are followed without recursion."""
    count = 4_000
    chain = [f"block b{i} {{ b{i - 1} }}" for i in range(count, 0, -1)]
    refuse(
        tmp_path, net(f"b{count}", "\n".join(["block b0 { relu }", *chain])), "A0902"
    )


def test_a_full_file(tmp_path: Path) -> None:
    """A file of the maximum size, most of it comments, is read."""
    line = "# A comment that takes some room but says nothing at all about layers.\n"
    body = f"{line * 30}relu\n"
    (tmp_path / "net.arch").write_text(net(body * (FULL // len(body))))
    ended = run(tmp_path, "check", "net.arch")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.seconds < SECONDS and ended.resident < MOST_RESIDENT


# ---- files ----------------------------------------------------------------------

IMPORTING = "arch 1\nimport unit from {}\nnetwork n {{\n    input 3x8x8\n    unit\n}}\n"
UNIT = "arch 1\nblock unit {\n    relu\n}\n"


def test_a_line_of_100_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "net.arch"
    with path.open("wb") as file:
        file.write(b"arch 1 ")
        file.seek(100_000_000)
        file.write(b"\n")
    check(run(tmp_path, "check", "net.arch"), "A0901")


def test_100_megabytes_on_standard_input(tmp_path: Path) -> None:
    path = tmp_path / "net.arch"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    check(run(tmp_path, "check", "-", stdin=path), "A0901")


def test_endless_standard_input(tmp_path: Path) -> None:
    check(run(tmp_path, "check", "-", stdin=Path("/dev/zero")), "A0901")


@pytest.mark.parametrize(
    "name", ["/dev/zero", "/dev/urandom", "/dev/null", "/proc/self"]
)
def test_devices(name: str, tmp_path: Path) -> None:
    if not os.path.exists(name):
        pytest.skip(f"no {name} here")
    check(run(tmp_path, "check", name), "A0501")


def test_a_pipe_that_nobody_writes_to(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.arch")
    check(run(tmp_path, "check", "net.arch"), "A0501")
    (tmp_path / "main.arch").write_text(IMPORTING.format('"net.arch"'))
    check(run(tmp_path, "check", "main.arch"), "A0501")


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "net.arch").mkdir()
    check(run(tmp_path, "check", "net.arch"), "A0501")
    check(run(tmp_path, "check", "."), "A0501")


def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "net.arch"
    path.write_text(UNIT)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user reads everything")
    check(run(tmp_path, "check", "net.arch"), "A0501")


@pytest.mark.parametrize(
    "origin",
    [
        "../../etc/passwd",
        "../" * 30 + "etc/passwd",
        "sub/../../out.arch",
        "../out.arch",
    ],
)
def test_imports_from_above(origin: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (tmp_path / "out.arch").write_text(UNIT)
    ended = refuse(folder, IMPORTING.format(f'"{origin}"'), "A0502")
    assert "root:" not in ended.stderr


@pytest.mark.parametrize("origin", ["/etc/passwd", "//etc/passwd", "/"])
def test_absolute_imports(origin: str, tmp_path: Path) -> None:
    refuse(tmp_path, IMPORTING.format(f'"{origin}"'), "A0502")


def test_an_absolute_import_of_the_own_folder(tmp_path: Path) -> None:
    (tmp_path / "unit.arch").write_text(UNIT)
    refuse(tmp_path, IMPORTING.format(f'"{tmp_path}/unit.arch"'), "A0502")


@pytest.mark.parametrize(
    "origin", ["~/x.arch", "$HOME/x.arch", "file:///etc/passwd", " "]
)
def test_imports_that_a_shell_would_expand(origin: str, tmp_path: Path) -> None:
    refuse(tmp_path, IMPORTING.format(f'"{origin}"'), "A0501", "A0502")


def test_names_that_no_file_has(tmp_path: Path) -> None:
    refuse(tmp_path, IMPORTING.format(f'"{"a" * 5000}"'), "A0501")
    refuse(tmp_path, IMPORTING.format(f'"{"a/" * 5000}"'), "A0501")
    refuse(tmp_path, IMPORTING.format('""'), "A0501")


@pytest.mark.parametrize("target", ["/etc/passwd", "../out.arch", "/"])
def test_links_to_above(target: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "out.arch").write_text(UNIT)
    (folder / "unit.arch").symlink_to(target)
    refuse(folder, IMPORTING.format('"unit.arch"'), "A0502", "A0501")


def test_a_linked_folder(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "out.arch").write_text(UNIT)
    (folder / "sub").symlink_to(tmp_path)
    refuse(folder, IMPORTING.format('"sub/out.arch"'), "A0502")


def test_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "unit.arch").symlink_to("unit.arch")
    refuse(tmp_path, IMPORTING.format('"unit.arch"'), "A0501")
    check(run(tmp_path, "check", "unit.arch"), "A0501")


def test_imports_in_a_circle(tmp_path: Path) -> None:
    refuse(tmp_path, IMPORTING.format('"net.arch"'), "A0503")
    for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
        text = (
            f'arch 1\nimport {other} from "{other}.arch"\nblock {name} {{ {other} }}\n'
        )
        (tmp_path / f"{name}.arch").write_text(text)
    check(run(tmp_path, "check", "a.arch"), "A0503")


def test_imports_of_many_files(tmp_path: Path) -> None:
    for i in range(100):
        text = (
            f'arch 1\nimport b{i + 1} from "f{i + 1}.arch"\nblock b{i} {{ b{i + 1} }}\n'
        )
        (tmp_path / f"f{i}.arch").write_text(text)
    (tmp_path / "f100.arch").write_text("arch 1\nblock b100 { relu }\n")
    check(run(tmp_path, "check", "f0.arch"), "A0905")


def test_imports_that_double(tmp_path: Path) -> None:
    """Each file is read once, however often it is imported."""
    for i in range(40):
        text = (
            f'arch 1\nimport b{i + 1} from "f{i + 1}.arch"\n'
            f'import c{i + 1} from "f{i + 1}.arch"\n'
            f"block b{i} {{ b{i + 1}; c{i + 1} }}\n"
            f"block c{i} {{ c{i + 1}; b{i + 1} }}\n"
        )
        (tmp_path / f"f{i}.arch").write_text(text)
    (tmp_path / "f40.arch").write_text(
        "arch 1\nblock b40 { relu }\nblock c40 { relu }\n"
    )
    text = IMPORTING.format('"f0.arch"').replace("unit", "b0")
    refuse(tmp_path, text, "A0904")


def test_an_import_of_a_large_file(tmp_path: Path) -> None:
    (tmp_path / "unit.arch").write_text("# comment\n" * (2 * MIB // 10))
    refuse(tmp_path, IMPORTING.format('"unit.arch"'), "A0901")


# ---- the command line -----------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["-D", "n=1000000000000"],
        ["-D", f"n={'9' * 5000}"],
        ["-D", f"n={'(' * 10_000}1{')' * 10_000}"],
        ["-D", f"n={'-' * 10_000}1"],
        ["-D", f"n=[{'1,' * 20_000}1]"],
        ["--input", "9999999999x9999999999x9999999999"],
        ["--input", "x".join(["9"] * 10_000)],
    ],
    ids=lambda options: options[1][:12],
)
def test_options(options: list[str], tmp_path: Path) -> None:
    text = "arch 1\nnetwork net<n = 8> {\n    input 3x32x32\n    conv 1x1 n\n}\n"
    (tmp_path / "net.arch").write_text(text)
    ended = run(tmp_path, "analyze", "net.arch", *options)
    assert ended.status in (1, 2, 4)
    assert "Traceback" not in ended.stderr and "internal error" not in ended.stderr
    assert ended.seconds < SECONDS and ended.resident < MOST_RESIDENT


@pytest.mark.parametrize(
    "command",
    [
        ["analyze", "net.arch"],
        ["check", "net.arch"],
        ["compile", "net.arch", "-o", "net.py"],
        ["render", "net.arch", "-o", "net.dot"],
    ],
    ids=lambda command: command[0],
)
def test_commands_on_a_large_network(command: list[str], tmp_path: Path) -> None:
    """A network just within the limits is still handled."""
    text = net("{ conv 1x1 8 -> bn -> relu } x1500")
    (tmp_path / "net.arch").write_text(text)
    ended = run(tmp_path, *command)
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.seconds < 15 and ended.resident < MOST_RESIDENT


def test_commands_that_take_smaller_maps(tmp_path: Path) -> None:
    body = "conv 3x3 512 x6\n"
    text = net(body).replace("3x32x32", "3x4096x4096")
    (tmp_path / "net.arch").write_text(text)
    ended = run(tmp_path, "analyze", "--gradients", "net.arch")
    check(ended, "A0912")
    ended = run(tmp_path, "check", "--torch", "net.arch")
    assert (ended.status, ended.stderr) == (0, "")
    assert ended.seconds < 15


@pytest.mark.parametrize(
    ("command", "layers"),
    [
        (["expand"], 12_000),
        (["compile"], 12_000),
        (["check", "--torch"], 3_000),
        (["analyze", "--gradients"], 3_000),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_commands_that_take_smaller_networks(
    command: list[str], layers: int, tmp_path: Path
) -> None:
    (tmp_path / "net.arch").write_text(net("relu x2\n" * (layers // 2)))
    ended = run(tmp_path, *command, "net.arch")
    check(ended, "A0912")
