"""Starts commands by forking a server, which has already imported what they need.

Importing torch and all that training needs takes seconds. The tests' own process cannot
be forked: it has threads, and a child's memory would include that of its parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from tests.conftest import ROOT

_PROGRAM = """
import contextlib, gc, importlib, io, json, os, resource, signal, sys, traceback
import archdsl.cli

def become(asked):
    os.chdir(asked["folder"])
    for number, (path, flags) in enumerate(asked["files"]):
        os.dup2(os.open(path, flags, 0o600), number)
    for name, value in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    # The tests may run in the background, where an interrupt is ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if asked["processes"] == 1:
        return command(asked["arguments"])
    return together(asked)

def command(arguments):
    sys.argv = ["archdsl", *arguments]
    return archdsl.cli.main()

def together(asked):
    # As torchrun does, but by forking.
    from torch.distributed.launcher import LaunchConfig, elastic_launch
    config = LaunchConfig(1, 1, asked["processes"], rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, start_method="fork",
        monitor_interval=0.05)
    ends = elastic_launch(config, waited_for)(asked["arguments"])
    return max(ends.values())

def waited_for(arguments):
    # The command may exit, and this function has to return.
    _, status = os.waitpid(forked(command, arguments), 0)
    return abs(os.waitstatus_to_exitcode(status))

def forked(play, *asked):
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        status = play(*asked)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

for name in sys.argv[1:]:
    importlib.import_module(name)
with contextlib.redirect_stdout(io.StringIO()):
    assert archdsl.cli.main(["check", "alexnet"]) == 0
gc.collect()
gc.freeze()
for line in sys.stdin:
    asked = json.loads(line)
    if isinstance(asked, list):
        known, status, used = os.wait4(*asked)
        code = os.waitstatus_to_exitcode(status)
        found = [code, used.ru_utime + used.ru_stime, used.ru_maxrss]
        print(json.dumps(found if known else None), flush=True)
        continue
    print(forked(become, asked), flush=True)
"""


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        status: its exit status; for a signal, its negative number.
        stderr: its stderr.
        seconds: its CPU time.
        resident: its peak memory, in bytes.
    """

    status: int
    stderr: str
    seconds: float
    resident: int


class Starter:
    """A server that starts commands; leaving its context ends it.

    Args:
        modules: modules that commands need, which it imports once.
        environment: variables for all commands, besides those of this process.
    """

    def __init__(self, *modules: str, **environment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *modules],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._numbers = count()

    def __enter__(self) -> Starter:
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its standard input, and waits
            pass

    def ask(self, asked: Any) -> Any:
        """Return the answer of the server."""
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return json.loads(self._process.stdout.readline())

    def start(
        self,
        folder: Path,
        *arguments: str | Path,
        stdin: Path | None = None,
        processes: int = 1,
        **limits: int,
    ) -> Started:
        """Start a command.

        Args:
            folder: its working directory.
            arguments: its command-line arguments.
            stdin: a file for its standard input.
            processes: the number of processes in which torch's launcher runs it.
            limits: limits of resources, such as ``RLIMIT_CPU``.
        """
        log = folder / f"stderr-{next(self._numbers)}.log"
        created = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        files = [
            (str(stdin or os.devnull), os.O_RDONLY),
            (os.devnull, os.O_WRONLY),
            (str(log), created),
        ]
        asked = {"folder": str(folder), "files": files, "limits": limits}
        asked |= {"arguments": [*map(str, arguments)], "processes": processes}
        return Started(self, self.ask(asked), log)


class Started:
    """A command that was started.

    Args:
        starter: the server that has started it.
        pid: its process.
        log: the file with its stderr.
    """

    def __init__(self, starter: Starter, pid: int, log: Path) -> None:
        self.pid = pid
        self._starter = starter
        self._log = log
        self._ended: Ended | None = None

    def has_ended(self) -> bool:
        """Return whether it has ended."""
        self._look(os.WNOHANG)
        return self._ended is not None

    def end(self) -> Ended:
        """Wait for its end, and return how it ended."""
        self._look(0)
        assert self._ended is not None
        return self._ended

    def _look(self, options: int) -> None:
        if self._ended is not None:
            return
        found = self._starter.ask([self.pid, options])
        if found is not None:
            status, seconds, resident = found
            unit = 1 if sys.platform == "darwin" else 1024
            said = self._log.read_text("utf-8")
            self._ended = Ended(status, said, seconds, resident * unit)
