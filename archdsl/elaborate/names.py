"""Which names a spec can use: they become attributes and arguments of a module."""

from __future__ import annotations

import keyword
import re

from archdsl.elaborate.scope import Fault
from archdsl.source import Span

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


def check_label(name: str, span: Span, quoted: bool = False) -> None:
    """Refuse a label that cannot be the name of a submodule.

    Args:
        name: the label; with a dot, the names of a container and of a part of it,
            which may be a number.
        span: its place.
        quoted: whether it is in quotes, and can contain hyphens.

    Raises:
        Fault: with the reason.
    """
    if quoted and "-" in name:
        name = name.replace("-", "_")
    container, dot, part = name.partition(".")
    if "." in part:
        raise Fault(
            "A0103",
            f"`{name[:100]}` cannot name a label: it has more than one dot",
            span,
            help="put it into labelled braces, which own the names inside",
        )
    _check(container, span, "label", MODULE_ATTRIBUTES | EMITTED_NAMES)
    if dot and not (part.isascii() and part.isdigit() and len(part) <= 100):
        _check(part, span, "label", MODULE_ATTRIBUTES | EMITTED_NAMES)


def check_parameter(name: str, span: Span) -> None:
    """Refuse the name of a parameter or loop variable that emitted code cannot use."""
    _check(name, span, "parameter", EMITTED_NAMES | LANGUAGE_WORDS)


def check_class(path: str, span: Span) -> None:
    """Refuse a dotted name of a Python class that emitted code cannot import."""
    *modules, name = path.split(".")
    for module in modules:
        _check(module, span, "module", frozenset())
    _check(name, span, "class", EMITTED_NAMES)


def check_definition(
    name: str, span: Span, kinds: frozenset[str], what: str = "block"
) -> None:
    """Refuse the name of a block or network that already has another meaning."""
    _check(name, span, what, LANGUAGE_WORDS)
    if name in kinds:
        raise Fault(
            "A0103",
            f"`{name}` is a layer kind, and cannot be defined again",
            span,
            help="choose another name",
        )


def check_function(name: str, span: Span, functions: frozenset[str]) -> None:
    """Refuse the name of a function that already has another meaning."""
    _check(name, span, "function", LANGUAGE_WORDS)
    if name in functions:
        raise Fault(
            "A0103",
            f"`{name}` is a function already, and cannot be defined again",
            span,
            help="choose another name",
        )


def _check(name: str, span: Span, what: str, reserved: frozenset[str]) -> None:
    if keyword.iskeyword(name) or (what != "label" and name in SOFT_KEYWORDS):
        reason = "is a word of Python's, and the name becomes Python code"
    elif name.startswith("_"):
        reason = "starts with an underscore, which Python treats as private"
    elif name[:1].isdigit():
        reason = "begins with a digit"
    elif not _IDENTIFIER.match(name):
        reason = "is not made of the letters a-z, digits and underscores alone"
    elif len(name) > 100:
        reason = "is longer than 100 characters"
    elif name in reserved:
        reason = (
            "is an attribute of torch's modules"
            if name in MODULE_ATTRIBUTES
            else "has a meaning of its own"
        )
    else:
        return
    raise Fault(
        "A0103",
        f"`{name[:100]}` cannot name a {what}: it {reason}",
        span,
        help=_advice(name, what),
    )


def _advice(name: str, what: str) -> str:
    if what == "label" and name.isdigit():
        return (
            "the parts of `seq { ... }` are named by number, from 0; elsewhere write "
            f"a number after a dot: `blocks.{name[:20]}: ...`"
        )
    if not _IDENTIFIER.match(name.strip("_") or "a"):
        return "choose another name"
    return f"choose another name, such as `{name.strip('_')[:40] or what}_`"
