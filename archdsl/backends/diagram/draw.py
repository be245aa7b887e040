"""Draws a network: as dot text, or as a page if a layout engine is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from archdsl.diagnostics import Diagnostic, SpecError, did_you_mean
from archdsl.files import write
from archdsl.ir import Group, Network
from archdsl.limits import MAX_DRAWN

from .accessible import accessible
from .bend import bottom_or_reason
from .choose import sheet
from .dot import DotWriter, new_graph
from .labels import title
from .layout import FORMATS, TEXT_FORMATS, UnknownFormat, run_engine
from .options import DEFAULT, SMALLEST, Options, check_options
from .pack import scale
from .picture import (
    Box,
    Picture,
    Subject,
    closed,
    part_of,
    path_of,
    picture,
    whole_network,
)
from .place import Page, lay_out_sheet
from .volumes import volumes, volumes_page

# The largest gain from closer rows.
_NEARLY = 0.8
# Cairo cannot draw images with longer sides than this.
_MAX_PIXELS = 32_767


class UnknownPart(ValueError):
    """A block or path that the network does not have; the message lists some."""


def dot_source(
    network: Network, *, fold: bool = True, options: Options = DEFAULT
) -> str:
    """Return a network's diagram as dot text, the same bytes on every run.

    Args:
        network: what to draw.
        fold: draw equal consecutive copies once, and a chain's steps as one node.
        options: how to draw otherwise.

    Raises:
        UnknownPart: if there is no such block or path.
    """
    return Drawing(network, options._replace(fold=fold and options.fold)).source()


class Drawing:
    """A network that is drawn.

    Attributes:
        network: the network.
        options: how to draw; invalid ones raise ValueError or TypeError.
        subject: the network, or a part of it.
        sheet: the contents of the page.
        chain: the chain, if it is drawn as volumes.

    Raises:
        SpecError: if it is to be drawn as volumes but is not a chain, or as a U but
            does not have that form.
    """

    def __init__(self, network: Network, options: Options = DEFAULT) -> None:
        check_options(options)
        self.network = network
        self.options = options
        self.subject = subject(network, options)
        self.sheet = sheet(self.subject, options)
        if options.style == "unet" and self.sheet.lowest is None:
            raise SpecError([_no_u(self.subject, options)])
        self.chain: Picture | None = None
        if options.style == "volumes":
            self.chain = volumes(self.subject, options, network)

    def source(self) -> str:
        """Return everything as one graph, for an engine to lay out."""
        if self.chain is not None:
            return self.page().source
        graph = new_graph(self.options, self._title())
        writer = self._writer()
        pictures = (self.sheet.main, *self.sheet.insets)
        if self.options.legend:
            writer.legend(graph, pictures)
        for drawn in pictures:
            is_main = drawn is self.sheet.main
            writer.write(graph, drawn, self.sheet.lowest if is_main else None)
        return str(graph.source)

    def page(self) -> Page:
        """Return the page laid out; with fewer open blocks if it does not fit.

        Raises:
            MissingExtra: if there is no layout engine.
            SpecError: if it is too large for one.
        """
        if self.chain is not None:
            writer = self._writer()
            return volumes_page(self._title(), self.chain, self.options, writer)
        while True:
            for drawn in (self.sheet.main, *self.sheet.insets):
                rows = drawn.rows_crossed()
                if rows > MAX_DRAWN:
                    raise SpecError([_too_large(self.network, rows, self.options.fold)])
            found = lay_out_sheet(
                self._title(), self.sheet, self.options, self._writer()
            )
            options = self.options
            is_free = options.depth is None and options.fold and not options.tight
            fits = scale(found.size, options)
            if not is_free or fits >= 1:
                return found
            is_flat = not any(isinstance(p, Box) for p in self.sheet.main.parts)
            if is_flat or self.sheet.depth < 0:
                # There is nothing left to close.
                if fits < _NEARLY:
                    return found
                self.options = options._replace(tight=True)
            else:
                self.sheet = sheet(self.subject, options, below=self.sheet.depth)

    def image(self, format: str, warn: Callable[[str], None] | None = None) -> bytes:
        """Return the drawing in a format.

        Args:
            format: svg, png or pdf.
            warn: called with each warning of the engine, and about text too small for a
                page.

        Raises:
            MissingExtra: if there is no layout engine.
            SpecError: if it is too large for one, or for a png.
        """
        found = self.page()
        pixels = max(found.size) * self.options.dpi / 72
        if format == "png" and pixels > _MAX_PIXELS:
            raise SpecError([_too_long(self.network, round(pixels))])
        data, said = run_engine(found.source, format, "nop2")
        if warn:
            engine = dict.fromkeys((*found.warnings, *said))
            for line in (*self._too_small(found), *engine):
                warn(line)
        if format == "svg":
            return accessible(data, self._title() or [self.network.name], found.paths)
        return data

    def _too_small(self, found: Page) -> Iterator[str]:
        """Yield a warning if text is smaller than the minimum on a page."""
        options = self.options
        fits = scale(found.size, options)
        if fits < 1:
            page = options.page.upper() if options.page == "a4" else f"a {options.page}"
            yield (
                f"on {page}, the text of this picture has {fits * SMALLEST:.1f} pt, "
                f"less than {SMALLEST:g}: close blocks by a smaller --depth, or draw "
                "parts on separate pages with --only and --block"
            )

    def _title(self) -> list[str]:
        return title(self.subject.name, self.subject.root.steps(), self.options)

    def _writer(self) -> DotWriter:
        writer = DotWriter(self.options)
        if self.options.shade != "family":
            main = self.chain or self.sheet.main
            weights = (writer.weight(node, main) for node in main.nodes())
            writer.heaviest = max(weights, default=0)
        return writer


def render(
    network: Network,
    path: Path | str | None = None,
    *,
    format: str | None = None,
    fold: bool = True,
    options: Options = DEFAULT,
    warn: Callable[[str], None] | None = None,
) -> str:
    """Draw a network, and return the drawing's dot text.

    Args:
        network: what to draw.
        path: the file to write, if any; it is written whole or not at all.
        format: one of `FORMATS`; by default, that of the suffix of `path`.
        fold: draw equal consecutive copies once, and a chain's steps as one node.
        options: how to draw otherwise.
        warn: called with each warning of a layout engine, and about text too small for
            a page.

    Raises:
        MissingExtra: if the format needs a layout engine and there is none.
        UnknownFormat: if there is no such format.
        UnknownPart: if there is no such block or path.
        SpecError: if it is too large for a layout engine.
        OSError: if the file cannot be written.
    """
    if format is None and path is not None:
        format = Path(path).suffix.removeprefix(".")
    if format is not None and format.lower() not in FORMATS:
        raise UnknownFormat(format)
    drawing = Drawing(network, options._replace(fold=fold and options.fold))
    source = drawing.source()
    if path is not None and format is not None:
        kind = format.lower()
        is_text = kind in TEXT_FORMATS
        write(Path(path), source.encode() if is_text else drawing.image(kind, warn))
    return source


def subject(network: Network, options: Options) -> Subject:
    """Return the part of a network that is drawn.

    Raises:
        UnknownPart: if there is no such block or path, or if both are asked for.
    """
    if options.only and options.block:
        raise UnknownPart("a path and a block each name what is drawn: give only one")
    wanted = options.only or options.block
    if not wanted:
        return whole_network(network)
    known: dict[str, Group] = {}
    for group in _groups(network.root):
        name = path_of(group) if options.only else group.word
        if options.only or group.role == "block":
            known.setdefault(name, group)
    if wanted not in known:
        what = "part" if options.only else "block"
        some = ", ".join([*known][:6]) or "none"
        hint = did_you_mean(wanted, known) or f"it has {some}"
        raise UnknownPart(f"{network.name} has no {what} `{wanted}`; {hint}")
    group = known[wanted]
    # The call of a block with the most contents: one with a projection, if there is
    # one.
    if options.block:
        calls = [one for one in _groups(network.root) if one.word == wanted]
        group = max(calls, key=lambda one: sum(1 for _ in one.steps()))
    return part_of(f"{network.name}: {wanted}", group)


def _groups(root: Group) -> Iterator[Group]:
    stack = [*root.children]
    while stack:
        node = stack.pop(0)
        if isinstance(node, Group):
            stack = [*node.children, *stack]
            if node.role in ("block", "group"):
                yield node


def _no_u(what: Subject, options: Options) -> Diagnostic:
    depth = -1 if options.depth is None and options.fold else options.depth
    drawn = picture(what, fold=options.fold)
    reason = bottom_or_reason(drawn if depth is None else closed(drawn, depth))
    ways = " or `--depth`" if options.depth is not None else ""
    ways += "" if options.fold else " or `--unfold`"
    return Diagnostic(
        "A0802",
        f"{what.name} cannot be drawn as a U: {reason}",
        what.root.span,
        label="at least two skips must lead from the way down to the way up, nested "
        "in one another",
        help=f"leave out `--style unet`{ways}, or draw a part of maps by `--only`",
    )


def _too_large(network: Network, rows: int, fold: bool) -> Diagnostic:
    way = "" if fold else "fold it, "
    return Diagnostic(
        "A0910",
        f"the picture of {network.name} is too large to be laid out: its arrows cross "
        f"{rows:,} rows, and at most {MAX_DRAWN:,} are allowed",
        network.root.span,
        label="drawn here",
        help=f"{way}draw a part of it by `--only`, or write `--format dot`",
    )


def _too_long(network: Network, pixels: int) -> Diagnostic:
    return Diagnostic(
        "A0910",
        f"the picture of {network.name} would be {pixels:,} pixels long, but a png "
        f"has at most {_MAX_PIXELS:,}",
        network.root.span,
        label="drawn here",
        help="use a smaller `--depth` or `--dpi`, or write svg or pdf",
    )
