"""Syntax tree to IR: parameters bound, loops unrolled, shapes checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from archdsl.diagnostics import Diagnostic, Diagnostics, SpecError
from archdsl.elaborate.chosen import check_parameters, choose
from archdsl.elaborate.contexts import Budget
from archdsl.elaborate.expectations import expectations
from archdsl.elaborate.faults import Fault
from archdsl.elaborate.fitting import MOST_STEPS, fitting_sizes
from archdsl.elaborate.graph import GraphSink, parameters_of
from archdsl.elaborate.initializers import initializers
from archdsl.elaborate.memo import Memo
from archdsl.elaborate.registration import check_registered, listed
from archdsl.elaborate.state import State
from archdsl.elaborate.walk import Walker
from archdsl.elaborate.whole import check_names, check_read, walk
from archdsl.ir import Group, Network, Step
from archdsl.ir.nodes import with_checked_order
from archdsl.ir.trusted import new_group, new_network, new_port
from archdsl.syntax import tree as t
from archdsl.syntax.loader import LoadedFile
from archdsl.values import Shape

__all__ = [
    "Attempt",
    "attempt",
    "check_module",
    "check_parameters",
    "choose",
    "elaborate",
]


def elaborate(
    module: LoadedFile,
    *,
    preset: str | None = None,
    params: Mapping[str, Any] | None = None,
    input: Shape | None = None,
    symbolic: bool = True,
    memo: Memo | None = None,
) -> Network:
    """Return one network of a spec, checked and with every shape known.

    Args:
        module: the loaded spec.
        preset: name of a preset or network of the spec; its default if None.
        params: values of network parameters, which override those of the preset.
        input: shape of the first input, which overrides the spec's.
        symbolic: whether integers carry the expressions that code generation needs.
        memo: results from other networks of the spec; only if `symbolic` is not set.

    Raises:
        SpecError: with all errors.
    """
    making = _Elaboration(module, params or {}, input, symbolic, memo)
    return making.network(preset)


class Attempt(NamedTuple):
    """A network as far as it goes.

    Attributes:
        network: the network, if nothing is wrong with it.
        parameters: values of its parameters, as far as they are known.
        parts: the finished steps and groups at the level of the network itself.
        steps: all steps so far, also those of parts that are not finished.
        diagnostics: what is wrong.
    """

    network: Network | None
    parameters: Mapping[str, Any]
    parts: Sequence[Step | Group]
    steps: tuple[Step, ...]
    diagnostics: list[Diagnostic]


def attempt(
    module: LoadedFile,
    *,
    preset: str | None = None,
    params: Mapping[str, Any] | None = None,
    input: Shape | None = None,
    symbolic: bool = True,
    memo: Memo | None = None,
) -> Attempt:
    """Elaborate one network of a spec as far as it goes; see `elaborate`."""
    making = _Elaboration(module, params or {}, input, symbolic, memo)
    network: Network | None = None
    wrong: list[Diagnostic] = []
    try:
        network = making.network(preset)
    except SpecError as error:
        wrong = error.diagnostics
    steps = tuple(making.graph.steps.values())
    return Attempt(network, making.state.parameters, making.graph.parts, steps, wrong)


def check_module(module: LoadedFile) -> None:
    """Check what the names of a spec refer to, for all its networks.

    Raises:
        SpecError: with all errors.
    """
    errors = Diagnostics()
    check_names(module, errors)
    errors.raise_if_any()


class _Elaboration:
    """The elaboration of one network.

    Attributes:
        state: what is known of the network.
        graph: its parts so far.
    """

    def __init__(
        self,
        module: LoadedFile,
        params: Mapping[str, Any],
        input: Shape | None,
        symbolic: bool,
        memo: Memo | None,
    ) -> None:
        if memo is not None:
            memo.begin()
        self.state = State(Diagnostics(), symbolic)
        self.graph = GraphSink(self.state)
        self._module = module
        self._params = params
        self._walker = Walker(self.state, self.graph, memo)
        self._walker.input_shape = input

    def network(self, name: str | None) -> Network:
        """Return the network that a preset or its own name stands for.

        Raises:
            SpecError: with all errors.
        """
        errors = self.state.errors
        check_names(self._module, errors)
        network: Network | None = None
        try:
            definition, preset = choose(self._module, name)
            network = self._network(definition, preset)
        except Fault as fault:
            if fault.code:
                errors.add(fault.diagnostic())
        sizes_differ = self.state.sizes_differ
        if errors.found and all(e.span in sizes_differ for e in errors.found):
            errors.found[0].later = partial(self._other_sizes, definition, preset)
        errors.raise_if_any()
        assert network is not None
        return network

    def _network(
        self, definition: t.Definition, preset: t.Preset | None
    ) -> Network | None:
        state, walker = self.state, self._walker
        values, context, end = walk(
            walker, self._module, definition, preset, self._params
        )
        if state.errors.found or end.shape is None:
            return None
        state.read.add(end.number)
        check_read(state)
        changed = bool(self._params) or walker.input_shape is not None
        claims = () if changed else expectations(state, preset, context)
        root = new_group(
            role="network",
            name="",
            path="",
            word=definition.name,
            origin=definition.span.source.name,
            doc=definition.doc,
            indexed=definition.indexed,
            parameters=tuple(parameters_of(definition, values)),
            lets=tuple(context.space.lets.items()),
            children=tuple(self.graph.parts),
            registered=listed(state, context.space, self.graph.parts),
            input=state.inputs[0].value,
            input_shape=state.inputs[0].shape,
            output=end.number,
            shape=end.shape,
            span=definition.span,
        )
        paths = {step.path: step for step in self.graph.steps.values()}
        starts = tuple(initializers(state, paths.values(), paths))
        check_registered(state)
        state.errors.raise_if_any()
        network = new_network(
            name=preset.name if preset else definition.name,
            inputs=tuple(state.inputs),
            outputs=(
                new_port(name="output", value=end.number, shape=end.shape),
                # Training-only outputs come last, as inference leaves them out.
                *sorted(state.outputs, key=lambda port: port.training),
            ),
            root=root,
            initializers=starts,
            expectations=claims,
        )
        return with_checked_order(network)

    def _other_sizes(self, definition: t.Definition, preset: t.Preset | None) -> str:
        """Return a hint that lists input sizes that fit, if the given one does not."""
        budget = Budget(MOST_STEPS)

        def fits(shape: Shape) -> bool:
            state = State(Diagnostics(), symbolic=False)
            state.budget = budget
            trial = Walker(state, GraphSink(state))
            trial.input_shape = shape
            try:
                _, _, end = walk(trial, self._module, definition, preset, self._params)
            except (Fault, SpecError):
                return False
            return not state.errors.found and end.shape is not None

        found = fitting_sizes(self.state.inputs[0].shape, fits)
        # If the steps are used up, a size may fail only because of that.
        return found if budget.left > 0 else ""
