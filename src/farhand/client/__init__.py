"""The SDK: an ordinary user of the HTTP API, asynchronous or blocking.

Loads only what is asked for: `Client` needs the standard library alone, `AsyncClient` httpx.

    with Client() as client:
        for event in client.run(["uptime"], names=["web-1", "web-2"]):
            ...

    async with AsyncClient(url, token) as client:
        job = await client.run(script="id", selector="role=web")
        result = await job.result()
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from farhand.client._async import AsyncClient, AsyncJobHandle
    from farhand.client._blocking import Client, JobHandle
    from farhand.client._calls import JobOptions, SpreadOptions
    from farhand.client._errors import (
        AnswerLost,
        BadRequest,
        ClientError,
        Conflict,
        ConnectionFailed,
        FarhandApiError,
        NotAllowed,
        NotConfigured,
        NotFound,
        StreamLost,
        TimedOut,
        TlsFailed,
        Unavailable,
        UnexpectedAnswer,
        Unreachable,
    )
    from farhand.client._events import End, Event, Output, Result, RunChanged, RunResult
    from farhand.client._groups import Content, Failures, Group, Groups, Progress
    from farhand.client._history import JobSearch, RunSearch
    from farhand.client._schedules import Due, Firing, Schedule, ScheduleOptions, When
    from farhand.client._shapes import (
        Agent,
        Command,
        Job,
        Namespace,
        Param,
        Rollout,
        Run,
        StreamEnd,
        Version,
    )
    from farhand.client._targets import Explanation, Freeze, Hosts, Preview, Refusing, SavedGroup

__all__ = [
    "Agent",
    "AnswerLost",
    "AsyncClient",
    "AsyncJobHandle",
    "BadRequest",
    "Client",
    "ClientError",
    "Command",
    "Conflict",
    "ConnectionFailed",
    "Content",
    "Due",
    "End",
    "Event",
    "Explanation",
    "Failures",
    "FarhandApiError",
    "Firing",
    "Freeze",
    "Group",
    "Groups",
    "Hosts",
    "Job",
    "JobHandle",
    "JobOptions",
    "JobSearch",
    "Namespace",
    "NotAllowed",
    "NotConfigured",
    "NotFound",
    "Output",
    "Param",
    "Preview",
    "Progress",
    "Refusing",
    "Result",
    "Rollout",
    "Run",
    "RunChanged",
    "RunResult",
    "RunSearch",
    "SavedGroup",
    "Schedule",
    "ScheduleOptions",
    "SpreadOptions",
    "StreamEnd",
    "StreamLost",
    "TimedOut",
    "TlsFailed",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "Version",
    "When",
]

_MODULES = (
    "_errors",
    "_shapes",
    "_events",
    "_calls",
    "_groups",
    "_history",
    "_schedules",
    "_targets",
    "_blocking",
    "_async",
)


def __getattr__(name: str) -> object:
    """Load the module that defines *name*, and none that comes after it."""
    import importlib  # noqa: PLC0415

    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__


del TYPE_CHECKING  # no name of ours
