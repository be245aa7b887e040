"""Test a wheel with the lowest and the newest versions of its dependencies.

usage: python scripts/versions.py WHEEL [more options for pip install]

Each set of versions gets its own environment, without torch. There, every module that
needs no extra must import, every shipped recipe must parse, and for some of the shipped
specs the command must print the same bytes as in this environment. The lowest versions
are those of pyproject.toml; the newest are those of the package index today, whatever
constraints.txt says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tomllib
import venv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SPECS = ("googlenet", "resnet:resnet18", "unet")
SMOKE = """
import contextlib, importlib, io, pkgutil, sys
import archdsl
from archdsl.backends.training import recipe
from archdsl.cli import main
from archdsl.resources import recipes, specs_dir

print(specs_dir())
for module in pkgutil.walk_packages(archdsl.__path__, "archdsl."):
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as missing:  # torch and other extras
            assert not missing.name.startswith("archdsl"), module.name
for name in sorted(recipes()):
    print(recipe.parse_recipe(recipe.shipped_recipe(name)))
for spec in sys.argv[1:]:
    for command in (
        ["analyze", "--json"],
        ["analyze", "--show", "all"],
        ["check", "--json"],
        ["check"],
        ["compile"],
        ["lint", "--json", "--exit-zero"],
        ["render"],
        ["sweep", "input=3x224x224,3x256x256"],
    ):
        # In one process, which is quicker than one for each.
        code = main([command[0], spec, *command[1:]])
        sys.stdout.flush()
        assert code == 0, (command, spec, code)
for wrong in (["analyze", "nope"], ["analyze", "alexnet", "-D", "classes=[1"], ["fnt"]):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = main(wrong)
    assert code in (1, 2) and "Traceback" not in said.getvalue(), wrong
    if code == 1:
        print(said.getvalue())
"""


def requirements() -> list[str]:
    """Return the dependencies of an installation, such as ``click>=8.1``."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        found: list[str] = tomllib.load(file)["project"]["dependencies"]
    assert all(">=" in each and "," not in each for each in found), found
    return found


def install(folder: Path, packages: list[str]) -> tuple[Path, str]:
    """Make an environment with some packages.

    Returns:
        Its interpreter, and the versions of archdsl's dependencies.
    """
    venv.create(folder)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    # Installing pip in it, and compiling files, would take longer than everything else.
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--no-input"]
    pip.append("--disable-pip-version-check")
    subprocess.run([*pip, "install", "--quiet", "--no-compile", *packages], check=True)
    listed = subprocess.run([*pip, "list"], check=True, capture_output=True, text=True)
    names = {each.partition(">=")[0] for each in requirements()}
    lines = [line.split() for line in listed.stdout.splitlines()]
    return python, ", ".join(" ".join(line) for line in lines if line[0] in names)


def output(python: Path | str, cwd: Path) -> bytes:
    """Return the output of the command in an environment."""
    env = {**os.environ, "COLUMNS": "80", "ARCHDSL_CACHE": "off"}
    if cwd != ROOT:
        env.pop("PYTHONPATH", None)
    command = [python, "-c", SMOKE, *SPECS]
    done = subprocess.run(command, check=True, stdout=-1, cwd=cwd, env=env)
    specs, _, text = done.stdout.partition(b"\n")
    return text.replace(specs, b"specs")  # only the folder may differ


def main() -> int:
    wheel, *flags = sys.argv[1:]
    packages = {
        "lowest": [each.replace(">=", "==") for each in requirements()],
        "newest": [],
    }
    with tempfile.TemporaryDirectory(prefix="archdsl versions ") as name:
        folder = Path(name)

        def run(which: str) -> tuple[str, bytes]:
            wanted = [*flags, *packages[which], wheel]
            python, versions = install(folder / which, wanted)
            return f"{which}: {versions}", output(python, folder)

        # Installing is mostly waiting.
        with ThreadPoolExecutor() as pool:
            found = list(pool.map(run, packages))
    wanted = output(sys.executable, ROOT)
    for line, printed in found:
        same = "the output is the same" if printed == wanted else "ANOTHER OUTPUT"
        print(f"{line}: {same}")
    return 0 if all(printed == wanted for _, printed in found) else 1


if __name__ == "__main__":
    sys.exit(main())
