"""Mint ids and tokens. The only place where names are made from the clock and chance."""

import hashlib
import secrets

from typeid import TypeID

from farhand.domain.ids import AgentId, JobId, OrgId, RunId


def new_org() -> OrgId:
    """An id for an org."""
    return OrgId(str(TypeID(prefix="org")))


def new_agent() -> AgentId:
    """An id for an agent."""
    return AgentId(str(TypeID(prefix="agt")))


def new_job() -> JobId:
    """An id for a job."""
    return JobId(str(TypeID(prefix="job")))


def new_run() -> RunId:
    """An id for a run."""
    return RunId(str(TypeID(prefix="run")))


def new_schedule() -> str:
    """An id for a schedule."""
    return str(TypeID(prefix="sch"))


def new_preview() -> str:
    """An id for a preview."""
    return str(TypeID(prefix="pre"))


def new_token(kind: str) -> str:
    """A secret of 256 bits, written `fh_<kind>_…`, so that a scanner recognises it."""
    return f"fh_{kind}_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> str:
    """What is stored of a token: SHA-256 is enough for a secret of 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
