"""Examples put together from the examples of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEPTH_MAX = 12  # a schema that contains itself

_BY_FORMAT = {
    "uuid": "0192f0c1-7a51-7cc3-8a1e-4d6f0a1b2c3d",
    "date-time": "2026-11-22T10:58:12.345678Z",
    "date": "2026-11-22",
}
_BY_TYPE: Mapping[str, Any] = {"string": "…", "boolean": True, "null": None}


def example_of(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value that the schema describes, made of its own examples where it has any."""
    if depth > DEPTH_MAX:
        return None
    own = _given(schema)
    return own if own is not None else _made(schema, document, depth + 1)


def _given(schema: Mapping[str, Any]) -> Any:
    for one in ("example", "const", "default"):
        if schema.get(one) is not None:
            return schema[one]
    for several in ("examples", "enum"):
        if schema.get(several):
            return schema[several][0]
    return None


def _made(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int) -> Any:
    inner = [document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]] if "$ref" in schema else []
    for choice in ("anyOf", "oneOf", "allOf"):
        inner += schema.get(choice, ())
    if inner and "properties" not in schema:  # beside those it only says which of them go together
        return example_of(inner[0], document, depth)
    kind = schema.get("type", "")
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: example_of(value, document, depth) for name, value in fields.items()}
    if kind == "array":
        return [example_of(schema.get("items", {}), document, depth)]
    if kind in ("integer", "number"):
        return schema.get("minimum", 1)
    return _BY_FORMAT.get(schema.get("format", ""), _BY_TYPE.get(kind))
