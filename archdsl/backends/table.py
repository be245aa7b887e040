"""A network and its facts as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from archdsl.ir import Group, Network, Step
from archdsl.values import show_shape

_BOLD, _DIM, _OFF = "\033[1m", "\033[2m", "\033[0m"
_HEADER = ("layer", "kind", "output", "params", "MACs", "receptive field")


def report(network: Network, facts: Mapping[str, Any], *, color: bool = False) -> str:
    """Return a table of the network's layers, and its totals with their conventions.

    Args:
        network: what was analysed.
        facts: what `Analysis.as_dict` gives.
        color: whether to use a terminal's bold and dim letters.
    """
    layers = {layer["name"]: layer for layer in facts["layers"]}
    rows = list(_rows(network.root, layers, 0))
    lines = align([_HEADER, *(row.cells for row in rows)], right=(3, 4))
    parts = [f"{network.name}: {_ports(facts['inputs'])} -> {_ports(facts['outputs'])}"]
    parts += ["", _styled(lines[0], _DIM, color)]
    parts += [
        _styled(line, _BOLD, color and row.is_group)
        for row, line in zip(rows, lines[1:], strict=True)
    ]
    parts += ["", *align(_totals(facts), right=(1,)), ""]
    parts += align(_memory(facts["memory"]), right=(1,))
    return "\n".join(parts) + "\n"


def align(rows: Sequence[Sequence[str]], right: Iterable[int] = ()) -> list[str]:
    """Return rows of cells as lines whose columns stand below each other.

    Args:
        rows: of equally many cells.
        right: the columns whose cells end, rather than begin, at one place.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    flush = set(right)
    form = "  ".join(
        f"{{:{'>' if at in flush else '<'}{width}}}" for at, width in enumerate(widths)
    )
    return [form.format(*row).rstrip() for row in rows]


class _Row(NamedTuple):
    cells: tuple[str, ...]
    is_group: bool


def _rows(
    group: Group, layers: Mapping[str, Mapping[str, Any]], level: int
) -> Iterator[_Row]:
    for child in group.children:
        if isinstance(child, Step):
            yield _step_row(child, layers[child.path], level)
        elif child.role in ("block", "group"):
            yield _group_row(child, layers, level, child.training > group.training)
            yield from _rows(child, layers, level + 1)
        else:  # the others name nothing, so they are not seen in the paths
            yield from _rows(child, layers, level)


def _step_row(step: Step, layer: Mapping[str, Any], level: int) -> _Row:
    cells = (
        "  " * level + step.name,
        step.op.label(),
        show_shape(step.shape),
        _number(layer["params"]),
        _number(layer["macs"]),
        _field(layer["receptive_field"]),
    )
    return _Row(cells, is_group=False)


def _group_row(
    group: Group, layers: Mapping[str, Mapping[str, Any]], level: int, marked: bool
) -> _Row:
    own = [layers[step.path] for step in group.steps()]
    cells = (
        "  " * level + group.name,
        _kind(group, marked),
        show_shape(group.shape),
        _number(sum(layer["params"] for layer in own)),
        _number(sum(layer["macs"] for layer in own)),
        "",
    )
    return _Row(cells, is_group=True)


def _kind(group: Group, marked: bool) -> str:
    """Return a block's name; `marked` says that it only runs in training."""
    word = group.word if group.role == "block" else ""
    return f"{word} (training only)".lstrip() if marked else word


def _field(field: Mapping[str, Any] | None) -> str:
    if field is None:
        return "-"
    if field["whole"]:
        return "whole input"
    bound = "" if field["exact"] else "<= "
    return f"{bound}{show_shape(field['size'])} /{_per_axis(field['jump'])}"


def _per_axis(values: Sequence[float]) -> str:
    """Return ``2``, or ``2x1`` where the axes differ."""
    kept = values if len(set(values)) > 1 else values[:1]
    return "x".join(f"{value:g}" for value in kept)


def _totals(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    extra = facts["auxiliary"]
    notes = ["buffers apart"]
    if facts["trainable"] != facts["params"]:
        notes.append(f"{facts['trainable']:,} trainable")
    if extra["params"]:
        inference = facts["params"] - extra["params"]
        notes.append(f"{inference:,} without what only training runs")
    return [
        ("params", f"{facts['params']:,}", ", ".join(notes)),
        ("buffers", f"{facts['buffers']:,}", "elements, such as running statistics"),
        (
            "depth",
            str(facts["depth"]),
            "conv and linear layers on the longest path; not projections, nor what "
            "only trains",
        ),
        (
            "MACs",
            f"{facts['macs']:,}",
            "multiply-accumulates of conv and linear, without biases, for one sample"
            + _in_training(extra["macs"]),
        ),
        (
            "FLOPs",
            f"{facts['flops']:,}",
            f"2 x MACs and all other operations{_in_training(extra['flops'])}",
        ),
        ("receptive field", *_total_field(facts["receptive_field"])),
    ]


def _in_training(more: int) -> str:
    return f"; {more:,} more in training" if more else ""


def _total_field(field: Mapping[str, Any] | None) -> tuple[str, str]:
    if field is None:
        return "-", "there is no feature map"
    bound = "" if field["exact"] else "<= "
    jump, start = _per_axis(field["jump"]), ", ".join(map(str, field["start"]))
    note = f"of the last feature map's units, {jump} apart, the first from ({start})"
    return bound + show_shape(field["size"]), note


def _memory(memory: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    figures = (
        ("  parameters", "param_bytes", ""),
        ("  buffers", "buffer_bytes", ""),
        ("  forward peak", "forward_peak_bytes", "activations alive at once"),
        ("  inference", "inference_bytes", "the sum of these three"),
        ("  gradients", "gradient_bytes", ""),
        ("  optimizer", "optimizer_bytes", memory["optimizer"]),
        ("  saved", "saved_bytes", "activations kept for the backward pass"),
        ("  training", "training_bytes", "all but the forward peak"),
    )
    rows = [(name, show_bytes(memory[key]), note) for name, key, note in figures]
    return [(f"memory, batch {memory['batch']}, {memory['dtype']}", "", ""), *rows]


def show_bytes(number: int) -> str:
    """Return a number of bytes in the largest unit that leaves one or more."""
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{number} B" if unit == "B" else f"{size:,.1f} {unit}"


def _number(value: int) -> str:
    return f"{value:,}" if value else "-"


def _ports(ports: Sequence[Mapping[str, Any]]) -> str:
    named = len(ports) > 1
    return ", ".join(
        (f"{port['name']} " if named else "")
        + show_shape(port["shape"])
        + (" (training only)" if port["training"] else "")
        for port in ports
    )


def _styled(line: str, style: str, color: bool) -> str:
    return f"{style}{line}{_OFF}" if color else line
