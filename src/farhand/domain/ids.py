"""Names that are never reused: TypeIDs such as `run_01h455vb4pex5vsknk084sn02q`.

Only types and recognition; ids are minted by the controller (`farhand.controller.ids`).
"""

import re
from typing import Final, NewType

from farhand.errors import InvalidName

OrgId = NewType("OrgId", str)
AgentId = NewType("AgentId", str)
JobId = NewType("JobId", str)
RunId = NewType("RunId", str)

# typeid spec 0.3: prefix, underscore, 26 characters of lower-case Crockford base32.
_TYPEID: Final = re.compile(r"(org|agt|job|run|sch|pre)_[0-7][0-9a-hjkmnp-tv-z]{25}")

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,126}[A-Za-z0-9])?")


def is_id(kind: str, text: str) -> bool:
    """Tell whether *text* has the form of an id of *kind*, such as `job`."""
    return text.startswith(kind + "_") and _TYPEID.fullmatch(text) is not None


def check_name(text: str) -> str:
    """Return *text* if it can be the name of an agent or a schedule; raise InvalidName otherwise.

    A name is 1 to 128 letters, digits, dots, colons, dashes and underscores, beginning and
    ending with a letter or digit, and is not written like an id.
    """
    if _NAME.fullmatch(text) is None or _TYPEID.fullmatch(text):
        msg = (
            f"{text!r} cannot be a name: use 1 to 128 letters, digits and ._:- "
            "that begin and end with a letter or digit"
        )
        raise InvalidName(msg)
    return text
