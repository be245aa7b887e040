"""Files of the maximum size: no command takes quadratic time, or it refuses.

Bounds are loose, since other processes share the machine.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path

import pytest

import archdsl
from archdsl.backends.diagram.dot import DotWriter
from archdsl.backends.diagram.options import Options
from archdsl.backends.diagram.picture import picture
from archdsl.cli import main, status
from archdsl.limits import MAX_CHECKED, MAX_DRAWN, NETWORK_PARTS
from archdsl.linter.allow import Allows, allows
from archdsl.source import Source, Span
from archdsl.syntax.parser import parse
from tests.test_scaling import bench
from tests.timing import at_most, cpu_seconds, small_heap

# Four times the size may take this many times as long; quadratic time would be 16.
FOUR_TIMES = 9.0


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")


def net(body: str, before: str = "") -> str:
    return f"arch 1\n{before}\nnetwork n {{\n    input 3x32x32\n{body}\n}}\n"


def presets(n: int) -> str:
    chosen = "\n".join(f"preset p{i} = n<{i + 1}>" for i in range(n))
    return f"arch 1\nnetwork n<w> {{\n    input 3x8x8\n    conv 1x1 w\n}}\n{chosen}\n"


def networks(n: int) -> str:
    each = "network n{} {{\n    input 3x8x8\n    conv 1x1 8\n}}\n"
    return "arch 1\n" + "".join(each.format(i) for i in range(n))


def run(path: Path, *arguments: str) -> int:
    with redirect_stdout(io.StringIO()):
        return main([arguments[0], str(path), *arguments[1:]])


@pytest.mark.parametrize("make", [presets, networks])
@pytest.mark.parametrize("command", ["check", "lint"])
def test_many_networks_take_linear_time(
    make: Callable[[int], str], command: str, tmp_path: Path
) -> None:
    def seconds(n: int) -> float:
        path = tmp_path / f"net{n}.arch"
        path.write_text(make(n))
        return cpu_seconds(lambda: run(path, command), runs=2)

    seconds(10)
    assert seconds(2_000) < FOUR_TIMES * seconds(500)


@pytest.mark.parametrize("command", ["check", "lint"])
def test_too_many_networks(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "net.arch"
    path.write_text(presets(MAX_CHECKED // NETWORK_PARTS + 1))
    assert run(path, command) == status.LIMIT
    assert "A0909" in capsys.readouterr().err
    assert main([command, f"{path}:p7"]) == status.OK


def test_too_large_networks_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each network is fine, but is more than half of what can be checked at once."""
    path = tmp_path / "net.arch"
    body = "input 3x8x8\n    relu  x7000\n    relu  x7000"
    path.write_text(
        "arch 1\n" + "".join(f"network {n} {{\n    {body}\n}}\n" for n in "abc")
    )
    assert run(path, "check") == status.LIMIT
    assert "A0909" in capsys.readouterr().err
    assert run(Path(f"{path}:b"), "check") == status.OK


# ---- forms ----------------------------------------------------------------------


@pytest.mark.parametrize("form", bench.FORMS)
def test_forms_are_what_they_should_be(form: str, tmp_path: Path) -> None:
    (tmp_path / "net.arch").write_text(bench.FORMS[form](5))
    wrong = status.SPEC_ERRORS if form in bench.WRONG else status.OK
    assert run(tmp_path / "net.arch", "check") == wrong


@pytest.mark.parametrize("form", bench.FORMS)
@pytest.mark.parametrize("command", ["lint", "compile"])
def test_every_form_takes_linear_time(command: str, form: str) -> None:
    with small_heap():
        bench.command_seconds(command, bench.FORMS[form](5))
        assert bench.growth(command, form, (100, 400)) < FOUR_TIMES


@pytest.mark.parametrize("command", bench.COMMANDS)
def test_the_benchmark_measures_every_command(command: str) -> None:
    assert bench.command_seconds(command, bench.FORMS["labels"](5)) > 0


@pytest.mark.parametrize(
    "form", ["allowed", "allowed in vain", "allowed at the top", "allowed on one line"]
)
def test_comments_that_silence_take_linear_time(form: str) -> None:
    """They are a small part of `lint`, so they are measured separately."""
    top = "# lint: allow W0107 a reason\n"
    line = "  # lint: allow W0107 a reason\n"
    forms = {
        **bench.FORMS,
        "allowed at the top": lambda n: top * n + bench.written(n),
        "allowed on one line": lambda n: net("relu; " * n + "relu" + line),
    }

    def seconds(n: int) -> float:
        text = forms[form](n)
        file = parse(Source("net.arch", text))

        def silenced() -> None:
            found = Allows(allows(file)[0])
            for at in range(0, len(text), len(text) // n):
                found.silence("W0107", [Span(file.source, at, at + 1)])

        return cpu_seconds(silenced)

    seconds(10)
    assert seconds(4_000) < FOUR_TIMES * seconds(1_000)


# ---- pictures -------------------------------------------------------------------


def test_rows_by_hand() -> None:
    """Input, conv, conv, add: one of the edges between layers crosses two rows."""
    text = net("a: conv 3x3 3\nb: conv 3x3 3\nadd { @a | @b }")
    # Rows crossed: the input's arrow one, the arrow to b one, those to the sum two and
    # one.
    assert picture(archdsl.loads(text), fold=False).rows_crossed() == 1 + 1 + 2 + 1


def test_every_shipped_network_is_small_enough() -> None:
    for name in archdsl_names():
        drawn = picture(archdsl.load(name, symbolic=False), fold=True)
        assert drawn.rows_crossed() <= MAX_DRAWN, name


def archdsl_names() -> list[str]:
    from archdsl.resources import shipped_presets

    return [*shipped_presets()]


@pytest.mark.parametrize(
    "body",
    [
        "residual { conv 3x3 3 }\n" * 1_000,
        "conv 3x3 3\n" * 3_000,
        "a: relu\n" + "add { @a | relu }\n" * 100,
    ],
    ids=["residuals", "chain", "taps"],
)
def test_a_picture_that_would_take_minutes(
    body: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, image = tmp_path / "net.arch", tmp_path / "net.svg"
    path.write_text(net(body))
    with at_most(10):
        code = run(path, "render", "--unfold", "-o", str(image))
    said = capsys.readouterr().err
    assert code == status.LIMIT and "A0910" in said and "fold it" in said
    assert not os.path.exists(image)
    assert run(path, "render", "--unfold", "--format", "svg") == status.LIMIT
    assert run(path, "render", "--unfold", "-o", str(tmp_path / "net.dot")) == status.OK


def test_a_shared_layer_drawn_thousands_of_times() -> None:
    """Each use has its own id in the picture."""

    def seconds(n: int) -> float:
        writer = DotWriter(Options())
        return cpu_seconds(lambda: [writer.unique("stem.conv") for _ in range(n)])

    assert seconds(8_000) < FOUR_TIMES * seconds(2_000)
    writer = DotWriter(Options())
    ids = [writer.unique(path) for path in ["a", "a__2", "a", "a", "1", "p_1", "1"] * 3]
    assert len(set(ids)) == len(ids)
