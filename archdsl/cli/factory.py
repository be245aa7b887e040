"""PyTorch modules made by a user's code."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click

from archdsl.cli import status
from archdsl.cli.terminal import Failure, say, without_torch


def modules_of(
    module: str, names: list[str], arguments: dict[str, Any]
) -> dict[str, Any]:
    """Return the networks that several factories of a module make, by their names.

    Raises:
        BadParameter: if these are not names, or one is given twice.
        Failure: as for `made_by`.
    """
    if ":" in module:
        raise click.BadParameter(
            "with --family, give the module alone, such as torchvision.models"
        )
    if len(set(names)) < len(names) or not all(name.isidentifier() for name in names):
        raise click.BadParameter(
            "give different names of functions or classes, such as resnet18,resnet34",
            param_hint="'--family'",
        )
    return {name: made_by(f"{module}:{name}", arguments) for name in names}


def made_by(factory: str, arguments: dict[str, Any]) -> Any:
    """Return the network that a factory makes; this runs its code.

    Args:
        factory: ``MODULE:FACTORY``, such as ``torchvision.models:resnet18``.
        arguments: the arguments to call it with.

    Raises:
        BadParameter: if `factory` does not have this form.
        Failure: if torch is missing, the code fails, or it returns no module.
    """
    where, colon, attribute = factory.partition(":")
    names = [*where.split("."), *attribute.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise click.BadParameter(
            f"`{factory}` is not of the form MODULE:FACTORY, such as "
            "torchvision.models:resnet18",
        )
    try:
        import torch  # noqa: F401, TID251 (to say it before any code is run)
    except (ImportError, OSError) as error:
        raise without_torch(error, "a PyTorch module needs") from None
    say(f"running the code of {factory}")
    module = _run(lambda: _found(where, attribute)(**arguments), factory)
    from torch import nn  # noqa: TID251

    if not isinstance(module, nn.Module):
        raise Failure(
            f"{factory} does not return a torch.nn.Module: {type(module).__name__}",
            status.SPEC_ERRORS,
        )
    return module


def _found(where: str, attribute: str) -> Callable[..., Any]:
    if "" not in sys.path:
        sys.path.insert(0, "")  # so that modules in the working folder are found
    found: Any = import_module(where)
    for name in attribute.split("."):
        found = getattr(found, name)
    if not callable(found):
        raise TypeError(f"{attribute} is not a function or class")
    return found  # type: ignore[no-any-return]


def _run(code: Callable[[], Any], factory: str) -> Any:
    """Run a user's code; its exceptions are reported as the user's errors."""
    try:
        return code()
    except (Exception, SystemExit) as error:
        text = str(error).partition("\n")[0]
        raise Failure(
            f"{factory} cannot be made: {type(error).__name__}: {text}",
            status.SPEC_ERRORS,
        ) from None
