"""Weights as NumPy arrays: read from a file, or drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from archdsl.backends import checkpoints
from archdsl.backends.onnx.graph import Array
from archdsl.diagnostics import SpecError
from archdsl.ir import Network
from archdsl.values import Tensor, show_shape

# Prefixes that wrappers of modules add to every key.
_PREFIXES: Final = ("module.", "_orig_mod.")
_SHOWN: Final = 3


class WrongWeights(ValueError):
    """Weights that do not belong to the network, or a file that holds none."""


def read_tensors(path: Path) -> dict[str, Array]:
    """Return the tensors of a file by key.

    Args:
        path: the path of a ``.safetensors`` or ``.npz`` file, or of a ``.pt`` file of
            `torch.save`, which is read by torch with `weights_only=True`.

    Raises:
        archdsl.backends.extras.MissingExtra: if a library that the format needs is not
            installed.
        OSError: if the file cannot be read.
        WrongWeights: if it holds no tensors.
    """
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    try:
        held = checkpoints.read_weights(path)
    except SpecError as error:
        raise WrongWeights(error.diagnostics[0].message) from None
    return {name: checkpoints.decoded_tensor(one) for name, one in held.tensors.items()}


def _read_npz(path: Path) -> dict[str, Array]:
    from zipfile import BadZipFile

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (BadZipFile, ValueError, AttributeError, TypeError) as error:
        raise WrongWeights(f"{path} is not an .npz file of arrays: {error}") from None


def needed_tensors(network: Network, given: Mapping[str, Any]) -> dict[str, Array]:
    """Return the tensors that a network needs in evaluation mode.

    Args:
        network: the network.
        given: its `state_dict`, as arrays or torch tensors of any dtype. Those that
            only training needs may be missing.

    Raises:
        WrongWeights: if one is missing or has another shape, or if one belongs to no
            layer.
    """
    given = _unwrapped(network, given)
    needed = _needed(network)
    every = {one.key for one in checkpoints.wanted(network)}
    missing = [key for key in needed if key not in given]
    unknown = [key for key in given if key not in every]
    if missing or unknown:
        parts = [
            f"{what} {_first(keys)}"
            for what, keys in (("lack", missing), ("have in addition", unknown))
            if keys
        ]
        raise WrongWeights(
            f"the weights are not {network.name}'s: they {', and '.join(parts)}"
        )
    found = {key: _as_array(key, given[key]) for key in needed}
    for key, tensor in needed.items():
        if found[key].shape != tuple(tensor.shape):
            raise WrongWeights(
                f"the weights are not {network.name}'s: {key} is "
                f"{_shown(found[key].shape)}, and the network's {_shown(tensor.shape)}"
            )
    return found


def _needed(network: Network) -> dict[str, Tensor]:
    """Return the tensors that are read in evaluation mode, by key."""
    return {
        one.key: one.tensor
        for one in checkpoints.wanted(network)
        if not (one.step.training or one.counter)
    }


def drawn(network: Network, seed: int) -> dict[str, Array]:
    """Return random weights that keep the size of activations from layer to layer.

    They serve to measure speed; training would start with other ones.

    Args:
        network: the network.
        seed: the seed of the random numbers.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for key, tensor in _needed(network).items():
        shape = tuple(int(n) for n in tensor.shape)
        fan_in = int(np.prod(shape[1:]))
        if len(shape) > 1 and fan_in > 1:
            # He et al. 2015, equation 10.
            values = generator.standard_normal(shape, np.float32)
            found[key] = values * np.float32((2 / fan_in) ** 0.5)
        else:
            is_one = tensor.name in ("weight", "running_var", "")
            found[key] = np.full(shape, float(is_one), np.float32)
    for step in network.steps():
        names = [tensor.name for tensor in step.op.tensors(*step.input_shapes)]
        keys = {n: f"{step.path}.{n}" for n in names if f"{step.path}.{n}" in found}
        for name, value in step.op.settled({n: found[keys[n]] for n in keys}).items():
            found[keys[name]] = value.astype(np.float32)
    return found


def _unwrapped(network: Network, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the tensors without the prefix that a wrapper added to every key."""
    for prefix in _PREFIXES:
        own = any(key.startswith(prefix) for key in _needed(network))
        if given and not own and all(key.startswith(prefix) for key in given):
            given = {key.removeprefix(prefix): value for key, value in given.items()}
    return given


def _as_array(key: str, value: Any) -> Array:
    import numpy as np

    if hasattr(value, "detach"):  # a tensor of torch, perhaps of a dtype NumPy lacks
        value = value.detach().cpu()
        value = (value if value.element_size() == 8 else value.float()).numpy()
    found = np.asarray(value)
    try:
        return found if found.dtype == np.float64 else found.astype(np.float32)
    except (TypeError, ValueError):
        raise WrongWeights(f"{key} is not an array of numbers") from None


def _first(keys: Sequence[str]) -> str:
    more = len(keys) - _SHOWN
    return ", ".join(keys[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _shown(shape: Sequence[int]) -> str:
    return show_shape(tuple(shape)) or "a single number"
