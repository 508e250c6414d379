"""``/docs``: the OpenAPI document as one page, without a script and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse

from app.apidocs.document import operations
from app.apidocs.examples import example_of

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h2 { border-bottom: 1px solid; margin-top: 3rem; text-transform: capitalize; }
h3 { margin-top: 2.5rem; } h3 code { font-size: 1rem; }
code, pre { font-family: ui-monospace, monospace; font-size: .875rem; }
pre { border: 1px solid #8886; border-radius: 4px; overflow-x: auto; padding: .75rem; }
table { border-collapse: collapse; width: 100%; } summary { cursor: pointer; }
td, th { border-bottom: 1px solid #8886; padding: .3rem .6rem .3rem 0; text-align: left; }
td, th { vertical-align: top; } h3, p, .any, td pre { overflow-wrap: anywhere; }
td pre { white-space: pre-wrap; }
.method { border: 1px solid; border-radius: 4px; padding: 0 .4rem; } .gone { text-decoration: line-through; }
nav { columns: 2; } nav section { break-inside: avoid; } nav p { margin: .2rem 0; }
nav h2 { border: 0; font-size: 1rem; margin: .8rem 0 .2rem; }
@media (max-width: 45rem) {
  nav { columns: 1; } tr { border-bottom: 1px solid #8886; display: block; padding: .4rem 0; }
  th { display: none; } td { border: 0; display: block; overflow-wrap: anywhere; padding: 0; }
}
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


# Told once, at the top.
_OF_EVERY_ANSWER = frozenset({"X-Request-ID", "Retry-After", "WWW-Authenticate"})


def install_page(app: FastAPI) -> None:
    """Serve the page at ``/docs``."""

    async def docs(_request: Request) -> HTMLResponse:
        return HTMLResponse(page(app.openapi()), headers={"Content-Security-Policy": POLICY})

    app.add_route("/docs", docs, include_in_schema=False)


def page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    title = html.escape(f"{document['info']['title']} {document['info']['version']}")
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width">',
            f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>",
            _prose(document["info"]["description"]),
            '<p>The same for programs: <a href="/openapi.json">openapi.json</a></p>',
            *_contents(document),
            *_tags(document),
            *_schemas(document),
            "</body></html>",
        ]
    )


def _prose(text: str) -> str:
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return "".join(f"<p>{_inline(part)}</p>" for part in paragraphs if part)


def _inline(text: str) -> str:
    return re.sub(r"`+([^`]+)`+", r"<code>\1</code>", html.escape(text))


def _contents(document: Mapping[str, Any]) -> Iterator[str]:
    yield "<nav>"
    for tag in document["tags"]:
        yield f"<section><h2>{html.escape(tag['name'])}</h2>"
        for path, method, operation in operations(document):
            if tag["name"] in operation["tags"]:
                name = f"{method.upper()} {path}"
                yield f'<p><a href="#{operation["operationId"]}"><code>{html.escape(name)}</code></a></p>'
        yield "</section>"
    yield "</nav>"


def _tags(document: Mapping[str, Any]) -> Iterator[str]:
    for tag in document["tags"]:
        yield f"<h2>{html.escape(tag['name'])}</h2>{_prose(tag['description'])}"
        for path, method, operation in operations(document):
            if tag["name"] in operation["tags"]:
                yield from _operation(document, path, method, operation)


def _operation(
    document: Mapping[str, Any], path: str, method: str, operation: Mapping[str, Any]
) -> Iterator[str]:
    gone = ' class="gone"' if operation.get("deprecated") else ""
    yield f'<h3 id="{operation["operationId"]}"{gone}><span class="method">{method.upper()}</span> '
    yield f"<code>{html.escape(path)}</code></h3>{_prose(operation['description'])}"
    if operation.get("parameters"):
        yield "<h4>Parameters</h4><table><tr><th>name</th><th>in</th><th>type</th><th>meaning</th></tr>"
        for one in operation["parameters"]:
            needed = " (required)" if one.get("required") else ""
            yield f"<tr><td><code>{html.escape(one['name'])}</code>{needed}</td><td>{one['in']}</td>"
            yield f"<td>{_type(_given(one['schema']))}</td>"
            yield f"<td>{_inline(one.get('description', ''))}</td></tr>"
        yield "</table>"
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<h4>Body: <code>{html.escape(media_type)}</code></h4>"
        yield f"<p>{_type(body['schema'])}</p>"
        yield from _fields(body["schema"])
        if "examples" in body:
            yield from _named(body["examples"])
        elif media_type == "application/json":
            yield _json(example_of(body["schema"], document))
    yield "<h4>Answers</h4><table><tr><th>status</th><th>what it is</th><th>body</th></tr>"
    for status, answer in operation["responses"].items():
        yield f"<tr><td>{html.escape(status)}</td><td>{_inline(answer['description'])}"
        yield from _shown(answer, document)
        yield "</td><td>"
        yield ", ".join(
            f"<code>{html.escape(media_type)}</code> {_type(body.get('schema', {}))}"
            for media_type, body in answer.get("content", {}).items()
        )
        yield "</td></tr>"
    yield "</table>"


def _shown(answer: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    for name, header in answer["headers"].items():
        if name not in _OF_EVERY_ANSWER:
            yield f"<br><code>{html.escape(name)}</code>: {_inline(header['description'])}"
    for media_type, body in answer.get("content", {}).items():
        yield from _named(body.get("examples", {}))
        if media_type == "application/json":
            made = example_of(body["schema"], document)
            yield f"<details><summary>example</summary>{_json(made)}</details>"
        elif "example" in body:
            text = html.escape(body["example"])
            yield f"<details><summary>example of <code>{html.escape(media_type)}</code></summary>"
            yield f"<pre>{text}</pre></details>"


def _named(examples: Mapping[str, Any]) -> Iterator[str]:
    for name, example in examples.items():
        yield f"<details><summary><code>{html.escape(name)}</code></summary>"
        yield f"{_json(example['value'])}</details>"


def _json(value: Any) -> str:
    return f"<pre>{html.escape(json.dumps(value, indent=2, ensure_ascii=False))}</pre>"


def _schemas(document: Mapping[str, Any]) -> Iterator[str]:
    yield "<h2>Bodies</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<h3 id="schema-{html.escape(name)}">{html.escape(name)}</h3>'
        yield _prose(schema.get("description", ""))
        if "enum" in schema:
            yield f"<p>{_type(schema)}</p>"
        yield from _fields(schema)


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    if not schema.get("properties"):
        return
    yield "<table><tr><th>field</th><th>type</th><th>meaning</th></tr>"
    for field, value in schema["properties"].items():
        needed = " (required)" if field in schema.get("required", ()) else ""
        yield f"<tr><td><code>{html.escape(field)}</code>{needed}</td><td>{_type(value)}</td>"
        yield f"<td>{_inline(value.get('description', ''))}</td></tr>"
    yield "</table>"


def _given(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    # A parameter that is null is one that is left out.
    kinds = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else schema


_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
)


def _type(schema: Mapping[str, Any]) -> str:
    """Return the type of a value in words, with links to named schemas."""
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    if "const" in schema:
        return f"<code>{html.escape(json.dumps(schema['const']))}</code>"
    if "enum" in schema:
        return " or ".join(f"<code>{html.escape(json.dumps(one))}</code>" for one in schema["enum"])
    if schema.get("type") == "array":
        text = f"list of {_type(schema.get('items', {}))}"
    else:
        text = html.escape(str(schema.get("format") or schema.get("type") or "anything"))
    limits = ", ".join(_limits(schema))
    return text + (f" ({limits})" if limits else "")


def _limits(schema: Mapping[str, Any]) -> Iterator[str]:
    for lowest, highest, what in _RANGES:
        least, most = schema.get(lowest), schema.get(highest)
        if least is not None and most is not None:
            yield f"{least} to {most}{what}"
        elif least is not None or most is not None:
            yield f"≥ {least}{what}" if least is not None else f"≤ {most}{what}"
    if "pattern" in schema:
        yield f'matches <code class="any">{html.escape(schema["pattern"])}</code>'
    if schema.get("default") is not None:
        yield f"default <code>{html.escape(json.dumps(schema['default']))}</code>"
