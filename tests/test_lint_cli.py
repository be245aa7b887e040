"""`archdsl lint`: its output, the files that it writes, and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from archdsl.cli import main
from archdsl.cli.app import COMMANDS
from archdsl.linter.rule import ABOUT_ALLOWS, all_rules
from tests.test_cli import Result, Run, folder, run, spawn

__all__ = ["folder", "run"]

CLEAN = """arch 1

network clean {
    input 3x16x16
    conv 3x3 8 -> bn -> relu
}
"""
BIASED = CLEAN.replace("conv 3x3 8", "conv 3x3 8 bias=true").replace("clean", "biased")
WIDE = CLEAN.replace("conv 3x3 8", "conv 1x1 8 -> relu -> conv 7x7 8")
SEVERAL = """arch 1

network net<width> {
    input 3x16x16
    conv 3x3 width -> relu -> conv 3x3 width -> relu
}

preset eight = net<8>
preset nine = net<9>
"""
STALE = CLEAN.replace("relu\n", "relu  # lint: allow W0103 once\n")
WRONG = CLEAN.replace("conv", "convv")


def write(name: str, text: str) -> Path:
    path = Path(name)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_clean_spec(run: Run, folder: Path) -> None:
    write("a.arch", CLEAN)
    assert run("lint", "a.arch") == Result(0, "a.arch: ok (clean)\n", "")


def test_findings_go_to_stdout_and_their_number_to_stderr(
    run: Run, folder: Path
) -> None:
    write("a.arch", BIASED)
    write("b.arch", CLEAN)
    code, out, err = run("lint", "a.arch", "b.arch")
    assert code == 1
    assert out == (
        "warning[W0103]: bn1 cancels the bias of conv1 right before it\n"
        " --> a.arch:5:5\n"
        "  |\n"
        "5 |     conv 3x3 8 bias=true -> bn -> relu\n"
        "  |     ^^^^^^^^^^^^^^^^^^^^ a bias of 8 channels\n"
        "  = help: leave it out: `bias=false` saves 8 weights\n"
        "\n"
        "b.arch: ok (clean)\n"
    )
    assert err == "1 finding, 1 for --fix\n"
    assert run("lint", "--exit-zero", "a.arch").code == 0


def test_all_presets_are_looked_at_unless_one_is_named(run: Run, folder: Path) -> None:
    write("a.arch", SEVERAL)
    assert "the figures are" not in run("lint", "a.arch").out
    assert run("lint", "a.arch").code == 1
    assert run("lint", "a.arch:eight") == Result(0, "a.arch:eight: ok (eight)\n", "")
    assert run("lint", "a.arch:nine").code == 1
    assert run("lint", "-D", "width=16", "a.arch").out == "a.arch: ok (2 networks)\n"


def test_a_shipped_name_and_an_input(run: Run) -> None:
    assert run("lint", "resnet18") == Result(0, "resnet18: ok (resnet18)\n", "")
    code, out, _ = run("lint", "resnet18", "--input", "3x1024x1024")
    assert (code, "W0106" in out) == (1, True)


def test_blocks_alone(run: Run, folder: Path) -> None:
    write("a.arch", "arch 1\n\nblock unit {\n    relu  # lint: allow W0103 x\n}\n")
    assert run("lint", "a.arch") == Result(0, "a.arch: ok (blocks only)\n", "")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ((), ["W0101", "W0103"]),
        (("--select", "W0101"), ["W0101"]),
        (("--select", "w0101,W0103"), ["W0101", "W0103"]),
        (("--select", "large-kernel"), ["W0101"]),
        (("--ignore", "W0101"), ["W0103"]),
        (("--select", "W0101, W0103", "--ignore", "W0101"), ["W0103"]),
        (("--select", "W0102"), []),
    ],
)
def test_rules_can_be_chosen(
    run: Run, folder: Path, options: tuple[str, ...], found: list[str]
) -> None:
    wide = BIASED.replace("conv", "conv 1x1 8 -> relu -> conv").replace("3x3", "7x7")
    write("a.arch", wide)
    code, out, _err = run("lint", "--json", *options, "a.arch")
    findings = json.loads(out)["findings"]
    assert (code, [each["code"] for each in findings]) == (int(bool(found)), found)


def test_errors_are_printed_once(run: Run, folder: Path) -> None:
    write("a.arch", BIASED.replace("conv", "cov", 1))
    code, out, err = run("lint", "--json", "a.arch")
    assert (code, err) == (1, "")
    assert [error["code"] for error in json.loads(out)["errors"]] == ["A0106"]
    code, out, err = run("lint", "a.arch")
    assert (code, out) == (1, "")
    assert "A0106" in err


def test_json_has_these_keys(run: Run, folder: Path) -> None:
    write("a.arch", BIASED)
    code, out, _err = run("lint", "--json", "a.arch")
    result = json.loads(out)
    assert code == 1
    assert list(result) == ["schema", "files", "findings", "errors"]
    assert result["files"] == [
        {
            "file": "a.arch",
            "networks": ["biased"],
            "findings": 1,
            "silenced": 0,
            "fixed": 0,
            "not_fixed": [],
        }
    ]
    start = BIASED.index(" bias=true")
    assert result["findings"] == [
        {
            "code": "W0103",
            "message": "bn1 cancels the bias of conv1 right before it",
            "file": "a.arch",
            "line": 5,
            "column": 5,
            "end_line": 5,
            "end_column": 5 + len("conv 3x3 8 bias=true"),
            "label": "a bias of 8 channels",
            "notes": [],
            "help": "leave it out: `bias=false` saves 8 weights",
            "rule": "bias-before-norm",
            "layers": ["conv1"],
            "networks": ["biased"],
            "saves": {"params": 8, "macs": 0, "bytes": 0},
            "fix": {
                "safe": True,
                "edits": [
                    {"start": start, "end": start + len(" bias=true"), "text": ""}
                ],
            },
        }
    ]


def test_errors_of_a_spec_are_shown_with_the_findings_of_others(
    run: Run, folder: Path
) -> None:
    write("a.arch", WRONG)
    write("b.arch", BIASED)
    code, out, err = run("lint", "a.arch", "b.arch", "none.arch")
    assert code == 1
    assert out.count("warning[") == 1
    assert "error[A0106]" in err
    assert "error[A0501]" in err
    assert "2 errors" in err
    assert run("lint", "--exit-zero", "a.arch").code == 1
    result = json.loads(run("lint", "--json", "a.arch").out)
    assert [each["code"] for each in result["errors"]] == ["A0106"]


def test_fix_writes_what_is_safe(run: Run, folder: Path) -> None:
    path = write("a.arch", BIASED)
    assert run("lint", "--fix", "a.arch") == Result(
        0, "a.arch: ok (biased)\n", "a.arch: 1 finding fixed\n"
    )
    assert path.read_text("utf-8") == BIASED.replace(" bias=true", "")
    stamp = path.stat().st_mtime_ns
    assert run("lint", "--fix", "a.arch") == Result(0, "a.arch: ok (biased)\n", "")
    assert path.stat().st_mtime_ns == stamp


def test_fix_changes_a_network_only_if_told_to(run: Run, folder: Path) -> None:
    path = write("a.arch", WIDE)
    code, _out, err = run("lint", "--fix", "a.arch")
    assert (code, path.read_text("utf-8")) == (1, WIDE)
    assert err == "1 finding, 1 for --fix --unsafe\n"
    assert run("lint", "--fix", "--unsafe", "a.arch").code == 0
    stack = " -> bn -> relu -> ".join(["conv 3x3 8"] * 3)
    assert path.read_text("utf-8") == WIDE.replace("conv 7x7 8", stack)


def test_diff_writes_nothing(run: Run, folder: Path) -> None:
    path = write("a.arch", BIASED)
    for options in (("--diff",), ("--fix", "--diff")):
        code, out, err = run("lint", *options, "a.arch")
        assert code == 1
        assert out.startswith("--- a.arch\n+++ a.arch (fixed)\n@@")
        assert "\n-    conv 3x3 8 bias=true -> bn -> relu\n+    conv 3x3 8 -> bn" in out
        assert err == "a.arch: 1 finding would be fixed\n"
        assert path.read_text("utf-8") == BIASED
    write("a.arch", CLEAN)
    assert run("lint", "--diff", "a.arch") == Result(0, "", "")


def test_what_is_not_fixed_says_why(run: Run, folder: Path) -> None:
    text = BIASED.replace("relu\n", "relu\n    expect params == 240\n")
    path = write("a.arch", text)
    code, _out, err = run("lint", "--fix", "a.arch")
    assert (code, path.read_text("utf-8")) == (1, text)
    assert "a.arch: W0103 is not fixed: a claim of the spec would not hold" in err
    result = json.loads(run("lint", "--fix", "--json", "a.arch").out)
    assert [each["code"] for each in result["files"][0]["not_fixed"]] == ["W0103"]


def test_a_stale_comment(run: Run, folder: Path) -> None:
    path = write("a.arch", STALE)
    code, out, _ = run("lint", "a.arch")
    assert (code, "warning[W0002]" in out) == (1, True)
    # The comment may be meant for another width, input or preset.
    assert run("lint", "a.arch", "--input", "3x32x32").code == 0
    assert run("lint", "a.arch:clean").code == 0
    assert run("lint", "--fix", "a.arch").code == 0
    assert path.read_text("utf-8") == CLEAN


def test_a_silenced_spec_says_so(run: Run, folder: Path) -> None:
    write("a.arch", BIASED.replace("relu\n", "relu  # lint: allow W0103 as it was\n"))
    expected = "a.arch: ok (biased, 1 comment silencing)\n"
    assert run("lint", "a.arch") == Result(0, expected, "")


def test_fix_of_standard_input(run: Run) -> None:
    fixed = BIASED.replace(" bias=true", "")
    code, out, err = run("lint", "--fix", "-", stdin=BIASED)
    assert (code, out) == (0, fixed)
    assert err == "-: 1 finding fixed\n-: ok (biased)\n"
    # stdout only has the spec, changed or not.
    code, out, err = run("lint", "--fix", "-", stdin=WIDE)
    assert (code, out) == (1, WIDE)
    assert "warning[W0101]" in err


def test_fix_keeps_line_ends_and_comments(folder: Path) -> None:
    path = Path("a.arch")
    text = BIASED.replace("relu\n", "relu  # é\n").replace("\n", "\r\n")
    path.write_bytes(text.encode())
    assert main(["lint", "--fix", "a.arch"]) == 0
    assert path.read_bytes() == text.replace(" bias=true", "").encode()


def test_fix_leaves_imported_files_alone(run: Run, folder: Path) -> None:
    unit = "arch 1\n\nblock unit {\n    conv 3x3 8 bias=true -> bn\n}\n"
    text = 'arch 1\n\nimport unit from "unit.arch"\n\n' + CLEAN[8:].replace(
        "conv 3x3 8 -> bn -> relu", "unit  x2"
    )
    write("unit.arch", unit)
    path = write("a.arch", text)
    code, out, _ = run("lint", "--fix", "a.arch")
    assert code == 1
    assert "--> a.arch:7:5" in out
    assert "line 4 of unit.arch" in out
    assert (path.read_text("utf-8"), Path("unit.arch").read_text("utf-8")) == (
        text,
        unit,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--unsafe", "a.arch"), "--unsafe needs --fix or --diff"),
        (("--fix", "-D", "width=8", "a.arch"), "leave -D and --input out"),
        (("--diff", "--input", "3x8x8", "a.arch"), "leave -D and --input out"),
        (("--fix", "a.arch:eight"), "a whole file, not a preset: a.arch:eight"),
        (("--fix", "resnet18"), "a whole file, not a preset: resnet18"),
        (("--fix", "--json", "-"), "would both go to stdout"),
        (("--select", "W0109,W99", "a.arch"), "there is no rule `W99`"),
        (("--ignore", "large-kernal", "a.arch"), "did you mean `large-kernel`?"),
        ((), "Missing argument 'SPEC...'"),
    ],
)
def test_wrong_usage(
    run: Run, folder: Path, arguments: tuple[str, ...], message: str
) -> None:
    write("a.arch", SEVERAL)
    code, out, err = run("lint", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())


def test_list_and_explain_know_every_rule(run: Run) -> None:
    code, out, err = run("lint", "--list")
    assert (code, err) == (0, "")
    rules = all_rules().values()
    assert [line.split()[:2] for line in out.splitlines()] == [
        [rule.code, rule.name] for rule in rules
    ]
    for rule in rules:
        code, out, err = run("explain", rule.code.lower())
        assert (code, err) == (0, "")
        assert out.startswith(f"{rule.code} ({rule.name}): ")
        assert "\nSource: " in out
        assert "\nFound:\n\n    arch 1\n" in out
        assert "\nBetter:\n\n    arch 1\n" in out
        assert max(map(len, out.splitlines())) <= 88
    for name in ABOUT_ALLOWS:
        assert run("explain", name).out.startswith(f"{name} (")
    assert "did you mean" in run("explain", "W0199").err


def test_it_is_a_command() -> None:
    assert "lint" in COMMANDS


def test_it_needs_no_torch(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError\n", encoding="utf-8")
    (tmp_path / "a.arch").write_text(BIASED, encoding="utf-8")
    result = spawn("lint", "a.arch", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert result.returncode == 1
    assert b"W0103" in result.stdout
