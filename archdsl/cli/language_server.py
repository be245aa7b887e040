"""The language server: `archdsl.editor` by the Language Server Protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lsprotocol import types as lsp
from pygls.lsp.server import LanguageServer
from pygls.workspace import TextDocument

from archdsl import __version__
from archdsl.api import lint_module
from archdsl.diagnostics import Diagnostic, SpecError
from archdsl.editor import Completion, Document, Symbol
from archdsl.source import Span
from archdsl.syntax.format import format_source

_SYMBOLS: Final = {
    "network": lsp.SymbolKind.Class,
    "block": lsp.SymbolKind.Class,
    "preset": lsp.SymbolKind.Constant,
    "function": lsp.SymbolKind.Function,
    "op": lsp.SymbolKind.Interface,
    "parameter": lsp.SymbolKind.Variable,
    "name": lsp.SymbolKind.Variable,
    "input": lsp.SymbolKind.Variable,
    "label": lsp.SymbolKind.Field,
}
_COMPLETIONS: Final = {
    "layer": lsp.CompletionItemKind.Class,
    "block": lsp.CompletionItemKind.Class,
    "op": lsp.CompletionItemKind.Class,
    "network": lsp.CompletionItemKind.Class,
    "structure": lsp.CompletionItemKind.Keyword,
    "keyword": lsp.CompletionItemKind.Keyword,
    "label": lsp.CompletionItemKind.Field,
    "argument": lsp.CompletionItemKind.Property,
    "choice": lsp.CompletionItemKind.EnumMember,
    "function": lsp.CompletionItemKind.Function,
    "library": lsp.CompletionItemKind.Module,
}
# Characters after which an editor asks for completions at once.
_TRIGGERS: Final = ("@", "<", "=", ".")


class Server(LanguageServer):
    """Holds the open specs, and answers requests."""

    def __init__(self) -> None:
        super().__init__(
            "archdsl",
            __version__,
            text_document_sync_kind=lsp.TextDocumentSyncKind.Full,
        )
        self.specs: dict[str, Document] = {}
        self.advice: dict[str, Sequence[Diagnostic]] = {}

    def text(self, uri: str) -> TextDocument:
        """Return the document of an open spec, which converts lines and columns."""
        return self.workspace.get_text_document(uri)

    def spec(self, uri: str) -> Document:
        """Return an open spec with its current text."""
        text, known = self.text(uri), self.specs.get(uri)
        if known is None:
            path = Path(text.path) if uri.startswith("file:") else None
            known = Document(text.source, path)
        elif known.text != text.source:
            known = known.edited(text.source)
        self.specs[uri] = known
        return known

    def asked(
        self, params: lsp.HoverParams | lsp.DefinitionParams | lsp.CompletionParams
    ) -> tuple[str, int]:
        """Return the spec and the offset that a request is about."""
        uri = params.text_document.uri
        return uri, self.text(uri).offset_at_position(params.position)

    def check(self, uri: str, *, advise: bool) -> None:
        """Send the diagnostics of a spec to the editor.

        Args:
            uri: the spec.
            advise: whether to lint as well, which takes longer; old advice disappears
                with the first edit.
        """
        spec = self.spec(uri)
        self.advice[uri] = _advice(spec) if advise and not spec.diagnostics else ()
        found = [self._shown(uri, d) for d in (*spec.diagnostics, *self.advice[uri])]
        self.text_document_publish_diagnostics(
            lsp.PublishDiagnosticsParams(uri, found, self.text(uri).version)
        )

    def forget(self, uri: str) -> None:
        """Drop a spec that was closed, and its diagnostics."""
        self.specs.pop(uri, None)
        self.advice.pop(uri, None)
        self.text_document_publish_diagnostics(lsp.PublishDiagnosticsParams(uri, []))

    def span(self, uri: str, span: Span) -> lsp.Range:
        """Convert a span of an open spec to the editor's range."""
        return _range(self.text(uri), span)

    def _shown(self, uri: str, diagnostic: Diagnostic) -> lsp.Diagnostic:
        span, message = diagnostic.span, diagnostic.message
        elsewhere = span is not None and span.source.name != self.spec(uri).source.name
        if span is None or elsewhere:
            message = f"{span}: {message}" if span is not None else message
            span = Span(self.spec(uri).source, 0, 0)
        parts = [diagnostic.label, *diagnostic.notes]
        if diagnostic.help:
            parts.append(f"help: {diagnostic.help}")
        severity = lsp.DiagnosticSeverity
        return lsp.Diagnostic(
            range=self.span(uri, span),
            message="\n".join([message, *filter(None, parts)]),
            code=diagnostic.code,
            source="archdsl",
            severity=severity.Error
            if diagnostic.severity == "error"
            else severity.Warning,
        )


def _advice(spec: Document) -> Sequence[Diagnostic]:
    try:
        report = lint_module(spec.module, None, {}, None, None)
    except SpecError as error:
        return error.diagnostics  # errors of presets that are not shown
    return [advice.diagnostic() for advice in report.advice]


def _range(text: TextDocument, span: Span) -> lsp.Range:
    if not text.source:
        return lsp.Range(lsp.Position(0, 0), lsp.Position(0, 0))
    start, end = map(text.client_position_at_offset, (span.start, span.end))
    return lsp.Range(start, end)


def make() -> Server:
    """Return a server that has not started yet."""
    server = Server()

    @server.feature(lsp.TEXT_DOCUMENT_DID_OPEN)
    def opened(params: lsp.DidOpenTextDocumentParams) -> None:
        server.check(params.text_document.uri, advise=True)

    @server.feature(lsp.TEXT_DOCUMENT_DID_SAVE)
    def saved(params: lsp.DidSaveTextDocumentParams) -> None:
        server.check(params.text_document.uri, advise=True)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CHANGE)
    def changed(params: lsp.DidChangeTextDocumentParams) -> None:
        server.check(params.text_document.uri, advise=False)

    @server.feature(lsp.TEXT_DOCUMENT_DID_CLOSE)
    def closed(params: lsp.DidCloseTextDocumentParams) -> None:
        server.forget(params.text_document.uri)

    @server.feature(lsp.TEXT_DOCUMENT_DOCUMENT_SYMBOL)
    def symbols(params: lsp.DocumentSymbolParams) -> list[lsp.DocumentSymbol]:
        uri = params.text_document.uri
        return [_symbol(server, uri, each) for each in server.spec(uri).symbols()]

    @server.feature(lsp.TEXT_DOCUMENT_HOVER)
    def hover(params: lsp.HoverParams) -> lsp.Hover | None:
        uri, at = server.asked(params)
        found = server.spec(uri).hover(at)
        if found is None:
            return None
        text = lsp.MarkupContent(lsp.MarkupKind.Markdown, found.text)
        return lsp.Hover(text, server.span(uri, found.span))

    @server.feature(lsp.TEXT_DOCUMENT_DEFINITION)
    def definition(params: lsp.DefinitionParams) -> lsp.Location | None:
        uri, at = server.asked(params)
        found = server.spec(uri).definition(at)
        if found is None:
            return None
        if found.path is None or found.path == server.spec(uri).path:
            return lsp.Location(uri, server.span(uri, found.span))
        text = found.span.source.text
        other = TextDocument(
            found.path.as_uri(), text, position_codec=server.text(uri).position_codec
        )
        return lsp.Location(other.uri, _range(other, found.span))

    @server.feature(
        lsp.TEXT_DOCUMENT_COMPLETION,
        lsp.CompletionOptions(trigger_characters=_TRIGGERS),
    )
    def completion(params: lsp.CompletionParams) -> list[lsp.CompletionItem]:
        uri, at = server.asked(params)
        return [_completion(each) for each in server.spec(uri).completions(at)]

    @server.feature(lsp.TEXT_DOCUMENT_FORMATTING)
    def formatting(params: lsp.DocumentFormattingParams) -> list[lsp.TextEdit] | None:
        uri = params.text_document.uri
        source = server.spec(uri).source
        try:
            new = format_source(source)
        except SpecError:
            return None  # the editor shows the errors already
        whole = Span(source, 0, len(source.text))
        return [lsp.TextEdit(server.span(uri, whole), new)]

    return server


def _symbol(server: Server, uri: str, symbol: Symbol) -> lsp.DocumentSymbol:
    return lsp.DocumentSymbol(
        name=symbol.name,
        kind=_SYMBOLS[symbol.kind],
        detail=symbol.kind,
        range=server.span(uri, symbol.extent),
        selection_range=server.span(uri, symbol.span),
        children=[_symbol(server, uri, child) for child in symbol.children],
    )


def _completion(each: Completion) -> lsp.CompletionItem:
    kind = _COMPLETIONS.get(each.kind, lsp.CompletionItemKind.Variable)
    return lsp.CompletionItem(each.text, kind=kind, detail=each.detail or each.kind)
