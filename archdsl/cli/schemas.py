"""JSON schemas of the `--json` output of each command.

A shape is written like an example: a mapping of keys, a list with the shape of its
items, or the name of a type. A key that ends in ``?`` may be missing.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from archdsl.cli.terminal import SCHEMA
from archdsl.figures import BOUNDED, BYTES, COMPARED, OF_A_LAYER

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

_TYPES: Final = {
    "text": "string",
    "int": "integer",
    "number": "number",
    "bool": "boolean",
}


class Null(NamedTuple):
    """A shape, or null."""

    shape: Any


class MapOf(NamedTuple):
    """An object with arbitrary names as keys, and values of one shape."""

    shape: Any


class Any_(NamedTuple):
    """One of several shapes; anything if there are none."""

    shapes: tuple[Any, ...] = ()


def _maybe(*names: str) -> dict[str, Null]:
    return {name: Null("text") for name in names}


_PLACE = {
    **_maybe("file"),
    **{key: Null("int") for key in ("line", "column", "end_line", "end_column")},
}
_ERROR = {
    **_maybe("code"),
    "message": "text",
    **_PLACE,
    **_maybe("label"),
    "notes": ["text"],
    **_maybe("help"),
}
_PORT = {"name": "text", "shape": ["int"], "training": "bool"}
_PAIR = ["number"]
_FIELD = {
    "size": ["int"],
    "jump": _PAIR,
    "start": [Null("int")],
    "visible": ["int"],
    "exact": "bool",
    "whole": "bool",
    "interval": [Null(["int"])],
    "minimum": ["int"],
    "maximum": ["int"],
    "share": "number",
    "smallest": ["int"],
    "local": Null(["int"]),
    "local_smallest": Null(["int"]),
    "bound": Null("text"),
    "paths_exact": "bool",
}
_OPS = MapOf("int")
_MOVED: dict[str, Any] = {
    "ops": _OPS,
    "ops_per_batch": "int",
    "batch_flops": "int",
    "backward_macs": "int",
    "bytes_read": "int",
    "bytes_written": "int",
    "intensity": Null("number"),
}
_COSTS: dict[str, Any] = {"macs": "int", "flops": "int", **_MOVED}
_FAILURE = {"size": ["int"], "layer": "text", "message": "text"}
_JOIN = {
    "layer": "text",
    "offset": ["number"],
    "branches": [
        {
            "layer": "text",
            "centre": [Null("number")],
            "last": [Null("number")],
        }
    ],
}
_PATHS = {
    "count": Null("int"),
    "shortest": Null("int"),
    "longest": Null("int"),
    "mean": Null("number"),
    "deviation": Null("number"),
}
_STEP = {
    **dict.fromkeys(("saved_bytes", "peak_bytes", "flops"), "int"),
    "seconds": Null("number"),
}
_LEAN = {
    "budget_bytes": "int",
    "batch": "int",
    "parts": ["text"],
    **dict.fromkeys(("before", "after", "whole"), _STEP),
}
_PEAK = {
    "bytes": "int",
    "sample_bytes": "int",
    "fixed_bytes": "int",
    "from_batch": "int",
    "to_batch": Null("int"),
    "phase": "text",
    "layer": Null("text"),
    "bound": Null("text"),
}
_BYTES = (
    # The bytes of this one are in `training_peak`.
    *(name for name in BYTES if name != "training_peak_bytes"),
    *("saved_sample_bytes", "saved_fixed_bytes", "autocast_saved_bytes"),
)
_LAYER: dict[str, Any] = {
    "name": "text",
    "kind": "text",
    "line": "int",
    "file": "text",
    "training": "bool",
    "input": ["int"],
    "inputs": [["int"]],
    "output": ["int"],
    **dict.fromkeys(OF_A_LAYER, "int"),
    **_MOVED,
    "count": Null("int"),
    "receptive_field": Null(_FIELD),
    "coverage": Null(
        {
            "of": ["int"],
            "reads": ["int"],
            "share": "number",
            "units": ["int"],
            "used": ["int"],
        }
    ),
    "alignment": Null(_JOIN),
    "gradient_paths": Null({**_PATHS, "heads": Null(_PATHS)}),
    "saved": [{"what": "text", "of": "text", "bytes": "int"}],
    "time": Null(
        {
            "seconds": "number",
            "compute_seconds": "number",
            "memory_seconds": "number",
            "launch_seconds": "number",
            "bound": Null("text"),
        }
    ),
}
_ANALYSIS: dict[str, Any] = {
    "name": "text",
    "input": ["int"],
    "output": ["int"],
    "inputs": [_PORT],
    "outputs": [_PORT],
    **dict.fromkeys(("params", "trainable", "buffers", "depth"), "int"),
    "mode": "text",
    "macs": "int",
    "flops": "int",
    "costs": {
        "mode": "text",
        "batch": "int",
        "dtype": "text",
        **_COSTS,
        "auxiliary": _COSTS,
    },
    "auxiliary": {"params": "int", "macs": "int", "flops": "int"},
    "count": Null(
        {
            **dict.fromkeys(("tool", "version", "unit", "note"), "text"),
            "total": "int",
        }
    ),
    "receptive_field": Null(_FIELD),
    "smallest_input": Null(
        {
            "size": ["int"],
            "built": ["int"],
            "step": [Null("int")],
            "run": ["int"],
            "largest": [Null("int")],
            **{key: [Null(_FAILURE)] for key in ("below", "between", "above")},
        }
    ),
    "coverage": Null(
        {
            "of": ["int"],
            "covered": ["int"],
            "share": "number",
            "dropped": [[["int"]]],
        }
    ),
    "alignment": [_JOIN],
    "gradient_paths": Null({**_PATHS, "lengths": Null([["int"]])}),
    "time": Null(
        {
            **dict.fromkeys(("device", "title", "source", "dtype", "mode"), "text"),
            "memory_bytes": Null("int"),
            "batch": "int",
            "tf32": "bool",
            "ridge": "number",
            "launch_seconds": "number",
            "seconds": "number",
            "samples_per_second": Null("number"),
            "bound_seconds": MapOf("number"),
        }
    ),
    "memory": {
        "batch": "int",
        "dtype": "text",
        "optimizer": "text",
        "recompute": "bool",
        **dict.fromkeys(_BYTES, "int"),
        "inference_peak": _PEAK,
        "training_peak": _PEAK,
    },
    "fits": Null(
        dict.fromkeys(("budget_bytes", "training_batch", "inference_batch"), "int")
    ),
    "layers": [_LAYER],
    "gradients?": {
        "batch": "int",
        "seeds": ["int"],
        "growth": ["number"],
        "layers": [
            {
                "name": "text",
                "kind": "text",
                "shortcut": "bool",
                "norms": ["number"],
                "weight_norms": ["number"],
            }
        ],
    },
}
_EPOCH = {
    **dict.fromkeys(("epoch", "step"), "int"),
    **dict.fromkeys(("lr", "train_loss", "seconds"), "number"),
    **dict.fromkeys(("test_loss", "test_top1", "test_top5"), "number"),
    **dict.fromkeys(("train_top1", "images_per_second"), Null("number")),
    "peak_bytes": Null("int"),
}
_CHARTS: dict[str, dict[str, Any]] = {
    "compare": {"family": "text", "params": "int", "macs": "int"},
    "costs": {
        "stages": [
            {
                "stage": "text",
                "halvings": Null("int"),
                "params": "int",
                "macs": "int",
            }
        ]
    },
    "fields": {
        "input": "int",
        "fields": [dict.fromkeys(("depth", "size", "least"), "int")],
    },
    "gradients": {
        "batch": "int",
        "seeds": ["int"],
        "layers": [{"name": "text", "norm": "number", "norms": ["number"]}],
    },
    "memory": {
        **dict.fromkeys(("dtype", "optimizer"), "text"),
        "batch": "int",
        "recompute": "bool",
        **dict.fromkeys(("param_bytes", "buffer_bytes", "optimizer_bytes"), "int"),
        "timeline": [{"phase": "text", "layer": "text", "bytes": "int"}],
    },
    "paths": {"count": "int", "mean": "number", "lengths": [["int"]]},
    "roofline": {
        **dict.fromkeys(("device", "title", "dtype"), "text"),
        "batch": "int",
        "tf32": "bool",
        **dict.fromkeys(("bandwidth", "matrix_rate", "vector_rate"), "number"),
        "seconds": "number",
        "layers": [
            {
                **dict.fromkeys(("name", "kind", "bound"), "text"),
                **dict.fromkeys(("intensity", "flops_per_second", "seconds"), "number"),
            }
        ],
    },
    "runs": {"epochs": [_EPOCH]},
}
_RUN = {
    **dict.fromkeys(("name", "kind", "label"), "text"),
    "output": ["int"],
    "params": "int",
    "macs": "int",
}
_CHANGED = {"name": "text", "old": Any_(), "new": Any_()}
_COMPARISON = {
    "batch": "int",
    "dtype": "text",
    "optimizer": "text",
    "networks": [
        {
            "name": "text",
            "network": "text",
            "inputs": [_PORT],
            "outputs": [_PORT],
            "receptive_field": Null(_FIELD),
            "figures": dict.fromkeys(COMPARED, Null(Any_(("int", ["int"])))),
            "bounds": dict.fromkeys(BOUNDED, Null("text")),
            "difference": dict.fromkeys(
                COMPARED,
                Null(
                    {
                        "absolute": Any_(("int", ["int"])),
                        "percent": Null(Any_(("number", [Null("number")]))),
                    }
                ),
            ),
            "diff": Null(
                {
                    "added": [_RUN],
                    "removed": [_RUN],
                    "changed": [
                        {
                            "name": "text",
                            "old": _RUN,
                            "new": _RUN,
                            "arguments": [_CHANGED],
                            "tensors": [_CHANGED],
                        }
                    ],
                    "moved": [_CHANGED],
                    "rewired": [_CHANGED],
                    "keys": {
                        "loaded": "int",
                        "missing": ["text"],
                        "unexpected": ["text"],
                        "reshaped": [_CHANGED],
                    },
                }
            ),
        }
    ],
}
_AGREEMENT = {
    "compared": MapOf("int"),
    "skipped": MapOf("text"),
    "differences": [
        dict.fromkeys(("what", "name", "analysis", "torch"), Any_(("text", "number")))
    ],
}
_ADVICE = {
    **_ERROR,
    "rule": "text",
    "layers": ["text"],
    "networks": ["text"],
    "saves": {"params": "int", "macs": "int", "bytes": "int"},
    "fix": Null(
        {"safe": "bool", "edits": [{"start": "int", "end": "int", "text": "text"}]}
    ),
}
_WRITTEN = {"name": "text", "file": Null("text")}
_SWEEP = {
    "spec": "text",
    "axes": MapOf([Any_()]),
    "where": Null("text"),
    "pareto": ["text"],
    **dict.fromkeys(("total", "done", "fitting", "kept"), "int"),
    "refused": [
        {"code": "text", "points": "int", "first": MapOf(Any_()), "message": "text"}
    ],
    "points": [MapOf(Any_())],
}
_ERRORS = {"errors": [_ERROR]}

# A free dimension is null.
_FREE_PORT = {"name": "text", "shape": [Null("int")]}
_TENSOR = {
    "key": "text",
    "shape": ["int"],
    "file": "text",
    **dict.fromkeys(("line", "column"), "int"),
}
_WEIGHTS = {
    **dict.fromkeys(("file", "inside", "prefix"), "text"),
    **_maybe("rules", "output"),
    "tensors": "int",
    **dict.fromkeys(("older", "complete"), "bool"),
    "names": MapOf("text"),
    **{key: ["text"] for key in ("others", "filled", "left_out", "extra")},
    "missing": [_TENSOR],
    "reshaped": [{**_TENSOR, "name": "text", "found": ["int"]}],
    "adapted": [{**_TENSOR, "name": "text", "found": ["int"]}],
    "suggestions": [
        {"source": "text", "target": "text", "names": MapOf("text"), "among": "int"}
    ],
}

_TRAINED = {
    **dict.fromkeys(("name", "folder"), "text"),
    **dict.fromkeys(("steps", "bad_images"), "int"),
    "finished": "bool",
    "outlook": {
        **dict.fromkeys(("params", "trainable", "batch", "step_bytes"), "int"),
        **dict.fromkeys(("memory_bytes", "largest_batch"), Null("int")),
        "epoch_seconds": "number",
        "device": "text",
    },
    "epochs": [_EPOCH],
}

_JUDGED = {
    "data": "text",
    **dict.fromkeys(("images", "bad_images"), "int"),
    **dict.fromkeys(("top1", "top5", "loss", "calibration_error", "crop"), "number"),
    "bins": [{"images": "int", "confidence": "number", "accuracy": "number"}],
    "classes": [
        {
            "name": "text",
            "images": "int",
            **dict.fromkeys(("precision", "recall"), Null("number")),
        }
    ],
    "confusion": [["int"]],
    **{key: ["number"] for key in ("mean", "std")},
}

# The outputs of each command when it succeeds: the usual one, and those of options that
# print something else. `schema` and `errors` are added to each.
OUTPUTS: Final[dict[str, tuple[dict[str, Any], ...]]] = {
    "analyze": (_ANALYSIS,),
    "bench": (
        {
            **dict.fromkeys(("name", "machine", "date", "dtype", "device"), "text"),
            **dict.fromkeys(("batch", "threads"), "int"),
            **dict.fromkeys(("train", "channels_last"), "bool"),
            "roofline": Null("number"),
            "results": [
                {
                    "name": "text",
                    **dict.fromkeys(("seconds", "load_seconds"), "number"),
                    "quartiles": ["number"],
                    **dict.fromkeys(("rounds", "calls"), "int"),
                    "difference": Null("number"),
                }
            ],
        },
    ),
    "check": (
        {
            "files": [
                {
                    "file": "text",
                    "ok": "bool",
                    "networks": ["text"],
                    "torch?": MapOf(_AGREEMENT),
                }
            ]
        },
    ),
    "compare": (_COMPARISON,),
    "compile": (
        {
            **_WRITTEN,
            "passes": ["text"],
            "packed": "bool",
            "recompute": "bool",
            "fits": Null(_LEAN),
            "module": "text",
            "imports": ["text"],
        },
    ),
    "evaluate": (_JUDGED,),
    "expand": ({**_WRITTEN, "text": "text"},),
    "explain": ({"name": "text", "text": "text"},),
    "export": (
        {
            **dict.fromkeys(("name", "file", "format"), "text"),
            **dict.fromkeys(("bytes", "nodes", "folded"), "int"),
            "opset": Null("int"),
            "inputs": [_FREE_PORT],
            "outputs": [_FREE_PORT],
            "fixed_by": Null("text"),
            "int8": Null(
                {
                    **dict.fromkeys(("images", "bytes_before"), "int"),
                    **dict.fromkeys(("seconds_before", "seconds"), "number"),
                    "largest_change": "number",
                    "same_class": Null("number"),
                }
            ),
            "check": Null({"difference": "number", "own": "number", "agrees": "bool"}),
        },
    ),
    "fmt": ({"files": [{"file": "text", "changed": "bool"}]},),
    "import": (
        {
            **dict.fromkeys(("name", "text"), "text"),
            **_maybe("file", "difference"),
            **dict.fromkeys(("lines", "layers", "blocks", "opaque"), "int"),
            "seconds": "number",
            **{key: ["text"] for key in ("compared", "notes")},
        },
    ),
    "lint": (
        {
            "files": [
                {
                    "file": "text",
                    "networks": ["text"],
                    "findings": "int",
                    "silenced": "int",
                    "fixed": "int",
                    "not_fixed": [{"code": "text", "reason": "text"}],
                }
            ],
            "findings": [_ADVICE],
        },
        {"rules": [dict.fromkeys(("code", "name", "title"), "text")]},
    ),
    "list": (
        {
            "networks": [
                {
                    "spec": "text",
                    "name": "text",
                    "default": "bool",
                    "input": ["int"],
                    **dict.fromkeys(("params", "depth", "macs"), "int"),
                }
            ]
        },
        {
            "devices": [
                {
                    **dict.fromkeys(("name", "title", "source"), "text"),
                    "matrix": MapOf("number"),
                    "vector": MapOf("number"),
                    "bandwidth": "number",
                    "memory_bytes": Null("int"),
                    "launch_seconds": "number",
                }
            ]
        },
    ),
    "new": ({**_WRITTEN, "text": "text"},),
    "plot": tuple(
        {"show": "text", "networks": [{"name": "text", **one}]}
        for one in _CHARTS.values()
    ),
    "render": ({**_WRITTEN, "dot": "text"},),
    "run": (
        {
            "images": [
                {
                    "file": "text",
                    "classes": [
                        {"index": "int", **_maybe("label"), "probability": "number"}
                    ],
                }
            ]
        },
    ),
    "schema": ({"commands": ["text"]},),
    "sweep": (_SWEEP,),
    "train": (_TRAINED,),
    "weights": (_WEIGHTS,),
}

# These commands only read what is shipped, so no spec can be wrong.
_WITHOUT_ERRORS: Final = frozenset({"list"})


def output_schema(command: str) -> dict[str, Any]:
    """Return the JSON schema of a command's `--json` output.

    A command that fails only prints its errors. Later versions may add keys, so keys
    that are not listed here are allowed.

    Args:
        command: one of `OUTPUTS`.
    """
    errors = {} if command in _WITHOUT_ERRORS else _ERRORS
    forms = [{"schema": SCHEMA, **form, **errors} for form in OUTPUTS[command]]
    failed = {**_schema({"schema": SCHEMA, **_ERRORS}), "additionalProperties": False}
    return {
        "$schema": DIALECT,
        "title": f"archdsl {command} --json",
        "anyOf": [*map(_schema, forms), failed],
    }


def _schema(shape: Any) -> dict[str, Any]:
    """Return the schema of a shape."""
    match shape:
        case Null(inner):
            return {"anyOf": [_schema(inner), {"type": "null"}]}
        case MapOf(inner):
            return {"type": "object", "additionalProperties": _schema(inner)}
        case Any_(shapes):
            return {"anyOf": [_schema(each) for each in shapes]} if shapes else {}
        case dict():
            return _object(shape)
        case list():
            return {"type": "array", "items": _schema(shape[0])}
        case int():
            return {"const": shape}
        case _:
            return {"type": _TYPES[shape]}


def _object(shape: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key.rstrip("?"): _schema(part) for key, part in shape.items()},
        "required": [key for key in shape if not key.endswith("?")],
    }
