"""Documents to JSON and back. Nothing outside storage/ sees that text.

What the JSON does not name has its default, and what the class no longer knows is passed over.
"""

import json
from functools import cache
from typing import Any, Final, cast

from pydantic import ConfigDict, TypeAdapter

from farhand.ports import D, Document

_AS_TEXT: Final = ConfigDict(
    ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings"
)


@cache
def _codec(kind: type[Document]) -> TypeAdapter[list[Any]]:
    """A list carries the configuration, which a dataclass alone cannot be given."""
    return TypeAdapter(list[kind], config=_AS_TEXT)  # type: ignore[valid-type]  # made at run time


def body_of(document: Document) -> str:
    """Return the document as JSON, but for its version, which has a column of its own."""
    (told,) = _codec(type(document)).dump_python([document], mode="json")
    del told["version"]
    return json.dumps(told, separators=(",", ":"), ensure_ascii=False)


def document_of(kind: type[D], version: int, body: str) -> D:
    """Return the document of a row."""
    told = {**json.loads(body), "version": version}
    (found,) = _codec(kind).validate_json(json.dumps([told]))
    return cast("D", found)
