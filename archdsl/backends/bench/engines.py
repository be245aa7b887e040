"""What runs a network: each engine makes a function of a network and its weights."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from archdsl.backends import onnx
from archdsl.backends.extras import MissingExtra, need
from archdsl.backends.torch import build
from archdsl.ir import Network
from archdsl.transforms import pipeline

if TYPE_CHECKING:
    from torch import Tensor, nn


class NotComparable(ValueError):
    """What is asked for cannot be measured together."""


@dataclass(frozen=True)
class Workload:
    """What each contestant has to do.

    Attributes:
        batch: images at once.
        train: whether it is a step of training by SGD, with the auxiliary heads left
            out of the loss; otherwise inference.
        dtype: ``float32`` or ``bfloat16``; the latter by autocast in torch's engines,
            and not in onnxruntime.
        channels_last: whether torch keeps images channel by channel, or all channels of
            a pixel together.
        on: ``cpu`` or ``cuda``.
        threads: how many an engine may use; 0 for as many as it likes.
    """

    batch: int = 1
    train: bool = False
    dtype: str = "float32"
    channels_last: bool = False
    on: str = "cpu"
    threads: int = 0


class Ready(NamedTuple):
    """A contestant that can run.

    Attributes:
        call: does the work once and waits for its end.
        output: returns the main output, to be compared; None in training.
        load_seconds: how long it took to make it ready.
    """

    call: Callable[[], object]
    output: Callable[[], Any] | None
    load_seconds: float


class Contestant(NamedTuple):
    """An engine with a network.

    Attributes:
        name: such as ``googlenet, onnxruntime``.
        prepare: loads it; this may take long, as when it compiles.
    """

    name: str
    prepare: Callable[[], Ready]


class _Subject(NamedTuple):
    """What all engines are given: the network, its weights, and a batch."""

    network: Network
    state: dict[str, Tensor]
    inputs: tuple[Tensor, ...]
    work: Workload


# The work, and what returns its main output; None in training.
_Made = tuple[Callable[[], object], Callable[[], Any] | None]
_Maker = Callable[[_Subject], _Made]


def contestants(
    network: Network,
    engines: Sequence[str],
    work: Workload,
    *,
    against: Mapping[str, nn.Module] | None = None,
    seed: int = 0,
) -> list[Contestant]:
    """Return the contestants, all with the same random weights and the same batch.

    Args:
        network: the network.
        engines: names of `ENGINES`.
        work: what to do.
        against: modules of other libraries, by name. They get the network's weights,
            where their `state_dict` has the same keys and shapes.
        seed: the seed of the random weights and images.

    Raises:
        ImportError: if torch is not installed.
        NotComparable: if an engine cannot do the work.
    """
    import torch

    for name in engines:
        _check(name, work)
    if work.on == "cuda" and not torch.cuda.is_available():
        raise NotComparable("torch sees no GPU here")
    if work.threads:
        torch.set_num_threads(work.threads)
    torch.manual_seed(seed)
    device = torch.device(work.on)
    module = build(network)
    _settle(module)
    inputs = tuple(
        torch.randn(work.batch, *map(int, port.shape), device=device)
        for port in network.inputs
    )
    subject = _Subject(network, module.state_dict(), inputs, work)
    found = [
        Contestant(f"{network.name}, {name}", _timed(ENGINES[name], subject))
        for name in engines
    ]
    for name, other in (against or {}).items():
        for engine in engines:
            if engine in (*_OF_MODULES, *_OF_FILES):
                maker = _of_module(other, engine)
                found.append(Contestant(f"{name}, {engine}", _timed(maker, subject)))
    return found


def _check(name: str, work: Workload) -> None:
    if name not in ENGINES:
        known = ", ".join(ENGINES)
        raise NotComparable(f"there is no engine `{name}`; known are {known}")
    if name in _OF_MODULES or name == "inference":
        if name == "inference" and work.train:
            raise NotComparable("`inference` makes a module that cannot be trained")
        return
    wrong = (
        "does not train"
        if work.train
        else "takes float32 here"
        if work.dtype != "float32" and name == "onnxruntime"
        else "runs on the CPU here"
        if work.on != "cpu"
        else ""
    )
    if wrong:
        raise NotComparable(f"the engine `{name}` {wrong}")


def _settle(module: nn.Module) -> None:
    """Give batch norms statistics as after training; fresh ones change nothing."""
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5)


def _timed(maker: _Maker, subject: _Subject) -> Callable[[], Ready]:
    def prepare() -> Ready:
        start = time.perf_counter()
        call, output = maker(subject)
        call()
        return Ready(call, output, time.perf_counter() - start)

    return prepare


# ---- torch


def _eager(subject: _Subject) -> _Made:
    return _in_torch(_fresh(subject), subject)


def _compiled(subject: _Subject) -> _Made:
    return _in_torch(_fresh(subject), subject, compiled=True)


def _fresh(subject: _Subject) -> nn.Module:
    module = build(subject.network)
    module.load_state_dict(subject.state)
    return module


def _inference(subject: _Subject) -> _Made:
    """Make the module of `archdsl compile --inference`."""
    deploy = pipeline(inference=True)
    network = deploy.apply(subject.network)
    module = build(network, inference=True, packed=True)
    weights = deploy.weights(subject.network, subject.state)
    module.load_state_dict(weights, strict=False)
    return _in_torch(module, subject)


def _of_module(other: nn.Module, engine: str) -> _Maker:
    def make(subject: _Subject) -> _Made:
        shapes = {key: value.shape for key, value in subject.state.items()}
        if shapes == {key: value.shape for key, value in other.state_dict().items()}:
            other.load_state_dict(subject.state)
        try:
            if engine in _OF_FILES:
                return _OF_FILES[engine](subject, _onnx_of(other, subject))
            call, output = _in_torch(other, subject, compiled=engine == "compile")
            call()
        except MissingExtra:
            raise
        except Exception as error:  # foreign code can raise anything
            why = f"{type(error).__name__}: {error}".partition("\n")[0]
            name = type(other).__name__
            raise NotComparable(f"{name} fails on the network's input: {why}") from None
        return call, output

    return make


def _in_torch(module: nn.Module, subject: _Subject, *, compiled: bool = False) -> _Made:
    import torch

    work = subject.work
    module = module.to(work.on).train(work.train)
    inputs = subject.inputs
    if work.channels_last:
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        inputs = tuple(
            x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x
            for x in inputs
        )
    run: Any = torch.compile(module) if compiled else module
    half = work.dtype == "bfloat16"

    def forward() -> Any:
        with torch.autocast(work.on, torch.bfloat16, enabled=half):
            return _main(run(*inputs))

    def wait() -> None:
        if work.on == "cuda":
            torch.cuda.synchronize()

    if work.train:
        optimizer = torch.optim.SGD(module.parameters(), lr=1e-4, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            forward().float().square().mean().backward()
            optimizer.step()
            wait()

        return step, None

    def infer() -> Any:
        with torch.inference_mode():
            found = forward()
        wait()
        return found

    return infer, lambda: infer().float().cpu().numpy()


def _main(outputs: Any) -> Tensor:
    """Return the main one of a network's outputs."""
    if isinstance(outputs, Mapping):
        outputs = next(iter(outputs.values()))
    elif isinstance(outputs, tuple | list):
        outputs = outputs[0]
    found: Tensor = outputs
    return found


# ---- other engines


# Writes an ONNX model to a file.
_Saver = Callable[[Path], object]


def _own_onnx(subject: _Subject) -> _Saver:
    batch = subject.work.batch
    made = onnx.export(
        # Somebody else's module is exported for these images, too.
        subject.network,
        subject.state,
        batch=batch,
        fixed_size=True,
    )
    return made.save


def _onnx_of(other: nn.Module, subject: _Subject) -> _Saver:
    """Return a function that exports a foreign module by torch's own exporter."""

    def save(path: Path) -> None:
        import torch

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # its newer one needs more packages
            torch.onnx.export(other.eval(), subject.inputs, str(path), dynamo=False)

    return save


def _onnxruntime(subject: _Subject, save: _Saver) -> _Made:
    runtime: Any = need("the engine `onnxruntime`", "onnxruntime", "onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = subject.work.threads
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        save(path)
        session = runtime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
    names = [one.name for one in session.get_inputs()]
    arrays = [x.numpy() for x in subject.inputs]
    feed = dict(zip(names, arrays, strict=True))
    first = session.get_outputs()[0].name

    def call() -> Any:
        return session.run([first], feed)[0]

    return call, call


def _openvino(subject: _Subject, save: _Saver) -> _Made:
    openvino: Any = need("the engine `openvino`", "openvino", "openvino")
    precision = {"float32": "f32", "bfloat16": "bf16"}[subject.work.dtype]
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": precision}
    if subject.work.threads:
        hints["INFERENCE_NUM_THREADS"] = str(subject.work.threads)
    with TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        save(path)
        model = openvino.Core().compile_model(path, "CPU", hints)
    arrays = [x.numpy() for x in subject.inputs]
    request = model.create_infer_request()

    def call() -> Any:
        request.infer(arrays)
        return request.get_output_tensor(0).data

    return call, lambda: call().copy()


ENGINES: Final[Mapping[str, _Maker]] = {
    "eager": _eager,
    "inference": _inference,
    "compile": _compiled,
    "onnxruntime": lambda subject: _onnxruntime(subject, _own_onnx(subject)),
    "openvino": lambda subject: _openvino(subject, _own_onnx(subject)),
}
# Those that run ONNX models, and those that can run any module.
_OF_FILES: Final = {"onnxruntime": _onnxruntime, "openvino": _openvino}
_OF_MODULES: Final = ("eager", "compile")
