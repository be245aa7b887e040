"""Weights, gradients and optimizer state sharded over processes, by torch's FSDP2.

Each process holds a share of every tensor. The weights of a block are gathered before
it runs, and dropped afterwards (Rajbhandari et al. 2020, "ZeRO", section 5.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from archdsl.ir import Network
from archdsl.ir.graph import flatten
from archdsl.passes.recompute import parts

if TYPE_CHECKING:
    from torch import nn


def strategy(network: Network, world: int) -> Any:
    """Return Fabric's strategy that shards a network's module."""
    from lightning_fabric.strategies.model_parallel import ModelParallelStrategy

    def shard(module: nn.Module, mesh: Any) -> nn.Module:
        from torch.distributed.fsdp import fully_shard

        over: Any = mesh["data_parallel"]
        for unit in gathered_blocks(network, module):
            fully_shard(unit, mesh=over)
        fully_shard(module, mesh=over)
        return module

    make: Any = ModelParallelStrategy
    return make(shard, data_parallel_size=world, tensor_parallel_size=1)


def gathered_blocks(network: Network, module: nn.Module) -> list[nn.Module]:
    """Return the blocks that are sharded as units of their own.

    They are the blocks that could be recomputed. Everything else belongs to the unit of
    the whole module; so do blocks that share weights, as a weight has one unit only.
    """
    found: dict[nn.Module, set[int]] = {}
    for part in parts(flatten(network)):
        unit = module.get_submodule(part.path)
        # FSDP gathers weights when `forward` is called, which a container's may not be.
        if not type(unit).__module__.startswith("torch."):
            found[unit] = {id(one) for one in unit.parameters()}
    return [
        unit
        for unit, own in found.items()
        if own and not any(own & its for one, its in found.items() if one is not unit)
    ]


def whole_weights(module: nn.Module) -> dict[str, Any]:
    """Return the full tensors of a module; all processes must call this."""
    from torch.distributed.checkpoint import state_dict as torchs

    return dict(torchs.get_model_state_dict(module, options=_whole()))


def load_weights(module: nn.Module, tensors: dict[str, Any]) -> None:
    """Load full tensors, which each process has, into a sharded module."""
    from torch.distributed.checkpoint import state_dict as torchs

    torchs.set_model_state_dict(module, tensors, options=_whole())


def whole_optimizer(module: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Return the full state of an optimizer; all processes must call this."""
    from torch.distributed.checkpoint import state_dict as torchs

    return dict(torchs.get_optimizer_state_dict(module, optimizer, options=_whole()))


def load_optimizer(module: nn.Module, optimizer: Any, state: dict[str, Any]) -> None:
    """Load a full state, which each process has, into a sharded optimizer."""
    from torch.distributed.checkpoint import state_dict as torchs

    torchs.set_optimizer_state_dict(module, optimizer, state, options=_whole())


def _whole() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True)
