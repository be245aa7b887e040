"""The `archdsl` command.

Exit status: 0 ok, 1 errors in a spec, 2 wrong usage, 3 a missing extra, 4 a limit was
hit, 70 a bug in archdsl, 130 interrupted, 143 terminated. An output that cannot be
written counts as wrong usage. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

from . import status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Args:
        arguments: the arguments; by default, those of this process, which then exits.
    """
    _start_quickly()
    if arguments is None:
        _do_without_plugins()
        _end_in_order()
    code = _guarded(arguments)
    if _TERMINATED and code == status.INTERRUPTED:
        code = status.TERMINATED
    if arguments is None:
        # Garbage collection at exit would take a fifth of the time, and is not needed.
        gc.freeze()
    return code


# The signals to terminate that were received.
_TERMINATED: list[int] = []


def _end_in_order() -> None:
    """Let SIGTERM clean up, as an interrupt does; a second one kills at once."""
    import signal

    def end(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _TERMINATED.append(number)
        raise KeyboardInterrupt

    # The parent process may have chosen to ignore the signal.
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, end)


def _guarded(arguments: Sequence[str] | None) -> int:
    """Run the command line, and turn every exception into an exit status."""
    _prepare_streams(own=arguments is None)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return status.INTERRUPTED
    except BrokenPipeError:
        _drop_stdout()
        return status.BROKEN_PIPE
    except MemoryError:
        _print_error("archdsl: out of memory")
        return status.LIMIT
    except OSError as error:
        if error.errno not in _OF_THE_SYSTEM:
            return _bug(error)
        _drop_stdout()
        _print_error(f"archdsl: {error.strerror}")
        return status.USAGE
    except Exception as error:
        return _bug(error)
    return code


# Errors of outputs that accept no more data, and of system limits.
_OF_THE_SYSTEM = frozenset(
    {
        errno.EAGAIN,
        errno.EBADF,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOSPC,
    }
)


def _run(arguments: Sequence[str] | None) -> int:
    import click

    from archdsl.diagnostics import SpecError

    from .app import app
    from .terminal import Failure, fail, fail_without_place

    given = sys.argv[1:] if arguments is None else list(arguments)
    as_json = "--json" in given or "--format=json" in given
    as_json = as_json or ("--format", "json") in pairwise(given)
    try:
        code = app.main(given, prog_name="archdsl", standalone_mode=False)
    except SpecError as error:
        return fail(error.diagnostics, as_json=as_json)
    except click.Abort:
        return status.INTERRUPTED
    except click.ClickException as error:
        return fail_without_place(error, as_json=as_json)
    except ImportError as error:
        from archdsl.backends.extras import MissingExtra

        if not isinstance(error, MissingExtra):
            raise
        missing = Failure(str(error), status.MISSING_EXTRA)
        return fail_without_place(missing, as_json=as_json)
    return code if isinstance(code, int) else status.OK


# Thresholds of the garbage collector. With the defaults, the first collections would
# only scan newly imported modules.
COLLECTOR = (500_000, 20, 20)


def _start_quickly() -> None:
    """Skip work that only pays off in long processes."""
    gc.set_threshold(*COLLECTOR)
    # Looking for plugins reads the metadata of every installed package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


def _do_without_plugins() -> None:
    """Keep pydantic from importing its plugin loader.

    It imports the loader even if plugins are disabled, which takes a tenth of the time
    of a short process.
    """
    from types import ModuleType

    name = "pydantic.plugin._loader"

    def load(attribute: str) -> object:
        """Return an attribute of the real module, in case one is needed."""
        from importlib import import_module

        if attribute.startswith("__"):  # the import system looks for some
            raise AttributeError(attribute)
        del sys.modules[name]
        return getattr(import_module(name), attribute)

    loader = ModuleType(name)
    vars(loader).update(get_plugins=tuple, __getattr__=load)
    sys.modules.setdefault(name, loader)


def _prepare_streams(*, own: bool) -> None:
    """Replace closed streams, and escape characters that a terminal cannot encode.

    Args:
        own: whether this is the `archdsl` process, so that stdout may be replaced.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            mode = "r" if name == "stdin" else "w"
            nothing = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115
            setattr(sys, name, nothing)
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if own and isinstance(getattr(sys.stdout, "buffer", None), io.RawIOBase):
        # Without a buffer (PYTHONUNBUFFERED), Python does not notice that a full disk
        # cut a write short.
        sys.stdout = open(  # noqa: SIM115
            sys.stdout.fileno(),
            "w",
            buffering=1,
            encoding=sys.stdout.encoding,
            errors="backslashreplace",
            closefd=False,
        )


def _drop_stdout() -> None:
    """Keep the interpreter from flushing a broken stdout again at exit."""
    with suppress(OSError):  # a replaced stream has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _print_error(text: str) -> None:
    """Print to stderr, if it can be written."""
    with suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _bug(error: Exception) -> int:
    if os.environ.get("ARCHDSL_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    else:
        _print_error(
            f"archdsl: internal error: {type(error).__name__}: {error}\n"
            "This is a bug in archdsl: please report it with the spec and the command\n"
            "line. With ARCHDSL_DEBUG=1 in the environment, a traceback is shown."
        )
    return status.BUG
