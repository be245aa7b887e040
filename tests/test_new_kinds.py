"""A new layer kind needs one file, and one entry for a new function.

`tests/new_kinds` has two kinds: a gated linear unit, as in `docs/architecture.md`, and
a merge of exactly two vectors. They are added to a copy of the package, in which the
property tests of all kinds are run for them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

ADDED = ROOT / "tests" / "new_kinds"
PROPERTIES = (
    "added.py",
    "test_agree.py",
    "test_lint_claims.py",
    "test_memory.py",
    "test_ops.py",
    "test_ops_emitted.py",
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    # With compiled files, as copies would not be compiled again.
    for part in ("archdsl", "grammar", "specs", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for source, target in (
        ("ops", "archdsl/ops"),
        ("functions", "archdsl/torch/functions"),
        ("tests", "tests"),
    ):
        shutil.copytree(
            ADDED / source, tmp_path / target, ignore=ignore, dirs_exist_ok=True
        )
    return tmp_path


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )


def test_property_tests_pass_for_added_kinds(checkout: Path) -> None:
    files = [f"tests/{name}" for name in PROPERTIES]
    chosen = ["-k", "glu or bilinear or added", "-n", "0", "-p", "no:cacheprovider"]
    done = run(checkout, "pytest", "-q", *files, *chosen)
    found = re.search(r"(\d+) passed", done.stdout)
    assert done.returncode == 0, done.stdout[-3000:]
    assert found is not None and int(found[1]) >= 34


def test_a_function_without_an_entry_is_named(checkout: Path) -> None:
    (checkout / "archdsl" / "torch" / "functions" / "glu.py").unlink()
    spec = "arch 1\n\nnetwork N {\n    input 2x8x8\n    conv 3x3 4 -> glu\n}\n"
    (checkout / "n.arch").write_text(spec, encoding="utf-8")
    counted = run(checkout, "archdsl", "analyze", "n.arch", "--count", "fvcore")
    assert counted.returncode == 1
    assert "counts `F.glu`" in counted.stderr and "n.arch:5:19" in counted.stderr
    seen = run(checkout, "archdsl", "check", "--torch", "n.arch")
    assert "it is not known what `glu` reads" in seen.stdout + seen.stderr


def test_a_merge_of_two_takes_two_branches(checkout: Path) -> None:
    spec = "arch 1\n\nnetwork N {\n    input 4\n    bilinear { | | }\n}\n"
    (checkout / "n.arch").write_text(spec, encoding="utf-8")
    done = run(checkout, "archdsl", "check", "n.arch")
    assert done.returncode == 1
    assert "error[A0210]: bilinear joins 2 branches" in done.stderr
    assert "3 here" in done.stderr
