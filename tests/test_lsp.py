"""The language server, used as by editors: messages over stdin and stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TEXT = """\
arch 1

# Ünïts 😀 take two places in UTF-16.
block unit<width> { conv 3x3 width -> bn -> relu }

network net {
    input 3x8x8
    stem: unit<16>
    globalavgpool -> linear 10
}
"""


class Editor:
    """An editor with one file open."""

    def __init__(self, path: Path) -> None:
        self.uri = path.as_uri()
        self.last = 0
        self.told: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "archdsl", "lsp"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def send(self, method: str, params: Any, **more: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params, **more}
        body = json.dumps(message).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        stream = self.process.stdout
        assert stream is not None
        length = 0
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the server has ended"
        message: dict[str, Any] = json.loads(stream.read(length))
        return message

    def ask(self, method: str, **params: Any) -> Any:
        """Return the answer to a request; notifications in between are kept."""
        self.last += 1
        self.send(method, params, id=self.last)
        while (message := self.receive()).get("id") != self.last:
            self.told.append(message)
        assert "error" not in message, message
        return message["result"]

    def about(self, method: str, line: int, character: int) -> Any:
        place = {"line": line, "character": character}
        return self.ask(
            f"textDocument/{method}", textDocument={"uri": self.uri}, position=place
        )

    def change(self, text: str, version: int) -> list[dict[str, Any]]:
        """Return the diagnostics after an edit."""
        changes = [{"text": text}]
        document = {"uri": self.uri, "version": version}
        self.send(
            "textDocument/didChange",
            {"textDocument": document, "contentChanges": changes},
        )
        return self.diagnostics()

    def diagnostics(self) -> list[dict[str, Any]]:
        while True:
            message = self.told.pop(0) if self.told else self.receive()
            if message["method"] == "textDocument/publishDiagnostics":
                found: list[dict[str, Any]] = message["params"]["diagnostics"]
                return found


@pytest.fixture(scope="module")
def editor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Editor]:
    pytest.importorskip("pygls")
    path = tmp_path_factory.mktemp("editor") / "net.arch"
    path.write_text(TEXT, encoding="utf-8")
    editor = Editor(path)
    capabilities: dict[str, Any] = {"general": {"positionEncodings": ["utf-16"]}}
    found = editor.ask(
        "initialize", processId=None, rootUri=None, capabilities=capabilities
    )
    assert found["serverInfo"]["name"] == "archdsl"
    editor.send("initialized", {})
    document = {"uri": editor.uri, "languageId": "arch", "version": 1, "text": TEXT}
    editor.send("textDocument/didOpen", {"textDocument": document})
    yield editor
    with editor.process:
        editor.ask("shutdown")
        editor.send("exit", None)
    assert editor.process.returncode == 0


def test_what_is_wrong_is_told(editor: Editor) -> None:
    """After opening with advice, after edits with errors, until they are fixed."""
    (advice,) = editor.diagnostics()
    assert advice["severity"] == 2 and advice["code"].startswith("W")
    (wrong,) = editor.change(TEXT.replace("linear 10", "linearr 10"), 2)
    assert (wrong["code"], wrong["severity"], wrong["source"]) == (
        "A0106",
        1,
        "archdsl",
    )
    assert "did you mean `linear`" in wrong["message"]
    assert wrong["range"]["start"] == {"line": 8, "character": 21}
    assert wrong["range"]["end"] == {"line": 8, "character": 28}
    assert editor.change(TEXT, 3) == []


def test_answers(editor: Editor) -> None:
    hover = editor.about("hover", 3, 20)
    assert "3x8x8 -> 16x8x8, 432 parameters, 27,648 MACs" in hover["contents"]["value"]
    found = editor.about("definition", 7, 10)
    assert found["uri"] == editor.uri
    assert found["range"]["start"] == {"line": 3, "character": 6}
    offered = [each["label"] for each in editor.about("completion", 7, 13)]
    assert "unit" in offered and "linear" not in offered
    symbols = editor.ask(
        "textDocument/documentSymbol", textDocument={"uri": editor.uri}
    )
    assert [symbol["name"] for symbol in symbols] == ["unit", "net"]
    assert [child["name"] for child in symbols[1]["children"]] == ["stem"]


def test_text_is_formatted(editor: Editor) -> None:
    document = {"uri": editor.uri}
    options = {"tabSize": 4, "insertSpaces": True}
    editor.change(TEXT.replace("stem: ", "stem:   "), 4)
    (edit,) = editor.ask(
        "textDocument/formatting", textDocument=document, options=options
    )
    assert edit["newText"] == TEXT
    assert edit["range"]["start"] == {"line": 0, "character": 0}
    assert editor.change("", 5)[0]["code"] == "A0007"
    assert editor.about("hover", 0, 0) is None
    editor.send("textDocument/didClose", {"textDocument": document})
    assert editor.diagnostics() == []
