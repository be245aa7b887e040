"""The effect of emitted operations on symbolic values and modules."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Iterable
from typing import Any, Final

from archdsl.backends.torch.validate.signatures import bound, normal, signature
from archdsl.backends.torch.validate.values import (
    BareParameter,
    Instance,
    ModuleValue,
    OpaqueModule,
    Record,
    ReshapedParameter,
    TensorOf,
    TensorValue,
    TorchName,
    graph_of,
    refuse,
)
from archdsl.spectral import WRAPPER

CONTAINERS: Final = ("nn.Module", "nn.Sequential", "nn.ModuleList", "nn.ModuleDict")
# They create tensors from numbers alone.
_CREATE: Final = ("torch.full", "torch.ones", "torch.zeros", "torch.randn")
_MAX_ROUNDS: Final = 1_000_000

Args = list[Any]
Kwargs = dict[str, Any]


# ---- calls ----------------------------------------------------------------------


def apply(function: Any, args: Args, kwargs: Kwargs) -> Any:
    """Call anything that emitted code is allowed to call."""
    if isinstance(function, OpaqueModule):
        if kwargs:
            refuse(f"`{function.path or function.name}` is called with keywords")
        return function.call(tuple(args))
    if isinstance(function, Instance):
        return call_instance(function, args, kwargs)
    if isinstance(function, TorchName):
        return call_torch(function.name, args, kwargs)
    if callable(function):  # a class of the text, or a builtin
        return function(*args, **kwargs)
    refuse(f"{_kind(function)} is called")


def call_instance(instance: Instance, args: Args, kwargs: Kwargs) -> Any:
    """Run a module's `forward`."""
    kind = instance.kind
    if instance is kind.program.answered:
        return kind.program.answer(args)
    if kind.again and kwargs:
        refuse(f"{kind.name}, which is run again, is called with keywords")
    forward = kind.function("forward")
    if forward is not None:
        return forward([instance, *args], kwargs)
    if kind.container != "nn.Sequential":
        refuse(f"{kind.name} has no `forward`")
    if len(args) != 1 or kwargs:
        refuse(f"a sequence of modules is called with {len(args)} inputs")
    (value,) = args
    for child in instance.children.values():
        if type(child) is OpaqueModule:
            value = child.call((value,))
        else:
            value = apply(child, [value], {})
    return value


def call_torch(name: str, args: Args, kwargs: Kwargs) -> Any:
    """Call a torch function, or create a torch module."""
    try:
        if name.startswith("nn.init."):
            return _initialise(name, args, kwargs)
        if name in _PARAMETRIZE:
            return _PARAMETRIZE[name](*args, **kwargs)
        found, inplace = bound(name, args, kwargs)
    except Exception as error:
        error.args = (f"{name}: {error}",)
        raise
    if name in _CREATE:
        return (name, *found)
    if name == "nn.Parameter":
        return BareParameter(found)
    if name.startswith(("F.", "torch.")):
        return call_function(name, found, inplace)
    return OpaqueModule(name, found, inplace)


def call_function(name: str, args: tuple[Any, ...], inplace: bool) -> TensorValue:
    """Call a function of tensors."""
    if any([isinstance(arg, OpaqueModule | Instance | BareParameter) for arg in args]):
        refuse(f"{name} is given a module")
    value = graph_of(args).operation((name, *args))
    if inplace:
        value.inplace = True
    return value


def method(owner: Any, name: str, args: Args, kwargs: Kwargs) -> Any:
    """Call a method."""
    if type(owner) is Instance:
        child = owner.children.get(name)
        if child is not None:
            return apply(child, args, kwargs)
        own = owner.kind.function(name)
        if own is not None:
            return own([owner, *args], kwargs)
        known = _METHODS.get(name)
        if known is None:
            return apply(attribute(owner, name), args, kwargs)
        return known(owner, *args, **kwargs)
    if type(owner) is TensorValue:
        if name.endswith("_"):
            refuse(f"`{name}` would write over its tensor")
        found, inplace = bound(f"torch.{name}", [owner, *args], kwargs)
        return call_function(f"torch.{name}", found, inplace)
    plain = _PLAIN.get((type(owner), name))
    if plain is None:
        refuse(f"{_kind(owner)} has no method `{name}` that is known here")
    return plain(owner, *args, **kwargs)


def attribute(owner: Any, name: str) -> Any:
    """Read an attribute."""
    if type(owner) is Instance:
        for names in (owner.children, owner.parameters, owner.attributes):
            if name in names:
                return names[name]
        if name == "training":
            return owner.kind.program.is_training()
    elif type(owner) is TensorValue:
        return owner.graph.operation(("attribute", name, owner))
    elif type(owner) is OpaqueModule and name in ("weight", "bias"):
        if owner.wrapper and name == "weight":
            refuse("a weight is read that is made of another tensor")
        return TensorOf(owner, name) if owns(owner, name) else None
    elif type(owner) is Record and name in owner.fields:
        return owner.fields[name]
    elif type(owner) is TorchName:
        return TorchName(f"{owner.name}.{name}")
    refuse(f"{_kind(owner)} has no attribute `{name}`")


def index(owner: Any, place: Any) -> Any:
    """Read an item, or a range of them."""
    if type(owner) is TensorValue:
        return owner.graph.operation(("[]", owner, normal(place)))
    if type(owner) is Instance:
        if isinstance(place, str):
            return owner.children[place]
        parts = list(owner.children.values())[place]
        if not isinstance(parts, list):
            return parts
        made = Instance(owner.kind.program.container(owner.kind.container))
        made.ready = True
        extend(made, parts)
        return made
    if isinstance(owner, list | tuple | dict | str):
        return owner[place]
    refuse(f"{_kind(owner)} has no items")


def unpacked(value: Any, count: int) -> list[Any]:
    """Return the parts of a value that is unpacked into several names."""
    if type(value) is TensorValue:
        return [index(value, place) for place in range(count)]
    parts = items(value)
    if len(parts) != count:
        refuse(f"{len(parts)} values for {count} names")
    return parts


def items(value: Any) -> list[Any]:
    """Return the items that a loop iterates over."""
    if type(value) is Instance and value.kind.container != "nn.Module":
        named = value.kind.container == "nn.ModuleDict"
        return list(value.children if named else value.children.values())
    if isinstance(value, range) and len(value) > _MAX_ROUNDS:
        refuse(f"a loop of {len(value)} rounds")
    if isinstance(value, list | tuple | dict | range | str):
        return list(value)
    if isinstance(value, Record):
        return list(value.fields.values())
    if isinstance(value, enumerate | zip | reversed):
        return list(value)
    refuse(f"a loop over {_kind(value)}")


def truth(value: Any) -> bool:
    """Return whether a condition holds."""
    if isinstance(value, bool | int | float | str | list | tuple | dict | None):
        return bool(value)
    refuse(f"a condition on {_kind(value)}")


def _kind(value: Any) -> str:
    if type(value) is TensorValue:
        return "a tensor"
    if isinstance(value, Instance):
        return f"a {value.kind.name}"
    if isinstance(value, OpaqueModule | TorchName):
        return value.name
    return f"a value of type {type(value).__name__}"


# ---- modules --------------------------------------------------------------------


def run_constructor(instance: Instance, args: Args) -> None:
    """Run the constructor of `nn.Module` or of a container."""
    instance.ready = True
    container = instance.kind.container
    if container == "nn.Module":
        if args:
            refuse(f"nn.Module takes no arguments, and is given {len(args)}")
    elif len(args) == 1 and isinstance(args[0], dict):
        for name, module in args[0].items():
            register(instance, name, module)
    elif container == "nn.Sequential":
        extend(instance, args)
    elif len(args) > 1:
        refuse(f"{container} takes one argument, and is given {len(args)}")
    elif args:
        extend(instance, items(args[0]))


def extend(instance: Instance, modules: Iterable[Any]) -> None:
    """Register modules by number."""
    for module in modules:
        register(instance, str(len(instance.children)), module)


def register(instance: Instance, name: Any, module: Any) -> None:
    """Register a module as a submodule of another one."""
    if not instance.ready:
        refuse("a submodule before `super().__init__()`")
    if not isinstance(module, OpaqueModule | Instance):
        refuse(f"{_kind(module)} is not a module, but is registered as `{name}`")
    if not isinstance(name, str) or not name or "." in name:
        refuse(f"a submodule of the name {name!r}")
    if name in instance.attributes or name in instance.parameters:
        refuse(f"`{name}` is a submodule and something else")
    instance.children[name] = module


def assign(owner: Any, name: str, value: Any) -> None:
    """Set an attribute."""
    if not isinstance(owner, Instance):
        refuse(f"an attribute of {_kind(owner)} is set")
    if isinstance(value, OpaqueModule | Instance):
        if owner.attributes.get(name, value) is None:
            del owner.attributes[name]  # as torch does
        register(owner, name, value)
    elif name in owner.children or name == "training":
        refuse(f"`{name}` is overwritten")
    elif isinstance(value, BareParameter):
        if not owner.ready:
            refuse("a parameter before `super().__init__()`")
        owner.parameters[name] = value
    elif type(value) is TensorValue:
        refuse("a module keeps a tensor")
    else:
        owner.attributes[name] = value


def put(owner: Any, key: Any, value: Any) -> None:
    """Set an item, as only an `nn.ModuleDict` of emitted code has them."""
    if not isinstance(owner, Instance) or owner.kind.container != "nn.ModuleDict":
        refuse(f"an item of {_kind(owner)} is set")
    register(owner, key, value)


def owns(leaf: OpaqueModule, tensor: str) -> bool:
    """Return whether a module has a weight or a bias, by its arguments."""
    known = signature(leaf.name)
    if known is None:
        return True
    given = dict(zip(known.names, leaf.args, strict=False))
    no = normal(False)
    return given.get("affine") != no and (tensor != "bias" or given.get("bias") != no)


def below(instance: ModuleValue) -> list[ModuleValue]:
    """Return a module and all its submodules, in the order of torch's `modules`."""
    found: list[ModuleValue] = []
    stack = [instance]
    while stack:
        module = stack.pop()
        found.append(module)
        if isinstance(module, Instance):
            stack.extend(reversed(module.children.values()))
    return found


def _find(instance: Instance, path: str) -> Any:
    found: Any = instance
    for name in path.split("."):
        found = attribute(found, name)
    return found


def _wrapped(*args: Any, **kwargs: Any) -> OpaqueModule:
    (module, *rest), _ = bound(WRAPPER, list(args), kwargs)
    if not isinstance(module, OpaqueModule) or module.wrapper:
        refuse(f"the weight of {_kind(module)} is replaced")
    module.wrapper = (WRAPPER, *rest)
    return module


def _is_wrapped(module: Any) -> bool:
    return isinstance(module, OpaqueModule) and bool(module.wrapper)


def _unwrapped(module: Any, tensor: str) -> OpaqueModule:
    if not _is_wrapped(module) or tensor != "weight":
        refuse(f"the {tensor} of {_kind(module)} is not replaced")
    module.wrapper = ()
    found: OpaqueModule = module
    return found


_PARAMETRIZE: Final[dict[str, Callable[..., Any]]] = {
    WRAPPER: _wrapped,
    "nn.utils.parametrize.is_parametrized": _is_wrapped,
    "nn.utils.parametrize.remove_parametrizations": _unwrapped,
}


def _evaluated(instance: Instance) -> Instance:
    if instance is not instance.kind.program.answered:
        refuse("a module sets its own mode")
    instance.kind.program.training = False
    return instance


_METHODS: Final[dict[str, Callable[..., Any]]] = {
    "add_module": register,
    "append": lambda instance, module: extend(instance, [module]),
    "children": lambda instance: list(instance.children.values()),
    "eval": _evaluated,
    "extend": lambda instance, modules: extend(instance, items(modules)),
    "get_parameter": _find,
    "get_submodule": _find,
    "items": lambda instance: list(instance.children.items()),
    "keys": lambda instance: list(instance.children),
    "modules": below,
    "named_children": lambda instance: list(instance.children.items()),
    "register_module": register,
    "values": lambda instance: list(instance.children.values()),
}
_PLAIN: Final[dict[tuple[type, str], Callable[..., Any]]] = {
    (dict, "items"): lambda d: list(d.items()),
    (dict, "keys"): lambda d: list(d),
    (dict, "values"): lambda d: list(d.values()),
    (list, "append"): list.append,
    (list, "extend"): lambda found, more: found.extend(items(more)),
    (BareParameter, "view"): lambda parameter, *sizes: ReshapedParameter(
        parameter, sizes
    ),
    (Record, "_asdict"): lambda record: dict(record.fields),
}


# ---- names that are known everywhere ----------------------------------------------


def _isinstance(value: Any, kinds: Any) -> bool:
    names: tuple[str, ...] = ()
    if isinstance(value, Instance):
        names = value.kind.names
    elif isinstance(value, OpaqueModule):
        names = (value.name, value.base, "nn.Module")
    wanted = kinds if isinstance(kinds, tuple) else (kinds,)
    return any(one.name in names for one in wanted)


def _size(value: Any) -> int:
    return len(value.children) if isinstance(value, Instance) else len(value)


def _ordered(pairs: Any = (), **named: Any) -> dict[Any, Any]:
    found = dict(pairs if isinstance(pairs, dict) else items(pairs))
    return {**found, **named}


def _tuple(values: Any = ()) -> Any:
    # The shape of a tensor is a tuple already.
    return values if type(values) is TensorValue else tuple(items(values))


BUILTINS: Final[dict[str, Callable[..., Any]]] = {
    "bool": truth,
    "dict": _ordered,
    "enumerate": lambda values, start=0: enumerate(items(values), start),
    "float": float,
    "int": int,
    "isinstance": _isinstance,
    "len": _size,
    "list": lambda values=(): items(values),
    "max": max,
    "min": min,
    "print": lambda *_: None,
    "range": range,
    "reversed": lambda values: reversed(items(values)),
    "str": str,
    "sum": sum,
    "tuple": _tuple,
    "zip": lambda *lists, strict=False: zip(*map(items, lists), strict=strict),
}
assert all(hasattr(builtins, name) for name in BUILTINS)


def _initialise(name: str, args: Args, kwargs: Kwargs) -> None:
    """Record how a tensor is initialised."""
    found, _ = bound(name, args, kwargs)
    tensor, *rest = found
    if not isinstance(tensor, TensorOf):
        refuse(f"{_kind(tensor)} is initialised")
    tensor.owner.starts[tensor.name] = (name.rpartition(".")[2], *rest)
