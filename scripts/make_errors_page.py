"""Write docs/errors.md from the table of error codes.

python scripts/make_errors_page.py           rewrite the page
python scripts/make_errors_page.py --check   say whether it is up to date
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import archdsl
from archdsl.codes import CODES, SECTIONS, Entry

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
INTRODUCTION = """\
<!-- Written by scripts/make_errors_page.py from archdsl/codes.py. -->

# Errors

An error has a code, a place, what was found there, the calls of blocks that lead there,
and what to do about it. Mistakes that do not depend on one another are reported
together. The meaning of a code never changes; its wording may.

```text
{example}
```

`archdsl explain A0301` explains a code. With `--json`, every error is a record with its
code, message, file, line, column, the end of its place, label, notes and help.

The exit status is 1 if a spec has errors. It is 4 if a spec is refused for its size, by
a code from A0900 on.
"""
EXAMPLE = """\
arch 1

block unit<width, stride = 1> {
    residual<shortcut = identity> {
        conv 3x3 width /stride -> bn -> relu
        conv 3x3 -> bn
    } -> relu
}

network net {
    input 3x32x32
    conv 3x3 64
    unit<64>
    unit<128, stride = 2>
}
"""


def page() -> str:
    """Return the text of the page."""
    start = INTRODUCTION.format(example=_example())
    return "\n".join([start, *_contents(), "", *_sections()])


def _example() -> str:
    try:
        archdsl.loads(EXAMPLE, name="net.arch")
    except archdsl.SpecError as error:
        return str(error)
    raise AssertionError("the example has no error")


def _contents() -> Iterator[str]:
    for prefix, heading in SECTIONS.items():
        codes = [c for c in CODES if c.startswith(prefix)]
        span = " to ".join(dict.fromkeys((codes[0], codes[-1])))
        yield f"- [{heading}](#{_anchor(heading)}): {span}"


def _sections() -> Iterator[str]:
    for prefix, heading in SECTIONS.items():
        yield f"## {heading}\n"
        for code, entry in CODES.items():
            if code.startswith(prefix):
                yield from _entry(code, entry)


def _entry(code: str, entry: Entry) -> Iterator[str]:
    yield f"### {code}: {entry.title}\n"
    yield f"{textwrap.fill(entry.text, 88)}\n"
    if not entry.wrong:
        return
    yield _block(entry.wrong, f"arch error {code}", entry, entry.run[0])
    if entry.right == entry.wrong and not entry.run[1]:
        return
    yield "Instead:\n"
    if entry.right == entry.wrong:
        yield f"```text\n$ archdsl {entry.run[1]}\n```\n"
    else:
        yield _block(entry.right, "arch", entry, entry.run[1])


def _block(spec: str, language: str, entry: Entry, run: str) -> str:
    if run:
        spec, language = f"$ archdsl {run}\n{spec}", "text"
    elif not entry.alone:
        language = "text"
    return f"```{language}\n{_visible(spec)}```\n"


def _visible(text: str) -> str:
    """Show control characters by their pictures."""
    return "".join(c if c >= " " or c == "\n" else chr(0x2400 + ord(c)) for c in text)


def _anchor(heading: str) -> str:
    return re.sub(r"[^a-z -]", "", heading.lower()).replace(" ", "-")


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return int(not PAGE.exists() or PAGE.read_text("utf-8") != text)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
