"""No input of a user makes archdsl crash: calls, files, streams, arguments."""

from __future__ import annotations

import errno
import inspect
import json
import os
import re
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

import archdsl
from archdsl import files
from archdsl.cli import main
from archdsl.cli.app import COMMANDS
from archdsl.diagnostics import SpecError
from archdsl.source import Source
from archdsl.syntax.format import format_source
from archdsl.syntax.parser import parse
from tests import hostile
from tests.conftest import ROOT
from tests.mutations import SPECS, mutant, mutate
from tests.test_cli import NET, spawn

CALLS = 1500
MUTANTS = 3000
BATCHES = 10

full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, text: str = NET) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ---- calls --------------------------------------------------------------------------


@pytest.mark.parametrize("batch", range(BATCHES))
def test_hostile_calls_end_in_words(
    batch: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`scripts/soak.py calls` tries more."""
    monkeypatch.setenv("ARCHDSL_CACHE", "off")
    hostile.furnish(folder)
    for case in range(batch, CALLS, BATCHES):
        try:
            hostile.examine(hostile.call(case))
        except Exception as error:
            error.add_note(f"in call {case}: {hostile.call(case)}")
            raise


def test_calls_name_every_command_and_option() -> None:
    calls = [hostile.call(case).arguments for case in range(4 * CALLS)]
    for name in COMMANDS:
        own = {p.partition("=")[0] for a in calls if a[0] == name for p in a}
        for option in hostile.options(name):
            assert own & {*option.opts, *option.secondary_opts}, f"{name}: {option}"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "lsp"])
def test_every_command_prints_json(command: str) -> None:
    assert any("--json" in option.opts for option in hostile.options(command))


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["analyze", "nope"], 1, "no file or shipped network `nope`"),
        (["compile", "alexnet", "-o", "no/where.py"], 2, "cannot write no/where.py"),
        (["sweep", "alexnet", "classes=1..9999999"], 4, "more than 1,000,000 values"),
    ],
)
def test_every_failure_is_said_in_json_too(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    assert main([*arguments, "--json"]) == status
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == ["schema", "errors"]
    (error,) = answer["errors"]
    assert message in error["message"]
    assert (error["code"] is None) == (status != 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["analyze", "alexnet", "--batch", "0"], "--batch"),
        (["analyze"], "Missing argument 'SPEC'"),
        (["compare", "alexnet"], "there is nothing to compare with"),
        (["explain", "nope"], "there is no rule or topic `nope`"),
        (["fmt", "-"], "would both go to stdout"),
        (["new", "3x3"], "NAME"),
        (["render", "alexnet", "-o", "a.jpeg"], "unknown format `jpeg`"),
        (["sweep", "alexnet", "classes=4", "--where", "1"], "must be true or false"),
    ],
)
def test_a_wrong_command_line_leaves_stdout_empty(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert main([*arguments, "--json"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in " ".join(said.err.split())


def test_what_commands_say_in_json(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> Any:
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    write(folder / "net.arch")
    assert said("compile", "net.arch")["module"] == archdsl.emit(
        archdsl.load("net.arch")
    )
    written = said("compile", "net.arch", "-o", "net.py")
    assert written["file"] == "net.py"
    assert (folder / "net.py").read_text("utf-8") == written["module"]
    assert said("render", "net.arch")["dot"].startswith("digraph")
    assert said("render", "net.arch", "-o", "net.dot")["file"] == "net.dot"
    assert said("fmt", "net.arch")["files"] == [{"file": "net.arch", "changed": False}]
    assert said("new", "other") == {
        "schema": 1,
        "name": "other",
        "file": "other.arch",
        "text": (folder / "other.arch").read_text("utf-8"),
        "errors": [],
    }
    assert said("explain", "odd-channels")["text"].startswith("W01")
    rules = said("lint", "--list")["rules"]
    assert {"code", "name", "title"} == set(rules[0])
    assert "odd-channels" in [rule["name"] for rule in rules]


# ---- formatting texts that do not parse ----------------------------------------------


def both(text: str) -> tuple[Any, Any]:
    """Return the errors of the formatter and of the parser for a text."""
    found: list[Any] = []
    for read in (format_source, parse):
        try:
            read(Source("net.arch", text))
            found.append(None)
        except SpecError as error:
            found.append([each.as_dict() for each in error.diagnostics])
    return found[0], found[1]


@pytest.mark.parametrize("batch", range(BATCHES))
def test_fmt_says_what_check_says(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")
    # Short specs are parsed quickly, and have enough brackets.
    short = sorted(SPECS.values(), key=len)[:8]
    for case in range(batch, MUTANTS, BATCHES):
        random = hostile.Random(f"fmt {case}")
        text = mutate(random.choice(short), random) if case % 7 else mutant(case)
        formatted, parsed = both(text)
        assert formatted == parsed, f"case {case}:\n{text}"


def test_unbalanced_brackets_are_the_error_of_check(
    capsys: pytest.CaptureFixture[str],
) -> None:
    case = str(ROOT / "tests" / "cases" / "fmt_unbalanced.arch")
    assert main(["check", case]) == 1
    said = capsys.readouterr()
    assert "error[A0004]: this `)` closes nothing" in said.err
    assert main(["fmt", "--check", case]) == 1
    assert capsys.readouterr() == ("", said.err)


# ---- outputs that accept no more data
# ------------------------------------------------------

UNBUFFERED: dict[str, str] = {"PYTHONUNBUFFERED": "1"}
BUFFERED: dict[str, str] = {"PYTHONUNBUFFERED": ""}
EVERY_OUTPUT = (
    ["analyze", "alexnet"],
    ["analyze", "alexnet", "--json"],
    ["compile", "alexnet"],
    ["render", "alexnet"],
    ["explain", "A0301"],
    ["--help"],
)


def into(path: str, arguments: list[str], env: Mapping[str, str], most: int = 0) -> Any:
    """Run the command with a file as its stdout, which may grow to `most` bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    with open(path, "wb") as out:
        return subprocess.run(
            [sys.executable, "-m", "archdsl", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            preexec_fn=limit if most else None,
            check=False,
        )


@full
@pytest.mark.parametrize("env", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", EVERY_OUTPUT, ids=" ".join)
def test_a_full_disk(arguments: list[str], env: dict[str, str]) -> None:
    done = into("/dev/full", arguments, env)
    assert (done.returncode, done.stderr) == (2, b"archdsl: No space left on device\n")


@pytest.mark.parametrize("env", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("arguments", EVERY_OUTPUT[:3], ids=" ".join)
def test_a_file_may_not_grow(
    tmp_path: Path, arguments: list[str], env: dict[str, str]
) -> None:
    """As on a nearly full disk: Python's raw streams silently drop the rest."""
    done = into(str(tmp_path / "out"), arguments, env, most=1024)
    assert (done.returncode, done.stderr) == (2, b"archdsl: File too large\n")


def test_an_output_file_may_not_grow(folder: Path) -> None:
    old = write(folder / "net.py", "old")
    done = into(
        "/dev/null", ["compile", "alexnet", "-o", "net.py"], BUFFERED, most=1024
    )
    assert done.returncode == 2
    assert done.stderr == b"archdsl: cannot write net.py: file too large\n"
    assert old.read_text("utf-8") == "old"
    assert os.listdir(folder) == ["net.py"]


@full
def test_nobody_hears_an_error(folder: Path) -> None:
    command = f'"{sys.executable}" -m archdsl check nope 2> /dev/full'
    assert subprocess.run(command, shell=True, check=False).returncode in (1, 2)


@pytest.mark.parametrize("env", [BUFFERED, UNBUFFERED], ids=["buffered", "unbuffered"])
def test_a_reader_leaves(folder: Path, env: dict[str, str]) -> None:
    write(folder / "net.arch", NET.replace("maxpool", "relu x9000\n    maxpool"))
    command = f'"{sys.executable}" -m archdsl analyze net.arch | head -n 1'
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        env={**os.environ, **env},
        check=False,
    )
    assert done.stdout.startswith(b"net: 3x16x16 -> 10") and done.stderr == b""


# ---- files reach the disk before their names ----------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the system calls, in order."""
    found: list[str] = []
    sync, replace, link = os.fsync, os.replace, os.link

    def named(handle: int) -> str:
        return "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"

    def note(what: str, then: Callable[..., Any], *arguments: Any) -> None:
        found.append(what)
        then(*arguments)

    monkeypatch.setattr(os, "fsync", lambda h: note(f"sync {named(h)}", sync, h))
    monkeypatch.setattr(os, "replace", lambda *a: note("rename", replace, *a))
    monkeypatch.setattr(os, "link", lambda *a: note("link", link, *a))
    return found


def test_a_file_is_synced_before_it_is_renamed(
    folder: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHDSL_CACHE", "off")  # trees are renamed, too
    assert main(["compile", "alexnet", "-o", "net.py"]) == 0
    assert asked == ["sync file", "rename", "sync folder"]
    asked.clear()
    archdsl.render("alexnet", "net.dot")
    assert asked == ["sync file", "rename", "sync folder"]
    asked.clear()
    assert main(["new", "other"]) == 0
    assert asked == ["sync file", "link", "sync folder"]


def test_a_sync_that_fails_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(handle: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    old = write(folder / "net.py", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        files.write(old, b"new")
    assert old.read_text("utf-8") == "old"
    assert os.listdir(folder) == ["net.py"]


def test_a_loop_of_links_is_no_place_for_a_file(folder: Path) -> None:
    (folder / "a.py").symlink_to("b.py")
    (folder / "b.py").symlink_to("a.py")
    done = spawn("compile", "alexnet", "-o", "a.py", cwd=folder)
    assert done.returncode == 2
    assert b"cannot write a.py: too many levels of symbolic links" in done.stderr
    assert (folder / "a.py").is_symlink()


# ---- signals ------------------------------------------------------------------------


def started_sweep(folder: Path) -> subprocess.Popen[bytes]:
    """Return a long sweep in two processes that has written some of its points."""
    axes = ("classes=1..90000", "-j", "2", "--columns", "depth", "-o", "all.csv")
    process = subprocess.Popen(
        [sys.executable, "-m", "archdsl", "sweep", "alexnet", *axes],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        start_new_session=True,
        # In a background job of a shell, SIGINT would be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    journal = folder / "all.csv.journal"
    for _ in range(600):
        if journal.exists() and journal.read_bytes().count(b"\n") > 1:
            return process
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    process.kill()
    raise AssertionError("no points within a minute")


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
@pytest.mark.parametrize("whole_group", [False, True], ids=["process", "group"])
def test_a_sweep_is_told_to_end(
    folder: Path, number: int, status: int, whole_group: bool
) -> None:
    process = started_sweep(folder)
    begun = time.monotonic()
    (os.killpg if whole_group else os.kill)(process.pid, number)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - begun < 30
    assert (process.returncode, out) == (status, b"")
    assert re.fullmatch(
        rb"interrupted: [\d,]+ of 90,000 points are kept in all.csv.journal; "
        rb"the same command continues from there\n",
        err,
    ), err
    lines = (folder / "all.csv.journal").read_bytes().splitlines()
    assert all(json.loads(line) for line in lines)


# ---- explanations by name -----------------------------------------------------------


def test_rules_are_explained_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    from archdsl.linter.rule import ABOUT_ALLOWS, all_rules

    names = {code: rule.name for code, rule in all_rules().items()} | ABOUT_ALLOWS
    for code, name in names.items():
        assert main(["explain", code]) == 0
        by_code = capsys.readouterr().out
        assert by_code.startswith(f"{code} ({name}): ")
        assert main(["explain", name.upper()]) == 0
        assert capsys.readouterr().out == by_code
    assert main(["explain", "missing-botleneck"]) == 2
    assert "did you mean `missing-bottleneck`?" in capsys.readouterr().err


# ---- places have ends ---------------------------------------------------------------


def test_errors_have_the_end_of_their_place(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "arch 1\nnetwork n {\n    input 3x8x8\n    convv 3x3 8 -> maxpol 2x2\n}\n"
    write(folder / "net.arch", text)
    assert main(["check", "--json", "net.arch"]) == 1
    lines = text.splitlines()
    found = []
    for error in json.loads(capsys.readouterr().out)["errors"]:
        assert error["line"] == error["end_line"]
        line = lines[error["line"] - 1]
        found.append(line[error["column"] - 1 : error["end_column"] - 1])
    assert found == ["convv", "maxpol"]


def test_a_place_may_end_on_another_line(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    claim = "expect params < (1 +\n        2)"
    text = f"arch 1\nnetwork n {{\n    input 3x8x8\n    conv 3x3 8\n    {claim}\n}}\n"
    write(folder / "net.arch", text)
    assert main(["check", "--json", "net.arch"]) == 1
    (error,) = json.loads(capsys.readouterr().out)["errors"]
    assert (error["line"], error["column"]) == (5, 12)
    assert (error["end_line"], error["end_column"]) == (6, len("        2)") + 1)


# ---- the functions of the package ---------------------------------------------------

GOOD: dict[str, Any] = {
    "spec": "alexnet",
    "text": "arch 1\nnetwork n {\n    input 3x8x8\n    conv 3x3 8\n}\n",
    "network": "alexnet",
    "networks": ["alexnet", "alexnet"],
    "axes": {"classes": [3, 4]},
    "budget": 10**10,
}
BAD: tuple[Any, ...] = (
    *(b"alexnet", b"", 3, -1, 2.5, float("nan"), 10**30, True, object(), [], [3], {}),
    *({3: 4}, {"classes": b"x"}, {"classes": object()}, {"classes": {}}, set(), len),
    *("", "\0", "\ud800", "x" * 5000, "nope", Path("nope"), Path("\0"), ("a", b"b")),
    *(["alexnet", 3], {"classes": 10**30}, {"classes": "[["}, {"classes": [[]]}),
)
FUNCTIONS = (
    *(
        "analyze",
        "backbone",
        "build",
        "compare",
        "emit",
        "expand",
        "export_onnx",
        "export_executorch",
        "export_openvino",
        "export_torch",
        "format",
        "from_family",
        "from_file",
        "from_module",
        "lean",
        "lint",
        "list_models",
    ),
    *("load", "loads", "plot", "render", "sweep"),
)


def arguments_of(name: str) -> Iterator[str]:
    """Yield the names of a function's arguments."""
    yield from inspect.signature(getattr(archdsl, name)).parameters


LARGE = ("export_executorch", "export_openvino")


@pytest.mark.parametrize(
    ("name", "argument"),
    [(name, argument) for name in FUNCTIONS for argument in arguments_of(name)],
)
def test_a_wrong_argument_gets_a_sentence(
    name: str, argument: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    function = getattr(archdsl, name)
    good = {key: GOOD[key] for key in arguments_of(name) if key in GOOD}
    if name == "from_module":
        good |= {"module": torch.nn.ReLU(), "input": "3x8x8"}
    if name == "from_family":
        good |= {"modules": {"relu_net": torch.nn.ReLU()}, "input": "3x8x8"}
    if name == "from_file":
        good["path"] = "nope.pt2"
    if name == "build":
        good["network"] = archdsl.loads(GOOD["text"])
    for value in BAD:
        try:
            function(**{**good, argument: value})
        except (
            TypeError,
            ValueError,
            archdsl.SpecError,
            OSError,
            ImportError,
        ) as error:
            # Ray, OpenVINO and ExecuTorch may not be installed.
            large = argument == "ray" or name in LARGE
            assert large or not isinstance(error, ImportError)
            message = str(error)
            # The message must be archdsl's, not that of the code that failed first.
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            assert frame is not None
            own = frame.tb_frame.f_code.co_filename
            assert "archdsl" in own or isinstance(error, OSError), (value, message, own)
            assert len(message) > 10 and "Traceback" not in message, (value, message)
            assert frame.tb_frame.f_code.co_name != "<lambda>"


def test_functions_are_all_here() -> None:
    public = {
        name for name in archdsl.__all__ if inspect.isfunction(getattr(archdsl, name))
    }
    assert public == set(FUNCTIONS)


@pytest.mark.parametrize("make", [str, Path, archdsl.load])
def test_a_network_may_be_named(make: Callable[[str], Any], folder: Path) -> None:
    write(folder / "net.arch")
    given = make("net.arch")
    loaded = archdsl.load("net.arch")
    assert archdsl.analyze(given).params == archdsl.analyze(loaded).params
    assert archdsl.emit(given) == archdsl.emit(loaded)
    assert archdsl.render(given) == archdsl.render(loaded)
    compared = archdsl.compare([given, "alexnet"])
    assert compared.as_dict() == archdsl.compare([loaded, "alexnet"]).as_dict()


KINDS = """arch 1

block unit<width> { conv 3x3 width }

network n<
    number = 1, share = 0.5, on = false, word = "a", window = 1x1, widths = [1],
    body = unit
> {
    input 3x8x8
    body<number> if on and word == "b" and share == 0.25
    conv window (widths[1])
}
"""


@pytest.mark.parametrize(
    ("python", "text"),
    [
        ({"number": 32, "on": True, "word": "b", "share": 0.25}, "on=true"),
        ({"number": "32", "on": "true", "word": "b", "share": "0.25"}, "on=true"),
        ({"number": "4 * 8", "on": "true", "word": '"b"', "share": "0.25"}, "on=true"),
    ],
)
def test_parameters_are_what_the_command_takes(
    python: dict[str, Any], text: str, capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    write(folder / "net.arch", KINDS)
    more: dict[str, Any] = {"window": "3x3", "widths": [2, 4]}
    ours = archdsl.load("net.arch", params={**python, **more})
    listed = archdsl.load("net.arch", params={**python, **more, "widths": "[2, 4]"})
    settings = ("number=32", text, "word=b", "share=0.25", "window=3x3", "widths=[2,4]")
    options = [part for setting in settings for part in ("-D", setting)]
    assert main(["compile", "net.arch", *options]) == 0
    printed = capsys.readouterr().out
    assert archdsl.emit(ours) == archdsl.emit(listed) == printed
    # conv 3x3 32 on 3 channels, then conv 3x3 4: by hand.
    assert archdsl.analyze(ours).params == (27 * 32 + 32) + (9 * 32 * 4 + 4)


def test_a_string_that_looks_like_a_number_takes_quotes() -> None:
    body = 'input 3x8x8\n    relu if word == "32"'
    text = f'arch 1\nnetwork n<word = "a"> {{\n    {body}\n}}\n'
    assert len(list(archdsl.loads(text, params={"word": '"32"'}).steps())) == 1
    with pytest.raises(archdsl.SpecError, match="must be a string, not 32"):
        archdsl.loads(text, params={"word": "32"})
