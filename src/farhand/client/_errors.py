"""What can go wrong for a user of the SDK, sorted by what the caller can do about it.

Knows no exit codes; the errors of http.client, httpx and ssl never get past this module's users.

ClientError
├── NotConfigured          no address or token is known, or the file that holds them is unsafe
├── Unreachable            nobody answered; look at the address, try again later
│   ├── ConnectionFailed
│   │   ├── AnswerLost     what was asked for may have happened all the same
│   │   └── TlsFailed      the certificate or the protocol; trying again does not help
│   ├── TimedOut
│   └── StreamLost         a stream was cut and could not be taken up again in time
├── UnexpectedAnswer       whoever answered does not speak this API
└── FarhandApiError        the controller said no: status, code, detail, details
    ├── BadRequest         change the request
    ├── NotAllowed         another token
    ├── NotFound
    ├── Conflict           look again, then decide
    └── Unavailable        try again after `retry_after_s`
"""

from collections.abc import Mapping


class ClientError(Exception):
    """Something went wrong between this program and the controller.

    *code* is stable and meant for programs; *hint* says what to do next, or is empty.
    """

    code = "client-error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.hint = hint


class NotConfigured(ClientError):
    """It is not known which controller to ask, or with which token."""

    code = "not-configured"


class Unreachable(ClientError):
    """Nobody answered."""

    code = "unreachable"


class ConnectionFailed(Unreachable):
    """No connection came about, or it ended before the answer."""

    code = "connection-failed"


class AnswerLost(ConnectionFailed):
    """The connection ended before the answer. What was asked for may still happen."""

    code = "answer-lost"


class TlsFailed(ConnectionFailed):
    """The peer's certificate is not trusted, or the peer does not speak TLS."""

    code = "tls-failed"


class TimedOut(Unreachable):
    """The answer did not come in time. What was asked for may still happen."""

    code = "no-answer-in-time"


class StreamLost(Unreachable):
    """A stream was cut and the controller did not come back in time."""

    code = "stream-lost"


class UnexpectedAnswer(ClientError):
    """The answer is not one that a farhand controller gives."""

    code = "unexpected-answer"


class FarhandApiError(ClientError):
    """The controller refused; *code* is its stable code, *detail* says why and what to do.

    *details* are further facts of the answer (JSON values), *status* is the HTTP status.
    """

    def __init__(
        self,
        detail: str,
        *,
        status: int,
        code: str,
        details: Mapping[str, object] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail, code=code)
        self.status = status
        self.detail = detail
        self.details: Mapping[str, object] = details or {}
        self.retry_after_s = retry_after_s


class BadRequest(FarhandApiError):
    """The request cannot be carried out as it is."""


class NotAllowed(FarhandApiError):
    """The token is missing, wrong, or may not do this."""


class NotFound(FarhandApiError):
    """There is no such thing."""


class Conflict(FarhandApiError):
    """The state of things does not allow this."""


class Unavailable(FarhandApiError):
    """Not now; the same request may succeed later."""


def error_for(status: int) -> type[FarhandApiError]:
    """Return the error that an HTTP status of 400 or more means."""
    match status:
        case 401 | 403:
            return NotAllowed
        case 404 | 410:
            return NotFound
        case 409 | 412:
            return Conflict
        case 408 | 429 | 502 | 503 | 504:
            return Unavailable
        case _ if status < 500:
            return BadRequest
        case _:
            return FarhandApiError
