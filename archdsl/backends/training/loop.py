"""The training loop.

Lightning Fabric places tensors, distributes batches, and scales and reduces gradients;
`benchmarks/engines.md` says why it was chosen. Random numbers of a step are drawn from
the seed and the step's number, so no generator has to be saved.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends import torch as emitting
from archdsl.backends.extras import need
from archdsl.backends.text import show_bytes
from archdsl.diagnostics import SpecError
from archdsl.ir import Network
from archdsl.values import Shape

from . import folder, sharding, states
from .blame import blame
from .board import Board, has_tensorboard
from .data import Data, unusable
from .loader import Batch, ImageLoader, SampleOrder
from .measures import Measures, Tally
from .mixing import Mixed, mix_images, mixes
from .optimizing import LearningRates, make_average, make_optimizer
from .recipe import Recipe
from .scaling import ImageScale
from .trackers import Tracker

if TYPE_CHECKING:
    from torch import Tensor, nn

# Seconds between two states within an epoch.
_PATIENCE: Final = 600.0


class LoopOptions(NamedTuple):
    """How a run is carried out, which does not change its result.

    Attributes:
        seed: the seed of weights, order and augmentation.
        processor: ``cpu``, ``cuda`` or ``auto``.
        workers: processes that read images.
        compiled: whether torch compiles the module.
        recompute: whether the backward pass recomputes blocks, to save memory.
        shard: whether weights and the optimizer's state are sharded over processes.
        save_every: steps between two states; without it, they are saved after each
            epoch and every ten minutes.
        most_steps: after how many steps to stop.
        trackers: the trackers to send metrics to, from `TRACKERS`.
    """

    seed: int = 0
    processor: str = "auto"
    workers: int = 0
    compiled: bool = False
    recompute: bool = False
    shard: bool = False
    save_every: int | None = None
    most_steps: int | None = None
    trackers: tuple[str, ...] = ()


class Watch:
    """Observes a run; this base class shows nothing and never stops it."""

    def say(self, text: str) -> None:
        """Report something that the user should know."""

    def step(self, done: int, total: int, text: str) -> None:
        """Report a step."""

    def epoch(self, row: dict[str, Any], epochs: int) -> None:
        """Report an epoch."""

    def stops(self) -> bool:
        """Return whether the run is to stop after this step."""
        return False


class Stopped(Exception):
    """A run that stopped before its end, with its state saved.

    Attributes:
        step: number of steps done.
        asked: whether it stopped after a given number of steps.
    """

    def __init__(self, step: int, *, asked: bool) -> None:
        self.step = step
        self.asked = asked
        super().__init__(step)


class Trainer:
    """Trains a module.

    Args:
        network: the network.
        module: its module, with its initial weights.
        data: the images.
        recipe: how it is trained.
        scale: the mean and deviation that images are normalised with.
        run: the folder of the run.
        options: how the run is carried out.
        watch: the observer.
        frozen: paths of layers and blocks that keep their weights.
    """

    def __init__(
        self,
        network: Network,
        module: nn.Module,
        data: Data,
        recipe: Recipe,
        scale: ImageScale,
        run: Path,
        options: LoopOptions,
        watch: Watch,
        frozen: tuple[str, ...] = (),
    ) -> None:
        self.network, self.data, self.recipe = network, data, recipe
        self.scale, self.run, self.options, self.watch = scale, run, options, watch
        self.fabric = _fabric(options, recipe, network)
        self.is_first = self.fabric.global_rank == 0
        shape: Shape = network.inputs[0].shape
        order = SampleOrder(
            recipe.batch, options.seed, self.fabric.global_rank, self.fabric.world_size
        )
        _check_spread(recipe, self.fabric.world_size)
        pinned = self.fabric.device.type == "cuda"
        self.loader = ImageLoader(
            data, shape, recipe.images, order, options.workers, pinned
        )
        self.module = module
        self._frozen = frozen
        for one in _below(module, frozen):
            one.requires_grad_(False)
        self._set_up()
        self.step = self.epoch = self.position = 0
        # Sums over the epoch so far: loss, right guesses, images.
        self._sums = [0.0, 0.0, 0.0]
        self._seconds = 0.0
        self._saved = monotonic()
        self.history: list[dict[str, Any]] = []
        self.bad: dict[str, str] = {}
        self._board: Board | None = None
        self._trackers = [
            Tracker(name, run, network.name)
            for name in (options.trackers if self.is_first else ())
        ]

    def _set_up(self) -> None:
        import torch

        # FSDP shards weights by rows, so their memory format must not change.
        if self.recipe.channels_last and not self.options.shard:
            module: Any = self.module
            module.to(memory_format=torch.channels_last)
        ready: Any = self.module
        if self.options.compiled:
            ready = torch.compile(ready)
        self._model = self.fabric.setup_module(ready)
        optimizer = make_optimizer(self.module, self.recipe.optimizer)
        self._optimizer = self.fabric.setup_optimizers(optimizer)
        self._rates = LearningRates(
            self._optimizer.optimizer, self.recipe, self.loader.steps()
        )
        ema = self.recipe.ema
        self._average = None if ema is None else make_average(self.module, ema)

    def trained(self) -> nn.Module:
        """Return the module with the final weights: the averaged ones, if any.

        For sharded weights, it is a new module with all of them, and all processes
        must call this together.
        """
        if self.options.shard:
            whole = emitting.build(self.network).to(self.fabric.device)
            whole.load_state_dict(sharding.whole_weights(self.module))
            return whole
        return self.module if self._average is None else self._average.module

    @property
    def total(self) -> int:
        """Steps of the whole run."""
        return self.recipe.epochs * self.loader.steps()

    # ---- the loop

    def train(self) -> None:
        """Train to the end of the recipe.

        Raises:
            OSError: if a state cannot be written.
            SpecError: if the loss is not finite, or the data are gone.
            Stopped: if the watch or the options stop it.
        """
        while self.epoch < self.recipe.epochs:
            self._train_epoch()
            measures = self.test()
            self._rates.tested(1 - measures.top1)
            self._end_epoch(measures)

    def _train_epoch(self) -> None:
        self._model.train()
        for one in _below(self.module, self._frozen):
            one.eval()
        began = monotonic()
        before = self._seconds
        for batch in self.loader.training(self.epoch, self.position):
            self._note(batch)
            self._check_read(batch)
            self._train_step(batch)
            self.step += 1
            self.position += 1
            self._seconds = before + monotonic() - began
            self.watch.step(self.step, self.total, self._line())
            self._pause()

    def _train_step(self, batch: Batch) -> None:
        import torch

        draw = Random(f"{self.options.seed} step {self.step} {self.fabric.global_rank}")
        torch.manual_seed(draw.getrandbits(63))
        images, labels = self._placed(batch)
        mixed = mix_images(images, labels, self.recipe.images, draw)
        size = len(mixed.labels)
        parts = _parts(mixed, self.recipe.accumulate)
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            seed = draw.getrandbits(63)
            torch.manual_seed(seed)
            with self.fabric.no_backward_sync(self._model, enabled=not last):
                outputs = _named(self._model(part.images))
                loss = self._loss(outputs, part)
                value = float(loss.detach())
                if self._is_lost(value):
                    raise SpecError([self._blame(part.images, seed)])
                self.fabric.backward(loss * (len(part.labels) / size))
            right = (outputs[0].detach().argmax(1) == part.labels).sum()
            self._sums[0] += value * len(part.labels)
            self._sums[1] += float(right)
            self._sums[2] += len(part.labels)
        if self.recipe.clip_norm is not None:
            self.fabric.clip_gradients(
                self._model, self._optimizer, max_norm=self.recipe.clip_norm
            )
        self._optimizer.step()
        self._optimizer.zero_grad()
        self._rates.step()
        ema = self.recipe.ema
        if ema and self._average and (self.step + 1) % ema.every == 0:
            self._average.update_parameters(self.module)

    def _is_lost(self, loss: float) -> bool:
        """Return whether a loss is not finite; for sharded weights, in any process.

        With sharded weights, all processes have to look for the layer together.
        """
        lost = not math.isfinite(loss)
        return self._any(lost) if self.options.shard else lost

    def _loss(self, outputs: list[Tensor], part: Mixed) -> Tensor:
        """Return the loss of the main output plus the weighted losses of heads."""
        from torch.nn.functional import cross_entropy

        total: Any = 0.0
        for place, scores in enumerate(outputs):
            weight = self.recipe.auxiliary_weight if place else 1.0
            for labels, share in (
                (part.labels, part.share),
                (part.others, 1 - part.share),
            ):
                if share:
                    loss = cross_entropy(
                        scores, labels, label_smoothing=self.recipe.label_smoothing
                    )
                    total = total + weight * share * loss
        found: Tensor = total
        return found

    def _placed(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return images and labels on the module's device."""
        import torch

        device = self.fabric.device
        images = self.scale.of(batch.images.to(device, non_blocking=True))
        if self.recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        else:
            images = images.contiguous()
        return images, batch.labels.to(device, non_blocking=True)

    def _blame(self, images: Tensor, seed: int) -> Any:
        import torch

        # One module per layer, so that hooks also see activations and pools.
        seen = emitting.build(self.network, as_modules=True)
        shard = self.options.shard
        weights = sharding.whole_weights(self.module) if shard else None
        seen.load_state_dict(weights or self.module.state_dict())
        seen.to(self.fabric.device).train()
        for one in _below(seen, self._frozen):
            one.eval()

        def again() -> None:
            torch.manual_seed(seed)
            with torch.no_grad(), self.fabric.autocast():
                seen(images)

        return blame(self.network, seen, images, self.step + 1, again)

    # ---- testing

    def test(self) -> Measures:
        """Evaluate the module on the test images."""
        batches = self.loader.testing()
        tally = evaluate_module(
            self.trained(), self._tested(batches), len(self.data.classes), self.fabric
        )
        found = tally.measures(self._total if self.fabric.world_size > 1 else None)
        if not found.images:
            raise unusable(f"no test image of {self.data.name} can be read")
        return found

    def _tested(self, batches: Iterator[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        for batch in batches:
            self._note(batch)
            if len(batch.labels):
                yield self._placed(batch)

    def _total(self, part: Any) -> Any:
        return self.fabric.all_reduce(part, reduce_op="sum")

    # ---- epochs and states

    def _end_epoch(self, measures: Measures) -> None:
        loss, right, images = self._all_sums()
        mixed = mixes(self.recipe.images)
        self.epoch += 1
        self.position = 0
        row = {
            "epoch": self.epoch,
            "step": self.step,
            "lr": self._rates.rate,
            "train_loss": loss / images,
            # A mixed image has two classes, so there is no right guess.
            "train_top1": None if mixed else right / images,
            "test_loss": measures.loss,
            "test_top1": measures.top1,
            "test_top5": measures.top5,
            "seconds": self._seconds,
            "images_per_second": images / self._seconds if self._seconds else None,
            "peak_bytes": peak_bytes(self.fabric.device.type),
        }
        self.history.append(row)
        self._sums, self._seconds = [0.0, 0.0, 0.0], 0.0
        self._share_bad()
        if self.is_first:
            folder.write_metrics(self.run, self.history)
            metrics = {k: one for k, one in row.items() if one is not None}
            if self._board is None and has_tensorboard():
                self._board = Board(self.run / "tensorboard", self.epoch)
            if self._board is not None:
                self._board.add(metrics, self.epoch)
            self._track(metrics)
        self.watch.epoch(row, self.recipe.epochs)
        self.save()

    def _track(self, metrics: dict[str, Any]) -> None:
        """Send an epoch's metrics to the trackers; if they fail, the run continues."""
        for one in self._trackers:
            try:
                one.send(metrics, self.epoch)
            except Exception as error:  # of its own kinds
                self._untracked(one, error)

    def _untracked(self, one: Tracker, error: Exception) -> None:
        reason = " ".join(str(error).split()) or type(error).__name__
        self.watch.say(f"note: {one.name} did not accept the metrics: {reason}")

    def close(self) -> None:
        """Close the engine, TensorBoard and the trackers."""
        for one in self._trackers:
            try:
                one.close(finished=self.epoch == self.recipe.epochs)
            except Exception as error:  # of its own kinds
                self._untracked(one, error)
        if self._board is not None:
            self._board.close()
        if self.fabric.world_size > 1:
            from torch import distributed

            # Left to the interpreter's exit, this sometimes aborts.
            distributed.barrier()
            distributed.destroy_process_group()

    def _share_bad(self) -> None:
        """Share the names of unreadable images among all processes."""
        if self.fabric.world_size == 1:
            return
        from torch import distributed

        each: list[Any] = [None] * self.fabric.world_size
        distributed.all_gather_object(each, self.bad)
        for bad in each:
            self.bad.update(bad)

    def _all_sums(self) -> list[float]:
        if self.fabric.world_size == 1:
            return list(self._sums)
        import torch

        own = torch.tensor(self._sums, dtype=torch.float64, device=self.fabric.device)
        found: list[float] = self._total(own).tolist()
        return found

    def _pause(self) -> None:
        """Save the state if it is due, and stop if requested."""
        every, most = self.options.save_every, self.options.most_steps
        asked = most is not None and self.step >= most
        stop = self._any(asked or self.watch.stops())
        due = every is not None and self.step % every == 0
        late = every is None and self._any(monotonic() - self._saved > _PATIENCE)
        if stop or due or late:
            self.save()
        if stop:
            raise Stopped(self.step, asked=asked)

    def _any(self, here: bool) -> bool:
        """Return whether a flag is set in any process."""
        if self.fabric.world_size == 1:
            return here
        import torch

        flag = torch.tensor(float(here), device=self.fabric.device)
        return bool(self.fabric.all_reduce(flag, reduce_op="sum") > 0)

    def save(self) -> None:
        """Write the state.

        Raises:
            OSError: if it cannot be written; earlier states are unchanged.
        """
        sums = self._all_sums()
        self._saved = monotonic()
        weights, optimizer = self._tensors()
        if not self.is_first:
            return
        average = self._average
        states.save(
            self.run,
            self.step,
            {
                "step": self.step,
                "epoch": self.epoch,
                "position": self.position,
                "shard": self.options.shard,
                "module": weights,
                "optimizer": optimizer,
                "rates": self._rates.state(),
                "average": None if average is None else average.state_dict(),
                "sums": sums,
                "seconds": self._seconds,
                "history": json.dumps(self.history),
                "bad": dict(self.bad),
            },
        )

    def _tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the complete state of the module and the optimizer."""
        optimizer = self._optimizer.optimizer
        if not self.options.shard:
            return self.module.state_dict(), optimizer.state_dict()
        weights = sharding.whole_weights(self.module)
        return weights, sharding.whole_optimizer(self.module, optimizer)

    def _load_tensors(self, state: dict[str, Any]) -> None:
        optimizer = self._optimizer.optimizer
        if self.options.shard:
            sharding.load_weights(self.module, state["module"])
            sharding.load_optimizer(self.module, optimizer, state["optimizer"])
        else:
            self.module.load_state_dict(state["module"])
            optimizer.load_state_dict(state["optimizer"])

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Raises:
            SpecError: if it is not of this network and recipe.
        """
        if state.get("shard", False) is not self.options.shard:
            what = "without" if self.options.shard else "with"
            raise unusable(
                f"the state in {self.run} was written {what} --shard",
                "resume with the options that the run was started with",
                "A1107",
            )
        try:
            self._load_tensors(state)
            self._rates.load(state["rates"])
            if self._average is not None:
                self._average.load_state_dict(state["average"])
            self.step, self.epoch = state["step"], state["epoch"]
            self.position = state["position"]
            # The saved sums are those of all processes; only the first one takes them.
            self._sums = list(state["sums"]) if self.is_first else [0.0, 0.0, 0.0]
            self._seconds = state["seconds"]
            self.history = json.loads(state["history"])
            self.bad = dict(state["bad"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())
            raise unusable(
                f"the state in {self.run} is not of this run: {reason}", code="A1107"
            ) from None

    def _note(self, batch: Batch) -> None:
        """Keep the names of images that could not be read."""
        for name, why in batch.bad:
            if name not in self.bad:
                self.bad[name] = why
        root = self.data.root
        if batch.gone and root is not None and not root.is_dir():
            self.save()
            raise unusable(
                f"the folder {root} is missing; the run is saved at step {self.step:,}",
                "restore it, then continue with --resume",
            )
        for name in batch.gone:
            self.bad.setdefault(name, "the file no longer exists")

    def _check_read(self, batch: Batch) -> None:
        """Refuse a step without images.

        Raises:
            SpecError: naming the first that could not be read.
        """
        if not len(batch.labels):
            name = (*[name for name, _ in batch.bad], *batch.gone)[0]
            raise unusable(f"no image of a step could be read; the first is {name}")

    def _line(self) -> str:
        loss = self._sums[0] / self._sums[2] if self._sums[2] else 0.0
        peak = peak_bytes(self.fabric.device.type)
        memory = "" if peak is None else f"  {show_bytes(peak)}"
        return f"loss {loss:.3f}{memory}  epoch {self.epoch + 1}"


def peak_bytes(processor: str) -> int | None:
    """Return the peak memory of a GPU's tensors, or else of this process, in bytes.

    Args:
        processor: ``cpu`` or ``cuda``.
    """
    if processor == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # not on Windows
        return None
    most = getrusage(RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def evaluate_module(
    module: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    classes: int,
    fabric: Any = None,
    *,
    confusion: bool = False,
) -> Tally:
    """Evaluate a module on batches of images and labels.

    Args:
        module: the module.
        batches: images as the module takes them, and their classes.
        classes: number of classes.
        fabric: the engine, which sets the precision; None for float32.
        confusion: whether to count a confusion matrix.
    """
    import torch

    training = module.training
    module.eval()
    device = next(module.parameters()).device
    tally = Tally(classes, confusion=confusion, device=device)
    try:
        with torch.inference_mode():
            for images, labels in batches:
                with nullcontext() if fabric is None else fabric.autocast():
                    scores = _named(module(images))[0]
                tally.add(scores, labels)
    finally:
        module.train(training)
    return tally


def _below(module: nn.Module, paths: tuple[str, ...]) -> list[nn.Module]:
    """Return the modules at these paths, and those below them."""
    return [
        one
        for path, one in module.named_modules()
        if any(path == each or path.startswith(f"{each}.") for each in paths)
    ]


def _named(outputs: Any) -> list[Tensor]:
    """Return a module's outputs, the main one first."""
    return [*outputs.values()] if isinstance(outputs, dict) else [outputs]


def _parts(mixed: Mixed, number: int) -> list[Mixed]:
    if number == 1:
        return [mixed]
    chunks = zip(
        mixed.images.chunk(number),
        mixed.labels.chunk(number),
        mixed.others.chunk(number),
        strict=True,
    )
    return [
        Mixed(images, labels, others, mixed.share) for images, labels, others in chunks
    ]


def _check_spread(recipe: Recipe, world: int) -> None:
    if recipe.batch % (world * recipe.accumulate):
        raise unusable(
            f"a batch of {recipe.batch} cannot be spread over {world} processes in "
            f"{recipe.accumulate} parts",
            f"use a multiple of {world * recipe.accumulate}: `--set batch=...`",
            "A1105",
        )


def _check_sharded(recipe: Recipe, world: int) -> None:
    if world == 1:
        raise unusable(
            "--shard needs several processes, but there is only one",
            "start them with torchrun, or leave --shard out",
            "A1105",
        )
    if recipe.ema is not None:
        raise unusable(
            "sharded weights cannot be averaged",
            "leave --shard or `ema` out",
            "A1105",
        )


def processor_of(name: str) -> str:
    """Return ``cpu`` or ``cuda`` for one of these or ``auto``.

    Raises:
        SpecError: if torch sees no GPU, and one is asked for.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise unusable("torch sees no GPU", "leave `--on` out, or give `--on cpu`")
    return name


def _fabric(options: LoopOptions, recipe: Recipe, network: Network) -> Any:
    """Return the engine; it uses several processes if `torchrun` started this one.

    Raises:
        MissingExtra: if it is not installed.
        SpecError: if the processor does not exist.
    """
    engine = need("training", "lightning-fabric", "train", "lightning_fabric")
    # It would log the precision and the processes that were asked for.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    spread: Any = "ddp" if world > 1 else "auto"
    if options.shard:
        _check_sharded(recipe, world)
        spread = sharding.strategy(network, world)
    fabric: Any = engine.Fabric(
        accelerator=processor_of(options.processor),
        devices=local,
        num_nodes=world // local,
        strategy=spread,
        precision="bf16-mixed" if recipe.precision == "bfloat16" else "32-true",
    )
    fabric.launch()
    return fabric
