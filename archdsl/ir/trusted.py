"""Constructors of nodes that skip validation, for networks that this package makes."""

from __future__ import annotations

from archdsl.ir.nodes import (
    Expectation,
    Group,
    Initializer,
    Network,
    OldName,
    Parameter,
    Port,
    Step,
    unchecked,
)

new_expectation = unchecked(Expectation)
new_group = unchecked(Group)
new_initializer = unchecked(Initializer)
new_network = unchecked(Network)
new_old_name = unchecked(OldName)
new_parameter = unchecked(Parameter)
new_port = unchecked(Port)
new_step = unchecked(Step)
