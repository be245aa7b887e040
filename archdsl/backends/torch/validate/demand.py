"""What the IR requires of the emitted code, step by step."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Final

from archdsl.backends.torch.style import DEFAULT, Style
from archdsl.backends.torch.validate.closures import Scope, expression
from archdsl.backends.torch.validate.program import Program, helper
from archdsl.backends.torch.validate.signatures import bound
from archdsl.backends.torch.validate.values import (
    BareParameter,
    Instance,
    OpaqueModule,
    OperationGraph,
    Record,
    Refused,
    TensorValue,
    TorchName,
    refuse,
    show_operation,
)
from archdsl.elaborate.foreign import Foreign
from archdsl.initializers import SCHEMES
from archdsl.ir import Network, Step
from archdsl.ir.graph import Graph, flatten
from archdsl.passes.recompute import Part, parts, read_again
from archdsl.torch.inplace import inplace
from archdsl.values import TorchCall, TorchForm

_TORCH: Final = {
    "torch": TorchName("torch"),
    "F": TorchName("F"),
    "nn": TorchName("nn"),
}
_FORMULAS: dict[tuple[str, int, tuple[str, ...]], Callable[[dict[str, Any]], Any]] = {}


class Different(Exception):
    """Emitted code that does not do what a step requires.

    Attributes:
        step: the step, None if it concerns the network as a whole.
        why: the reason in words.
    """

    def __init__(self, step: Step | None, why: str) -> None:
        self.step = step
        self.why = why
        super().__init__(why)


class Demands:
    """Compares a network with the text that was emitted for it.

    Args:
        network: the network.
        style: how the text is to be written.
    """

    def __init__(self, network: Network, style: Style = DEFAULT) -> None:
        self.network = network
        self.style = style
        self.steps = list(network.steps())
        self.forms = [step.form for step in self.steps]
        self.mode_matters = any(step.training for step in self.steps)

    @cached_property
    def inplace(self) -> frozenset[int]:
        """Outputs that overwrite the input that they are computed from."""
        if not self.style.in_place:
            return frozenset()
        again, inference = read_again(self._again), self.style.inference
        return inplace(self._graph, inference=inference, read_again=again)

    @cached_property
    def _graph(self) -> Graph:
        return flatten(self.network)

    @cached_property
    def _again(self) -> tuple[Part, ...]:
        """What the backward pass runs again."""
        return parts(self._graph, self.style.recompute)

    def check(self, tree: ast.Module) -> None:
        """Check a text against all requirements.

        Raises:
            Different: if a step is not implemented as required.
            Refused: if the text cannot be evaluated, or is wrong in another way.
        """
        program = Program(
            tree,
            {
                form.module.name: helper(form.module.name, form.helper)
                for form in self.forms
                if form.helper and form.module is not None
            },
        )
        self.program = program
        self._modules()
        self._parts()
        self._initialisers()
        result = self._mode(training=True)
        if program.asked or self.mode_matters:
            result = self._mode(training=False)
        shapes = [(1, *map(int, port.shape)) for port in self.network.inputs]
        program.example(shapes, result)

    # ---- modules

    def _modules(self) -> None:
        """Check each module, its arguments, and the order of modules."""
        program = self.program
        wanted: dict[str, None] = {}
        bare: dict[str, None] = {}
        for step in self.network.root.registered_steps():
            form = step.form
            made = self._made(step.path)
            if made is None:
                if _needs_module(step, form):
                    raise Different(step, "there is no such module")
                continue
            self._module(step, form, made)
            if isinstance(made, BareParameter):
                bare[step.path] = None
            elif isinstance(made, Instance):
                wanted.update((f"{step.path}.{n}", None) for n in made.children)
            elif made.name != "nn.Identity":
                wanted[step.path] = None
        # It belongs to another call of the same class; this call does not use it.
        empty = {"nn.Identity"} | {
            form.module.name
            for step, form in zip(self.steps, self.forms, strict=True)
            if form.module is not None and not step.op.tensors(*step.input_shapes)
        }
        own = [
            path
            for path, leaf in program.modules.items()
            if path in wanted or leaf.name not in empty
        ]
        self._order(own, _together(list(wanted)))
        self._order(list(program.parameters), _own_first(list(bare)))

    def _parts(self) -> None:
        """Check which modules the backward pass runs again."""
        wanted = {part.path for part in self._again}
        for path, module in self.program.containers.items():
            if module.kind.again != (path in wanted):
                what = "is" if module.kind.again else "is not"
                refuse(f"`{path}` {what} run again in the backward pass")
            wanted.discard(path)
        if wanted:
            refuse(f"`{min(wanted)}` is not a module, so nothing runs it again")

    def _order(self, found: Sequence[str], wanted: Sequence[str]) -> None:
        for one, other in zip(found, wanted, strict=False):
            if one != other:
                what = f"`{one}` is registered where `{other}` should be"
                raise Different(self._step(other), what)
        if len(found) > len(wanted):
            extra = found[len(wanted)]
            raise Different(None, f"`{extra}` is a module that no step has")
        if len(found) < len(wanted):
            raise Different(self._step(wanted[len(found)]), "it is not registered")

    def _step(self, path: str) -> Step | None:
        """Return the step that a module belongs to."""
        whole = path
        while path:
            for step in self.steps:
                if step.path == path:
                    return step
            path = path.rpartition(".")[0]
        return next((s for s in self.steps if s.path.startswith(f"{whole}.")), None)

    def _made(self, path: str) -> OpaqueModule | Instance | BareParameter | None:
        program = self.program
        return (
            program.modules.get(path)
            or program.parameters.get(path)
            or program.containers.get(path)
        )

    def _module(
        self, step: Step, form: TorchForm, made: OpaqueModule | Instance | BareParameter
    ) -> None:
        if form.module is None:
            raise Different(step, "it is a function, and a module has its name")
        calls = (form.module, *form.then)
        found: list[Any] = [made]
        if form.then:
            if not isinstance(made, Instance) or made.kind.name != "nn.Sequential":
                raise Different(step, "it is not a sequence of modules")
            found = list(made.children.values())
        if len(found) != len(calls):
            raise Different(step, f"it has {len(found)} modules, not {len(calls)}")
        for call, one in zip(calls, found, strict=True):
            name = f"{form.origin}.{call.name}" if form.origin else call.name
            known = helper(call.name, form.helper).signature if form.helper else None
            args, _ = bound(name, _arguments(call), dict(call.kwargs), known)
            bare = isinstance(one, BareParameter)
            if isinstance(one, Instance):
                raise Different(step, f"it is a {one.kind.name}, not {name}")
            own = ("nn.Parameter", *one.args) if bare else one.made_by
            if own != (name, *args):
                here, due = show_operation(own), show_operation((name, *args))
                raise Different(step, f"it is {here}, and should be {due}")

    # ---- initialisers

    def _initialisers(self) -> None:
        """Check that each tensor is initialised as in the spec, or else as in torch."""
        starts = self._starts()
        for path, leaf in self.program.modules.items():
            for tensor in {*leaf.starts, *starts.get(path, {})}:
                found = _plain_start(leaf.starts.get(tensor))
                wanted = starts.get(path, {}).get(tensor)
                if found != wanted:
                    why = f"its {tensor} starts as {found}, not {wanted}"
                    raise Different(self._step(path), why)

    def _starts(self) -> dict[str, dict[str, tuple[Any, ...]]]:
        found: dict[str, dict[str, tuple[Any, ...]]] = {}
        ways = self.network.initializers
        if not ways:
            return found
        # A scheme for one layer takes precedence over that of its kind.
        for way in (*(w for w in ways if w.kind), *(w for w in ways if not w.kind)):
            function = SCHEMES[way.scheme].function
            args, _ = bound(f"nn.init.{function}", [None], dict(way.arguments))
            start = _plain_start((function, *args[1:]))
            for step in self.steps:
                if not way.is_about(step.path, step.op.word):
                    continue
                tensors = step.op.tensors(*step.input_shapes)
                if start and any(tensor.used_as == way.tensor for tensor in tensors):
                    found.setdefault(step.path, {})[way.tensor] = start
        return found

    # ---- forward

    def _mode(self, training: bool) -> Any:
        """Check what `forward` does in a mode, and return its result."""
        network = self.network
        graph, result = self.program.run(len(network.inputs), training)
        graph.demand()
        values = {
            port.value: graph.input(place) for place, port in enumerate(network.inputs)
        }
        pairs = list(zip(self.steps, self.forms, strict=True))
        # Parts that are only needed for training outputs run last.
        for step, form in sorted(pairs, key=lambda pair: pair[0].training):
            if step.training and not training:
                continue
            inputs = [values[number] for number in step.inputs]
            try:
                value = self._value(step, form, inputs)
            except Refused as error:
                raise Different(step, str(error)) from error
            if value.step is None:
                value.step = step
            values[step.output] = value
            if value not in inputs:  # the output of an identity is its input
                value.steps += 1
                self._place(step, value)
        self._counts(graph)
        graph.demanding = False
        self._outputs(result, values, training)
        return result

    def _place(self, step: Step, value: TensorValue) -> None:
        """Check that a step overwrites its input exactly if the analysis says so."""
        if isinstance(step.op, Foreign):
            return  # the linter checks foreign layers
        made = self.program.modules.get(step.path)
        over = value.inplace or (made is not None and made.inplace)
        if over and step.output not in self.inplace:
            raise Different(step, "it writes over a value that is still needed")
        if not over and step.output in self.inplace:
            raise Different(step, "it does not write over its input, and could")

    def _value(
        self, step: Step, form: TorchForm, inputs: list[TensorValue]
    ) -> TensorValue:
        """Return the value that a step computes from others, if the code has it."""
        made = self._made(step.path)
        if isinstance(made, OpaqueModule):
            return made.call(tuple(inputs))
        if isinstance(made, Instance):
            (value,) = inputs
            for child in made.children.values():
                assert isinstance(child, OpaqueModule)
                value = child.call((value,))
            return value
        assert form.function is not None
        frame: dict[str, Any] = {f"_{n}": value for n, value in enumerate(inputs)}
        frame["_self"] = made
        names = tuple([name for name, _ in form.kwargs])
        for name, argument in form.kwargs:
            frame[f"_{name}"] = argument
        value = formula(form.function, len(inputs), names)(frame)
        assert isinstance(value, TensorValue)
        return value

    def _counts(self, graph: OperationGraph) -> None:
        """Check that nothing is computed more or less often than required."""
        paths = {step.path for step in self.steps}
        for (leaf, _), extra in graph.passed.items():
            # Other identities take the place of a projection that another call of the
            # class has.
            if extra and leaf.path in paths:
                how = "more" if extra > 0 else "less"
                raise Different(self._step(leaf.path), f"it is called {how} often")
        for value in graph.values.values():
            if value.key[0] == "input":
                continue
            if value.count > value.wanted:
                why = f"{show_operation(value.key)} is computed {_times(value.count)}"
                why += f", and should be {_times(value.wanted)}"
                raise Different(value.step or self._source(value), why)
            if value.count < value.steps:
                why = f"it is computed {_times(value.count)}, not {_times(value.steps)}"
                raise Different(value.step, why)

    def _source(self, value: TensorValue) -> Step | None:
        """Return the step of an operation that no step requires."""
        for part in value.key:
            if isinstance(part, OpaqueModule):
                return self._step(part.path)
        return next(
            (part.step for part in value.key if isinstance(part, TensorValue)), None
        )

    # ---- outputs

    def _outputs(
        self, result: Any, values: dict[int, TensorValue], training: bool
    ) -> None:
        """Check the outputs of a mode: their values, order and names."""
        ports = [p for p in self.network.outputs if training or not p.training]
        wanted = {port.name: values[port.value] for port in ports}
        if len(ports) == 1:
            found: Iterable[Any] = (result,)
            names = list(wanted)
        elif isinstance(result, Record | dict):
            fields = result.fields if isinstance(result, Record) else result
            present = {n: v for n, v in fields.items() if v is not None}
            found, names = present.values(), list(present)
        else:
            found = result if isinstance(result, tuple | list) else (result,)
            names = list(wanted)
        if names != list(wanted):
            refuse(f"the outputs are {', '.join(names)}, not {', '.join(wanted)}")
        found = list(found)
        if len(found) != len(wanted):
            refuse(f"there are {len(found)} outputs, not {len(wanted)}")
        for value, (name, due) in zip(found, wanted.items(), strict=True):
            if value is not due:
                raise Different(
                    due.step, f"`{name}` is {show_operation(value)}, not its output"
                )


def _together(paths: Sequence[str]) -> list[str]:
    """Return paths in torch's order, with the contents of a container together."""
    parts: dict[str, list[str]] = {}
    for path in paths:
        parts.setdefault(path.partition(".")[0], []).append(path)
    found: list[str] = []
    for name, inside in parts.items():
        if len(inside) == 1:
            found += inside
        else:
            deeper = [path.removeprefix(f"{name}.") for path in inside]
            found += [f"{name}.{path}" for path in _together(deeper)]
    return found


def _own_first(paths: Sequence[str], depth: int = 0) -> list[str]:
    """Return paths in torch's order: a module's own before those of its submodules."""
    own = [path for path in paths if path.count(".") == depth]
    parts: dict[str, list[str]] = {}
    for path in paths:
        if path.count(".") > depth:
            parts.setdefault(path.split(".")[depth], []).append(path)
    return [*own, *(p for part in parts.values() for p in _own_first(part, depth + 1))]


def _needs_module(step: Step, form: TorchForm) -> bool:
    """Return whether a step must be a module, because of its weights or its name."""
    if form.function is None or "{self}" in form.function:
        return True
    return form.module is not None and (step.labelled or step.name.isdigit())


def _arguments(call: TorchCall) -> list[Any]:
    """Return the arguments of a call; arguments that are calls are evaluated."""
    found = []
    for value in call.args:
        if isinstance(value, TorchCall):
            args, _ = bound(value.name, _arguments(value), dict(value.kwargs))
            value = (value.name, *args)
        found.append(value)
    return found


def formula(
    template: str, inputs: int, names: tuple[str, ...]
) -> Callable[[dict[str, Any]], Any]:
    """Return what a kind's function computes, in the names `_0`, `_1`, `_name`.

    See `TorchForm.function` for the meaning of a template.
    """
    key = template, inputs, names
    if key not in _FORMULAS:
        text = template
        for mark, joint in (("{*,}", ", "), ("{*+}", " + "), ("{**}", " * ")):
            text = text.replace(mark, joint.join(f"_{n}" for n in range(inputs)))
        rest = [f", {n}=_{n}" for n in names if f"{{{n}}}" not in template]
        text = text.replace("{0}", "{0}" + "".join(rest), 1)
        text = re.sub(r"\{(\w+)\}", r"_\1", text)
        variables = {f"_{n}" for n in (*range(inputs), *names, "self")}
        tree = ast.parse(text, mode="eval").body
        _FORMULAS[key] = expression(tree, Scope(variables, _TORCH))
    return _FORMULAS[key]


def _plain_start(start: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    constants = {"zeros_": ("constant_", 0), "ones_": ("constant_", 1)}
    return start and constants.get(start[0], start)


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")
