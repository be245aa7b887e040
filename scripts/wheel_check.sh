#!/usr/bin/env bash
# Installs a built wheel without torch, away from the checkout, and uses it there.
# usage: scripts/wheel_check.sh PYTHON WHEEL
set -euo pipefail

python=$1
wheel=$2
constraints=$PWD/constraints.txt

folder=$(mktemp -d "${TMPDIR:-/tmp}/archdsl wheel.XXXXXX")
trap 'rm -rf "$folder"' EXIT
unset PYTHONPATH

"$python" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip --no-input --disable-pip-version-check \
    install --quiet -c "$constraints" "$wheel"

mkdir "$folder/elsewhere"
cd "$folder/elsewhere"
PATH=$folder/venv/bin:$PATH

python - <<'PYTHON'
import importlib.util
import sys
from pathlib import Path

import archdsl
from archdsl.resources import grammar_text, specs_dir

assert importlib.util.find_spec("torch") is None, "torch came along with the wheel"
package = Path(archdsl.__file__).resolve().parent
assert package.is_relative_to(Path(sys.prefix).resolve()), package
assert (package / "py.typed").is_file(), "no py.typed in the wheel"
assert specs_dir().is_relative_to(package), specs_dir()
assert grammar_text(), "the grammar is empty"
assert any(specs_dir().rglob("*.arch")), "no specs in the wheel"
PYTHON

set -x
archdsl list
archdsl analyze googlenet
archdsl compile resnet:resnet18 -o resnet18.py
test -s resnet18.py
python -m py_compile resnet18.py
python -m archdsl --help >/dev/null
archdsl new my_net --template unet
archdsl check my_net.arch
