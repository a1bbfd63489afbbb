"""The API described: OpenAPI 3.1, with every body, every answer and every error.

Made from the routes and the shapes of `farhand.api`; what is said here by hand is only what
FastAPI cannot know.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter
from starlette.routing import BaseRoute

from farhand.api.groups import GroupsShape
from farhand.api.reading import AGENT_BODY, JOB_BODY, RERUN_BODY
from farhand.api.schedules import SCHEDULE_BODY, SCHEDULE_EDIT_BODY
from farhand.api.shapes import EndEvent, OutputEvent, Problem, RunEvent
from farhand.api.targets import FREEZE_BODY, GROUP_BODY
from farhand.http.deepflow import FACADE
from farhand.http.door import OPEN
from farhand.http.stream import EventStream

_ABOUT: Final = """Run commands on every host that dials home.

Every error is `application/problem+json` with a stable `code`. Unknown fields and query
parameters are errors. Lists are paged by cursor."""

_REFS: Final = "#/components/schemas/{model}"

_BODIES: Final[dict[str, TypeAdapter[Any]]] = {
    "submitJob": JOB_BODY,
    "rerunJob": RERUN_BODY,
    "editAgent": AGENT_BODY,
    "addSchedule": SCHEDULE_BODY,
    "editSchedule": SCHEDULE_EDIT_BODY,
    "saveGroup": GROUP_BODY,
    "freeze": FREEZE_BODY,
}
_LAST: Final[dict[str, TypeAdapter[Any]]] = {
    "end": TypeAdapter(EndEvent),
    "error": TypeAdapter(Problem),
}
_EVENTS: Final[dict[str, dict[str, TypeAdapter[Any]]]] = {
    "followJob": {"output": TypeAdapter(OutputEvent), "run": TypeAdapter(RunEvent), **_LAST},
    "followJobGroups": {"groups": TypeAdapter(GroupsShape), **_LAST},
}

_TOLD: Final = {
    400: "The request cannot be carried out as it is.",
    401: "The bearer token is missing or wrong.",
    404: "There is no such thing.",
    409: "The state of things does not allow this.",
    410: "It was deleted for its age, or for the room it took.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    416: "No byte lies in this range.",
    429: "The org or the caller has its whole share; see `Retry-After`.",
    500: "Something broke; `incident` is in the log.",
    503: "Not now; see `Retry-After`.",
}

_Operation = dict[str, Any]


def described(routes: Sequence[BaseRoute], version: str) -> dict[str, Any]:
    """Return the whole description."""
    whole = get_openapi(
        title="farhand",
        version=version,
        openapi_version="3.1.0",
        description=_ABOUT,
        routes=routes,
    )
    schemas: dict[str, Any] = whole.setdefault("components", {}).setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    events = {
        operation: [_event(kind, _add(schemas, adapter)) for kind, adapter in kinds.items()]
        for operation, kinds in _EVENTS.items()
    }
    for path, operation in _operations(whole):
        if (body := _BODIES.get(operation["operationId"])) is not None:
            content = {"application/json": {"schema": _add(schemas, body)}}
            operation["requestBody"] = {"required": True, "content": content}
        stream = operation["responses"].get("200", {}).get("content", {})
        if EventStream.media_type in stream:
            told = events[operation["operationId"]]
            stream[EventStream.media_type] = {"schema": {"oneOf": told}}
        if path not in OPEN:
            operation["security"] = [{"bearer": []}]
        _add_errors(path, operation)
    whole["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    return whole


def _operations(whole: dict[str, Any]) -> Iterator[tuple[str, _Operation]]:
    for path, methods in whole["paths"].items():
        for operation in methods.values():
            yield path, operation


def _add(schemas: dict[str, Any], adapter: TypeAdapter[Any]) -> dict[str, Any]:
    """Put what *adapter* describes among *schemas*; return how to refer to it."""
    schema = adapter.json_schema(ref_template=_REFS)
    schemas.update(schema.pop("$defs", {}))
    if (name := schema.get("title")) is None:
        return schema
    schemas[name] = schema
    return {"$ref": _REFS.format(model=name)}


def _event(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    """Describe one server-sent event; the schema of a stream is that of each of its events."""
    written = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {
        "type": "object",
        "properties": {"id": {"type": "string"}, "event": {"const": kind}, "data": written},
        "required": ["event", "data"],
    }


def _add_errors(path: str, operation: _Operation) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # ours is 400
    statuses = [500, 503]
    if FACADE in operation["tags"]:
        statuses += [401]  # what the door says; the rest is said in an envelope
    elif path not in OPEN:
        statuses += [400, 401, 404, 429]
        if not operation["operationId"].startswith(("get", "list", "head", "follow")):
            statuses.append(409)
    if operation["operationId"] in _BODIES:
        statuses += [413, 415]
    if operation["operationId"].endswith("RunOutput"):
        statuses += [410, 416]
    for status in sorted(statuses):
        schema = {"schema": {"$ref": _REFS.format(model="Problem")}}
        told = responses.setdefault(str(status), {"description": _TOLD[status], "content": {}})
        told["content"]["application/problem+json"] = schema
