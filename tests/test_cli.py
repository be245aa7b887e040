"""The `archdsl` command: its output, and its exit status."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import archdsl
from archdsl.backends.text import show_bytes
from archdsl.cli import main
from archdsl.cli.app import COMMANDS
from archdsl.codes import CODES
from archdsl.resources import shipped_presets, shipped_specs

NET = """arch 1

block unit<width> {
    conv 3x3 width -> bn -> relu
}

network net<unit = unit, width = 8, classes = 10> {
    input 3x16x16
    stem: unit<width>
    maxpool 2x2 /2
    flatten
    head: linear classes
    expect depth == 2
}
"""
TWO_ERRORS = """arch 1

network net {
    input 3x16x16
    convv 3x3 8 -> relu
    maxpol 2x2 /2
}
"""
REFUTED = NET.replace("depth == 2", "depth == 3")
TWO_PRESETS = NET.replace("    expect depth == 2\n", "") + (
    "\npreset good = net<width = 4>\n    expect depth == 2\n"
    "preset wrong = net<width = 4>\n    expect depth == 5\n"
)
TOO_MANY = NET.replace("maxpool", "relu x1000000000\n    maxpool")


class Result(NamedTuple):
    """The result of a run of the command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Run the command in this process."""

    def invoke(*arguments: str | Path, stdin: str = "") -> Result:
        text = io.TextIOWrapper(io.BytesIO(stdin.encode()), encoding="utf-8")
        monkeypatch.setattr(sys, "stdin", text)
        code = main([str(a) for a in arguments])
        return Result(code, *capsys.readouterr())

    return invoke


def spawn(
    *arguments: str | Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "archdsl", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )


def on_a_terminal(*arguments: str | Path, env: Mapping[str, str]) -> str:
    """Return the command's output if stdout and stderr are a terminal."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "archdsl", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=child,
        stderr=child,
        env={**os.environ, **env},
    )
    os.close(child)
    seen = b""
    while True:
        try:
            data = os.read(parent, 65536)
        except OSError:  # raised on Linux when the other end is closed
            break
        if not data:
            break
        seen += data
    os.close(parent)
    process.wait()
    return seen.decode()


def write(path: Path, text: str = NET) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# ---- the command as a whole -----------------------------------------------------


def test_version(run: Run) -> None:
    assert run("--version") == (0, f"archdsl {archdsl.__version__}\n", "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_every_command(run: Run, option: str) -> None:
    code, out, err = run(option)
    assert (code, err) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command}  ", out, re.M)
    assert "Exit status:" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(run: Run, command: str) -> None:
    code, out, err = run(command, "--help")
    assert (code, err) == (0, "")
    assert re.search(rf"Examples?:\n    archdsl {command}", out)
    # The command accepts every example.
    for line in re.findall(r"^    (archdsl .*)", out, re.M):
        options = set(re.findall(r" (--?[a-zA-Z]+)", line.partition(" | ")[0]))
        assert options <= set(
            re.findall(r"(--?[a-zA-Z]+)", out.partition("Options:")[2])
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Usage: archdsl"),
        (["analyse", "net"], "there is no command `analyse`; did you mean `analyze`?"),
        (["frobnicate"], "there is no command `frobnicate`"),
        (["--colour"], "No such option"),
        (["analyze"], "Missing argument 'SPEC'"),
        (["analyze", "alexnet", "vgg"], "unexpected extra argument"),
        (["analyze", "alexnet", "--input", "3x"], "`3x` is not a shape such as"),
        (["analyze", "alexnet", "--input", "3x0x9"], "a size is from 1 to"),
        (["analyze", "alexnet", "-D", "classes"], "not of the form name=value"),
        (["analyze", "alexnet", "-D", "=3"], "not of the form name=value"),
        (["analyze", "alexnet", "-D", "a b=3"], "not of the form name=value"),
        (["analyze", "alexnet", "-D", "a="], "a=: "),
        (["analyze", "alexnet", "-D", "a=3 4"], "a=3 4: `3 4` is not an expression"),
        (["analyze", "alexnet", "-D", "a=[1"], "a=[1: this `[` is never closed"),
        (["analyze", "alexnet", "-D", "a=\x00"], "control character"),
        (["analyze", "alexnet", "-D", "a=99999999999"], "31 bits"),
        (["analyze", "alexnet", "-D", "a=1", "-D", "a=2"], "`a` is given twice"),
        (["analyze", "alexnet", "--batch", "0"], "--batch"),
        (["analyze", "alexnet", "--dtype", "int8"], "--dtype"),
        (["analyze", "alexnet", "--optimizer", "lion"], "--optimizer"),
        (["render", "alexnet", "-o", "net.jpeg"], "unknown format `jpeg`"),
        (["render", "alexnet", "-o", "net"], "no format and no suffix"),
        (["render", "alexnet", "--format", "svgg"], "did you mean `svg`?"),
        (["render", "alexnet", "-o", "no/where.dot"], "cannot write no/where.dot"),
        (["check"], "Missing argument 'SPEC...'"),
        (["fmt"], "Missing argument 'SPEC...'"),
    ],
)
def test_wrong_usage(
    run: Run, folder: Path, arguments: list[str], message: str
) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_a_bug_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("the cause")

    monkeypatch.setattr("archdsl.passes.analysis.analyze", fail)
    code, out, err = run("analyze", "alexnet")
    assert (code, out) == (70, "")
    assert "RuntimeError: the cause" in err
    assert "please report it" in err
    assert "Traceback" not in err
    monkeypatch.setenv("ARCHDSL_DEBUG", "1")
    code, out, err = run("analyze", "alexnet")
    assert (code, out) == (70, "")
    assert "Traceback" in err


def test_an_interrupt(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("archdsl.passes.analysis.analyze", interrupt)
    code, out, _ = run("analyze", "alexnet")
    assert (code, out) == (130, "")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    spec = write(
        tmp_path / "net.arch", NET.replace("maxpool", "relu x9000\n    maxpool")
    )
    command = f'"{sys.executable}" -m archdsl analyze "{spec}" | head -n 1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("net: 3x16x16 -> 10")
    assert done.stderr == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no full device here")
def test_a_full_disk_is_not_our_bug() -> None:
    command = f'"{sys.executable}" -m archdsl analyze alexnet > /dev/full'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "archdsl: No space left on device\n"


def test_a_closed_stdout_is_not_our_bug() -> None:
    command = f'"{sys.executable}" -m archdsl analyze alexnet >&-'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_narrow_encoding_is_no_error(tmp_path: Path) -> None:
    spec = write(tmp_path / "net.arch", NET + "\u2713\n")
    done = spawn("check", spec, env={"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 1
    assert b"\\u2713" in done.stderr
    assert b"Traceback" not in done.stderr


def test_analysis_imports_nothing_heavy(tmp_path: Path) -> None:
    code = """
import sys
from archdsl.cli import main
assert main(["analyze", "googlenet"]) == 0
print(*sorted({"torch", "rich", "lark", "graphviz", "numpy"} & set(sys.modules)))
"""
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "ARCHDSL_CACHE": ""}
    seen = []
    for _ in range(2):  # the second time, the syntax tree comes from the cache
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        seen.append(done.stdout.splitlines()[-1].split())
    assert seen == [["lark"], []]


# ---- errors in specs ---------------------------------------------------------------


COMMANDS_OF_ONE = [
    ["analyze"],
    ["analyze", "--json"],
    ["compile"],
    ["render"],
    ["check"],
    ["check", "--json"],
]


@pytest.mark.parametrize("command", COMMANDS_OF_ONE, ids=" ".join)
def test_all_errors_of_a_spec_are_shown(
    run: Run, folder: Path, command: list[str]
) -> None:
    write(folder / "net.arch", TWO_ERRORS)
    code, out, err = run(*command, "net.arch")
    assert code == 1
    if "--json" in command:
        found = [(e["code"], e["line"], e["help"]) for e in json.loads(out)["errors"]]
        assert err == ""
    else:
        assert out == ""
        assert err.endswith("\n2 errors\n")
        pattern = r"error\[(\w+)\].*\n --> net\.arch:(\d+):5\n(?:.*\n){3}.*= help: (.*)"
        found = [(c, int(n), h) for c, n, h in re.findall(pattern, err)]
    assert found == [
        ("A0106", 5, "did you mean `conv`?"),
        ("A0106", 6, "did you mean `maxpool`?"),
    ]


@pytest.mark.parametrize("command", COMMANDS_OF_ONE, ids=" ".join)
def test_a_limit_has_its_own_status(run: Run, folder: Path, command: list[str]) -> None:
    write(folder / "net.arch", TOO_MANY)
    code, out, err = run(*command, "net.arch")
    assert code == 4
    assert "A0906" in out + err or "A0903" in out + err


@pytest.mark.parametrize("command", COMMANDS_OF_ONE, ids=" ".join)
def test_an_unknown_name_is_suggested(
    run: Run, folder: Path, command: list[str]
) -> None:
    code, out, err = run(*command, "gogglenet")
    assert code == 1
    assert "A0501" in out + err
    assert "did you mean `googlenet`?" in out + err


def test_json_errors_have_these_keys(run: Run, folder: Path) -> None:
    write(folder / "net.arch", TWO_ERRORS)
    answer = run("analyze", "--json", "net.arch").json
    assert list(answer) == ["schema", "errors"]
    assert answer["schema"] == 1
    assert list(answer["errors"][0]) == [
        *("code", "message", "file", "line", "column", "end_line", "end_column"),
        *("label", "notes", "help"),
    ]


# ---- analyze ----------------------------------------------------------------------


def test_analyze_prints_layers_and_totals(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    code, out, err = run("analyze", "net.arch")
    assert (code, err) == (0, "")
    head, table, totals, memory = (part.splitlines() for part in out.split("\n\n"))
    assert head == ["net: 3x16x16 -> 10"]
    rows = [re.split(r"  +", line.strip()) for line in table]
    # conv: 8 x 3 x 3 x 3 weights, each used at 16 x 16 positions; no bias before a
    # norm.
    assert rows == [
        ["layer", "kind", "output", "params", "MACs", "receptive field"],
        ["stem", "unit", "8x16x16", "232", "55,296"],
        ["conv1", "conv 3x3 8", "8x16x16", "216", "55,296", "3x3 /1"],
        ["bn1", "bn", "8x16x16", "16", "-", "3x3 /1"],
        ["relu1", "relu", "8x16x16", "-", "-", "3x3 /1"],
        ["maxpool1", "maxpool 2x2 /2", "8x8x8", "-", "-", "4x4 /2"],
        ["flatten1", "flatten", "512", "-", "-", "whole input"],
        ["head", "linear 10", "10", "5,130", "5,120", "whole input"],
    ]
    figures = {line.split("  ")[0]: line.split()[-1] for line in totals}
    assert set(figures) == {
        *("params", "buffers", "depth", "MACs", "FLOPs", "receptive field")
    }
    assert re.search(r"^params +5,362  ", out, re.M)
    assert re.search(r"^depth +2  ", out, re.M)
    assert re.search(
        r"^MACs +60,416  multiply-accumulates .* without biases", out, re.M
    )
    assert memory[0] == "memory, batch 1, float32"


def test_analyze_aligns_its_columns(run: Run) -> None:
    header, *lines = run("analyze", "googlenet").out.split("\n\n")[1].splitlines()
    kind, end = header.index("kind"), header.index("params") + len("params")
    for line in lines:
        assert line[kind - 2 : kind] == "  "
        assert re.search(r" ([\d,]+|-)$", line[:end])
        assert line[end : end + 2] == "  "
        assert line == line.rstrip()


def test_analyze_says_what_only_training_runs(run: Run) -> None:
    out = run("analyze", "googlenet").out
    assert re.search(r"^aux1 +auxiliary \(training only\)", out, re.M)
    assert out.count("(training only)") == 4  # two outputs, two heads
    assert "6,624,904 without auxiliary heads" in out
    assert "auxiliary heads add 8,372,224 in training" in out


def test_analyze_of_several_inputs(run: Run) -> None:
    text = """arch 1

network two {
    input left 3x8x8
    a: conv 3x3 8
    input right 1x8x8
    @right -> b: conv 3x3 8
    concat { @a | @b }
}
"""
    out = run("analyze", "-", stdin=text).out
    assert out.startswith("two: left 3x8x8, right 1x8x8 -> 16x8x8\n")
    # Receptive fields are about the first input, on which `b` does not depend.
    assert re.search(r"^b +conv 3x3 8 .* -$", out, re.M)


def test_analyze_of_a_vector(run: Run) -> None:
    out = run(
        "analyze", "-", stdin="arch 1\n\nnetwork v {\n    input 9\n    relu\n}\n"
    ).out
    assert out.startswith("v: 9 -> 9\n")
    assert "there is no feature map" in out


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 * 3 // 2, "1.5 MiB"),
        (5 * 1024**4, "5.0 TiB"),
        (9999 * 1024**4, "9,999.0 TiB"),
    ],
)
def test_bytes_in_the_largest_fitting_unit(number: int, text: str) -> None:
    assert show_bytes(number) == text


def test_analyze_takes_parameters_and_an_input(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    options = ["-D", "classes=5", "-D", "width=4", "--input", "1x8x8"]
    code, out, _ = run("analyze", "net.arch", "--json", *options)
    assert code == 0  # claims are about the network without options
    facts = json.loads(out)
    assert (facts["input"], facts["output"]) == ([1, 8, 8], [5])
    assert facts["layers"][0]["output"] == [4, 8, 8]


def test_analyze_takes_lists_and_blocks(run: Run) -> None:
    options = ["-D", "unit=basic_block", "-D", "layers=[2, 2, 2, 2]"]
    assert run("analyze", "resnet", "--json", *options).json["params"] == 11_689_512


def test_analyze_reports_a_refuted_claim_after_the_table(
    run: Run, folder: Path
) -> None:
    write(folder / "net.arch", REFUTED)
    code, out, err = run("analyze", "net.arch")
    assert code == 1
    assert out.startswith("net: 3x16x16 -> 10")
    assert "error[A0401]" in err
    assert err.endswith("1 error\n")
    answer = run("analyze", "--json", "net.arch")
    assert answer.code == 1
    assert answer.json["params"] == 5362
    assert [e["code"] for e in answer.json["errors"]] == ["A0401"]


def test_analyze_passes_the_settings_of_memory_on(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    options = ["--batch", "4", "--dtype", "bfloat16", "--optimizer", "adam"]
    memory = run("analyze", "net.arch", "--json", *options).json["memory"]
    assert (memory["batch"], memory["dtype"], memory["optimizer"]) == (
        *(4, "bfloat16", "adam"),
    )
    assert memory["param_bytes"] == 2 * 5362


def test_analyze_shows_the_tables_that_are_asked_for(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    columns = {
        "layers": "receptive field",
        "costs": "FLOPs/byte",
        "memory": "what is kept",
        "fields": "first unit",
        "paths": "shortest",
    }
    for name, column in columns.items():
        out = run("analyze", "net.arch", "--show", name).out
        headers = [line for line in out.splitlines() if line.startswith("layer ")]
        assert len(headers) == 1 and column in headers[0], name
    out = run("analyze", "net.arch", "--show", "paths", "--show", "costs").out
    assert 0 < out.index("shortest") < out.index("FLOPs/byte")
    # Without a tool and a device, their tables are left out.
    out = run("analyze", "net.arch", "--show", "all").out
    assert sum(line.startswith("layer ") for line in out.splitlines()) == len(columns)


def test_analyze_shows_what_its_options_ask_about(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    out = run("analyze", "net.arch", "--count", "fvcore", "--device", "t4").out
    assert "fvcore, MACs" in out and "time at least" in out
    assert "receptive field" not in out
    # Parameters and gradients take four bytes each, so not even one sample fits.
    out = run("analyze", "net.arch", "--fits", "40 kB").out
    assert re.search(r"^  training +0  ", out, re.M)
    fits = run("analyze", "net.arch", "--fits", "1GiB", "--json").json["fits"]
    assert fits["budget_bytes"] == 2**30
    assert fits["inference_batch"] > fits["training_batch"] > 1000


def test_analyze_in_training_counts_more_and_claims_the_same(run: Run) -> None:
    answer = run("analyze", "googlenet", "--mode", "train", "--json")
    assert (answer.code, answer.json["errors"]) == (0, [])
    assert answer.json["macs"] == 1_506_748_416
    assert run("analyze", "googlenet", "--json").json["macs"] == 1_498_376_192


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--device", "h100"), "did you mean `h100-sxm` or `h100-pcie`?"),
        (("--device", "t4", "--dtype", "bfloat16"), "t4 has no rate for bfloat16"),
        (("--show", "time"), "--show time needs a --device"),
        (("--show", "counts"), "--show counts needs a --count"),
        (("--devices", "net.arch"), "--devices needs --device"),
        (("--device", "t4", "--devices", "net.arch"), "net.arch"),
        (("--fits", "much"), "not a memory size"),
        (("--fits", "24"), "the unit is missing"),
    ],
)
def test_analyze_refuses_wrong_options(
    run: Run, folder: Path, options: tuple[str, ...], message: str
) -> None:
    write(folder / "net.arch")
    code, out, err = run("analyze", "net.arch", *options)
    assert (code, out) == (2, "")
    assert message in err


def test_json_of_analyze_has_these_keys(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    facts = run("analyze", "net.arch", "--json").json
    assert facts["schema"] == 1
    assert facts["errors"] == []
    assert set(facts) >= {
        *("schema", "name", "input", "output", "inputs", "outputs", "params"),
        *("trainable", "buffers", "depth", "macs", "flops", "receptive_field"),
        *("memory", "layers", "errors"),
    }
    assert set(facts["receptive_field"]) >= {"size", "jump", "start"}
    assert set(facts["memory"]) >= {
        *("batch", "dtype", "optimizer", "param_bytes", "buffer_bytes"),
        *("saved_bytes", "forward_peak_bytes", "optimizer_bytes"),
    }
    assert set(facts["layers"][0]) >= {
        *("name", "kind", "line", "input", "output", "params", "macs"),
        "receptive_field",
    }


def test_analyze_reads_standard_input(run: Run) -> None:
    assert run("analyze", "-", stdin=NET).out.startswith("net: 3x16x16 -> 10")
    code, _, err = run("analyze", "-", stdin=TWO_ERRORS)
    assert code == 1
    assert " --> <stdin>:5:5" in err


@pytest.mark.parametrize(
    ("spec", "name"),
    [("googlenet", "googlenet"), ("resnet18", "resnet18"), ("vgg:vgg11", "vgg11")],
)
def test_analyze_knows_shipped_names_everywhere(
    tmp_path: Path, spec: str, name: str
) -> None:
    done = spawn("analyze", spec, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(f"{name}: 3x224x224 -> ".encode())


def test_shipped_names_are_found_in_a_wheels_layout(tmp_path: Path) -> None:
    """In a wheel, grammar and specs lie inside the package."""
    package, elsewhere = tmp_path / "site" / "archdsl", tmp_path / "elsewhere"
    root = Path(archdsl.__file__).parent
    shutil.copytree(
        root, package, ignore=shutil.ignore_patterns("__pycache__", "_data")
    )
    for data in ("grammar", "specs"):
        shutil.copytree(root.parent / data, package / "_data" / data)
    elsewhere.mkdir()
    env = {"PYTHONPATH": str(package.parent), "XDG_CACHE_HOME": str(tmp_path)}
    done = spawn("analyze", "resnet18", "--json", env=env, cwd=elsewhere)
    assert (done.returncode, done.stderr) == (0, b"")
    facts = json.loads(done.stdout)
    assert facts["name"] == "resnet18"
    assert Path(facts["layers"][0]["file"]).is_relative_to(package / "_data")


# ---- colours -------------------------------------------------------------------------


def test_a_terminal_gets_colours(tmp_path: Path) -> None:
    spec = write(tmp_path / "net.arch", REFUTED)
    seen = on_a_terminal("analyze", spec, env={"TERM": "xterm", "NO_COLOR": ""})
    assert "\033[1mstem" in seen
    assert "\033[1;31merror[A0401]" in seen


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}], ids=str)
def test_colours_can_be_refused(tmp_path: Path, env: dict[str, str]) -> None:
    spec = write(tmp_path / "net.arch", REFUTED)
    seen = on_a_terminal("analyze", spec, env={"TERM": "xterm", "NO_COLOR": "", **env})
    assert "\033" not in seen
    assert "stem" in seen


def test_a_pipe_gets_no_colours(tmp_path: Path) -> None:
    spec = write(tmp_path / "net.arch", REFUTED)
    done = spawn("analyze", spec, env={"TERM": "xterm", "NO_COLOR": ""})
    assert b"\033" not in done.stdout + done.stderr


def test_progress_is_shown_on_a_terminal_only(tmp_path: Path) -> None:
    specs = [write(tmp_path / f"net{n}.arch") for n in range(2)]
    seen = on_a_terminal("check", *specs, env={"TERM": "xterm", "NO_COLOR": ""})
    assert "2/2" in seen
    assert spawn("check", *specs).stderr == b""


# ---- compile ------------------------------------------------------------------------


def test_compile_prints_or_writes_the_same(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    code, out, err = run("compile", "net.arch")
    assert (code, err) == (0, "")
    assert out == archdsl.emit(archdsl.load("net.arch"))
    assert run("compile", "net.arch", "-o", "net.py") == (0, "", "")
    assert (folder / "net.py").read_text(encoding="utf-8") == out
    compile(out, "net.py", "exec")


def test_compile_writes_as_a_whole_or_not_at_all(run: Run, folder: Path) -> None:
    target = write(folder / "net.py", "before")
    target.chmod(0o640)
    write(folder / "bad.arch", TWO_ERRORS)
    assert run("compile", "bad.arch", "-o", "net.py").code == 1
    assert target.read_text(encoding="utf-8") == "before"
    (folder / "link.py").symlink_to(target)
    write(folder / "net.arch")
    assert run("compile", "net.arch", "-o", "link.py").code == 0
    assert (folder / "link.py").is_symlink()
    assert "class Net" in target.read_text(encoding="utf-8")
    assert target.stat().st_mode & 0o777 == 0o640
    assert sorted(p.name for p in folder.iterdir()) == [
        *("bad.arch", "link.py", "net.arch", "net.py")
    ]


def test_compile_into_no_folder(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    code, out, err = run("compile", "net.arch", "-o", "no/net.py")
    assert (code, out) == (2, "")
    assert err == "archdsl: cannot write no/net.py: no such file or directory\n"


def test_compile_refuses_a_refuted_claim(run: Run, folder: Path) -> None:
    write(folder / "net.arch", REFUTED)
    code, out, err = run("compile", "net.arch", "-o", "net.py")
    assert (code, out) == (1, "")
    assert "error[A0401]" in err
    assert not (folder / "net.py").exists()


# ---- render --------------------------------------------------------------------------


def test_render_prints_or_writes_the_same(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    code, out, err = run("render", "net.arch")
    assert (code, err) == (0, "")
    assert out.startswith("digraph")
    assert run("render", "net.arch", "-o", "net.dot") == (0, "", "")
    assert (folder / "net.dot").read_text(encoding="utf-8") == out
    assert run("render", "net.arch", "-o", "net.txt", "--format", "dot").code == 0
    assert (folder / "net.txt").read_text(encoding="utf-8") == out


def test_render_folds_unless_told_otherwise(run: Run) -> None:
    folded = run("render", "vgg").out
    assert folded == run("render", "vgg", "--fold").out
    assert len(run("render", "vgg", "--unfold").out) > len(folded)


def test_render_draws(folder: Path) -> None:
    pytest.importorskip("pygraphviz")
    assert spawn("render", "alexnet", "-o", folder / "net.svg").returncode == 0
    assert b"<svg" in (folder / "net.svg").read_bytes()
    assert spawn("render", "alexnet", "--format", "png").stdout.startswith(b"\x89PNG")


def test_render_without_an_engine(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    code, out, err = run("render", "alexnet", "-o", "net.svg")
    assert (code, out) == (3, "")
    assert 'pip install "archdsl[render]"' in err
    assert not (folder / "net.svg").exists()
    assert run("render", "alexnet", "-o", "net.dot").code == 0


# ---- check ---------------------------------------------------------------------------


def test_check_says_ok_per_file(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    write(folder / "bad.arch", TWO_ERRORS)
    write(folder / "blocks.arch", NET.partition("network")[0])
    assert run("check", "net.arch", "blocks.arch") == (
        0,
        "net.arch: ok (net)\nblocks.arch: ok (blocks only)\n",
        "",
    )
    code, out, err = run("check", "net.arch", "bad.arch", "gone.arch")
    assert (code, out) == (1, "net.arch: ok (net)\n")
    assert "bad.arch:5:5" in err
    assert "bad.arch:6:5" in err
    assert "there is no file `gone.arch`" in err
    assert err.endswith("\n3 errors\n")


def test_check_looks_at_every_preset(run: Run, folder: Path) -> None:
    write(folder / "net.arch", TWO_PRESETS)
    code, out, err = run("check", "net.arch")
    assert (code, out) == (1, "")
    assert err.count("error[") == 1
    assert "net.arch:18:12" in err
    assert run("check", "net.arch:good").out == "net.arch:good: ok (good)\n"
    assert run("check", "net.arch:wrong").code == 1


def test_check_says_once_what_presets_share(run: Run, folder: Path) -> None:
    wrong = TWO_PRESETS.replace("maxpool 2x2", "maxpool 20x20")
    write(folder / "net.arch", wrong)
    code, _, err = run("check", "net.arch")
    assert code == 1
    assert err.endswith("\n1 error\n")


def test_check_finds_faults_in_blocks_alone(run: Run, folder: Path) -> None:
    write(
        folder / "blocks.arch", "arch 1\n\nblock a<width> {\n    convv 3x3 width\n}\n"
    )
    code, out, err = run("check", "blocks.arch")
    assert (code, out) == (1, "")
    assert "did you mean `conv`?" in err


def test_json_of_check_has_these_keys(run: Run, folder: Path) -> None:
    write(folder / "net.arch")
    write(folder / "bad.arch", TWO_ERRORS)
    code, out, err = run("check", "--json", "net.arch", "bad.arch")
    assert (code, err) == (1, "")
    answer = json.loads(out)
    assert list(answer) == ["schema", "files", "errors"]
    assert answer["files"] == [
        {"file": "net.arch", "ok": True, "networks": ["net"]},
        {"file": "bad.arch", "ok": False, "networks": ["net"]},
    ]
    assert len(answer["errors"]) == 2


def test_check_passes_every_shipped_spec(run: Run) -> None:
    code, out, err = run("check", *shipped_specs())
    assert (code, err) == (0, "")
    assert len(out.splitlines()) == len(shipped_specs())


# ---- fmt -----------------------------------------------------------------------------

MESSY = "arch 1\nnetwork net{\n  input   3x16x16 # the image\n  conv 3x3   8->relu\n}\n"


def test_fmt_writes_the_layout_in_place(run: Run, folder: Path) -> None:
    path = write(folder / "net.arch", MESSY)
    tidy = archdsl.format(MESSY)
    assert tidy != MESSY
    assert run("fmt", "net.arch") == (0, "", "reformatted net.arch\n")
    assert path.read_text(encoding="utf-8") == tidy
    before = path.stat()
    assert run("fmt", "net.arch") == (0, "", "")
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert path.stat().st_ino == before.st_ino


def test_fmt_prints_the_layout_of_stdin(run: Run) -> None:
    tidy = archdsl.format(MESSY)
    assert run("fmt", "-", stdin=MESSY) == (0, tidy, "")
    assert run("fmt", "-", stdin=tidy) == (0, tidy, "")


def test_fmt_check_writes_nothing(run: Run, folder: Path) -> None:
    path = write(folder / "net.arch", MESSY)
    write(folder / "tidy.arch", archdsl.format(MESSY))
    code, out, err = run("fmt", "--check", "net.arch", "tidy.arch")
    assert (code, out) == (1, "")
    assert err == "would reformat net.arch\n1 file would be reformatted\n"
    assert path.read_text(encoding="utf-8") == MESSY
    assert run("fmt", "--check", "tidy.arch") == (0, "", "")
    assert run("fmt", "--check", "-", stdin=MESSY).code == 1


def test_fmt_diff_writes_nothing(run: Run, folder: Path) -> None:
    path = write(folder / "net.arch", MESSY)
    code, out, err = run("fmt", "--diff", "net.arch")
    assert (code, err) == (0, "")
    assert out.startswith("--- net.arch\n+++ net.arch (formatted)\n@@")
    assert "-  conv 3x3   8->relu\n" in out
    assert "+    conv 3x3 8 -> relu\n" in out
    assert path.read_text(encoding="utf-8") == MESSY
    assert run("fmt", "--check", "--diff", "net.arch").code == 1


def test_fmt_leaves_what_does_not_parse(run: Run, folder: Path) -> None:
    path = write(folder / "bad.arch", "arch 1\nnetwork {\n}\n")
    write(folder / "net.arch", MESSY)
    code, out, err = run("fmt", "bad.arch", "net.arch", "gone.arch")
    assert (code, out) == (1, "")
    assert "bad.arch:2:9" in err
    assert "gone.arch: no such file or directory" in err
    assert path.read_text(encoding="utf-8") == "arch 1\nnetwork {\n}\n"
    assert (folder / "net.arch").read_text(encoding="utf-8") == archdsl.format(MESSY)


# ---- list and explain ----------------------------------------------------------------


def test_list_has_every_shipped_network(run: Run) -> None:
    code, out, err = run("list")
    assert (code, err) == (0, "")
    for name in [*shipped_specs(), *shipped_presets()]:
        assert re.search(rf"(^| ){re.escape(name)} ", out, re.M), name
    assert re.search(
        r"resnet50 +default +3x224x224 +25,557,032 +50 +4,089,184,256", out
    )


def test_json_of_list_has_these_keys(run: Run) -> None:
    answer = run("list", "--json").json
    assert list(answer) == ["schema", "networks"]
    by_name = {entry["name"]: entry for entry in answer["networks"]}
    assert len(by_name) == len(answer["networks"])
    assert by_name["googlenet"] == {
        "spec": "googlenet",
        "name": "googlenet",
        "default": True,
        "input": [3, 224, 224],
        "params": 13_004_888,
        "depth": 22,
        "macs": 1_498_376_192,
    }


def test_explain(run: Run) -> None:
    code, out, err = run("explain", "a0301")
    assert (code, err) == (0, "")
    assert out.startswith("A0301: ")
    assert "\nWrong:\n\n    arch 1\n" in out
    assert "\nRight:\n\n    arch 1\n" in out
    code, out, err = run("explain", "A9999")
    assert (code, out) == (2, "")
    assert "there is no error code `A9999`" in err


def test_every_code_is_explained_in_short_lines(run: Run) -> None:
    for code in CODES:
        lines = run("explain", code).out.splitlines()
        assert lines[0].startswith(f"{code}: ")
        assert all(len(line) <= 80 or line.startswith("    ") for line in lines), code


@pytest.mark.parametrize(
    "command",
    [
        "analyze --depth 1 -:second",
        "check -:second",
        "compare -:second resnet18",
        "compile -:second",
        "lint --exit-zero -:second",
        "plot --json -:second",
        "render -:second",
        "sweep -:second width=4..5",
    ],
)
def test_a_preset_of_stdin_is_no_option(run: Run, command: str) -> None:
    net = "network Net<width = 8> {\n input 3x16x16\n conv 3x3 width\n}\n"
    presets = "default preset first = Net\npreset second = Net<4>\n"
    text = f"arch 1\n{net}{presets}"
    code, out, err = run(*command.split(), stdin=text)
    assert (code, err) == (0, "")
    assert out
    missing = run(*command.replace("second", "third").split(), stdin=text)
    assert missing.code == 1
    assert "A0602" in missing.out + missing.err


@pytest.mark.parametrize("command", ["check - -", "lint -:a -", "fmt --check - -"])
def test_stdin_is_read_once(run: Run, command: str) -> None:
    code, out, err = run(*command.split(), stdin=MESSY)
    assert (code, out) == (2, "")
    assert "only one SPEC can be standard input" in err


@pytest.mark.parametrize("command", ["analyze", "plot"])
def test_runs_are_of_gradients(run: Run, command: str) -> None:
    code, out, err = run(command, "resnet18", "--runs", "3")
    assert (code, out) == (2, "")
    assert "gradients" in err


def test_the_usage_of_schema_has_one_name(run: Run) -> None:
    assert run("schema", "--help").out.startswith(
        "Usage: archdsl schema [OPTIONS] [NAME]\n"
    )
