"""The table of error codes: complete, true to its examples, and shown in the docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from archdsl.cli import main
from archdsl.codes import CODES, SECTIONS, Entry
from tests.conftest import ROOT

# These would need a huge spec, or 65 files; test_bombs.py has them. All shipped kinds
# can be counted; test_counts.py has one that cannot.
WITHOUT_EXAMPLE = {
    "A0901",
    "A0905",
    "A0908",
    "A0505",
    "A0506",
    "A0703",
    "A1001",
    "A1002",
    "A0911",
}
WITHOUT_EXAMPLE |= {f"A110{n}" for n in range(1, 8)}  # about files other than specs
SHOWN = {code: entry for code, entry in CODES.items() if code not in WITHOUT_EXAMPLE}
ENCODING = {"A0005": "latin-1"}


def said(text: str) -> list[str]:
    """Return the codes of the errors in what was printed."""
    return re.findall(r"^error\[(A\d{4})\]", text, re.M)


def run(path: Path, command: str) -> int:
    """Run a command on a spec: the entry's command, or one that loads all networks."""
    if command:
        return main([str(path) if a == path.name else a for a in _split(path, command)])
    return main(["analyze", str(path)]) or main(["check", str(path)])


def _split(path: Path, command: str) -> list[str]:
    return [word.replace("net.arch", str(path)) for word in command.split()]


@pytest.mark.parametrize("code", SHOWN)
def test_example(code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = CODES[code]
    path = tmp_path / "net.arch"

    path.write_text(entry.wrong, ENCODING.get(code, "utf-8"))
    assert run(path, entry.run[0]) == (4 if code.startswith("A09") else 1)
    assert said(capsys.readouterr().err) == [code]

    path.write_text(entry.right, "utf-8")
    assert run(path, entry.run[1]) == 0


def test_the_table_has_the_codes_of_the_package() -> None:
    found = set()
    for path in (ROOT / "archdsl").rglob("*.py"):
        if path.name != "codes.py":
            found |= set(re.findall(r"\bA\d{4}\b", path.read_text("utf-8")))
    assert found == set(CODES)


def test_entries_are_in_order_and_complete() -> None:
    assert list(CODES) == sorted(CODES)
    assert {code[:3] for code in CODES} == set(SECTIONS)
    for code, entry in CODES.items():
        assert bool(entry.wrong) == bool(entry.right) == (code not in WITHOUT_EXAMPLE)
        assert entry.title[0].islower() and not entry.title.endswith(".")
        assert entry.text.endswith(".")
        assert (entry.wrong, entry.run[0]) != (entry.right, entry.run[1]) or (
            code in ENCODING or code in WITHOUT_EXAMPLE
        )


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "a0301"]) == 0
    printed = capsys.readouterr().out
    entry: Entry = CODES["A0301"]
    assert printed.startswith(f"A0301: {entry.title}\n")
    assert "    add { conv 3x3 16 | conv 1x1 8 }\n" in printed
    assert all(len(line) <= 80 for line in printed.splitlines())


def test_explain_suggests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "A0310"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_page_is_fresh() -> None:
    script = ROOT / "scripts" / "make_errors_page.py"
    check = subprocess.run([sys.executable, script, "--check"], check=False)
    assert check.returncode == 0, f"run {script.relative_to(ROOT).as_posix()}"
