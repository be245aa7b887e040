"""The elaborated, shape-checked network: its nodes, and what holds of them."""

from archdsl.ir.nodes import (
    OWNERS,
    Exchange,
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


def _exchange() -> Exchange:
    from archdsl.ir import exchange

    return exchange


Network.exchange = staticmethod(_exchange)

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
