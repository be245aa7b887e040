"""Measures of how well a network classifies."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

# As in Guo et al. 2017, section 4.
BINS: Final = 15


class Bin(NamedTuple):
    """Guesses of similar confidence.

    Attributes:
        images: the number of guesses.
        confidence: their mean confidence.
        accuracy: the share of right ones.
    """

    images: int
    confidence: float
    accuracy: float


class OfClass(NamedTuple):
    """The measures of one class.

    Attributes:
        name: the name of the class.
        images: the number of its images.
        precision: the share of right guesses of this class; None without any.
        recall: the share of right guesses among its images; None without any.
    """

    name: str
    images: int
    precision: float | None
    recall: float | None


class Measures(NamedTuple):
    """How well a network classifies.

    Attributes:
        images: the number of images.
        loss: mean cross-entropy, in nats.
        top1: share whose class has the highest score.
        top5: share whose class is among the five highest scores.
        confusion: number of images by actual and guessed class; empty if it was not
            requested.
        bins: guesses by confidence, from 0 to 1.
    """

    images: int
    loss: float
    top1: float
    top5: float
    confusion: list[list[int]]
    bins: tuple[Bin, ...]

    @property
    def calibration_error(self) -> float:
        """Mean difference of confidence and accuracy (Guo et al. 2017, equation 3)."""
        return sum(
            one.images / self.images * abs(one.accuracy - one.confidence)
            for one in self.bins
            if one.images
        )

    def of_classes(self, names: tuple[str, ...]) -> list[OfClass]:
        """Return precision and recall of each class."""
        guessed = [sum(column) for column in zip(*self.confusion, strict=True)]
        found = []
        for number, name in enumerate(names):
            row = self.confusion[number]
            right, images = row[number], sum(row)
            found.append(
                OfClass(
                    name,
                    images,
                    right / guessed[number] if guessed[number] else None,
                    right / images if images else None,
                )
            )
        return found


class Tally:
    """Counts right and wrong guesses, batch by batch.

    Args:
        classes: number of classes.
        confusion: whether to count a confusion matrix.
        device: where the scores are.
    """

    def __init__(self, classes: int, *, confusion: bool, device: Any) -> None:
        import torch

        self._classes = classes
        wide = torch.float64 if str(device)[:3] != "mps" else torch.float32
        # Images, loss, right at rank 1, right within rank 5.
        self._sums = torch.zeros(4, dtype=wide, device=device)
        self._bins = torch.zeros(3, BINS, dtype=wide, device=device)
        size = classes * classes if confusion else 0
        self._pairs = torch.zeros(size, dtype=torch.int64, device=device)

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Add the scores of a batch."""
        import torch
        from torch.nn.functional import cross_entropy

        scores = scores.float()
        best = scores.topk(min(5, self._classes), dim=1).indices
        hits = best == labels[:, None]
        right = hits[:, 0]
        sums = [
            torch.tensor(float(len(labels)), device=scores.device),
            cross_entropy(scores, labels, reduction="sum"),
            right.sum(),
            hits.sum(),
        ]
        self._sums += torch.stack([one.to(self._sums.dtype) for one in sums])
        confidence = scores.softmax(1).amax(1)
        places = (confidence * BINS).long().clamp(max=BINS - 1)
        for row, values in enumerate((torch.ones_like(confidence), confidence, right)):
            self._bins[row].index_add_(0, places, values.to(self._bins.dtype))
        if len(self._pairs):
            pairs = labels * self._classes + best[:, 0]
            self._pairs += torch.bincount(pairs, minlength=len(self._pairs))

    def measures(self, total: Callable[[Any], Any] | None = None) -> Measures:
        """Return the result.

        Args:
            total: sums a tensor over all processes, if there are several.
        """
        parts = [self._sums, self._bins, self._pairs]
        if total is not None:
            parts = [total(part) if part.numel() else part for part in parts]
        images, loss, right, among = parts[0].tolist()
        rows = parts[1].T.tolist()
        bins = [
            Bin(int(n), c / n if n else 0.0, r / n if n else 0.0) for n, c, r in rows
        ]
        confusion: list[list[int]] = []
        if parts[2].numel():
            confusion = parts[2].reshape(self._classes, self._classes).tolist()
        many = max(images, 1)
        return Measures(
            int(images), loss / many, right / many, among / many, confusion, tuple(bins)
        )
