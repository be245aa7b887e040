"""Reads ONNX models as data: their nodes become calls of torch functions.

A model has no modules, but its names refer to them: torch's exporters name a weight by
its key, such as `layer1.0.conv1.weight`, and a node by the module that contains it. So
the text before the last dot is the name of a module. A module whose parts are named by
numbers is a Sequential. One that is named by a number, or occurs several times in the
same form, gets a class.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends.extras import need
from archdsl.backends.importer.graph import (
    MAX_ELEMENTS,
    MAX_OPERATIONS,
    ImportGraph,
    ModuleScope,
    Operation,
    ValueRef,
)
from archdsl.backends.importer.nodes import NODES, ModelNode, Unfit, at_host
from archdsl.backends.importer.parts import Unsupported
from archdsl.backends.importer.source import Malformed, NetworkFile

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto
    from torch import Tensor

Array = Any  # numpy's

_MAX_BYTES: Final = 2 << 30
# The batch size used for a model that leaves it open.
_BATCH: Final = 2
_SEQUENTIAL: Final = "torch.nn.modules.container.Sequential"
_KEY: Final = re.compile(
    r"((?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]+)\.(?:weight|bias|running_mean|running_var)",
    re.ASCII,
)
_PATH: Final = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*", re.ASCII)
_SCOPES: Final = "pkg.torch.onnx.name_scopes"
_CLASSES: Final = "pkg.torch.onnx.class_hierarchy"


def read_onnx(path: Path, sizes: Sequence[tuple[int, ...]] | None) -> NetworkFile:
    """Return the network of a model.

    Args:
        path: the file.
        sizes: shapes of the inputs without the batch, for models that leave them open;
            None to use the model's own.

    Raises:
        Malformed: if it is not a model, or not a valid one.
        MissingExtra: if onnx is not installed.
        OSError: if the file cannot be read.
        Unknown: if one of its nodes is not a layer.
    """
    onnx: Any = need("a model of ONNX", "onnx", "onnx")
    if path.stat().st_size > _MAX_BYTES:
        raise Malformed(f"it has more than {_MAX_BYTES:,} bytes")
    data = path.read_bytes()
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors, whose classes depend on its version
        raise Malformed("it is not an ONNX model") from error
    if not model.graph.node or not model.graph.output:
        raise Malformed("it is not an ONNX model, or one without nodes")
    try:
        return _Model(path, model, sizes).source()
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise Malformed("it is not a readable model, or it is damaged") from error
    except RecursionError:
        raise Malformed("it is nested too deeply") from None


class _Place(NamedTuple):
    """The modules that contain a node.

    Attributes:
        path: the path of its own module, or of the one that contains it.
        classes: classes of the enclosing modules, by path, where the model records
            them.
    """

    path: str
    classes: Mapping[str, str]


class _Model:
    """A model that is being read."""

    def __init__(
        self, path: Path, model: ModelProto, sizes: Sequence[tuple[int, ...]] | None
    ) -> None:
        self.path = path
        self.model = model
        self.sizes = sizes
        self.stored = {one.name: one for one in model.graph.initializer}
        self.nodes: list[NodeProto] = list(model.graph.node)
        if len(self.nodes) > MAX_OPERATIONS:
            raise Malformed(f"there are more than {MAX_OPERATIONS:,} operations")
        self.arrays: dict[str, Array] = {}
        self.state: dict[str, Array] = {}
        self.keys: dict[tuple[str, ...], str] = {}
        self.counts: Counter[str] = Counter()

    def source(self) -> NetworkFile:
        """Return the network with its weights."""
        import torch

        for name, tensor in self.stored.items():
            self.arrays[name] = self._array(tensor)
        for node in self.nodes:
            if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
                self._constant(node)
        graph = ImportGraph(self.path.name, "", [], [], {})
        for entry in self.model.graph.input:
            if entry.name not in self.stored:
                graph.inputs.append(self._input(entry, len(graph.inputs)))
        if not graph.inputs:
            raise Malformed("it has no input")
        graph.outputs = [one.name for one in self.model.graph.output]
        operations = list(self._operations(graph))
        graph.operations = self._scoped(graph, operations)
        graph.state = {key: tuple(a.shape) for key, a in self.state.items()}
        graph.values = {key: key for key in self.state}
        ends = ("running_mean", "running_var", "num_batches_tracked")
        graph.buffers = frozenset(k for k in self.state if k.endswith(ends))
        self._note(graph)
        state = {k: torch.from_numpy(a.copy()) for k, a in self.state.items()}
        engine, run = self._engine(graph)
        return NetworkFile(graph, state, run, engine, exact=False)

    # ---- data

    def _array(self, tensor: TensorProto) -> Array:
        """Return a stored tensor; other files are only read in the model's folder.

        Raises:
            Malformed: if it does not have the size that it declares.
        """
        from onnx import TensorProto, numpy_helper

        name = tensor.name[:100]
        count = prod(tensor.dims)
        if any(n < 0 for n in tensor.dims) or count > MAX_ELEMENTS:
            raise Malformed(f"the tensor {name!r} has an impossible shape")
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor.raw_data = self._external(tensor, name)
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        try:
            return numpy_helper.to_array(tensor)
        except Exception as error:
            raise Malformed(
                f"the tensor {name!r} does not have the size that it declares"
            ) from error

    def _external(self, tensor: TensorProto, name: str) -> bytes:
        given = {entry.key: entry.value for entry in tensor.external_data}
        where = given.get("location", "")
        folder = self.path.parent.resolve()
        inside = Path(where)
        target = (folder / inside).resolve()
        if (
            not where
            or "\0" in where
            or inside.is_absolute()
            or ".." in inside.parts
            or not target.is_relative_to(folder)
        ):
            raise Malformed(
                f"the tensor {name!r} is outside the model's folder, in {where[:100]!r}"
            )
        start, length = int(given.get("offset", 0)), int(given.get("length", -1))
        try:
            size = target.stat().st_size
            if not target.is_file():
                raise OSError("no file")
            length = size - start if length < 0 else length
            if start < 0 or start + length > size:
                raise Malformed(f"the tensor {name!r} reaches beyond its file")
            with target.open("rb") as file:
                file.seek(start)
                return file.read(length)
        except OSError:
            raise Malformed(f"the file {where[:100]!r} cannot be read") from None

    def _constant(self, node: NodeProto) -> None:
        import numpy as np

        (given,) = node.attribute
        kinds = {"value_int": given.i, "value_float": given.f}
        kinds |= {"value_ints": list(given.ints), "value_floats": list(given.floats)}
        if given.name == "value":
            self.arrays[node.output[0]] = self._array(given.t)
        elif given.name in kinds:
            whole = "int" in given.name
            dtype = np.int64 if whole else np.float32
            self.arrays[node.output[0]] = np.asarray(kinds[given.name], dtype)
        else:
            raise Malformed(f"a constant is a {given.name[:40]!r}")

    def _input(self, entry: ValueInfoProto, place: int) -> tuple[str, tuple[int, ...]]:
        """Return the name and shape of an input, with open sizes filled in."""
        dims = list(entry.type.tensor_type.shape.dim)
        given = self._given(place)
        sizes: list[int] = []
        for axis, dim in enumerate(dims):
            chosen = given[axis - 1] if given and 0 < axis <= len(given) else None
            fixed = dim.dim_value or None
            if fixed is None:
                fixed = _BATCH if axis == 0 else chosen
            elif self.sizes and chosen not in (None, fixed):
                raise Malformed(
                    f"the input `{entry.name[:100]}` has the size {fixed}, not {chosen}"
                )
            if fixed is None:
                raise Malformed(
                    f"the input `{entry.name[:100]}` may have any size: give --input"
                )
            sizes.append(fixed)
        if not 2 <= len(sizes) <= 5 or min(sizes) < 1 or prod(sizes) > MAX_ELEMENTS:
            raise Malformed(
                f"the input `{entry.name[:100]}` is not a batch of maps or vectors"
            )
        return entry.name, tuple(sizes)

    def _given(self, place: int) -> tuple[int, ...] | None:
        """Return the sizes of an input from the user, or from archdsl's metadata."""
        if self.sizes:
            return self.sizes[place] if place < len(self.sizes) else None
        known = {prop.key: prop.value for prop in self.model.metadata_props}
        shapes = known.get("archdsl.input", "").split(",")
        text = shapes[place].strip() if place < len(shapes) else ""
        found = re.fullmatch(r"\d{1,9}(x\d{1,9}){0,3}", text)
        return tuple(int(n) for n in text.split("x")) if found else None

    # ---- nodes

    def _operations(self, graph: ImportGraph) -> Iterator[tuple[Operation, _Place]]:
        """Yield the operations of the nodes, with the modules that contain them."""
        readers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        leaving = Counter(graph.outputs)
        known = {
            name.rpartition(".")[0] for name in self.stored if _KEY.fullmatch(name)
        }
        done: set[int] = set()
        for node in self.nodes:
            if id(node) in done or node.op_type == "Constant":
                continue
            if node.domain not in ("", "ai.onnx") or node.op_type not in NODES:
                shown = f"{node.domain}:{node.op_type}".strip(":")[:100]
                raise Unsupported(
                    f"`{shown}`, the node {node.name[:100]!r}, is not a layer kind"
                )
            place = self._place(node, known)
            one = ModelNode(self, node, readers, leaving, place.path)
            try:
                performed = NODES[node.op_type](one)
            except Unfit as error:
                what = f"`{node.op_type}`, the node {node.name[:100]!r},"
                raise Unsupported(f"{what} is not a layer kind: {error}") from error
            done.update(id(other) for other in one.taken)
            path = one.owner or place.path
            yield (
                Operation(
                    name=node.name[:100] or node.op_type,
                    scopes=(),
                    perform=performed.perform,
                    args=tuple(performed.args),
                    gives=tuple(one.last.output),
                ),
                place._replace(path=path),
            )

    def argument(self, name: str) -> Any:
        """Return the number, array or value with some name."""
        if name in self.arrays:
            return at_host(self.arrays[name])
        return ValueRef(name)

    def parameter(self, owner: str, names: Mapping[str, Array]) -> dict[str, ValueRef]:
        """Store the tensors of a layer under keys, and return their values' names.

        Args:
            owner: path of the layer, or of a bare parameter.
            names: the model's names of its tensors, by their names in the layer.
        """
        found = {}
        for name, array in names.items():
            key = f"{owner}.{name}" if name else owner
            if key not in self.state:
                self.state[key] = array
            found[name] = ValueRef(key)
        return found

    def owner(self, inputs: Sequence[str], path: str, word: str) -> str:
        """Return the path of the layer that owns some weights.

        Args:
            inputs: names of the weights, the first of which names the layer.
            path: path of the module that contains its node.
            word: name of the layer if nothing else names it.
        """
        key = tuple(inputs)
        if key in self.keys:
            return self.keys[key]
        match = _KEY.fullmatch(inputs[0].removesuffix(".T"))
        taken = set(self.keys.values())
        found = match[1] if match else path
        if not found or found in taken or any(k.startswith(f"{found}.") for k in taken):
            around = f"{path}." if path and path not in taken else ""
            number = 1
            while f"{around}{word}{number}" in taken:
                number += 1
            found = f"{around}{word}{number}"
        self.keys[key] = found
        return found

    # ---- places

    def _place(self, node: NodeProto, known: set[str]) -> _Place:
        """Return the path of a node's module, according to its names."""
        noted = {prop.key: prop.value for prop in node.metadata_props}
        if _SCOPES in noted:
            names, classes = _listed(noted[_SCOPES]), _listed(noted.get(_CLASSES, "[]"))
            inner = [one for one in names[1:-1] if _PATH.fullmatch(one)]
            if inner:
                return _Place(inner[-1], dict(zip(names, classes, strict=False)))
            return _Place("", dict(zip(names, classes, strict=False)))
        if node.name.startswith("/"):
            return _Place(_scope_of(node.name), {})
        name = node.name.partition("/")[0]
        if not _PATH.fullmatch(name):
            return _Place("", {})
        if name in known:
            return _Place(name, {})
        around, _, last = name.rpartition(".")
        owners = {one[: len(around)] for one in known if one.startswith(f"{around}.")}
        if around and around in owners:
            return _Place(name if last.isdecimal() else around, {})
        return _Place("", {})

    def _scoped(
        self, graph: ImportGraph, some: Sequence[tuple[Operation, _Place]]
    ) -> list[Operation]:
        """Return operations with the calls of modules that contain them."""
        from dataclasses import replace

        paths = [place.path for _, place in some]
        classes = self._classes([*paths, *(k.rpartition(".")[0] for k in self.state)])
        for _, place in some:
            classes.update(
                (path, cls) for path, cls in place.classes.items() if path and cls
            )
            graph.cls = graph.cls or place.classes.get("", "")
        graph.cls = graph.cls or self._network()
        found = []
        for operation, place in some:
            names = place.path.split(".") if place.path else []
            ways = [".".join(names[: n + 1]) for n in range(len(names))]
            scopes = tuple(ModuleScope(way, way, classes.get(way, "")) for way in ways)
            found.append(replace(operation, scopes=scopes))
        return found

    def _network(self) -> str:
        """Return a name for the class of the network."""
        name = self.model.graph.name
        plain = name if re.fullmatch(r"[A-Za-z]\w{0,79}", name, re.ASCII) else ""
        generic = plain.lower() in ("", "main_graph", "graph", "torch_jit")
        return self.path.stem if generic else plain

    def _classes(self, paths: Sequence[str]) -> dict[str, str]:
        """Return a class for each module that has parts, judging by their names."""
        parts: dict[str, dict[str, None]] = {}
        for path in dict.fromkeys(paths):
            names = path.split(".") if path else []
            for n in range(len(names)):
                parts.setdefault(".".join(names[:n]), {})[names[n]] = None
        forms: dict[str, Any] = {}

        def form(path: str) -> Any:
            if path not in forms:
                prefix = f"{path}." if path else ""
                forms[path] = tuple((n, form(prefix + n)) for n in parts.get(path, ()))
            return forms[path]

        times = Counter(form(path) for path in parts if path)
        called: dict[Any, str] = {}
        where = re.sub(r"\W+", "_", self.path.stem, flags=re.ASCII)
        found = {}
        for path, inner in parts.items():
            last = path.rpartition(".")[2]
            if not path:
                continue
            if all(name.isdecimal() for name in inner):
                found[path] = _SEQUENTIAL
            elif last.isdecimal() or times[form(path)] > 1:
                name = called.setdefault(form(path), _class_name(path))
                found[path] = f"{where}.onnx.{name}"
            else:
                found[path] = _SEQUENTIAL
        return found

    def _note(self, graph: ImportGraph) -> None:
        types = {node.op_type for node in self.nodes}
        biased = any(key.endswith(".bias") for key in self.state)
        if "Conv" in types and biased and "BatchNormalization" not in types:
            graph.notes.append(
                "it has no batch norms: if the network had some, they were folded "
                "into its convolutions"
            )

    # ---- running the model itself

    def _engine(
        self, graph: ImportGraph
    ) -> tuple[str, Callable[[Mapping[str, Tensor], Sequence[Tensor]], list[Tensor]]]:
        """Return an engine for the model, and its name."""
        import torch

        # Tensors in other files have been loaded into the model by now.
        data = self.model.SerializeToString()
        names = [name for name, _ in graph.inputs]
        try:
            import onnxruntime
        except ImportError:
            engine = "onnx's reference"

            def session(given: dict[str, Array]) -> list[Array]:
                from onnx.reference import ReferenceEvaluator

                return list(ReferenceEvaluator(self.model).run(None, given))

        else:
            engine = "onnxruntime"

            def session(given: dict[str, Array]) -> list[Array]:
                options = onnxruntime.SessionOptions()
                options.log_severity_level = 4
                providers = ["CPUExecutionProvider"]
                # Otherwise it would print to the terminal before it fails.
                more: dict[str, Any] = {"providers": providers, "enable_fallback": 0}
                made = onnxruntime.InferenceSession(data, options, **more)
                return list(made.run(None, given))

        def run(state: Mapping[str, Tensor], inputs: Sequence[Tensor]) -> list[Tensor]:
            given = {n: t.numpy() for n, t in zip(names, inputs, strict=True)}
            return [torch.from_numpy(one.copy()) for one in session(given)]

        return engine, run


def _listed(text: str) -> list[str]:
    """Return a list of texts, written as in Python; empty if it is not one."""
    if len(text) > 10_000:
        return []
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return []
    return [str(one) for one in found] if isinstance(found, list | tuple) else []


def _scope_of(name: str) -> str:
    """Return the path in a name such as ``/layer1/layer1.0/conv1/Conv``."""
    found: list[str] = []
    for part in name.split("/")[1:-1]:
        if not _PATH.fullmatch(part):
            break
        around = found[-1].split(".") if found else []
        # torch repeats the Sequential's name in the name of its part, at any depth.
        ends = (".".join(around[n:]) for n in range(len(around)))
        known = next((end for end in ends if part.startswith(f"{end}.")), "")
        inner = part.removeprefix(f"{known}.") if known else part
        found.append(f"{found[-1]}.{inner}" if found else inner)
    return found[-1] if found else ""


def _class_name(path: str) -> str:
    """Return a name for a class, after the module at a path."""
    for part in reversed(path.split(".")):
        stem = re.match(r"[A-Za-z_-]+", part)
        if stem is not None and stem[0].strip("_-"):
            words = re.split(r"[_-]+", stem[0].strip("_-"))
            return "".join(word[:1].upper() + word[1:] for word in words)
    return "Block"
