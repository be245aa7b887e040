"""The imports of a short run of the command, and those that it avoids."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

ANALYZE = ["-m", "archdsl", "analyze", str(ROOT / "specs" / "googlenet.arch")]

# Each costs milliseconds, and an analysis from a cached tree needs none of them.
NOT_NEEDED = {
    "archdsl.backends.torch",
    "archdsl.backends.diagram",
    "archdsl.codes",
    "archdsl.syntax.build",
    "archdsl.syntax.explain",
    "archdsl.syntax.format",
    "archdsl.syntax.recover",
    "difflib",
    "email",
    "graphviz",
    "importlib.metadata",
    "importlib.resources",
    "json.encoder",
    "lark",
    "numpy",
    "torch",
    "traceback",
}


def imported(cache: Path, *arguments: str) -> set[str]:
    """Return the modules that a process of this interpreter imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        env={**os.environ, "ARCHDSL_CACHE": "on", "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = [line for line in done.stderr.splitlines() if "|" in line]
    return {line.rpartition("|")[2].strip() for line in lines}


def test_a_warm_analysis_imports_what_it_needs(tmp_path: Path) -> None:
    bare = imported(tmp_path, "-c", "pass")
    assert "lark" in imported(tmp_path, *ANALYZE)
    warm = imported(tmp_path, *ANALYZE) - bare
    assert "archdsl.passes.analysis" in warm
    assert warm & NOT_NEEDED == set()


def test_pydantic_finds_its_loader_of_plugins_all_the_same(tmp_path: Path) -> None:
    code = """
import sys
from archdsl.cli import _do_without_plugins
_do_without_plugins()
from pydantic import BaseModel
class Model(BaseModel):
    number: int
assert Model(number=3).number == 3
assert "importlib.metadata" not in sys.modules
from pydantic.plugin import _loader
assert not _loader.get_plugins()
# Whatever else of it is wanted is the real one's.
assert isinstance(_loader.PYDANTIC_ENTRY_POINT_GROUP, str)
assert sys.modules["pydantic.plugin._loader"].__file__
"""
    assert "importlib.metadata" in imported(tmp_path, "-c", code)


def test_the_host_of_a_call_keeps_its_plugins(tmp_path: Path) -> None:
    code = """
import sys
from archdsl.cli import main
assert main(["explain", "A0301"]) == 0
assert "pydantic.plugin._loader" not in sys.modules
"""
    imported(tmp_path, "-c", code)
