"""The description of the API (OpenAPI) with an example for every parameter, body and document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

VIDEO = "3f0c9a7be12d4f5560aa"
PARAMETERS: Mapping[str, Any] = {
    "after": "2024-05-01",
    "alignment": "9b1f00c2a4e77d35",
    "before": "2025",
    "by": "place",
    "cursor": "24",
    "dedupe": True,
    "download": True,
    "end": 17.0,
    "false_alarm": 0.05,
    "folder": ["2024/summer"],
    "height": 180,
    "inside": VIDEO,
    "job": "5d2b0c1e77aa",
    "like": VIDEO,
    "limit": 24,
    "longer": "1:30",
    "min_length": 2.0,
    "name": "beach.mp4",
    "one_per_video": True,
    "pad": 1.0,
    "q": "a dog runs after a ball",
    "rerank": True,
    "root": VIDEO,
    "shorter": "10m",
    "start": 12.0,
    "t": 12.5,
    "video": VIDEO,
}
"""An example of each parameter, by its name."""
PLAIN: Mapping[str, Any] = {"string": "beach.mp4", "number": 12.5, "integer": 1, "boolean": True, "null": None}


def describe(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the document of an application, with examples; it is made once."""
    make = app.openapi
    made: dict[str, Any] = {}

    def described() -> dict[str, Any]:
        """Return the description, made once."""
        if not made:
            made.update(with_examples(make()))
        return made

    return described


def with_examples(document: dict[str, Any]) -> dict[str, Any]:
    """Add examples to a document of OpenAPI, in place, where it has none; return it."""
    schemas: Mapping[str, Any] = document.get("components", {}).get("schemas", {})
    for path in document["paths"].values():
        for operation in path.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in PARAMETERS:
                    parameter.setdefault("example", PARAMETERS[parameter["name"]])
            bodies = [operation.get("requestBody", {}), *operation.get("responses", {}).values()]
            for content in (body.get("content", {}) for body in bodies):
                documents = content.get("application/json", {})
                if documents.get("schema") and "examples" not in documents:
                    documents.setdefault("example", example(documents["schema"], schemas))
    return document


def example(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Any:
    """Return an example of a schema: that of the schema itself, or one made from the examples of its parts.

    Args:
        schema: of JSON Schema.
        schemas: schemas that it may refer to, by name.

    Example:
        >>> example({"type": "array", "items": {"$ref": "#/s/Id"}}, {"Id": {"type": "string", "examples": ["3f0c"]}})
        ['3f0c']
    """
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rsplit("/", 1)[1]], schemas)
    for key in ("examples", "enum"):
        if schema.get(key):
            return schema[key][0]
    if schema.get("default") is not None or schema.get("const") is not None:
        return schema.get("default", schema.get("const"))
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return example(schema[key][0], schemas)
    if "prefixItems" in schema:
        return [example(part, schemas) for part in schema["prefixItems"]]
    if schema.get("type") == "array":
        return [example(schema.get("items", {"type": "string"}), schemas)]
    if "properties" in schema:
        return {name: example(part, schemas) for name, part in schema["properties"].items()}
    if isinstance(schema.get("additionalProperties"), dict):
        return {"indexed": example(schema["additionalProperties"], schemas)}
    return PLAIN.get(schema.get("type", ""), {})
