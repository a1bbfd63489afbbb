"""The link's errors: codes that never change, and messages that say what happened."""

from farhand.errors import FarhandError
from farhand.wire.grpc import (
    CallEnded,
    ConnectFailed,
    LinkClosed,
    LinkError,
    ProtocolError,
    ProxyRefused,
    Status,
)


def test_each_has_its_own_code() -> None:
    codes = [
        error.code for error in (LinkError, ConnectFailed, ProxyRefused, LinkClosed, CallEnded)
    ]

    assert ["link-error", "connect-failed", "proxy-refused", "link-closed", "call-ended"] == codes


def test_all_are_errors_that_a_person_can_be_told() -> None:
    assert issubclass(LinkError, FarhandError)
    assert issubclass(ProtocolError, FarhandError)


def test_a_call_that_ended_says_how() -> None:
    assert "the call ended with ABORTED: why" == str(CallEnded(Status.ABORTED, "why"))
    assert "the call ended with OK" == str(CallEnded(Status.OK))
