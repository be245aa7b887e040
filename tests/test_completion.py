"""Shell completions, by the calls that the completion script makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from archdsl.passes.devices import devices
from archdsl.resources import shipped_presets, shipped_specs
from tests.test_cli import folder

__all__ = ["folder"]

NET = "arch 1\n\nnetwork n<w> {\n    input 3x8x8\n    conv 3x3 w\n}\n\n"
PRESETS = "preset small = n<8>\ndefault preset wide = n<16>\n"


def offered(line: str) -> list[str]:
    """Return zsh's completions for a line that ends at the cursor."""
    words = line.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "archdsl"],
        env={
            **os.environ,
            "_ARCHDSL_COMPLETE": "zsh_complete",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    parts = done.stdout.splitlines()  # type, value and help of each
    return [f"<{kind}>" if kind != "plain" else value for kind, value in _pairs(parts)]


def _pairs(parts: list[str]) -> list[tuple[str, str]]:
    return [(parts[at], parts[at + 1]) for at in range(0, len(parts) - 2, 3)]


def test_specs_are_offered(folder: Path) -> None:
    names = {*shipped_specs(), *shipped_presets()}
    for command in ("analyze", "check", "lint", "compare", "compile", "render"):
        wanted = {name for name in names if name.startswith("resnet1")}
        assert set(offered(f"archdsl {command} resnet1")) == wanted
    Path("resnet_mine.arch").write_text(NET + PRESETS)
    Path("resnets").mkdir()
    Path("resnets.txt").write_text("")
    found = set(offered("archdsl fmt resnet"))
    assert {"resnet_mine.arch", "resnets/", "resnet18"} <= found
    assert "resnets.txt" not in found
    assert offered("archdsl analyze nothing_like_it") == ["<file>"]


def test_presets_of_a_file_are_offered(folder: Path) -> None:
    Path("net.arch").write_text(NET + PRESETS)
    assert offered("archdsl analyze net.arch:") == ["net.arch:small", "net.arch:wide"]
    assert offered("archdsl analyze net.arch:w") == ["net.arch:wide"]
    assert "resnet:resnet18" in offered("archdsl analyze resnet:")


def test_codes_devices_and_choices_are_offered() -> None:
    assert offered("archdsl explain A0301") == ["A0301"]
    assert "missing-bottleneck" in offered("archdsl explain missing")
    assert offered("archdsl lint --select w0101,W010")[0] == "w0101,W0101"
    assert set(offered("archdsl analyze vgg16 --device ")) == set(devices())
    assert offered("archdsl lint --format s") == ["sarif"]
    assert offered("archdsl an") == ["analyze"]


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_bash_takes_the_script(tmp_path: Path) -> None:
    """The script defines a completion for `archdsl` that asks the command itself."""
    code = """
eval "$(_ARCHDSL_COMPLETE=bash_source archdsl)"
complete -p archdsl
COMP_WORDS=(archdsl analyze unet_) COMP_CWORD=2
_archdsl_completion archdsl
echo "${COMPREPLY[@]}"
"""
    program = tmp_path / "archdsl"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m archdsl "$@"\n')
    program.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    run = ["bash", "-c", code]
    done = subprocess.run(run, env=env, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "unet_padded", done.stderr
    assert "_archdsl_completion archdsl" in done.stdout
