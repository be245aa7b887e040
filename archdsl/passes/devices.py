"""Devices with their published peak rates: a table and files that extend it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from archdsl.diagnostics import did_you_mean

FORMATS: Final = ("float64", "float32", "tf32", "bfloat16", "float16")
_VECTOR_FORMATS: Final = ("float64", "float32")
_NUMBERS: Final = ("bandwidth_gbs", "memory_gb", "launch_us")
_RATES: Final = ("matrix_tflops", "vector_tflops")
_TEXTS: Final = ("title", "source")
_REQUIRED: Final = ("bandwidth_gbs", *_RATES)
_KEYS: Final = (*_TEXTS, *_RATES, *_NUMBERS)
_TERA: Final = 1e12
_GIGA: Final = 1e9
_MICRO: Final = 1e-6


class DeviceError(ValueError):
    """An unknown device, or an invalid file of devices."""


class Device(NamedTuple):
    """The peak rates of a device.

    Attributes:
        name: short name, such as ``h100-sxm``.
        title: the vendor's name for it.
        matrix: operations per second in matrix products, by format; a
            multiply-accumulate counts as two.
        vector: operations per second of everything else, by format.
        bandwidth: bytes per second that its memory reads and writes in total.
        memory_bytes: size of its memory; None if that is not fixed.
        launch_seconds: least time between the starts of two kernels, which depends on
            the host and its software; 0 if none is given.
        source: source of the figures.
    """

    name: str
    title: str
    matrix: Mapping[str, float]
    vector: Mapping[str, float]
    bandwidth: float
    memory_bytes: int | None = None
    launch_seconds: float = 0.0
    source: str = ""

    def matrix_rate(self, dtype: str, *, tf32: bool = False) -> float:
        """Return the operations per second in matrix products.

        Args:
            dtype: data type of the operands.
            tf32: whether float32 may be rounded to TF32, if the device supports it.

        Raises:
            DeviceError: if it has no rate for the dtype.
        """
        if tf32 and dtype == "float32" and "tf32" in self.matrix:
            return self.matrix["tf32"]
        return self._rate(self.matrix, dtype)

    def vector_rate(self, dtype: str) -> float:
        """Return the operations per second of everything but matrix products.

        torch computes them in float32 for 16-bit formats.

        Raises:
            DeviceError: if it has no rate for the dtype.
        """
        return self._rate(self.vector, "float64" if dtype == "float64" else "float32")

    def as_dict(self) -> dict[str, Any]:
        """Return the device as plain data."""
        return {
            "name": self.name,
            "title": self.title,
            "matrix": dict(self.matrix),
            "vector": dict(self.vector),
            "bandwidth": self.bandwidth,
            "memory_bytes": self.memory_bytes,
            "launch_seconds": self.launch_seconds,
            "source": self.source,
        }

    def _rate(self, rates: Mapping[str, float], dtype: str) -> float:
        if dtype not in rates:
            known = ", ".join(rates)
            raise DeviceError(f"{self.name} has no rate for {dtype}, only for {known}")
        return rates[dtype]


# ---- the table and files --------------------------------------------------------


def devices(path: str | os.PathLike[str] | None = None) -> Mapping[str, Device]:
    """Return the devices by name: the built-in ones, and those of a file.

    Args:
        path: a TOML file with a table for each device, which replaces a built-in device
            with the same name.

    Raises:
        DeviceError: with all errors in the file.
    """
    if path is None:
        return _shipped()
    return {**_shipped(), **_load(Path(path))}


def device(name: str, known: Mapping[str, Device] | None = None) -> Device:
    """Return the device with a name, ignoring case.

    Args:
        name: name of the device.
        known: the devices to search; the built-in ones if omitted.

    Raises:
        DeviceError: if there is none.
    """
    table = _shipped() if known is None else known
    word = _key(name)
    if word in table:
        return table[word]
    close = [f"`{other}`" for other in table if other.startswith(word)] if word else []
    help = f"did you mean {' or '.join(close)}?" if close else did_you_mean(word, table)
    raise DeviceError(
        f"there is no device `{name}`; {help or 'known are ' + ', '.join(table)}"
    )


@cache
def _shipped() -> Mapping[str, Device]:
    return _load(Path(__file__).with_name("devices.toml"))


def _key(name: str) -> str:
    return name.strip().lower().replace(" ", "-").replace("_", "-")


def _load(path: Path) -> Mapping[str, Device]:
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise DeviceError(f"cannot read `{path}`: {why}") from None
    except tomllib.TOMLDecodeError as error:
        raise DeviceError(f"{path}: {error}") from None
    wrong = [f"{path}: {text}" for text in _wrong(tables)]
    if wrong:
        raise DeviceError("\n".join(wrong))
    return {_key(name): _device(_key(name), table) for name, table in tables.items()}


def _device(name: str, table: Mapping[str, Any]) -> Device:
    memory = table.get("memory_gb")
    return Device(
        name=name,
        title=table.get("title", name),
        matrix=_per_second(table["matrix_tflops"]),
        vector=_per_second(table["vector_tflops"]),
        bandwidth=table["bandwidth_gbs"] * _GIGA,
        memory_bytes=None if memory is None else round(memory * _GIGA),
        launch_seconds=table.get("launch_us", 0) * _MICRO,
        source=table.get("source", ""),
    )


def _per_second(rates: Mapping[str, float]) -> dict[str, float]:
    # To 12 digits, since 66.9 * 1e12 is not quite 66.9e12.
    return {key: float(f"{rate * _TERA:.12g}") for key, rate in rates.items()}


# ---- what is wrong with a file --------------------------------------------------


def _wrong(tables: Mapping[str, Any]) -> Iterator[str]:
    if not tables:
        yield "there is no device in it"
    for name, table in tables.items():
        if not isinstance(table, dict) or name in _KEYS:
            yield f"`{name}` is outside a device; begin one with `[name]`"
        else:
            yield from (f"[{name}]: {text}" for text in _wrong_table(table))


def _wrong_table(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if key in _RATES:
            yield from _wrong_rates(key, value)
        elif key in _NUMBERS:
            yield from _wrong_number(key, value)
        elif key not in _TEXTS:
            yield _unknown(key, _KEYS)
        elif not isinstance(value, str):
            yield f"`{key}` must be a string"
    missing = [key for key in _REQUIRED if key not in table]
    yield from (f"`{key}` is missing" for key in missing)
    yield from _wrong_pair(table)


def _wrong_pair(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield formats with a rate for matrix products but none for other operations."""
    matrix, vector = (table.get(key) for key in _RATES)
    if isinstance(matrix, dict) and isinstance(vector, dict):
        needed = {"float64" if name == "float64" else "float32" for name in matrix}
        for name in sorted(needed - vector.keys()):
            yield f"`vector_tflops` needs a rate for {name}, too"


def _wrong_rates(key: str, rates: Any) -> Iterator[str]:
    if not isinstance(rates, dict) or not rates:
        yield f"`{key}` has a rate for each format, such as {{ float32 = 10 }}"
        return
    formats = FORMATS if key == "matrix_tflops" else _VECTOR_FORMATS
    for name, rate in rates.items():
        if name not in formats:
            yield f"{key}: {_unknown(name, formats)}"
        else:
            yield from _wrong_number(f"{key}.{name}", rate)


def _wrong_number(key: str, value: Any) -> Iterator[str]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value <= 0:
        yield f"`{key}` is a number above 0, not {value!r}"


def _unknown(key: str, known: tuple[str, ...]) -> str:
    help = did_you_mean(key, known) or f"known are {', '.join(known)}"
    return f"there is no `{key}`; {help}"
