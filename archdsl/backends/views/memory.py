"""The view of memory: what each layer keeps for the backward pass, and the peaks."""

from __future__ import annotations

from collections.abc import Sequence

from archdsl.backends.text import show_bytes, show_peak

from . import Column, Total, ViewFacts

COLUMNS = (Column("saved"), Column("what is kept", right=False, rank=1, moves=True))


def cells(layer: ViewFacts) -> tuple[str, ...]:
    """Return the bytes for which a layer is the first holder, and what they are."""
    saved = layer["saved"]
    return _total(saved), ", ".join(_tensor(tensor, layer["name"]) for tensor in saved)


def group(layers: Sequence[ViewFacts]) -> tuple[str, ...]:
    """Return the sum of the bytes."""
    return _total([tensor for layer in layers for tensor in layer["saved"]]), ""


def totals(facts: ViewFacts) -> list[Total]:
    """Return the memory of inference and training, then the peaks."""
    memory = facts["memory"]
    rows = [
        ("parameters", "param_bytes", "with those of auxiliary heads"),
        ("buffers", "buffer_bytes", ""),
        ("gradients", "gradient_bytes", "of the parameters"),
        ("optimizer", "optimizer_bytes", f"state of {memory['optimizer']}"),
    ]
    return [
        (f"batch {memory['batch']}, {memory['dtype']}", "", ""),
        *((f"  {name}", show_bytes(memory[key]), note) for name, key, note in rows),
        ("  saved", show_bytes(memory["saved_bytes"]), _saved_note(memory)),
        (
            "  autocast",
            show_bytes(memory["autocast_saved_bytes"]),
            "the same for a float32 model under autocast to bfloat16",
        ),
        ("  inference peak", *_peak(memory["inference_peak"])),
        ("  training peak", *_peak(memory["training_peak"])),
        *_fits(facts.get("fits")),
    ]


def _fits(fits: ViewFacts | None) -> list[Total]:
    if fits is None:
        return []
    rows = [
        (f"  {what}", f"{fits[f'{what}_batch']:,}", "largest batch")
        for what in ("training", "inference")
    ]
    return [
        ("", "", ""),
        (f"fits in {show_bytes(fits['budget_bytes'])}", "", ""),
        *rows,
    ]


def _total(saved: Sequence[ViewFacts]) -> str:
    number = sum(tensor["bytes"] for tensor in saved)
    return show_bytes(number) if number else "-"


def _tensor(tensor: ViewFacts, holder: str) -> str:
    """Return the kind of a tensor, and the layer that it belongs to if that is another
    one."""
    what: str = tensor["what"]
    return what if tensor["of"] == holder else f"{what}, of {tensor['of']}"


def _saved_note(memory: ViewFacts) -> str:
    what = "tensors that autograd keeps, each listed at the first layer to keep it"
    if memory["recompute"]:
        what += "; of each block only the input, as the block is run again"
    return f"{what}; {_line(memory['saved_sample_bytes'], memory['saved_fixed_bytes'])}"


def _peak(peak: ViewFacts) -> tuple[str, str]:
    """Return a peak, and when it is reached."""
    when = f"in the {peak['phase']} pass, at {peak['layer']}"
    if peak["phase"] == "recompute":
        when = f"while {peak['layer']} is run again"
    elif peak["phase"] == "step":
        when = "in the optimizer's step"
    elif not peak["layer"]:
        when = "before the first layer"
    line = _line(peak["sample_bytes"], peak["fixed_bytes"])
    return show_peak(peak), f"{when}; {line}{_range(peak)}"


def _line(sample: int, fixed: int) -> str:
    return f"{sample:,} x batch + {fixed:,}" if fixed else f"{sample:,} x batch"


def _range(peak: ViewFacts) -> str:
    """Return the batches for which a line holds, if it does not hold for all."""
    first, last = peak["from_batch"], peak["to_batch"]
    if last is None:
        return "" if first == 1 else f" from batch {first} on"
    return f" at batch {first}" if first == last else f" for batches {first} to {last}"
