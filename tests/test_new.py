"""`archdsl new`: specs from templates, and the templates themselves."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import torch

import archdsl
from archdsl.api import open_spec
from archdsl.passes.expect import check_expectations
from archdsl.resources import shipped_specs, templates
from archdsl.syntax.loader import read_source
from tests.test_cli import Run, folder, run, spawn

__all__ = ["folder", "run"]  # fixtures

TEMPLATES = sorted(templates())
NEXT = ("check", "analyze", "render", "compile")


def unit(inputs: int, width: int) -> int:
    """Return the parameters of a classifier's unit, its projection included."""
    projection = inputs * width + 2 * width if inputs != width else 0
    return 9 * inputs * width + 9 * width * width + 4 * width + projection


def double(inputs: int, width: int) -> int:
    return 9 * inputs * width + 9 * width * width + 4 * width


COUNTED = {
    "classifier": 27 * 16
    + 2 * 16
    + sum(unit(a, b) for a, b in [(16, 16), (16, 32), (32, 64), (64, 128)])
    + 129 * 10,
    "unet": sum(double(a, b) for a, b in [(3, 32), (32, 64), (64, 128), (128, 256)])
    + sum(4 * 2 * w * w + w + double(2 * w, w) for w in (128, 64, 32))
    + 33 * 2,
    "generator": 100 * 16 * 512
    + 2 * 512
    + sum(16 * a * b + 2 * b for a, b in [(512, 256), (256, 128), (128, 64)])
    + 16 * 64 * 3
    + 3,
}


# ---- the templates ----------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_is_canonical_and_claims_what_it_is(name: str) -> None:
    source = read_source(templates()[name])
    assert archdsl.format(source.text) == source.text
    network = archdsl.load(templates()[name])
    facts = archdsl.analyze(network)
    assert {claim.measure for claim in network.expectations} >= {"params", "output"}
    assert check_expectations(network, facts) == []
    assert facts.params == COUNTED[name]
    # The network itself has comments for beginners.
    assert len(re.findall(r"^    +# ", source.text, re.M)) >= 3
    assert max(map(len, source.text.splitlines())) <= 88


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_can_be_built_and_trained(name: str) -> None:
    network = archdsl.load(templates()[name])
    module = archdsl.build(network)
    shape = network.inputs[0].shape
    output = module(torch.randn(2, *shape))
    assert tuple(output.shape[1:]) == network.outputs[0].shape
    output.square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_templates_are_no_shipped_networks(run: Run) -> None:
    assert not any("templates" in name for name in shipped_specs())
    assert "Template" not in run("list").out
    for name in TEMPLATES:
        with pytest.raises(archdsl.SpecError, match="A0501"):
            open_spec(f"templates/{name}")


def test_help_names_every_template(run: Run) -> None:
    out = run("new", "--help").out
    for name in TEMPLATES:
        assert re.search(rf"^    {name}  ", out, re.M), name


# ---- the command ------------------------------------------------------------------


@pytest.mark.parametrize("template", [None, *TEMPLATES])
def test_a_new_spec_is_ready(run: Run, folder: Path, template: str | None) -> None:
    chosen = ["--template", template] if template else []
    code, out, err = run("new", "my_net", *chosen)
    assert (code, err) == (0, "")
    assert out.startswith("wrote my_net.arch\n")
    text = (folder / "my_net.arch").read_text(encoding="utf-8")
    assert "network my_net<" in text
    assert "Template" not in text
    known = templates()[template or "classifier"].read_text(encoding="utf-8")
    assert text == archdsl.format(known.replace("Template", "my_net"))
    assert os.listdir(folder) == ["my_net.arch"]
    assert run("fmt", "--check", "my_net.arch").code == 0
    # The commands that it suggests work.
    commands = re.findall(r"^  archdsl (.*)$", out, re.M)
    assert tuple(command.split()[0] for command in commands) == NEXT
    for command in commands:
        assert run(*command.split())[::2] == (0, "")
    assert {"my_net.svg", "my_net.py"} <= set(os.listdir(folder))


def test_a_long_name_keeps_the_layout(run: Run, folder: Path) -> None:
    name = "a" * 90
    assert run("new", name).code == 0
    assert run("fmt", "--check", f"{name}.arch").code == 0
    assert run("check", f"{name}.arch").code == 0


def test_another_file_or_standard_output(run: Run, folder: Path) -> None:
    os.mkdir("nets of mine")
    code, out, _ = run("new", "net", "-o", "nets of mine/first.arch")
    assert code == 0
    assert "archdsl check 'nets of mine/first.arch'\n" in out
    assert "-o 'nets of mine/first.py'\n" in out
    code, printed, err = run("new", "net", "-o", "-")
    assert (code, err) == (0, "")
    assert printed == Path("nets of mine/first.arch").read_text(encoding="utf-8")
    assert os.listdir(folder) == ["nets of mine"]


def test_a_path_that_looks_like_an_option(run: Run, folder: Path) -> None:
    out = run("new", "net", "-o", "-net.arch").out
    assert "archdsl check ./-net.arch\n" in out
    assert run("check", "./-net.arch").code == 0


@pytest.mark.parametrize("links", [True, False])
def test_no_file_is_overwritten(
    run: Run, folder: Path, links: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("this file system has no hard links")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    assert run("new", "net").code == 0
    before = (folder / "net.arch").read_bytes()
    os.symlink("nowhere", "dangling.arch")
    for arguments in (["net"], ["net", "--template", "unet"], ["dangling"]):
        code, out, err = run("new", *arguments)
        assert (code, out) == (2, "")
        assert err == f"archdsl: cannot write {arguments[0]}.arch: file exists\n"
    assert (folder / "net.arch").read_bytes() == before
    assert sorted(os.listdir(folder)) == ["dangling.arch", "net.arch"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("class", "is a keyword of Python, and the name becomes Python code (A0103)"),
        ("relu", "`relu` is a layer kind, and cannot be defined again (A0103)"),
        ("block", "has a meaning of its own (A0103)"),
        ("_net", "starts with an underscore"),
        ("3d", "begins with a digit (A0103)"),
        ("my-net", "digits and underscores (A0103); did you mean `my_net`?"),
        ("net.arch", "(A0103); did you mean `net`?"),
        ("../net", "(A0103); did you mean `net`?"),
        ("größe", "(A0103)"),
        ("net\n", "(A0103); did you mean `net`?"),
        ("", "(A0103)"),
        ("a" * 101, "is longer than 100 characters (A0103)"),
        ("unit", "`unit` is defined twice (A0101)"),
    ],
)
def test_refused_names(run: Run, folder: Path, name: str, message: str) -> None:
    code, out, err = run("new", name)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert os.listdir(folder) == []


def test_a_folder_that_is_not_there(run: Run, folder: Path) -> None:
    code, out, err = run("new", "net", "-o", "no/net.arch")
    assert (code, out) == (2, "")
    assert err == "archdsl: cannot write no/net.arch: no such file or directory\n"


def test_unknown_templates(run: Run, folder: Path) -> None:
    code, _, err = run("new", "net", "--template", "gan")
    assert code == 2
    for name in TEMPLATES:
        assert name in err


def test_a_new_spec_needs_no_torch(tmp_path: Path) -> None:
    blocked = tmp_path / "torch.py"
    blocked.write_text("raise SystemExit('torch was imported')\n")
    done = spawn("new", "net", cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
