"""Recipes: how to make a transformed network's tensors from the old ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from archdsl.ir import Network
from archdsl.ir.state import wanted


class TensorOrigin(NamedTuple):
    """How a tensor is made from tensors of the network before the transformation.

    Attributes:
        keys: the tensors that it is made from, by their keys in the old `state_dict`;
            its dtype is that of the first.
        make: computes it from them, in double precision; None if it is a copy of a
            single tensor.
    """

    keys: tuple[str, ...]
    make: Callable[..., Any] | None = None


# The tensors of a network by key, in the order of its `state_dict`.
TensorRecipe = Mapping[str, TensorOrigin]


def as_before(network: Network) -> dict[str, TensorOrigin]:
    """Return the recipe that keeps all tensors of a network."""
    return {one.key: TensorOrigin((one.key,)) for one in wanted(network)}


def followed(recipe: TensorRecipe, state: Mapping[str, Any]) -> dict[str, Any]:
    """Return the `state_dict` that a recipe makes from an old one.

    New tensors are computed in double precision, and rounded once. Tensors whose first
    part is missing are left out, such as those that only training needs.

    Args:
        recipe: the recipe.
        state: tensors of torch or arrays of NumPy, by key; it is not changed.

    Raises:
        KeyError: if another part of a tensor is missing.
    """
    found: dict[str, Any] = {}
    for key, (keys, make) in with_names(recipe, state).items():
        if keys[0] not in state:
            continue
        parts = [state[one] for one in keys]
        if make is None:
            found[key] = parts[0]
        else:
            found[key] = _as(parts[0].dtype, make(*map(_wide, parts)))
    return found


def with_names(recipe: TensorRecipe, names: Iterable[str]) -> TensorRecipe:
    """Return a recipe in which the tensors of each `op` have their names in a state.

    A spec does not know them: an op `d` has `d.*`, and all below `d` is meant.
    """
    found: dict[str, TensorOrigin] = {}
    for key, origin in recipe.items():
        old, new = origin.keys[0].removesuffix("*"), key.removesuffix("*")
        if old == origin.keys[0]:
            found[key] = origin
            continue
        for name in names:
            if name.startswith(old):
                found[new + name.removeprefix(old)] = TensorOrigin((name,))
    return found


def composed(first: TensorRecipe, second: TensorRecipe) -> dict[str, TensorOrigin]:
    """Return the recipe that applies one recipe, and then another."""
    return {key: _through(first, origin) for key, origin in second.items()}


def _through(first: TensorRecipe, origin: TensorOrigin) -> TensorOrigin:
    parts = [first[key] for key in origin.keys]
    if origin.make is None:
        return parts[0]
    keys = tuple(dict.fromkeys(key for part in parts for key in part.keys))
    return TensorOrigin(keys, _Chain(keys, parts, origin.make))


class _Chain:
    """The composition of two ways to make tensors."""

    def __init__(
        self,
        keys: Sequence[str],
        parts: Sequence[TensorOrigin],
        make: Callable[..., Any],
    ) -> None:
        self.keys = keys
        self.parts = parts
        self.make = make

    def __call__(self, *tensors: Any) -> Any:
        known = dict(zip(self.keys, tensors, strict=True))
        made = []
        for keys, make in self.parts:
            given = [known[key] for key in keys]
            made.append(given[0] if make is None else make(*given))
        return self.make(*made)


def zeros(like: Any, *shape: int) -> Any:
    """Return zeros of a shape, as a tensor or array like another."""
    if hasattr(like, "new_zeros"):
        return like.new_zeros(shape)
    import numpy as np

    return np.zeros(shape, like.dtype)


def _wide(tensor: Any) -> Any:
    """Return a tensor of torch, or an array of NumPy, in double precision."""
    return tensor.double() if hasattr(tensor, "double") else tensor.astype("float64")


def _as(dtype: Any, tensor: Any) -> Any:
    return tensor.to(dtype) if hasattr(tensor, "to") else tensor.astype(dtype)
