"""What an export makes: the contents of a file, and what is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from archdsl.files import write

Format = Literal["onnx", "openvino", "torch", "executorch"]

# What the files of a format end in; an ONNX model's may end in anything.
SUFFIXES: Final[dict[Format, str]] = {
    "onnx": ".onnx",
    "openvino": ".xml",
    "torch": ".pt2",
    "executorch": ".pte",
}


@dataclass(frozen=True)
class Int8:
    """What became of a model when its weights and activations became int8.

    Attributes:
        images: number of images that the ranges of activations were taken from.
        bytes_before: size of the model in float32.
        seconds_before: median time of a call on this machine in float32.
        seconds: the same in int8.
        largest_change: the largest change of an output on those images, as a share of
            the largest absolute output in float32.
        same_class: the share of images whose highest score is the same class's; None
            if the output is not a score for each class.
    """

    images: int
    bytes_before: int
    seconds_before: float
    seconds: float
    largest_change: float
    same_class: float | None


@dataclass(frozen=True)
class Exported:
    """A network as a model for an engine.

    Attributes:
        name: the name of the network.
        format: ``onnx``, ``openvino``, ``torch`` or ``executorch``.
        opset: version of ONNX's operators; None for other formats.
        nodes: number of operations.
        folded: number of batch norms that became part of the layer before them.
        inputs: dimensions of each input by name; a dimension that may be any has a
            name.
        outputs: the same of each output.
        fixed_by: the layer that fixes height and width, and why.
        model: the contents of the model's file.
        data: the contents of the file beside it with its weights: always for OpenVINO,
            and for ONNX if they exceed the two GiB that a model's file can hold.
        int8: how it compares with the model in float32, if it is in int8.
    """

    name: str
    format: Format
    opset: int | None
    nodes: int
    folded: int
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    fixed_by: str
    model: bytes
    data: bytes | bytearray = b""
    int8: Int8 | None = None

    @property
    def size(self) -> int:
        """Bytes of its files."""
        return len(self.model) + len(self.data)

    def beside(self, path: Path) -> Path:
        """Return the path of the weights' file, for that of the model."""
        if self.format == "openvino":
            return path.with_suffix(".bin")
        return path.with_name(f"{path.name}.data")

    def save(self, path: Path) -> None:
        """Write the model to the file that it was made for.

        Raises:
            OSError: if it cannot be written.
        """
        if self.data:
            # Before the model, which is of no use without it.
            write(self.beside(path), self.data)
        write(path, self.model)

    def __repr__(self) -> str:
        version = f"opset {self.opset}, " if self.opset is not None else ""
        return f"<Exported {self.name}: {self.format}, {version}{self.nodes:,} nodes>"
