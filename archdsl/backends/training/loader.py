"""The batches of an epoch, in an order given by the seed and the epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from archdsl.backends.images import BadImage
from archdsl.values import Shape

from .data import Data, ImageItems
from .recipe import Images
from .views import Views

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class Batch(NamedTuple):
    """The images of a step that could be read.

    Attributes:
        images: N x height x width x channels, of bytes or floats.
        labels: their classes.
        bad: names of images that could not be read, and why.
        gone: names of files that are no longer there.
    """

    images: Tensor
    labels: Tensor
    bad: tuple[tuple[str, str], ...] = ()
    gone: tuple[str, ...] = ()


class SampleOrder(NamedTuple):
    """How images are distributed over steps and processes.

    Attributes:
        batch: images per step, of all processes together.
        seed: determines the order, together with the epoch.
        rank: number of this process.
        world: number of processes.
    """

    batch: int
    seed: int
    rank: int = 0
    world: int = 1

    def steps(self, images: int) -> int:
        """Return the number of steps in an epoch; an incomplete batch is left out."""
        return max(images // self.batch, 1)

    def batches(self, images: int, epoch: int) -> list[list[int]]:
        """Return the images of each step of this process.

        A step has the same images, however many processes share them.
        """
        from torch.utils.data import BatchSampler, DistributedSampler

        whole = images >= self.batch
        sampler: Any = DistributedSampler(
            range(images),  # type: ignore[arg-type]  # only its length is asked for
            num_replicas=self.world,
            rank=self.rank,
            seed=self.seed,
            drop_last=whole,
        )
        sampler.set_epoch(epoch)
        return list(BatchSampler(sampler, self.batch // self.world, drop_last=whole))


class _PreparedImages:
    """Images prepared for the network, by their index."""

    def __init__(self, items: ImageItems, views: Views, seed: int, epoch: int) -> None:
        self.items = items
        self.views = views
        self.seed = seed
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.items.labels)

    def __getitem__(self, index: int) -> tuple[str, Any]:
        """Return ``ok`` with array and label, or ``bad`` or ``gone`` with the name."""
        try:
            image = self.items.image(index)
        except BadImage as error:
            return "bad", (self.items.name(index), str(error))
        except FileNotFoundError:
            return "gone", self.items.name(index)
        draw = Random(f"{self.seed} {self.epoch} {index}")
        return "ok", (self.views.of(image, draw), self.items.labels[index])


def _together(found: Sequence[tuple[str, Any]]) -> Batch:
    import numpy as np
    import torch

    good = [one for state, one in found if state == "ok"]
    images: np.ndarray[Any, Any] = (
        np.stack([image for image, _ in good]) if good else np.zeros((0, 1, 1, 1))
    )
    return Batch(
        torch.from_numpy(images),
        torch.tensor([label for _, label in good], dtype=torch.int64),
        tuple(one for state, one in found if state == "bad"),
        tuple(one for state, one in found if state == "gone"),
    )


class ImageLoader(NamedTuple):
    """Reads the images of a data set.

    Attributes:
        data: the data set.
        shape: channels, height and width that the network takes.
        images: the recipe's table of the same name.
        order: how they are distributed.
        workers: processes that read ahead; 0 reads when asked.
        pinned: whether batches are in pinned memory, for faster copies to a GPU.
    """

    data: Data
    shape: Shape
    images: Images
    order: SampleOrder
    workers: int = 0
    pinned: bool = False

    def steps(self) -> int:
        """Return the steps of an epoch."""
        return self.order.steps(len(self.data.train.labels))

    def training(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch, starting at one of them."""
        items = self.data.train
        views = Views(self.shape, self.images, training=True)
        batches = self.order.batches(len(items.labels), epoch)[start:]
        return self._read(
            _PreparedImages(items, views, self.order.seed, epoch), batches
        )

    def testing(self) -> Iterator[Batch]:
        """Yield this process's share of the test images."""
        items = self.data.test
        views = Views(self.shape, self.images, training=False)
        _, _, rank, world = self.order
        mine = range(rank, len(items.labels), world)
        size = max(self.order.batch // world, 1)
        batches = [list(mine[at : at + size]) for at in range(0, len(mine), size)]
        return self._read(_PreparedImages(items, views, 0, 0), batches)

    def _read(
        self, shown: _PreparedImages, batches: list[list[int]]
    ) -> Iterator[Batch]:
        from torch.utils.data import DataLoader

        loader: Any = DataLoader(
            shown,  # type: ignore[arg-type]  # it has all that is asked of a dataset
            batch_sampler=batches,
            num_workers=self.workers,
            collate_fn=_together,
            pin_memory=self.pinned,
        )
        return iter(loader)
