"""Reads torch.export programs (`.pt2`) as data.

`torch.export.load` is not used, since it evaluates expressions in the file's text, and
unpickles everything except weights. A program's graph is JSON in a zip archive, and its
weights are plain bytes beside it. Both are read here, and no code in the file runs.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends.importer import aten
from archdsl.backends.importer.graph import (
    MAX_ELEMENTS,
    MAX_TENSORS,
    ImportGraph,
    ModuleScope,
    Operation,
    ValueRef,
    without_unread,
)
from archdsl.backends.importer.parts import Unsupported
from archdsl.backends.importer.source import SEED, Malformed, NetworkFile

if TYPE_CHECKING:
    from torch import Tensor

_MAX_JSON: Final = 128 << 20
_TARGET: Final = re.compile(r"torch\.ops\.aten\.(\w+)\.(\w+)", re.ASCII)
# A later call of the same module has a number.
_AGAIN: Final = re.compile(r"@\d+\Z")
# Types of elements by their number in a program.
_DTYPES: Final = {
    1: "uint8",
    2: "int8",
    3: "int16",
    4: "int32",
    5: "int64",
    6: "float16",
    7: "float32",
    8: "float64",
    12: "bool",
    13: "bfloat16",
}
_RANDOM: Final = ("dropout", "bernoulli")


class _Call(NamedTuple):
    """An operation of the program.

    Attributes:
        name: the name of the operation, such as ``conv2d``.
        operation: torch's operation.
        args: its arguments by name, with `ValueRef`s for values.
        gives: names of its results.
    """

    name: str
    operation: Any
    args: dict[str, Any]
    gives: tuple[str, ...]


def read_program(path: Path, sizes: Sequence[tuple[int, ...]] | None) -> NetworkFile:
    """Return the network of a program.

    Args:
        path: the file.
        sizes: shapes of the inputs without the batch, for programs that leave them
            open; None to use those that it was exported with.

    Raises:
        Malformed: if it is not a program, or not a valid one.
        OSError: if the file cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path)
            return _Program(path, archive, sizes).source()
    except (zipfile.BadZipFile, NotImplementedError, zipfile.zlib.error) as error:  # type: ignore[attr-defined]
        raise Malformed(f"it is not a torch.export program: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise Malformed("it is not a readable program, or it is damaged") from error
    except RecursionError:
        raise Malformed("it is nested too deeply") from None


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse an archive that is smaller than its contents: torch never compresses."""
    items = archive.infolist()
    if len(items) > MAX_TENSORS:
        raise Malformed(f"it has more than {MAX_TENSORS:,} parts")
    if sum(item.file_size for item in items) > path.stat().st_size:
        raise Malformed("its contents are larger than the file itself")


class _Program:
    """A program that is being read."""

    def __init__(
        self,
        path: Path,
        archive: zipfile.ZipFile,
        sizes: Sequence[tuple[int, ...]] | None,
    ) -> None:
        self.path = path
        self.archive = archive
        self.sizes = sizes
        names = archive.namelist()
        models = [name for name in names if re.search(r"/models/[^/]+\.json\Z", name)]
        if len(models) != 1:
            raise Malformed(
                "it has no program, or several" if names else "it is an empty archive"
            )
        (self.model,) = models
        self.root = self.model.rpartition("/models/")[0]
        self.stem = Path(self.model).stem
        self.weights: dict[str, Tensor] = {}
        self.calls: list[_Call] = []

    def source(self) -> NetworkFile:
        """Return the network with its weights."""
        data = self._json(self.model)
        module = data["graph_module"]
        graph, signature = module["graph"], module["signature"]
        self.meta = graph["tensor_values"]
        for kind in ("weights", "constants"):
            self.weights |= self._tensors(kind)
        made = ImportGraph(self.path.name, "", [], [], {})
        self._inputs(made, signature["input_specs"])
        made.outputs = list(self._outputs(signature["output_specs"]))
        if not made.outputs:
            raise Malformed("it has no output")
        table = aten.known()
        for node in graph["nodes"]:
            made.operations.append(self._operation(made, node, table))
        self._order(made)
        without_unread(made)
        training = any(
            call.args.get(flag) is True
            for call in self.calls
            for flag in ("training", "train", "use_input_stats")
        )
        made.training = training
        state = {key: self.weights[key] for key in made.state}
        values = dict(made.values)

        def run(state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
            entries = dict(zip((n for n, _ in made.inputs), inputs, strict=True))
            known = {name: state[key] for name, key in values.items()}
            return _executed(self.calls, {**entries, **known}, made.outputs)

        return NetworkFile(made, state, run)

    def _json(self, name: str) -> Any:
        if self.archive.getinfo(name).file_size > _MAX_JSON:
            raise Malformed(f"{name} has more than {_MAX_JSON:,} bytes")
        return json.loads(self.archive.read(name))

    # ---- tensors

    def _tensors(self, kind: str) -> dict[str, Tensor]:
        """Return the tensors of one kind, by key, in their order."""
        config = f"{self.root}/data/{kind}/{self.stem}_{kind}_config.json"
        if config not in self.archive.namelist():
            return {}
        found = {}
        for key, entry in self._json(config)["config"].items():
            where = f"{self.root}/data/{kind}/{entry['path_name']}"
            if entry.get("use_pickle"):
                raise Malformed(f"the tensor {key!r} is a pickle, which is refused")
            if entry.get("tensor_meta") is None:
                raise Malformed(f"{key!r} is not a tensor")
            found[str(key)] = self._tensor(where, str(key), entry["tensor_meta"])
        return found

    def _tensor(self, where: str, key: str, meta: Mapping[str, Any]) -> Tensor:
        import torch

        dtype = getattr(torch, _DTYPES[meta["dtype"]])
        shape, strides = (
            [_integer(one) for one in meta[name]] for name in ("sizes", "strides")
        )
        offset = _integer(meta["storage_offset"])
        data = bytearray(self.archive.read(where))
        if not data or 0 in shape:
            raise Malformed(f"the tensor {key!r} is empty")
        whole = torch.frombuffer(data, dtype=dtype)
        reach = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if min(*shape, *strides, offset, 0) < 0 or reach >= whole.numel():
            raise Malformed(f"the tensor {key!r} reaches beyond its bytes")
        # A view can repeat one element any number of times.
        if prod(shape) > whole.numel():
            raise Malformed(f"the tensor {key!r} is larger than its bytes")
        return whole.as_strided(shape, strides, offset).clone()

    def _inputs(self, graph: ImportGraph, specs: Sequence[Mapping[str, Any]]) -> None:
        buffers, temporary = set(), set()
        for spec in specs:
            ((kind, found),) = spec.items()
            if kind == "user_input":
                graph.inputs.append(self._input(found["arg"], len(graph.inputs)))
                continue
            if kind not in ("parameter", "buffer", "tensor_constant"):
                raise Malformed(f"it has an input of the kind {str(kind)[:40]!r}")
            key = str(found[f"{kind}_name"])
            if key not in self.weights:
                raise Malformed(f"the weights of {key[:200]!r} are not in it")
            if kind != "parameter":
                buffers.add(key)
            if kind == "tensor_constant" or found.get("persistent") is False:
                temporary.add(key)
            graph.values[str(found["arg"]["name"])] = key
        graph.buffers, graph.temporary = frozenset(buffers), frozenset(temporary)
        if not graph.inputs:
            raise Malformed("it has no input")

    def _input(self, arg: Mapping[str, Any], place: int) -> tuple[str, tuple[int, ...]]:
        if "as_tensor" not in arg:
            raise Malformed("an input is not a tensor")
        name = str(arg["as_tensor"]["name"])
        given = self.sizes[place] if self.sizes and place < len(self.sizes) else None
        sizes: list[int] = []
        for axis, size in enumerate(self.meta[name]["sizes"]):
            chosen = given[axis - 1] if given and 0 < axis <= len(given) else None
            fixed = size.get("as_int")
            if fixed is None:
                hint = (size.get("as_expr") or {}).get("hint") or {}
                fixed = chosen if chosen is not None else hint.get("as_int")
            elif chosen not in (None, fixed):
                raise Malformed(
                    f"the input `{name}` has the size {fixed}, not {chosen}"
                )
            if fixed is None:
                raise Malformed(f"the input `{name}` may have any size: give --input")
            sizes.append(_integer({"as_int": fixed}))
        if not 2 <= len(sizes) <= 5 or min(sizes) < 1 or prod(sizes) > MAX_ELEMENTS:
            raise Malformed(f"the input `{name}` is not a batch of maps or vectors")
        if given is not None and len(given) != len(sizes) - 1:
            raise Malformed(f"the input `{name}` has {len(sizes) - 1} sizes")
        return name, tuple(sizes)

    def _outputs(self, specs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
        for spec in specs:
            ((kind, found),) = spec.items()
            if kind == "user_output":
                yield str(found["arg"]["as_tensor"]["name"])
            elif kind != "buffer_mutation":
                raise Malformed(f"it has an output of the kind {str(kind)[:40]!r}")

    def _order(self, graph: ImportGraph) -> None:
        """Sort keys by the file of weights, which has the order of the modules."""
        used = set(graph.values.values())
        keys = [key for key in self.weights if key in used]
        graph.state = {key: tuple(self.weights[key].shape) for key in keys}

    # ---- operations

    def _operation(
        self,
        graph: ImportGraph,
        node: Mapping[str, Any],
        table: Mapping[str, aten.AtenFunction],
    ) -> Operation:
        scopes = list(_scopes(node.get("metadata") or {}))
        if not graph.cls and scopes:
            graph.cls = scopes[0].cls
        args = {str(one["name"]): _argument(one["arg"]) for one in node["inputs"]}
        gives = tuple(_names(node["outputs"]))
        name = str(node.get("name") or (gives[0] if gives else ""))[:100]
        target = str(node["target"])[:200]
        inside = scopes[-1].path if scopes and scopes[-1].path else ""
        where = f" in `{inside}`" if inside else ""
        found = _TARGET.fullmatch(target)
        if found is None or found[1] not in table:
            raise Unsupported(f"`{target}`{where} is not a layer kind")
        operation = _operation(found[1], found[2])
        if operation is None:
            raise Unsupported(
                f"`{target}`{where} is not an operation of this version of torch"
            )
        if "self" in args:
            args = {"input": args.pop("self"), **args}
        self.calls.append(_Call(found[1], operation, args, gives))
        if found[1] in aten.SIZED:
            args = {**args, "batch": graph.batch}
        return Operation(
            name=name,
            scopes=tuple(scope for scope in scopes if scope.path),
            perform=table[found[1]],
            args=(args,),
            gives=gives,
        )


def _operation(name: str, overload: str) -> Any:
    """Return an operation of torch's core; None if there is none with that name."""
    import torch

    packet = getattr(torch.ops.aten, name, None)
    found = getattr(packet, overload, None)
    return found if isinstance(found, torch._ops.OpOverload) else None


def _integer(value: Mapping[str, Any]) -> int:
    found = value["as_int"]
    if type(found) is not int or not 0 <= found < 2**40:
        raise Malformed("a size is not a known number")
    return found


def _argument(value: Mapping[str, Any]) -> Any:
    """Return an argument, with `ValueRef`s for values.

    Raises:
        Malformed: if layers have no arguments of its type.
    """
    ((kind, found),) = value.items()
    if kind in ("as_tensor", "as_sym_int", "as_sym_float") and "as_name" in found:
        return ValueRef(str(found["as_name"]))
    match kind:
        case "as_none":
            return None
        case "as_tensor":
            return ValueRef(str(found["name"]))
        case "as_tensors" | "as_optional_tensors":
            return [_one_of(part) for part in found]
        case "as_int" | "as_float" | "as_bool" | "as_string":
            if not isinstance(found, bool | int | float | str):
                raise Malformed("an argument is not a number")
            return found
        case "as_ints" | "as_floats" | "as_bools":
            return [_plain(part) for part in found]
        case "as_sym_ints":
            return [_sym(part) for part in found]
        case "as_sym_int" | "as_sym_float":
            return _sym(found)
        case "as_scalar_type" | "as_memory_format" | "as_layout" | "as_device":
            return None
        case _:
            raise Malformed(f"an argument is of the kind {str(kind)[:40]!r}")


def _one_of(part: Mapping[str, Any]) -> Any:
    if "as_none" in part:
        return None
    inner = part.get("as_tensor", part)
    return ValueRef(str(inner["name"]))


def _plain(part: Any) -> Any:
    if not isinstance(part, bool | int | float):
        raise Malformed("an argument is not a list of numbers")
    return part


def _sym(part: Mapping[str, Any]) -> Any:
    if "as_name" in part:
        raise Malformed("sizes are computed while it runs; export it for fixed sizes")
    return _plain(part.get("as_int", part.get("as_float")))


def _names(outputs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for output in outputs:
        ((kind, found),) = output.items()
        if kind == "as_tensor":
            yield str(found["name"])
        elif kind == "as_tensors":
            yield from (str(part["name"]) for part in found)
        elif kind == "as_none":
            yield ""
        else:
            raise Malformed(
                "sizes are computed while it runs; export it for fixed sizes"
            )


def _scopes(metadata: Mapping[str, Any]) -> Iterator[ModuleScope]:
    """Yield the calls of modules that contain an operation, the network's first."""
    for part in filter(None, str(metadata.get("nn_module_stack") or "").split(";")):
        call, path, cls = [*part.split(","), "", ""][:3]
        yield ModuleScope(call, _AGAIN.sub("", path), cls)


# ---- running the program itself ---------------------------------------------------


def _executed(
    calls: Sequence[_Call], known: dict[str, Any], outputs: Sequence[str]
) -> list[Tensor]:
    """Return the outputs of a program, by torch's own operations."""
    import torch

    # A run in training changes buffers, and some operations change their input.
    values = {name: tensor.clone() for name, tensor in known.items()}
    with torch.no_grad():
        for call in calls:
            if any(word in call.name for word in _RANDOM):
                torch.manual_seed(SEED)
            operation = call.operation
            given = {name: _values(arg, values) for name, arg in call.args.items()}
            own = {argument.name for argument in operation._schema.arguments}
            first = [given.pop("input")] if "self" in own and "input" in given else []
            result = operation(*first, **given)
            results = result if isinstance(result, tuple | list) else (result,)
            values.update(zip(call.gives, results, strict=False))
    return [values[name] for name in outputs]


def _values(arg: Any, values: Mapping[str, Any]) -> Any:
    if isinstance(arg, ValueRef):
        return values[arg]
    if isinstance(arg, list):
        return [_values(part, values) for part in arg]
    return arg
