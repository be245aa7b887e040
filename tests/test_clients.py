"""Emitted modules in tools and libraries that people use with them.

One small network is used for all: it has residuals, squeeze and excitation, branches,
several activations and dropout.
"""

from __future__ import annotations

import copy
import io
import os
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import archdsl

CLASSES, SIZE = 5, 32
SPEC = """arch 1

block unit<width> {
    residual {
        conv 1x1 (2 * width) -> bn -> hardswish
        dw: conv 3x3 groups=channels -> bn -> relu
        mul {
            adaptiveavgpool 1x1 -> conv 1x1 4 -> relu
            conv 1x1 (2 * width) -> hardsigmoid
          |
        }
        conv 1x1 width -> bn
    }
}

network Net<dropout = 0.2, classes = 5> {
    input 3x32x32
    stem: conv 3x3 8 /2 -> bn -> relu
    stage: seq { unit<8>  x2 }
    fan: concat { conv 3x3 8 -> relu | maxpool 3x3 /1 pad=1 -> conv 1x1 8 }
    globalavgpool -> dropout dropout
    fc: linear classes
}
"""


def made(*, dropout: float = 0.2) -> nn.Module:
    torch.manual_seed(0)
    return archdsl.build(archdsl.loads(SPEC, params={"dropout": dropout}))


@pytest.fixture(scope="module")
def shared() -> nn.Module:
    """The network in evaluation mode, with statistics as after training."""
    module = made().eval()
    generator = torch.Generator().manual_seed(1)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1, generator=generator)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 1.5, generator=generator)
    return module.requires_grad_(False)


@pytest.fixture
def module(shared: nn.Module) -> nn.Module:
    return copy.deepcopy(shared).requires_grad_(True)


def images(batch: int = 2, size: int = SIZE) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, size, size, generator=generator)


def same(found: Any, wanted: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        torch.as_tensor(found), wanted, rtol=tolerance, atol=tolerance
    )


def loss_of(module: Callable[[Tensor], Any], x: Tensor) -> Any:
    labels = torch.arange(len(x)) % CLASSES
    return F.cross_entropy(module(x), labels)


# ---- compilers and exporters ------------------------------------------------------


def test_compiled_for_any_batch(shared: nn.Module) -> None:
    torch.compiler.reset()
    compiled = torch.compile(shared, fullgraph=True, dynamic=True, backend="eager")
    for batch in (2, 3):
        same(compiled(images(batch)), shared(images(batch)))


def test_exported_for_any_batch_and_size(shared: nn.Module) -> None:
    dynamic = torch.export.Dim.DYNAMIC
    program = torch.export.export(
        shared, (images(2),), dynamic_shapes=({0: dynamic, 2: dynamic, 3: dynamic},)
    )
    for batch, size in ((2, 32), (3, 48), (5, 43)):
        x = images(batch, size)
        same(program.module()(x), shared(x))


def test_scripted_and_frozen(shared: nn.Module) -> None:
    scripted: Any = torch.jit.script(shared)
    frozen: Any = torch.jit.freeze(scripted)
    for run in (scripted, frozen):
        same(run(images(3)), shared(images(3)))


def test_traced_by_fx_and_folded(shared: nn.Module) -> None:
    from torch.fx.experimental.optimization import fuse

    folded = fuse(torch.fx.symbolic_trace(copy.deepcopy(shared)))
    assert not any(isinstance(one, nn.BatchNorm2d) for one in folded.modules())
    same(folded(images()), shared(images()), 1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_onnx_through_torch(shared: nn.Module, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "net.onnx"
    axes = {"image": {0: "batch", 2: "height", 3: "width"}}
    torch.onnx.export(
        shared,
        (images(),),
        str(path),
        dynamo=False,
        input_names=["image"],
        dynamic_axes=axes,
    )
    session = onnxruntime.InferenceSession(str(path))
    for batch, size in ((1, 32), (3, 48)):
        x = images(batch, size)
        (found,) = session.run(None, {"image": x.numpy()})
        same(found, shared(x))


@pytest.mark.filterwarnings("ignore")
def test_quantised_by_pt2e(shared: nn.Module) -> None:
    pytest.importorskip("torchao")
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import x86_inductor_quantizer as x86

    quantizer = x86.X86InductorQuantizer()
    quantizer.set_global(x86.get_default_x86_inductor_quantization_config())
    program = torch.export.export(shared, (images(),)).module()
    prepared = prepare_pt2e(program, quantizer)
    for batch in range(4):
        prepared(images(2) + batch / 10)
    quantised = convert_pt2e(prepared)
    found, wanted = quantised(images()), shared(images())
    kinds = {str(node.target) for node in quantised.graph.nodes}
    assert any("quantize_per_tensor" in kind for kind in kinds)
    off = (found - wanted).abs().max() / wanted.abs().max()
    assert 0 < off < 0.2


# ---- how it runs ------------------------------------------------------------------


def test_channels_last(shared: nn.Module) -> None:
    form: Any = torch.channels_last
    other: Any = copy.deepcopy(shared)
    other.to(memory_format=form)
    found = other(images().contiguous(memory_format=form))
    same(found, shared(images()))


def test_autocast_trains_in_bfloat16() -> None:
    module = made().train()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = module(images(4))
    assert outputs.dtype == torch.bfloat16
    loss_of(lambda _: outputs.float(), images(4)).backward()
    gradients = [p.grad for p in module.parameters()]
    assert all(g is not None and g.dtype == torch.float32 for g in gradients)


def test_activations_are_recomputed_by_checkpoint(module: nn.Module) -> None:
    plain = copy.deepcopy(module)
    loss_of(plain, images()).backward()
    loss_of(
        lambda x: checkpoint(module, x, use_reentrant=False),
        images(),
    ).backward()
    for one, other in zip(module.parameters(), plain.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None
        same(one.grad, other.grad)


def test_gradients_of_each_sample_by_func(module: nn.Module) -> None:
    state = {key: value.detach() for key, value in module.state_dict().items()}

    def loss(state: dict[str, Tensor], x: Tensor) -> Tensor:
        found: Tensor = functional_call(module, state, (x[None],)).logsumexp(1).sum()
        return found

    names = ("fc.weight", "stem.weight")
    wanted = {name: state.pop(name) for name in names}
    found = vmap(grad(lambda own, x: loss({**state, **own}, x)), (None, 0))(
        wanted, images(3)
    )
    for number, x in enumerate(images(3)):
        module.zero_grad()
        total: Any = module(x[None]).logsumexp(1).sum()
        total.backward()
        for name in names:
            gradient = module.get_parameter(name).grad
            assert gradient is not None
            same(found[name][number], gradient, 1e-4)


# ---- files ------------------------------------------------------------------------


def test_weights_by_safetensors(shared: nn.Module, tmp_path: Path) -> None:
    from safetensors.torch import load_model, save_model

    path = str(tmp_path / "net.safetensors")
    save_model(shared, path)
    other = made().eval()
    assert not any(load_model(other, path, strict=True))
    assert torch.equal(other(images()), shared(images()))


def test_saved_as_a_whole(shared: nn.Module) -> None:
    file = io.BytesIO()
    torch.save(shared, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert torch.equal(loaded(images()), shared(images()))


# ---- libraries --------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
def test_a_step_of_lightning(tmp_path: Path) -> None:
    import tests.oracle  # noqa: F401 (its metrics import torchvision)

    lightning = pytest.importorskip("lightning")

    class Task(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.net = made()
            self.losses: list[Tensor] = []

        def training_step(self, batch: list[Tensor], _: int) -> Any:
            loss = loss_of(self.net, batch[0])
            self.losses.append(loss.detach())
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    data = torch.utils.data.TensorDataset(images(8))
    task = Task()
    before = copy.deepcopy(task.net.state_dict())
    trainer = lightning.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=str(tmp_path),
    )
    trainer.fit(task, torch.utils.data.DataLoader(data, batch_size=4))
    assert len(task.losses) == 2 and all(loss.isfinite() for loss in task.losses)
    after = task.net.state_dict()
    assert int(after["bn1.num_batches_tracked"]) == 2
    assert not torch.equal(after["fc.weight"], before["fc.weight"])


@pytest.mark.filterwarnings("ignore")
def test_a_step_of_accelerate() -> None:
    accelerate = pytest.importorskip("accelerate")
    module = made(dropout=0.0).train()
    plain = copy.deepcopy(module)
    engine = accelerate.Accelerator(cpu=True)
    prepared, optimizer = engine.prepare(
        module, torch.optim.SGD(module.parameters(), lr=0.1)
    )
    engine.backward(loss_of(prepared, images(4)))
    optimizer.step()
    rule = torch.optim.SGD(plain.parameters(), lr=0.1)
    loss_of(plain, images(4)).backward()
    rule.step()
    found = engine.unwrap_model(prepared).state_dict()
    for key, value in plain.state_dict().items():
        same(found[key], value)


@pytest.mark.filterwarnings("ignore")
def test_a_map_of_torchcam(module: nn.Module) -> None:
    methods = pytest.importorskip("torchcam.methods")
    # CAM's original form, for a head that is one linear layer on pooled channels.
    with methods.GradCAM(module, target_layer="stage.1") as cam:
        outputs = module(images(1))
        (found,) = cam(3, outputs)
    taken: dict[str, Tensor] = {}
    layer = module.get_submodule("stage.1")
    hook = layer.register_forward_hook(lambda _, __, y: taken.update(y=y))
    (gradient,) = torch.autograd.grad(module(images(1))[0, 3], taken["y"])
    hook.remove()
    weights = gradient.mean((2, 3), keepdim=True)
    wanted = (weights * taken["y"]).sum(1).relu()
    wanted = (wanted - wanted.min()) / (wanted.max() - wanted.min())
    same(found, wanted.detach(), 1e-4)


@pytest.mark.filterwarnings("ignore")
def test_the_graph_in_tensorboard(shared: nn.Module, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_graph(shared, images(1))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    graph = events.Graph()
    names = {node.name for node in graph.node}
    for name, layer in shared.named_modules():
        if isinstance(layer, nn.Conv2d):
            parts = [f"[{part}]" for part in name.split(".")]
            assert any(all(part in one for part in parts) for one in names), name


# ---- several processes ------------------------------------------------------------


def _worker(rank: int, folder: str) -> None:
    """Train a step by DDP and by FSDP2, each process on half of the images."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.nn.parallel import DistributedDataParallel

    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    dist: Any = torch.distributed
    store = dist.FileStore(f"{folder}/store", 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    own = images(4)[rank::2]
    found = {}
    for kind in ("ddp", "fsdp"):
        # Norms use running statistics, as those of half a batch would differ.
        module = made().eval()
        run: nn.Module = module
        if kind == "ddp":
            run = DistributedDataParallel(module)
        else:
            for layer in module.get_submodule("stage").children():
                fully_shard(layer, mesh=mesh)
            fully_shard(module, mesh=mesh)
        run(own).logsumexp(1).mean().backward()
        found[kind] = {
            name: one.grad.full_tensor() if kind == "fsdp" else one.grad  # type: ignore[union-attr]
            for name, one in module.named_parameters()
        }
    if rank == 0:
        torch.save(found, f"{folder}/found.pt")
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_of_ddp_and_fsdp(tmp_path: Path) -> None:
    multiprocessing: Any = torch.multiprocessing
    with redirect_stderr(io.StringIO()):
        multiprocessing.spawn(_worker, (str(tmp_path),), nprocs=2)
    module = made().eval()
    module(images(4)).logsumexp(1).mean().backward()
    for kind, found in torch.load(tmp_path / "found.pt").items():
        for name, one in module.named_parameters():
            assert one.grad is not None
            try:
                same(found[name], one.grad, 1e-4)
            except AssertionError as error:
                raise AssertionError(f"{kind}, {name}") from error
