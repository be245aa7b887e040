"""Which names a network may use: they become attributes and arguments of a module."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping
from typing import Final

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z", re.ASCII)

# Attributes of torch's Module: a submodule of such a name is lost, or breaks it.
MODULE_ATTRIBUTES = frozenset(
    [
        "T_destination",
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "call_super_init",
        "children",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "ipu",
        "load_state_dict",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "parameters",
        "register_backward_hook",
        "register_buffer",
        "register_forward_hook",
        "register_forward_pre_hook",
        "register_full_backward_hook",
        "register_full_backward_pre_hook",
        "register_load_state_dict_post_hook",
        "register_load_state_dict_pre_hook",
        "register_module",
        "register_parameter",
        "register_state_dict_post_hook",
        "register_state_dict_pre_hook",
        "requires_grad_",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state_dict",
        "to",
        "to_empty",
        "train",
        "training",
        "type",
        "xpu",
        "zero_grad",
        "append",
        "extend",
        "insert",
        "pop",
        "clear",
        "items",
        "keys",
        "values",
        "update",
    ]
)

# Names that emitted code uses for something else.
EMITTED_NAMES = frozenset(
    [
        "self",
        "cls",
        "torch",
        "nn",
        "F",
        "Tensor",
        "OrderedDict",
        "NamedTuple",
        "Callable",
        "super",
        "range",
        "print",
        "tuple",
        "list",
        "dict",
        "set",
        "int",
        "float",
        "bool",
        "str",
        "len",
        "min",
        "max",
        "isinstance",
        "getattr",
        "setattr",
        "enumerate",
        "zip",
        "module",
        "in_channels",
    ]
)

# Functions that emitted code imports from torch if it calls them, with their modules.
IMPORTED: Final[Mapping[str, str]] = {
    "spectral_norm": "torch.nn.utils.parametrizations",
    "is_parametrized": "torch.nn.utils.parametrize",
    "remove_parametrizations": "torch.nn.utils.parametrize",
}

SOFT_KEYWORDS = frozenset(("match", "case", "type", "_"))

LANGUAGE_WORDS = frozenset(
    [
        "arch",
        "import",
        "from",
        "block",
        "network",
        "preset",
        "default",
        "input",
        "output",
        "training",
        "for",
        "in",
        "if",
        "else",
        "expect",
        "init",
        "register",
        "seq",
        "residual",
        "same",
        "fn",
        "op",
        "true",
        "false",
        "and",
        "or",
        "not",
        "channels",
    ]
)


# The channels that flow into what is around a part, in compiled code.
_OUTER = re.compile(r"outer[0-9]+_channels", re.ASCII)
LABEL_RESERVED = MODULE_ATTRIBUTES | EMITTED_NAMES
PARAMETER_RESERVED = EMITTED_NAMES | IMPORTED.keys() | LANGUAGE_WORDS


def short_name(name: str) -> str:
    """Return how emitted code calls what has a dotted name in torch."""
    last = name.rpartition(".")[2]
    return last if last in IMPORTED else name


def is_identifier(name: str) -> bool:
    """Return whether a name is made of ASCII letters, digits and underscores."""
    return _IDENTIFIER.match(name) is not None


def attributes_of(label: str) -> list[str]:
    """Return the names in a label that Python or torch must take.

    Behind a dot is the key of a container's part, which may be a number instead.
    """
    container, *parts = label.split(".")
    return [container, *(part for part in parts if not _is_number(part))]


def _is_number(part: str) -> bool:
    return part.isascii() and part.isdigit() and len(part) <= 100


def gap_in(label: str) -> str:
    """Return where a label lacks a name beside a dot, as the end of a sentence."""
    if "." not in label or all(label.split(".")):
        return ""
    if label.startswith("."):
        return "begins with a dot, and nothing is before it"
    if label.endswith("."):
        return "ends in a dot, and nothing is after it"
    return "has two dots in a row, and nothing is between them"


def is_old_name(name: str) -> bool:
    """Return whether a name can be a part of a checkpoint's key, or several parts."""
    clean = name.isprintable() and not set(name) & set(' "{}')
    return clean and len(name) <= 300 and all(name.split("."))


def containers_of(label: str) -> list[str]:
    """Return the containers that a label with dots names, from the outermost on."""
    if "." not in label:
        return []
    parts = label.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts))]


def refusal(name: str, what: str, reserved: frozenset[str]) -> str:
    """Return why something cannot bear a name, as the end of a sentence, or nothing.

    Args:
        name: the name.
        what: what it is for, such as ``label``.
        reserved: names that mean something else there.
    """
    if not name:
        return "is empty"
    if keyword.iskeyword(name) or (what != "label" and name in SOFT_KEYWORDS):
        return "is a keyword of Python, and the name becomes Python code"
    if name.startswith("_"):
        return "starts with an underscore, which Python treats as private"
    if name[:1].isdigit():
        return "begins with a digit"
    if not is_identifier(name):
        return "has characters other than the letters a-z, digits and underscores"
    if len(name) > 100:
        return "is longer than 100 characters"
    if what != "label" and _OUTER.fullmatch(name):
        return "has a meaning of its own"
    if name in reserved:
        if name in MODULE_ATTRIBUTES:
            return "is an attribute of torch's modules"
        return "has a meaning of its own"
    return ""


def input_name(level: int) -> str:
    """Return the name for the input channels of a namespace in expressions.

    Namespaces are nested inside a block, and each has an input. The level tells them
    apart until code generation writes `in_channels`.
    """
    return f"in_channels:{level}" if level else "in_channels"


def channels_of_input(name: str) -> str:
    """Return the name for the channels of one of a block's inputs in compiled code, and
    in expressions of those but the first.
    """
    return f"{name}_channels"
