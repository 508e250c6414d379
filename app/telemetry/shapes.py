"""Log lines, and OTLP's records and spans, of a shape that was met before: only values are made into JSON.

A service says few different things, each of them often. What is always the same in a line and in its record
(keys, types, structure) is written once; each value is made into JSON once and put into both.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from app.telemetry.otlp import INTEGER_MAX

SHAPES_KNOWN_MAX: Final = 1000
_OTLP_NAMES: Final[dict[type, bytes]] = {
    str: b"stringValue",
    UUID: b"stringValue",
    bool: b"boolValue",
    int: b"intValue",
    float: b"doubleValue",
}
_NUMBERS: Final = (int, float)


class Shape(NamedTuple):
    """What is the same whenever these keys have values of these types.

    Both texts are for ``%`` with the values as JSON, in the order of their keys.
    """

    members: bytes
    """``"key":%b,…``: of an object, without its braces."""
    attributes: bytes
    """``{"key":…,"value":{"stringValue":%b}},…``: of OTLP's list of them, without its brackets."""
    numbers: tuple[int, ...]
    """Where values are that have to be looked at: not every number is one in OTLP."""


@functools.lru_cache(maxsize=SHAPES_KNOWN_MAX)
def shape_of(keys: tuple[str, ...], types: tuple[type, ...]) -> Shape | None:
    """Return the shape, or None where there is none: of other values than text and numbers."""
    if not all(kind in _OTLP_NAMES for kind in types):
        return None
    try:
        names = [literal(key) for key in keys]
    except TypeError:  # half of a surrogate pair
        return None
    return Shape(
        b",".join(b"%b:%%b" % name for name in names),
        b",".join(
            b'{"key":%b,"value":{"%b":%%b}}' % (name, _OTLP_NAMES[kind])
            for name, kind in zip(names, types, strict=True)
        ),
        tuple(place for place, kind in enumerate(types) if kind in _NUMBERS),
    )


def literal(text: str) -> bytes:
    """Return text as JSON that is the same for all of a shape: what stands left of ``%``.

    Raises ``TypeError`` for half of a surrogate pair, which is no text.
    """
    return orjson.dumps(text).replace(b"%", b"%%")


def values_of(shape: Shape, values: Sequence[Any]) -> tuple[bytes, ...] | None:
    """Return each value as JSON, or None where one is not what its type says.

    That is a number that is not finite or too large for OTLP, and half of a surrogate pair.
    """
    for place in shape.numbers:
        if not -INTEGER_MAX <= values[place] <= INTEGER_MAX:
            return None
    try:
        return tuple(map(orjson.dumps, values))
    except TypeError:
        return None
