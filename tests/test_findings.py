"""Findings for other tools, folders of specs, and the hooks of pre-commit."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT
from tests.test_cli import Run, folder, run, spawn

__all__ = ["folder", "run"]

GOOD = """arch 1

network good {
    input 3x16x16
    conv 3x3 8 -> bn -> relu
}
"""
ADVISED = GOOD.replace("conv 3x3 8", "conv 3x3 8 bias=true")
WRONG = GOOD.replace("conv 3x3 8", "conv 3x3 8  # 100%, a:b\n    convv 3x3 8")


def write(name: str, text: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


# ---- SARIF ------------------------------------------------------------------------

# The part of the standard that is used (section 3); other keys are not allowed.
TEXT = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1}},
    "required": ["text"],
    "additionalProperties": False,
}
POSITIVE = {"type": "integer", "minimum": 1}
ARTIFACT = {
    "type": "object",
    "properties": {"uri": {"type": "string", "pattern": r"^[\w./%:~<>-]+$"}},
    "required": ["uri"],
    "additionalProperties": False,
}


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def many(items: dict[str, Any], least: int = 0) -> dict[str, Any]:
    return {"type": "array", "items": items, "minItems": least}


REGION = closed(
    dict.fromkeys(("startLine", "startColumn", "endLine", "endColumn"), POSITIVE),
    "startLine",
)
CHARACTERS = closed(
    {name: {"type": "integer", "minimum": 0} for name in ("charOffset", "charLength")},
    "charOffset",
)
REPLACEMENT = closed(
    {
        "deletedRegion": CHARACTERS,
        "insertedContent": closed({"text": {"type": "string"}}),
    },
    "deletedRegion",
)
CHANGE = closed(
    {"artifactLocation": ARTIFACT, "replacements": many(REPLACEMENT, 1)},
    *("artifactLocation", "replacements"),
)
RESULT = closed(
    {
        "ruleId": {"type": "string"},
        "ruleIndex": {"type": "integer", "minimum": 0},
        "level": {"enum": ["none", "note", "warning", "error"]},
        "message": TEXT,
        "locations": many(
            closed(
                {
                    "physicalLocation": closed(
                        {"artifactLocation": ARTIFACT, "region": REGION}
                    )
                }
            )
        ),
        "fixes": many(
            closed(
                {"description": TEXT, "artifactChanges": many(CHANGE, 1)},
                "artifactChanges",
            )
        ),
    },
    "message",
)
RULE = closed(
    {
        "id": {"type": "string"},
        "name": {"type": "string"},
        "shortDescription": TEXT,
        "help": TEXT,
    },
    "id",
)
DRIVER = closed(
    {
        "name": {"type": "string"},
        "version": {"type": "string"},
        "rules": {**many(RULE), "uniqueItems": True},
    },
    "name",
)
SARIF = closed(
    {
        "$schema": {"type": "string", "pattern": "sarif-2.1.0"},
        "version": {"const": "2.1.0"},
        "runs": many(
            closed(
                {
                    "tool": closed({"driver": DRIVER}, "driver"),
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "results": many(RESULT),
                },
                "tool",
            )
        ),
    },
    *("version", "runs"),
)


def log(text: str) -> dict[str, Any]:
    """Return the only run of a SARIF log, checked."""
    found = json.loads(text)
    jsonschema.validate(found, SARIF)
    (only,) = found["runs"]
    rules = only["tool"]["driver"]["rules"]
    for result in only["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
    return dict(only)


def test_sarif_has_what_is_wrong(run: Run, folder: Path) -> None:
    write("my specs/wrong.arch", WRONG)
    code, out, err = run("check", "--format", "sarif", "my specs", "nothing.arch")
    assert code == 1 and err == ""
    wrong, missing = sorted(log(out)["results"], key=lambda r: r["ruleId"])
    assert (wrong["ruleId"], missing["ruleId"]) == ("A0106", "A0501")
    assert "locations" not in missing
    place = wrong["locations"][0]["physicalLocation"]
    assert unquote(place["artifactLocation"]["uri"]) == "my specs/wrong.arch"
    text = WRONG.splitlines()[place["region"]["startLine"] - 1]
    start, end = (place["region"][key] for key in ("startColumn", "endColumn"))
    assert text[start - 1 : end - 1] == "convv"


def test_sarif_of_advice_carries_its_edit(run: Run, folder: Path) -> None:
    write("a.arch", ADVISED)
    code, out, _ = run("lint", "--format", "sarif", "a.arch")
    assert code == 1
    (result,) = log(out)["results"]
    assert result["level"] == "warning"
    (fix,) = result["fixes"]
    (change,) = fix["artifactChanges"]
    text = ADVISED
    for edit in reversed(change["replacements"]):
        at, length = (edit["deletedRegion"][k] for k in ("charOffset", "charLength"))
        text = text[:at] + edit["insertedContent"]["text"] + text[at + length :]
    write("b.arch", text)
    assert run("lint", "b.arch").code == 0


def test_a_clean_folder_is_a_log_without_results(run: Run, folder: Path) -> None:
    write("specs/good.arch", GOOD)
    for command in ("check", "lint"):
        code, out, _ = run(command, "--format", "sarif", "specs")
        assert (code, log(out)["results"]) == (0, [])


# ---- GitHub -----------------------------------------------------------------------


def annotations(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Read workflow commands as GitHub's runner does."""

    def plain(value: str) -> str:
        for code, sign in (("3A", ":"), ("2C", ","), ("0D", "\r"), ("0A", "\n")):
            value = value.replace(f"%{code}", sign)
        return value.replace("%25", "%")

    found = []
    for line in text.splitlines():
        match = re.fullmatch(r"::(\w+) ([^:]*)::(.*)", line)
        assert match is not None, line
        pairs = (part.split("=", 1) for part in match[2].split(","))
        words = {name: plain(value) for name, value in pairs}
        found.append((match[1], words, plain(match[3])))
    return found


def test_annotations_of_github(run: Run, folder: Path) -> None:
    write("a,b:c.arch", WRONG)
    code, out, err = run("check", "--format", "github", "a,b:c.arch")
    assert (code, err) == (1, "")
    ((level, words, message),) = annotations(out)
    line = 1 + [*map(str.strip, WRONG.splitlines())].index("convv 3x3 8 -> bn -> relu")
    assert level == "error"
    assert words == {
        "title": "archdsl A0106",
        "file": "a,b:c.arch",
        "line": str(line),
        "endLine": str(line),
        "col": "5",
        "endColumn": "10",
    }
    assert "convv" in message and "\nhelp: did you mean `conv`?" in message
    write("advised.arch", ADVISED)
    code, out, _ = run("lint", "--format=github", "advised.arch")
    assert code == 1 and annotations(out)[0][0] == "warning"


def test_formats_of_one_name(run: Run, folder: Path) -> None:
    write("a.arch", WRONG)
    for command in ("check", "lint"):
        json_of = run(command, "a.arch", "--json")
        assert run(command, "a.arch", "--format", "json").out == json_of.out
        assert run(command, "a.arch", "--format", "text") == run(command, "a.arch")
        assert run(command, "a.arch", "--json", "--format", "github").code == 2
        assert run(command, "a.arch", "--format", "xml").code == 2


# ---- folders ----------------------------------------------------------------------


def test_a_folder_stands_for_the_specs_below_it(run: Run, folder: Path) -> None:
    write("specs/b.arch", GOOD)
    write("specs/deep/a.arch", ADVISED)
    write("specs/.hidden/c.arch", WRONG)
    write("specs/notes.txt", "nothing")
    names = ["specs/b.arch", "specs/deep/a.arch"]
    for command in ("check", "lint"):
        files = run(command, "specs", "--json").json["files"]
        assert [Path(each["file"]).as_posix() for each in files] == names
    assert run("fmt", "--check", "specs/").code == 0
    write("specs/deep/a.arch", ADVISED.replace("    conv", "  conv"))
    assert run("fmt", "--check", "specs").code == 1
    assert run("fmt", "specs").code == 0
    assert Path("specs/deep/a.arch").read_text() == ADVISED
    assert run("lint", "--fix", "specs").code == 0
    assert "bias" not in Path("specs/deep/a.arch").read_text()


@pytest.mark.parametrize("command", ["check", "lint", "fmt"])
def test_an_empty_folder_is_a_mistake(run: Run, folder: Path, command: str) -> None:
    Path("empty").mkdir()
    code, out, err = run(command, "empty")
    assert (code, out) == (1, "")
    assert "A0501" in err and "no .arch file in the folder empty" in err
    # A shipped network takes precedence over a folder of the same name.
    Path("vgg").mkdir()
    if command == "check":
        assert "8 networks" in run("check", "vgg").out


# ---- pre-commit ---------------------------------------------------------------------

# The keys that pre-commit requires, and further keys of these hooks.
HOOK = closed(
    {
        "id": {"type": "string", "pattern": "^archdsl-[a-z]+$"},
        "name": {"type": "string"},
        "description": {"type": "string"},
        "entry": {"type": "string"},
        "language": {"const": "python"},
        "files": {"type": "string", "format": "regex"},
    },
    *("id", "name", "entry", "language", "files"),
)
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))


def test_the_hooks_are_what_pre_commit_takes() -> None:
    jsonschema.validate(HOOKS, many(HOOK, 3))
    assert len({hook["id"] for hook in HOOKS}) == len(HOOKS)
    page = (ROOT / "docs/guides/ci.md").read_text(encoding="utf-8")
    for hook in HOOKS:
        assert f"- id: {hook['id']}" in page
        assert re.search(hook["files"], "specs/net.arch")
        assert not re.search(hook["files"], "net.arch.bak")


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_runs_on_the_files_of_a_commit(
    hook: dict[str, str], folder: Path
) -> None:
    """pre-commit runs the entry with the files; a change or a nonzero status fails."""
    program, *arguments = shlex.split(hook["entry"])
    assert program == "archdsl"
    good, bad = "good.arch", "bad.arch"
    texts = {"check": WRONG, "fmt": GOOD.replace("    conv", "  conv"), "lint": ADVISED}
    write(good, GOOD)
    write(bad, before := texts[arguments[0]])
    assert spawn(*arguments, good, cwd=folder).returncode == 0
    assert Path(good).read_text() == GOOD
    done = spawn(*arguments, bad, cwd=folder)
    assert done.returncode == 1 or Path(bad).read_text() != before


# ---- a typing mistake
# -------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["check", "lint", "fmt"])
def test_a_folder_of_everything_is_refused(
    run: Run, folder: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("archdsl.cli.specs.MAX_FOLDERS", 3)
    untidy = GOOD.replace("    conv", "  conv")
    for name in ("a", "b/c"):
        write(f"all/{name}/net.arch", untidy)
    code, out, err = run(command, "all")
    assert (code, out) == (4, "")
    assert "error[A0909]: all has more than 3 folders" in err
    assert Path("all/a/net.arch").read_text() == untidy
