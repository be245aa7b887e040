"""Integers that remember how they were computed.

When a network is elaborated for code generation, the parameters of a block are `Sym`
integers. They behave like ints, so every shape rule works on them unchanged, and they
carry the expression with which the emitted constructor computes the same number.
Expressions are integer polynomials over names and opaque terms, so that equal ones are
written the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

Monomial = tuple["Atom", ...]

# Names and numbers in one expression. People write ten; products of sums and
# nested functions could grow without end.
MAX_SIZE: Final = 400


class TooLong(ArithmeticError):
    """An expression that grows too long to be readable."""


class Atom:
    """A name, or a term that a polynomial cannot represent, such as ``c // 2``."""

    __slots__ = ("_hash", "args", "op", "size")

    def __init__(self, op: str, args: tuple[Any, ...] = ()) -> None:
        self.op = op
        self.args = args
        self.size: int = 1 + sum([a.size for a in args])
        # Needed often, and expensive for nested terms.
        self._hash = hash((op, args))

    def __eq__(self, other: object) -> bool:
        return self is other or (
            isinstance(other, Atom)
            and self._hash == other._hash
            and self.op == other.op
            and self.args == other.args
        )

    def __hash__(self) -> int:
        return self._hash

    def names(self) -> set[str]:
        """Return the parameter names the term reads."""
        if not self.args:
            return {self.op}
        return set().union(
            *(a.names() for a in self.args if isinstance(a, Poly | Atom))
        )

    def divides(self) -> bool:
        """Return whether it divides by what may be 0."""
        inner = any(a.divides() for a in self.args if isinstance(a, Poly | Atom))
        return inner or (self.op in ("//", "%") and self.args[1].number is None)

    def substitute(self, bindings: Mapping[str, Poly]) -> Poly:
        """Return the term with names replaced."""
        if not self.args:
            return bindings.get(self.op, Poly.atom(self))
        args = tuple(a.substitute(bindings) for a in self.args)
        return combine(self.op, args)

    def render(self) -> tuple[str, int]:
        """Return text and precedence: 3 an atom, 2 a product, 1 a sum."""
        if not self.args:
            return self.op, 3
        if self.op in ("//", "%"):
            left, right = self.args
            return f"{left.text(2)} {self.op} {right.text(3)}", 2
        if self.op == "[]":
            return f"{self.args[0].text(3)}[{self.args[1].text(0)}]", 3
        return f"{self.op}({', '.join(a.text(0) for a in self.args)})", 3


class Poly:
    """An integer polynomial over atoms, in the order its terms first appeared.

    Raises:
        TooLong: if it has more than `MAX_SIZE` names and numbers.
    """

    __slots__ = ("size", "terms")

    def __init__(self, terms: tuple[tuple[Monomial, int], ...]) -> None:
        self.terms = terms
        size = len(terms)
        for monomial, _ in terms:
            for atom in monomial:
                size += atom.size
        self.size: int = size
        if self.size > MAX_SIZE:
            raise TooLong

    @classmethod
    def constant(cls, value: int) -> Poly:
        """Return the polynomial of a plain number."""
        known = _CONSTANTS.get(value)
        if known is None:
            known = cls((((), int(value)),) if value else ())
            if len(_CONSTANTS) < _MOST_KEPT:
                _CONSTANTS[int(value)] = known
        return known

    @classmethod
    def atom(cls, atom: Atom) -> Poly:
        """Return the polynomial of one atom."""
        return cls((((atom,), 1),))

    @classmethod
    def name(cls, name: str) -> Poly:
        """Return the polynomial of one name."""
        known = _NAMES.get(name)
        if known is None:
            known = cls.atom(Atom(name))
            if len(_NAMES) < _MOST_KEPT:
                _NAMES[name] = known
        return known

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Poly) and (
            self.terms == other.terms or self._by_key() == other._by_key()
        )

    def __hash__(self) -> int:
        return hash(frozenset(self._by_key().items()))

    def _by_key(self) -> dict[Monomial, int]:
        """Return the factors by monomial, whatever the order of its atoms."""
        return {_key(monomial): factor for monomial, factor in self.terms}

    def __add__(self, other: Poly) -> Poly:
        if not self.terms:
            return other
        if not other.terms:
            return self
        return _collect((*self.terms, *other.terms))

    def __neg__(self) -> Poly:
        return Poly(tuple((m, -f) for m, f in self.terms))

    def __sub__(self, other: Poly) -> Poly:
        return self + -other

    def __mul__(self, other: Poly) -> Poly:
        if self.terms == _ONE:
            return other
        if other.terms == _ONE:
            return self
        if len(self.terms) * len(other.terms) > MAX_SIZE:
            raise TooLong
        return _collect(
            tuple(
                (left + right, f * g)
                for left, f in self.terms
                for right, g in other.terms
            )
        )

    @property
    def number(self) -> int | None:
        """The value, if the polynomial is constant."""
        if not self.terms:
            return 0
        (monomial, factor), *rest = self.terms
        return factor if not rest and not monomial else None

    @property
    def is_name(self) -> bool:
        """Whether the polynomial is a single name."""
        if len(self.terms) != 1:
            return False
        monomial, factor = self.terms[0]
        return factor == 1 and len(monomial) == 1 and not monomial[0].args

    def names(self) -> set[str]:
        """Return the parameter names the expression reads."""
        return set().union(*(a.names() for m, _ in self.terms for a in m))

    def divides(self) -> bool:
        """Return whether it divides by what may be 0."""
        atoms = [atom for monomial, _ in self.terms for atom in monomial]
        return any(atom.divides() for atom in atoms)

    def substitute(self, bindings: Mapping[str, Poly]) -> Poly:
        """Return the expression with names replaced by other expressions."""
        total = Poly(())
        for monomial, factor in self.terms:
            product = Poly.constant(factor)
            for atom in monomial:
                product = product * atom.substitute(bindings)
            total = total + product
        return total

    def text(self, precedence: int = 0) -> str:
        """Return Python text, in parentheses if its precedence is too low."""
        parts = [_render_term(m, abs(f)) for m, f in self.terms]
        if not parts:
            return "0"
        if len(parts) == 1 and self.terms[0][1] > 0:
            text, own = parts[0]
        else:
            text, own = "", 1
            # A positive term first: "2 * a - b" reads better than "-b + 2 * a".
            order = sorted(range(len(parts)), key=lambda i: self.terms[i][1] < 0)
            for place, i in enumerate(order):
                monomial, factor = self.terms[i]
                term = parts[i][0]
                if place:
                    text += f" {'-' if factor < 0 else '+'} {term}"
                else:
                    text = _negated(monomial, factor, term) if factor < 0 else term
        return f"({text})" if own < precedence else text

    def __repr__(self) -> str:
        return self.text()


# Plain numbers and names are needed most often, and there are few of them.
_CONSTANTS: Final[dict[int, Poly]] = {}
_NAMES: Final[dict[str, Poly]] = {}
_MOST_KEPT: Final = 10_000
# The terms of the number 1.
_ONE: Final = (((), 1),)


def _key(monomial: Monomial) -> Monomial:
    if len(monomial) < 2:
        return monomial
    return tuple(sorted(monomial, key=lambda atom: atom.render()[0]))


def _collect(terms: tuple[tuple[Monomial, int], ...]) -> Poly:
    """Return the sum of terms; each monomial stays as it was first written."""
    if len(terms) == 1 and terms[0][1]:
        return Poly(terms)
    total: dict[Monomial, tuple[Monomial, int]] = {}
    for monomial, factor in terms:
        key = _key(monomial)
        first, sum_ = total.get(key, (monomial, 0))
        total[key] = first, sum_ + factor
    return Poly(tuple((m, f) for m, f in total.values() if f))


def _render_term(monomial: Monomial, factor: int) -> tuple[str, int]:
    parts = [a.render() for a in monomial]
    if not parts:
        return str(factor), 3
    if factor == 1 and len(parts) == 1:
        return parts[0]
    texts = [t if p > 2 else f"({t})" for t, p in parts]
    if factor != 1:
        texts.insert(0, str(factor))
    elif parts[0][1] == 2:
        # a // b * c needs no brackets, as Python reads from the left.
        texts[0] = parts[0][0]
    return " * ".join(texts), 2


def _negated(monomial: Monomial, factor: int, term: str) -> str:
    """Return a rendered term with a minus before it."""
    # -a // b would be (-a) // b.
    is_quotient = factor == -1 and monomial and monomial[0].op in ("//", "%")
    return f"-({term})" if is_quotient else f"-{term}"


def combine(op: str, args: tuple[Poly, ...]) -> Poly:
    """Return ``args`` joined by an operator that polynomials do not have."""
    numbers = [a.number for a in args]
    if all(n is not None for n in numbers) and op in _FOLD:
        return Poly.constant(_FOLD[op](*numbers))
    if op == "//" and numbers[1] == 1:
        return args[0]
    exact = _divided(args[0], args[1]) if op == "//" else None
    return Poly.atom(Atom(op, args)) if exact is None else exact


def _divided(poly: Poly, divisor: Poly) -> Poly | None:
    """Return a quotient without rest, such as `width` for ``groups * width // groups``;
    None if there is none.
    """
    if len(divisor.terms) != 1:
        return None
    ((atoms, factor),) = divisor.terms
    terms = []
    for monomial, own in poly.terms:
        left = list(monomial)
        for atom in atoms:
            if atom not in left:
                return None
            left.remove(atom)
        if own % factor:
            return None
        terms.append((tuple(left), own // factor))
    return Poly(tuple(terms))


_FOLD: dict[str, Callable[..., int]] = {
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "min": min,
    "max": max,
}


class Sym(int):
    """An int with the expression it came from."""

    poly: Poly

    def __new__(cls, value: int, poly: Poly) -> Sym:
        """Make the number `value`, computed by `poly`."""
        self = super().__new__(cls, value)
        self.poly = poly
        return self

    # With a float the result is a float, which keeps no expression: Python then asks
    # the other operand.

    def __add__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("+", self, other, int(self) + int(other))

    __radd__ = __add__

    def __mul__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("*", self, other, int(self) * int(other))

    __rmul__ = __mul__

    def __sub__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("-", self, other, int(self) - int(other))

    def __rsub__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("-", other, self, int(other) - int(self))

    def __floordiv__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("//", self, other, int(self) // int(other))

    def __rfloordiv__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("//", other, self, int(other) // int(self))

    def __mod__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("%", self, other, int(self) % int(other))

    def __rmod__(self, other: int) -> int:
        if not isinstance(other, int):
            return NotImplemented
        return _join("%", other, self, int(other) % int(self))

    def __neg__(self) -> int:
        return simplify(-int(self), -self.poly)

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


def _join(op: str, left: int, right: int, value: int) -> int:
    """Return the number `value` with the expression that an operator gives."""
    first, second = poly_of(left), poly_of(right)
    # Layers that follow one another compute the same again and again. What is known is
    # found by identity, since equal expressions may be written in different orders.
    key = op, id(first), id(second)
    known = _JOINED.get(key)
    if known is None:
        poly = _joined(op, first, second)
        known = first, second, None if poly.number is not None else poly
        if len(_JOINED) >= _MOST_KEPT:
            _JOINED.clear()
        _JOINED[key] = known
    return value if known[2] is None else Sym(value, known[2])


def _joined(op: str, left: Poly, right: Poly) -> Poly:
    if op == "+":
        return left + right
    if op == "-":
        return left - right
    if op == "*":
        return left * right
    return combine(op, (left, right))


# What operators gave, None for a number: by the operator and the identities of both
# expressions, which are kept, too, so that no other takes their place.
_JOINED: Final[dict[tuple[str, int, int], tuple[Poly, Poly, Poly | None]]] = {}


def simplify(value: int, poly: Poly) -> int:
    """Return a plain int where the expression is constant, else a `Sym`."""
    return value if poly.number is not None else Sym(value, poly)


def poly_of(value: int) -> Poly:
    """Return the expression of any integer."""
    return value.poly if isinstance(value, Sym) else Poly.constant(value)


class SymFloat(float):
    """A float that stands for a parameter."""

    name: str

    def __new__(cls, value: float, name: str) -> SymFloat:
        """Make the number `value`, given by the parameter `name`."""
        self = super().__new__(cls, value)
        self.name = name
        return self


# A union of types would be created at each call, and this is called often.
_SYMBOLIC: Final = (Sym, SymFloat)


def is_symbolic(value: Any) -> bool:
    """Return whether a value, or a part of a tuple, depends on a parameter."""
    if isinstance(value, tuple):
        return any([isinstance(part, _SYMBOLIC) for part in value])
    return isinstance(value, _SYMBOLIC)
