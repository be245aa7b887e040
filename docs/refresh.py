"""Update the examples and tables of the documentation, so that they match the code.

    python docs/refresh.py           rewrite README.md and all pages of docs/
    python docs/refresh.py PAGE...   only these

The blocks of a page are run from top to bottom in a temporary folder:

- ```arch            a whole spec. All its networks must load, and their claims hold.
- ```arch net.arch   the same, and a file of that name for the blocks that follow;
                     with `unchecked` only that.
- ```arch fragment   statements of a network, whose input is 3x32x32 unless they say.
- ```arch error A1   a spec or fragment that must be refused with the code A1.
- ```console         commands after `$ ` and their output, updated if it differs;
                     a line `...` stands for any lines. `exit=1`: a command fails.
- ```sh              commands whose output is ignored.
- ```python          code, run in one namespace a page. `excerpt SPEC` says instead
                     that it is emitted for SPEC, up to lines `# ...`, `file NAME` that
                     it is a file, and `kind WORD` that it is a layer kind, which the
                     commands after it know.

Between `<!-- table: NAME -->` and `<!-- end -->` is the output of `TABLES`. Pictures
in `images/story/` are drawn by the page's commands.

`docs/story.ipynb` is made from `docs/story.md`: the text in `<!-- notebook ... -->`
replaces the commands below it.
"""

from __future__ import annotations

import contextlib
import io
import json
import keyword
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import archdsl
from archdsl.api import open_spec
from archdsl.cli import main as main_of_archdsl
from archdsl.editor.hover import argument, kind_summary
from archdsl.elaborate.evaluate import FUNCTIONS
from archdsl.elaborate.types import WORDS_OF_TYPES
from archdsl.figures import CLAIMED
from archdsl.initializers import SCHEMES
from archdsl.layer import Field, all_kinds
from archdsl.linter.rule import all_rules
from archdsl.naming import (
    EMITTED_NAMES,
    LANGUAGE_WORDS,
    MODULE_ATTRIBUTES,
    SOFT_KEYWORDS,
)
from archdsl.passes.analysis import analyze
from archdsl.passes.expect import check_expectations
from archdsl.resources import specs_dir
from archdsl.sweeps import FIGURES as SWEEP_FIGURES
from archdsl.syntax import tree
from archdsl.syntax.loader import load_file
from archdsl.variants import variants

ROOT = Path(__file__).resolve().parent.parent
# Set-up that the Makefile and pip are tested for elsewhere.
NOT_RUN = re.compile(r"make |git clone|cd |python3? -m (venv|pip)|pip install|\. |#")
UNPLAYED = frozenset(("elisp", "json", "lua", "text", "toml", "yaml"))
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.M | re.S)
_TABLE = re.compile(r"(<!-- table: ([\w ]+) -->\n).*?(<!-- end -->)", re.S)


def pages() -> list[Path]:
    """Return the pages, the README first."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


class Wrong(Exception):
    """A page that does not match the code."""


# ---- blocks -------------------------------------------------------------------


class Block(NamedTuple):
    """One fenced block of a page.

    Attributes:
        language: the first word of its info string.
        words: the others.
        text: what stands between the fences.
        line: of the opening fence.
    """

    language: str
    words: tuple[str, ...]
    text: str
    line: int


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page."""
    for match in _FENCE.finditer(text):
        language, *words = match[1].split() or [""]
        line = text.count("\n", 0, match.start()) + 1
        yield Block(language, tuple(words), match[2], line)


class Player:
    """Plays the blocks of one page in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, Any] = {"__name__": "page"}
        self.has_own_kind = False
        programs = str(Path(sys.executable).parent)
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
            "NO_COLOR": "1",
            "COLUMNS": "90",
        }

    def play(self, block: Block) -> str:
        """Return the text that the block should have.

        Raises:
            Wrong: if that cannot be made right by another output.
        """
        if block.language == "arch":
            self._arch(block)
        elif block.language == "python":
            self._python(block)
        elif block.language == "console":
            return self._console(block)
        elif block.language == "sh":
            for command in block.text.splitlines():
                if not NOT_RUN.match(command):
                    self.run(command, 0)
        elif block.language not in UNPLAYED:
            raise Wrong(f"nothing says how to test a block of `{block.language}`")
        return block.text

    # ---- specs

    def _arch(self, block: Block) -> None:
        words, text = block.words, block.text
        if words[:1] == ("error",):
            return _check_refused(_whole(text), words[1])
        if words[:1] == ("fragment",):
            text = _whole(text)
        elif not text.startswith("arch 1\n"):
            raise Wrong("a whole spec begins with `arch 1`")
        name = words[0] if words and words[0] != "fragment" else "spec.arch"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if "unchecked" in words:
            return
        if self.has_own_kind:
            self.run(f"archdsl check {name}", 0)
        else:
            _check_spec(path)

    # ---- Python

    def _python(self, block: Block) -> None:
        if block.words[:1] == ("excerpt",):
            return _check_excerpt(block.text, block.words[1], self.folder)
        if block.words[:1] == ("file",):
            path = self.folder / block.words[1]
            path.write_text(block.text, encoding="utf-8")
            return None
        if block.words[:1] == ("kind",):
            return self._kind(block.words[1], block.text)
        if block.words[:1] == ("entry",):
            path = self.folder / "archdsl" / "torch" / "functions"
            (path / f"{block.words[1]}.py").write_text(block.text, encoding="utf-8")
            return None
        code = compile("\n" * block.line + block.text, "<page>", "exec")
        with _inside(self.folder):
            exec(code, self.names)
        return None

    def _kind(self, word: str, text: str) -> None:
        """Make a checkout that has one more layer kind."""
        for part in ("archdsl", "grammar", "specs", "tests", "pyproject.toml"):
            if (ROOT / part).is_dir():
                shutil.copytree(ROOT / part, self.folder / part)
            else:
                shutil.copy(ROOT / part, self.folder / part)
        path = self.folder / "archdsl" / "ops" / f"{word}.py"
        path.write_text(text, encoding="utf-8")
        self.environment["PYTHONPATH"] = str(self.folder)
        self.has_own_kind = True

    # ---- commands

    def _console(self, block: Block) -> str:
        status = 0
        for word in block.words:
            if word.startswith("exit="):
                status = int(word.removeprefix("exit="))
        kept = []
        for command, shown in _session(block.text):
            shown = _renewed(shown, self.run(command, status))
            kept.append(f"$ {command}\n{shown}")
        return "".join(kept)

    def run(self, command: str, status: int) -> str:
        """Return what a command prints.

        archdsl and Python files run in this process. A new one would take half a second
        to start, and several seconds with torch.
        """
        if " && " in command and not status:
            return "".join(self.run(part, 0) for part in command.split(" && "))
        first, _, rest = command.partition(" | ")
        match [] if self.has_own_kind else _words_of(first):
            case ["archdsl", *arguments]:
                if arguments[:1] == ["bench"]:
                    # Times are on no page, so they need not be exact.
                    arguments += ["--seconds", "0.2"]
                found, printed = self._here(lambda: main_of_archdsl(arguments))
            case ["python", path] if path.endswith(".py"):
                found, printed = self._here(lambda: _run_file(path))
            case _:
                found, printed = self._shell(command, "")
                rest = ""
        if rest:
            found, printed = self._shell(rest, printed)
        if found != status:
            raise Wrong(f"`{command}` ends with {found}:\n{printed}")
        return printed

    def _shell(self, command: str, given: str) -> tuple[int, str]:
        """Run a command on a standard input; return its status and output."""
        result = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        return result.returncode, result.stdout

    def _here(self, play: Callable[[], int]) -> tuple[int, str]:
        """Run a command in this process; return its status and output."""
        out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with (
            _inside(self.folder),
            mock.patch.dict(os.environ, self.environment),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            status = play()
        assert isinstance(out.buffer, io.BytesIO)
        return status, out.buffer.getvalue().decode("utf-8")


def _run_file(path: str) -> int:
    """Run a Python file as a program; return its status."""
    try:
        runpy.run_path(path, run_name="__main__")
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _words_of(command: str) -> list[str]:
    """Return a command's words; none if it needs a shell."""
    if re.search(r"[$*?~`\\\n]", command):
        return []
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = list(lexer)
    return [] if any(set(word) <= set("();<>|&") for word in words) else words


def _whole(text: str) -> str:
    """Return statements as a whole spec."""
    if re.match(r"arch |network |block ", text):
        return text
    start = "" if re.search(r"^input ", text, re.M) else "input 3x32x32\n"
    body = textwrap.indent(start + text, "    ")
    return f"arch 1\n\nnetwork example {{\n{body}}}\n"


def _check_spec(path: Path) -> None:
    module, _ = open_spec(path)
    for name in variants(module) or [None]:
        if name is None and not any(d.is_network for d in module.own.values()):
            continue
        network = archdsl.load(path, preset=name)
        refuted = check_expectations(network, analyze(network))
        if refuted:
            raise archdsl.SpecError(refuted)
        archdsl.emit(network)
        archdsl.render(network)


def _check_refused(text: str, code: str) -> None:
    try:
        network = archdsl.loads(text)
        found = check_expectations(network, analyze(network))
    except archdsl.SpecError as error:
        found = error.diagnostics
    if [d.code for d in found] != [code]:
        raise Wrong(f"expected {code}, found {[str(d.render()) for d in found]}")


def _check_excerpt(text: str, spec: str, folder: Path) -> None:
    with _inside(folder):
        emitted = archdsl.emit(archdsl.load(spec))
    at = 0
    for part in re.split(r"^ *# \.\.\.\n", text, flags=re.M):
        found = emitted.find(part.strip("\n"), at)
        if found < 0:
            raise Wrong(f"this is not emitted for {spec}:\n{part}\n---\n{emitted}")
        at = found + len(part)


def _session(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command with the output that is shown below it."""
    for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
        command, _, shown = part.partition("\n")
        while command.endswith("\\"):
            more, _, shown = shown.partition("\n")
            command += "\n" + more
        yield command, shown


def _renewed(shown: str, printed: str) -> str:
    """Return a command's output, shortened as what is shown is, if that still fits."""
    lines = printed.splitlines(keepends=True)
    found: list[str] = []
    at, anchored = 0, True
    for part in re.split(r"^(\.\.\.\n)", shown, flags=re.M):
        if part == "...\n":
            found.append(part)
            anchored = False
        elif part:
            wanted = [line.split() for line in part.splitlines()]
            places = [at] if anchored else range(at, len(lines))
            at = next((p for p in places if _fits(wanted, lines[p:])), -1)
            if at < 0:
                at = max(places, key=lambda p: _likeness(wanted, lines[p:]), default=-1)
            if at < 0 or _likeness(wanted, lines[at:]) < len(wanted) / 3:
                return printed
            found += lines[at : at + len(wanted)]
            at, anchored = at + len(wanted), True
    return "".join(found) if at == len(lines) or not anchored else printed


def _fits(wanted: list[list[str]], lines: list[str]) -> bool:
    return wanted == [line.split() for line in lines[: len(wanted)]]


def _likeness(wanted: list[list[str]], lines: list[str]) -> float:
    """Return how many lines are as wanted; one with half of the words counts half."""
    return sum(
        len({*words} & {*line.split()}) / max(len(words), len(line.split()), 1)
        for words, line in zip(wanted, lines, strict=False)
    )


class _inside:
    """Work in a folder for a while."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.before = os.getcwd()
        os.chdir(self.folder)
        sys.path.insert(0, str(self.folder))
        self.loaded = {*sys.modules}

    def __exit__(self, *_: object) -> None:
        os.chdir(self.before)
        sys.path.remove(str(self.folder))
        for name in {*sys.modules} - self.loaded:
            file = getattr(sys.modules[name], "__file__", "")
            if str(file).startswith(str(self.folder)):
                del sys.modules[name]


# ---- tables -------------------------------------------------------------------


def _rows(head: str, rows: list[tuple[str, ...]]) -> str:
    columns = head.split(" | ")
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    lines = [columns, ["---"] * len(columns), *cells]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def kinds_table() -> str:
    """Return the layer kinds, with their arguments and what they do."""
    rows = [
        (
            f"[`{kind.word}`](layers.md#{kind.word})",
            ", ".join(f"`{argument(f)}`" for f in kind.fields.values()),
            kind_summary(kind),
        )
        for kind in all_kinds()
    ]
    return _rows("word | arguments | what it does", rows)


def layers_text() -> str:
    """Return a section for each layer kind, from its docstring and its fields."""
    parts = []
    for kind in all_kinds():
        text = textwrap.dedent("    " + (kind.__doc__ or "")).strip()
        parts.append(f"## {kind.word}\n\n{text}\n")
        if kind.fields:
            rows = [
                (f"`{argument(f)}`", _type(f), _place(f), f.help)
                for f in kind.fields.values()
            ]
            parts.append(_rows("argument | type | written | what it is", rows))
    return "\n" + "\n".join(parts) + "\n"


def _type(field: Field) -> str:
    words = ", ".join(f"`{word}`" for word in field.choices)
    if field.type == "choice":
        return words
    bounds = f" or {words}" if words else ""
    if field.minimum is not None and field.maximum is not None:
        bounds = f", {field.minimum:g} to {field.maximum:g}{bounds}"
    elif field.minimum is not None:
        bounds = f", {field.minimum:g} or more{bounds}"
    return ("kernel" if field.type == "window" else field.type) + bounds


def _place(field: Field) -> str:
    if field.position == "/":
        return "after `/`, or by name"
    return "by name" if field.position is None else "by place, or by name"


def functions_table() -> str:
    """Return the functions of expressions."""
    rows = [(f"`{name}`", entry[3]) for name, entry in FUNCTIONS.items()]
    return _rows("function | what it gives", rows)


def types_table() -> str:
    """Return the types of parameters."""
    return _rows(
        "type | accepted values",
        [(f"`{name}`", words) for name, words in WORDS_OF_TYPES.items()],
    )


def schemes_table() -> str:
    """Return the initialisation schemes."""
    rows = [
        (f"`{name}`", ", ".join(f"`{a}`" for a in scheme.arguments), scheme.help)
        for name, scheme in SCHEMES.items()
    ]
    return _rows("scheme | arguments | what it draws", rows)


def measures_text() -> str:
    """Return the figures that `expect` knows, as one line."""
    return ", ".join(f"`{name}`" for name in CLAIMED) + ".\n"


def library_table() -> str:
    """Return what the libraries define, by the comments above it."""
    rows = []
    for path in sorted(specs_dir().glob("std/*.arch")):
        module = load_file(path)
        for item in module.file.items:
            if isinstance(item, tree.Definition):
                doc = item.doc
            elif isinstance(item, tree.FunctionDef):
                doc = item.span.source.line(item.span.line - 1).removeprefix("# ")
            else:
                continue
            rows.append((f"`{path.stem}`", f"`{_header(item)}`", " ".join(doc.split())))
    return _rows("library | what it defines | what it is", rows)


def _header(item: tree.Definition | tree.FunctionDef) -> str:
    left, right = "<>" if isinstance(item, tree.Definition) else "()"
    names = [
        p.name
        if p.default is None or p.name == "body"
        else f"{p.name} = {_default_of(p)}"
        for p in item.params
    ]
    inputs = ", ".join(name for name, _ in getattr(item, "inputs", ()))
    taken = f"({inputs})" if inputs else ""
    if left == "<" and not names:
        return f"{item.name}{taken}"
    return f"{item.name}{left}{', '.join(names)}{right}{taken}"


def _default_of(param: tree.Param) -> str:
    assert param.default is not None
    return param.default.span.text


def rules_text() -> str:
    """Return the rules of lint, then a section for each."""
    rules = list(all_rules().values())
    rows = [
        (f"[{r.code}](#{r.code.lower()}-{r.name})", f"`{r.name}`", r.title)
        for r in rules
    ]
    parts = [_rows("code | name | what it finds", rows)]
    for rule in rules:
        file = f"{rule.name}.arch"
        parts += [
            f"### {rule.code} {rule.name}\n",
            f"{rule.text()}\n",
            f"```arch {file}\n{rule.bad}```\n",
            f"```console exit=1\n$ archdsl lint --select {rule.code} {file}\n```\n",
            f"Better:\n\n```arch\n{rule.good}```\n",
        ]
    return "\n" + "\n".join(parts) + "\n"


def limits_table() -> str:
    """Return the limits on the size of specs."""
    from archdsl import limits

    words = {
        "MAX_FILE_BYTES": "bytes of a file",
        "MAX_NETWORK_BYTES": "bytes of a network as JSON",
        "MAX_TOKENS": "words and symbols of a file",
        "MAX_IMPORTS": "files that one spec imports",
        "MAX_DEPTH": "levels of brackets, operators, blocks and bodies",
        "MAX_REPEAT": "copies of a repeat, items of a range",
        "MAX_PARTS": "layers and blocks of a network, counted before they are made",
        "MAX_FOLDERS": "folders below a folder that is given as SPEC",
        "MAX_CHECKED": "layers of all networks of a file, for `check` and `lint`; each "
        f"network counts as {limits.NETWORK_PARTS} more",
        "MAX_WRITTEN": "layers of a network that is compiled, expanded, trained or "
        "drawn",
        "MAX_RUN": "layers of a network for `check --torch` and `analyze --gradients`",
        "MAX_SEEN": "positions of all maps, for `check --torch` to compare receptive "
        "fields",
        "MAX_RUN_MACS": "MACs of all samples of `analyze --gradients`",
        "MAX_DRAWN": "rows that the arrows of a picture cross; not for dot text",
        "MAX_INTEGER": "the largest integer, and size of a tensor along one axis",
        "MAX_LIST": "items of a list",
        "MAX_BRANCHES": "branches of a merge",
        "MAX_NAMES": "names of parameters and values in one block",
        "MAX_STEPS": "steps that a spec takes to expand",
    }
    known = {name: n for name, n in vars(limits).items() if name.startswith("MAX_")}
    if known.keys() != words.keys():
        raise Wrong(f"the limits are {', '.join(known)}")
    return _rows(
        "limit | of what", [(f"{known[name]:,}", word) for name, word in words.items()]
    )


def reserved_table() -> str:
    """Return the names that cannot be used, by what they cannot name."""
    rows = [
        ("a label", "attributes of torch's modules", MODULE_ATTRIBUTES),
        (
            "a label, parameter, value, loop variable or preset",
            "used by compiled code",
            EMITTED_NAMES,
        ),
        (
            "anything but a label",
            "words of the language",
            LANGUAGE_WORDS - set(keyword.kwlist),
        ),
        ("anything", "Python's keywords", frozenset(keyword.kwlist)),
        ("anything but a label", "Python's soft keywords", SOFT_KEYWORDS - {"_"}),
    ]
    return _rows(
        "what cannot be named | why | names",
        [
            (what, why, " ".join(f"`{name}`" for name in sorted(names)))
            for what, why, names in rows
        ],
    )


def figures_table() -> str:
    """Return the exact figures of the networks that the page explains."""
    presets = (
        "alexnet", "vgg16", "vgg19", "googlenet", "googlenet_paper", "resnet18",
        "resnet34", "resnet50", "resnet101", "resnet152", "densenet121",
        "densenet161", "densenet169", "densenet201",
    )  # fmt: skip
    rows = []
    for preset in presets:
        facts = archdsl.analyze(archdsl.load(preset, symbolic=False))
        inference = facts.params - facts.auxiliary.params
        field = facts.receptive_field
        assert field is not None
        rows.append(
            (
                f"`{preset}`",
                f"{facts.params:,}",
                f"{inference:,}",
                str(facts.depth),
                f"{facts.macs:,}",
                f"{field.size[0]}",
            )
        )
    return _rows(
        "preset | params | without auxiliary heads | depth | MACs | receptive field",
        rows,
    )


def sweep_table() -> str:
    """Return the figures that a sweep computes."""
    rows = [
        (f"`{name}`", each.unit, each.help, _DEPENDS[each.depends])
        for name, each in SWEEP_FIGURES.items()
    ]
    return _rows("figure | unit | what it is | depends on", rows)


_DEPENDS = {
    "layers": "the layers, as their sum",
    "wiring": "how weighted layers are wired",
    "windows": "what layers read of a map",
    "graph": "everything",
}


def five_table() -> str:
    """Return what is said and what is so of the five networks of the story."""
    rows = []
    for preset, year, said in (
        ("alexnet", 2012, "60M"),
        ("vgg19", 2014, "110M"),
        ("googlenet", 2014, "4M"),
        ("resnet50", 2015, "-"),
        ("densenet121", 2016, "-"),
    ):
        facts = archdsl.analyze(archdsl.load(preset, symbolic=False))
        inference = facts.params - facts.auxiliary.params
        figures = f"{inference:,}", str(facts.depth), f"{facts.macs:,}"
        rows.append((f"`{preset}`", str(year), said, *figures))
    return _rows("network | year | said to have | parameters | layers | MACs", rows)


TABLES = {
    "kinds": kinds_table,
    "layers": layers_text,
    "functions": functions_table,
    "types": types_table,
    "schemes": schemes_table,
    "measures": measures_text,
    "library": library_table,
    "limits": limits_table,
    "reserved": reserved_table,
    "rules": rules_text,
    "figures": figures_table,
    "five": five_table,
    "figures of a sweep": sweep_table,
}


# ---- the notebook ---------------------------------------------------------------

STORY = ROOT / "docs" / "story.md"
NOTEBOOK = STORY.with_suffix(".ipynb")
PICTURES = STORY.parent / "images" / "story"
_CELL = re.compile(
    r"^<!-- notebook\n(?P<code>.*?)^-->\n|^```(?P<info>[^\n]*)\n(?P<text>.*?)^```\n",
    re.M | re.S,
)
_FIRST = """\
# pip install "archdsl[plot,render,torch]"
import archdsl

%load_ext archdsl"""


def notebook(text: str) -> str:
    """Return a page as a Jupyter notebook without outputs.

    What stands in comments of the page is code. So are whole specs, which the magic
    `%%arch` loads. Commands and pictures are left out, as the code shows the same.
    """
    cells: list[tuple[str, str]] = []
    end = 0
    for match in _CELL.finditer(text):
        cells.append(("markdown", text[end : match.start()]))
        end = match.end()
        if match["code"] is not None:
            cells.append(("code", match["code"]))
        elif match["info"].startswith("arch "):
            cells.append(("code", f"%%arch\n{match['text']}"))
    cells.append(("markdown", text[end:]))
    found = [("code", _FIRST)]
    for kind, source in cells:
        if kind == "markdown":
            source = re.sub(r"^(!\[.*|<img .*|<!-- .* -->)\n", "", source, flags=re.M)
            source = re.sub(r"\n{3,}", "\n\n", source)
        if source.strip():
            found.append((kind, source.strip("\n")))
    # The title comes before the first code.
    found[0], found[1] = found[1], found[0]
    book = {
        "cells": [_cell(n, kind, source) for n, (kind, source) in enumerate(found)],
        "metadata": {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(book, indent=1, ensure_ascii=False) + "\n"


def _cell(number: int, kind: str, source: str) -> dict[str, Any]:
    lines = source.splitlines(keepends=True)
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": lines}
    if kind == "code":
        cell |= {"execution_count": None, "outputs": []}
    return cell


def pictures(text: str, folder: Path) -> dict[Path, Path]:
    """Return the pictures of the story that a page shows, with those just drawn.

    Raises:
        Wrong: if no command of the page draws one of them.
    """
    found = {}
    for name in re.findall(r"images/story/([\w.]+)", text):
        drawn = folder / name
        if not drawn.exists():
            raise Wrong(f"no command draws {name}")
        found[PICTURES / name] = drawn
    return found


def words_of(picture: Path) -> list[str]:
    """Return the texts of an svg, as coordinates may differ between machines."""
    text = picture.read_text(encoding="utf-8")
    return sorted(re.findall(r">([^<>]*[^<>\s][^<>]*)</", text))


# ---- pages --------------------------------------------------------------------


def refreshed(text: str, folder: Path) -> str:
    """Return a page as it should be.

    Args:
        text: the page.
        folder: an empty folder to play it in.

    Raises:
        Wrong: with the line, if a block is not so and no output could mend it.
    """
    text = _TABLE.sub(lambda m: m[1] + TABLES[m[2]]() + m[3], text)
    player = Player(folder)
    parts, end = [], 0
    for match, block in zip(_FENCE.finditer(text), blocks(text), strict=True):
        try:
            shown = player.play(block)
        except Exception as error:
            raise Wrong(
                f"line {block.line}: {type(error).__name__}: {error}"
            ) from error
        parts += [text[end : match.start(2)], shown]
        end = match.end(2)
    return "".join([*parts, text[end:]])


def main() -> int:
    """Rewrite the pages; the status is 1 if one of them cannot be."""
    status = 0
    named = [Path(name).resolve() for name in sys.argv[1:]]
    for page in named or pages():
        text = page.read_text(encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            try:
                new = refreshed(text, Path(folder))
                drawn = pictures(new, Path(folder))
            except Wrong as error:
                print(f"{page.relative_to(ROOT)}: {error}", file=sys.stderr)
                status = 1
                continue
            for old, picture in drawn.items():
                if not old.exists() or old.read_bytes() != picture.read_bytes():
                    old.parent.mkdir(exist_ok=True)
                    shutil.copy(picture, old)
                    print(f"drawn: {old.relative_to(ROOT)}")
        if new != text:
            page.write_text(new, encoding="utf-8")
            print(f"rewritten: {page.relative_to(ROOT)}")
    made = notebook(STORY.read_text(encoding="utf-8"))
    if not NOTEBOOK.exists() or NOTEBOOK.read_text(encoding="utf-8") != made:
        NOTEBOOK.write_text(made, encoding="utf-8")
        print(f"rewritten: {NOTEBOOK.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main())
