"""The `archdsl` command.

Exit status: 0 ok, 1 errors in a spec, 2 wrong usage, 3 a missing extra, 4 a limit
was hit, 70 a bug of ours, 130 interrupted. Results go to stdout, all else to stderr.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence

from . import status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: those of the command line; the process's own when left out, which
            is then about to end.
    """
    _start_quickly()
    if arguments is None:
        _do_without_plugins()
    code = _guarded(arguments)
    if arguments is None:
        # Collecting what the end of the process frees anyway takes a fifth of it.
        gc.freeze()
    return code


def _guarded(arguments: Sequence[str] | None) -> int:
    """Run the command line so that no exception leaves it."""
    _mend_streams()
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return status.INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return status.BROKEN_PIPE
    except OSError as error:
        if error.errno != errno.ENOSPC:
            return _bug(error)
        _drop_stdout()
        print(f"archdsl: {error.strerror}", file=sys.stderr)
        return status.USAGE
    except Exception as error:
        return _bug(error)
    return code


def _run(arguments: Sequence[str] | None) -> int:
    import click

    from archdsl.diagnostics import SpecError

    from .app import app
    from .terminal import fail, say_error

    try:
        code = app.main(
            None if arguments is None else list(arguments),
            prog_name="archdsl",
            standalone_mode=False,
        )
    except SpecError as error:
        return fail(error.diagnostics)
    except click.Abort:
        return status.INTERRUPTED
    except click.UsageError as error:
        error.show()
        return status.USAGE
    except click.ClickException as error:
        say_error(error.format_message())
        return error.exit_code
    return code if isinstance(code, int) else status.OK


def _start_quickly() -> None:
    """Spare a short process what only pays off in long ones."""
    # The first collections would only walk over freshly imported modules.
    gc.set_threshold(100_000, 20, 20)
    # Looking for plugins reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _do_without_plugins() -> None:
    """Spare pydantic the import of what it would look for plugins with.

    It imports that even where plugins are disabled, and a tenth of a short process
    goes into it.
    """
    from types import ModuleType

    name = "pydantic.plugin._loader"

    def load(attribute: str) -> object:
        """Return what else may be wanted of the real module."""
        from importlib import import_module

        if attribute.startswith("__"):  # the import system asks for some
            raise AttributeError(attribute)
        del sys.modules[name]
        return getattr(import_module(name), attribute)

    loader = ModuleType(name)
    vars(loader).update(get_plugins=tuple, __getattr__=load)
    sys.modules.setdefault(name, loader)


def _mend_streams() -> None:
    """Keep closed streams and old terminals' encodings from ending in a traceback."""
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            nothing = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nothing)
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Keep the interpreter from flushing once more what cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _bug(error: Exception) -> int:
    if os.environ.get("ARCHDSL_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    else:
        print(
            f"archdsl: internal error: {type(error).__name__}: {error}\n"
            "This is a bug in archdsl: please report it with the spec and the command\n"
            "line. With ARCHDSL_DEBUG=1 in the environment, a traceback is shown.",
            file=sys.stderr,
        )
    return status.BUG
