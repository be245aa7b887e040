"""The elaborated, shape-checked network: its nodes, and what holds of them."""

from archdsl.ir.nodes import (
    OWNERS,
    Expectation,
    Group,
    Initializer,
    Model,
    Named,
    Network,
    OldName,
    Parameter,
    Port,
    Role,
    Step,
    unchecked,
)

__all__ = [
    "OWNERS",
    "Expectation",
    "Group",
    "Initializer",
    "Model",
    "Named",
    "Network",
    "OldName",
    "Parameter",
    "Port",
    "Role",
    "Step",
    "unchecked",
]
