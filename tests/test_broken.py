"""Broken specs, each with the expected errors.

A case is `NAME.arch` with `NAME.expected`. The latter begins with a part written by
hand: optionally the command line after `$ archdsl`, then for each error a line with its
code, its place and a part of its hint (`-` if it has none). After an empty line, the
complete stderr follows, which `--update-golden` rewrites.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from archdsl.cli import main
from archdsl.codes import CODES
from tests.conftest import ROOT

BROKEN = ROOT / "tests" / "broken"
CASES = sorted(path.with_suffix("") for path in BROKEN.glob("*/*.arch"))
FEWEST = 75
COMMAND = "$ archdsl "
# Their specs are too large to read: test_bombs.py and test_growth.py generate them.
# test_agree.py has A0701, test_counts.py A0703, and test_pictures.py A0801 and A0802.
ELSEWHERE = frozenset(
    {"A0701", "A0703", "A0801", "A0802", "A0901", "A0905", "A0908", "A0909", "A0910"}
    | {"A0912"}
    | {"A0505", "A0506", "A0704", "A1001", "A1002"}
    # test_train.py has these.
    | {"A0911", *(f"A110{n}" for n in range(1, 8))}
)


class Case(NamedTuple):
    """The part of a case that is written by hand."""

    command: list[str]
    errors: list[list[str]]
    header: str

    @property
    def status(self) -> int:
        """The exit status."""
        return 4 if any(code.startswith("A09") for code, _, _ in self.errors) else 1


def read(path: Path) -> Case:
    """Read the part of a case that is written by hand."""
    header = path.with_suffix(".expected").read_text("utf-8").partition("\n\n")[0]
    lines = header.splitlines()
    command = ["check", f"{path.name}.arch"]
    if lines[0].startswith(COMMAND):
        command = lines.pop(0).removeprefix(COMMAND).split()
    return Case(command, [line.split(maxsplit=2) for line in lines], header)


@pytest.mark.parametrize("path", CASES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_case(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    golden: Callable[[Path, str], None],
) -> None:
    monkeypatch.chdir(path.parent)
    case = read(path)

    assert main([*case.command, "--json"]) == case.status
    said = json.loads(capsys.readouterr().out)["errors"]
    assert [(e["code"], place(e)) for e in said] == [(c, p) for c, p, _ in case.errors]
    for error, (_, _, hint) in zip(said, case.errors, strict=True):
        assert (hint in error["help"]) if hint != "-" else error["help"] is None

    assert main(case.command) == case.status
    golden(path.with_suffix(".expected"), f"{case.header}\n\n{capsys.readouterr().err}")


def place(error: dict[str, Any]) -> str:
    """Return ``3:5``, with the file in front if it is not the case's own."""
    if error["line"] is None:
        return "-"
    where = f"{error['line']}:{error['column']}"
    return f"{error['file']}:{where}" if "/" in error["file"] else where


def test_no_orphans() -> None:
    expected = {path.with_suffix("") for path in BROKEN.glob("*/*.expected")}
    assert expected == set(CASES)
    assert len(CASES) >= FEWEST


def test_every_code_is_shown() -> None:
    shown = {code for path in CASES for code, _, _ in read(path).errors}
    assert shown | ELSEWHERE == set(CODES)


def test_several_mistakes_are_reported_at_once() -> None:
    assert sum(len(read(path).errors) > 1 for path in CASES) >= 12
