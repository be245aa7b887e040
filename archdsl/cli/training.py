"""Shared by the training commands: finding recipes, showing and ending runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click import BadParameter, UsageError

from archdsl.backends.extras import MissingExtra
from archdsl.backends.text import show_bytes
from archdsl.backends.training import Recipe, Stopped, Trainer, Watch
from archdsl.diagnostics import Diagnostic, SpecError, did_you_mean

from . import status
from .terminal import Failure, Meter, say, without_torch

if TYPE_CHECKING:
    from types import FrameType

    from archdsl.backends.training.outlook import Outlook

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def find_recipe(name: str | None, data: str, changes: Sequence[str]) -> Recipe:
    """Return a shipped recipe by name, or a recipe from a file.

    Args:
        name: the name; None for the shipped recipe of the data, if any.
        data: the value of `--data`.
        changes: the values of `--set`.

    Raises:
        SpecError: if the recipe has mistakes.
        UsageError: if there is none.
    """
    from archdsl.backends.training import parse_recipe, shipped_recipe
    from archdsl.resources import recipes
    from archdsl.source import Source

    if name is None and data == "digits":
        name = "digits"
    known = ", ".join(recipes())
    if name is None:
        raise UsageError(f"give a --recipe: a TOML file, or one of {known}")
    source = shipped_recipe(name)
    if source is None:
        try:
            source = Source(name, Path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            hint = did_you_mean(name, recipes()) or f"those are {known}"
            raise BadParameter(
                f"`{name}` is neither a readable file nor a recipe; {hint}",
                param_hint="'--recipe'",
            ) from None
    return parse_recipe(source, changes)


@contextmanager
def running(name: str, needs: str) -> Iterator[None]:
    """Turn errors that keep a network from running into messages.

    Args:
        name: the name of the network.
        needs: what needs PyTorch, with the verb.

    Raises:
        Failure: if a library is not installed, or memory runs out.
        SpecError: if a batch is too small for a norm.
        UsageError: if the spec names Python code.
    """
    from archdsl.backends.torch import ForeignCode

    try:
        yield
    except MissingExtra:
        raise
    except ImportError as error:
        raise without_torch(error, needs) from None
    except ForeignCode as error:
        raise UsageError(
            f"{name} imports {', '.join(error.names)}, which this command does not run"
        ) from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        message = f"a batch norm of {name} gets one value for each channel"
        help = "use larger batches, fewer parts, or larger images"
        raise SpecError([Diagnostic("A1105", message, help=help)]) from None
    except RuntimeError as error:
        if "allocate" not in str(error):
            raise
        message = f"there is not enough memory for a step of {name}: use smaller "
        message += "batches, or compute them in parts with `--set accumulate=2`"
        raise Failure(message, status.LIMIT) from None


class Shown(Watch):
    """Shows a run: a bar on a terminal, and a line for each epoch."""

    def __init__(self) -> None:
        # Until the engine runs, the rank is known from torchrun.
        self.is_first = os.environ.get("RANK", "0") == "0"
        self._meter: Meter | None = None
        self._made: Trainer | None = None
        self._known: Outlook | None = None
        self._stopped: Stopped | None = None
        self._signal: int | None = None

    def begin(self, made: Trainer) -> None:
        """Start to show a trainer."""
        self._made = made
        self.is_first = made.is_first
        if self.is_first:
            self._meter = Meter(made.total)

    def say(self, text: str) -> None:
        """Print a line, in the first process only."""
        if self.is_first:
            self.end()
            say(text)

    def step(self, done: int, total: int, text: str) -> None:
        """Move the bar."""
        if self._meter is not None:
            self._meter(done, text)

    def epoch(self, row: dict[str, Any], epochs: int) -> None:
        """Print a line."""
        parts = [
            f"epoch {row['epoch']:{len(str(epochs))}}/{epochs}",
            f"loss {row['train_loss']:.4f}",
        ]
        if row["train_top1"] is not None:
            parts.append(f"train {100 * row['train_top1']:5.2f} %")
        parts.append(f"test {100 * row['test_top1']:5.2f} %")
        parts.append(f"{row['seconds']:.1f} s")
        if row["images_per_second"] is not None:
            parts.append(f"{row['images_per_second']:,.0f} images/s")
        if row["peak_bytes"] is not None:
            parts.append(show_bytes(row["peak_bytes"]))
        self.say("  ".join(parts))

    def stops(self) -> bool:
        """Return whether a signal was received."""
        return self._signal is not None

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Stop after the step at a first interrupt or SIGTERM, at once at a second."""
        before = {number: signal.getsignal(number) for number in _SIGNALS}
        # Signals that are ignored stay so: shells start background jobs in this way.
        before = {n: how for n, how in before.items() if how is not signal.SIG_IGN}

        def note(number: int, frame: FrameType | None) -> None:
            self._signal = number
            for each, handler in before.items():
                signal.signal(each, handler)
            self.say(
                "stopping after this step to save the state; interrupt again to "
                "stop now"
            )

        try:
            for number in before:
                signal.signal(number, note)
        except ValueError:  # not in the main thread, the only one that gets signals
            pass
        try:
            yield
        finally:
            if self._signal is None and before:
                self._restore(before)

    def _restore(self, before: dict[Any, Any]) -> None:
        try:
            for number, handler in before.items():
                signal.signal(number, handler)
        except ValueError:
            pass

    def end(self) -> None:
        """Remove the bar."""
        if self._meter is not None:
            self._meter.end()

    def done(self, known: Outlook, stopped: Stopped | None) -> None:
        """Report how the run ended."""
        self._known, self._stopped = known, stopped
        made = self._made
        if made is None:
            return
        if made.bad:
            first = next(iter(made.bad))
            self.say(
                f"{len(made.bad):,} images could not be read, such as {first}; "
                f"{made.run / 'bad_images.txt'} lists them"
            )
        if stopped is not None:
            self.say(
                f"stopped after step {stopped.step:,} of {made.total:,}, with the "
                "state saved; --resume continues"
            )

    def result(self, name: str, output: Path) -> dict[str, Any]:
        """Return what `--json` prints."""
        made, known = self._made, self._known
        assert made is not None and known is not None
        return {
            "name": name,
            "folder": str(output),
            "steps": made.step,
            "finished": self._stopped is None,
            "outlook": known.as_dict(),
            "epochs": made.history,
            "bad_images": len(made.bad),
        }

    def pass_on(self) -> None:
        """Exit by the signal that stopped the run, after everything was saved."""
        if self._signal is not None:
            signal.raise_signal(self._signal)

    def leave(self) -> None:
        """Exit at once from one of several processes, after everything was saved.

        Threads of torch's process groups can outlive the groups. On a busy machine,
        torch then aborts when the interpreter exits.
        """
        if self._made is not None and self._made.fabric.world_size > 1:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status.OK)
