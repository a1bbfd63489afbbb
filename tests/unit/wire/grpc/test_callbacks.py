"""Callbacks: owed once, made later, and their failures stay with their call."""

import logging

import pytest

from farhand.wire.grpc import CallEnded, EndedBy, Status
from farhand.wire.grpc.callbacks import Callbacks, guarded
from farhand.wire.grpc.stream import Stream
from tests.unit.wire.grpc.pair import Pair, Recorder


def stream_of(pair: Pair) -> tuple[Recorder, Stream]:
    recorder = pair.open()
    assert isinstance(recorder.call, Stream)
    return recorder, recorder.call


def test_what_is_owed_twice_comes_once() -> None:
    recorder, stream = stream_of(Pair())
    callbacks = Callbacks()
    stream.cancel()
    callbacks.owe(stream)
    callbacks.owe(stream)
    callbacks.settle()
    callbacks.settle()

    assert 1 == len(recorder.ends)
    assert not callbacks


def test_a_failure_is_logged_and_ends_its_call(caplog: pytest.LogCaptureFixture) -> None:
    _, stream = stream_of(Pair())

    def broken() -> None:
        raise RuntimeError("why")

    with caplog.at_level(logging.ERROR):
        guarded(stream, broken)

    assert ["call.fault path=/test.Raw/Echo peer=192.0.2.1:50051"] == caplog.messages
    assert stream.end is not None
    assert (Status.INTERNAL, EndedBy.FAULT) == (stream.end.status, stream.end.by)


def test_a_send_that_came_too_late_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    _, stream = stream_of(Pair())

    def late() -> None:
        raise CallEnded(Status.UNAVAILABLE, "gone")

    guarded(stream, late)

    assert [] == caplog.messages
    assert stream.end is not None
    assert (Status.UNAVAILABLE, EndedBy.LINK) == (stream.end.status, stream.end.by)
