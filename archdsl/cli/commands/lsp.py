"""`archdsl lsp`."""

from __future__ import annotations

import os

import click


@click.command()
def command() -> int:
    """Run a language server, which editors start.

    Reads requests from standard input, and answers on standard output. It offers errors
    while you type, advice when you save, shapes and costs of the layer under the
    cursor, definitions, completions, the outline, and formatting.

    \b
    Examples:
      archdsl lsp
    """
    from archdsl.backends.extras import need

    need("the language server", "pygls", "lsp")
    from archdsl.cli.language_server import make

    # Copies, as the server closes them, but stdin and stdout are still used at exit.
    with open(os.dup(0), "rb") as requests, open(os.dup(1), "wb") as answers:
        make().start_io(requests, answers)
    return 0
