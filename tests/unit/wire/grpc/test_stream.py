"""One stream over an engine that only remembers."""

import pytest

from farhand.wire.grpc import CallEnded, EndedBy, Handler, LinkLimits, Peer, Status
from farhand.wire.grpc.shell import Budget
from farhand.wire.grpc.status import RawHeader
from farhand.wire.grpc.stream import Stream
from tests.unit.wire.grpc.pair import PEER, Recorder


class Engine:
    """Remembers what a stream asks for."""

    def __init__(self, limits: LinkLimits | None = None, *, serving: bool = True) -> None:
        self.limits = limits or LinkLimits()
        self.large = Budget(self.limits.large_messages_bytes)
        self.serving = serving
        self.asked: list[tuple[object, ...]] = []
        self.owed: list[Stream] = []
        self.acknowledged = 0
        self.waiting = 0

    @property
    def peer(self) -> Peer:
        return PEER

    def queued(self, stream: Stream) -> int:
        return self.waiting

    def push_message(self, stream: Stream, message: bytes) -> None:
        self.asked.append(("message", message))

    def push_trailers(self, stream: Stream, trailers: list[RawHeader]) -> None:
        self.asked.append(("trailers", *trailers))

    def push_end(self, stream: Stream) -> None:
        self.asked.append(("end",))

    def reset(self, stream: Stream, status: Status) -> None:
        self.asked.append(("reset", status))

    def acknowledge(self, stream: Stream, amount: int) -> None:
        self.acknowledged += amount

    def later(self, stream: Stream) -> None:
        self.owed.append(stream)

    def identified(self) -> None:
        self.asked.append(("identified",))


def stream_on(engine: Engine) -> tuple[Stream, Recorder]:
    stream = Stream(engine, 1, "/a/B", ())
    made: list[Recorder] = []

    def factory(call: object) -> Handler:
        made.append(Recorder(stream))
        return made[0]

    stream.start(factory)
    return stream, made[0]


def framed(message: bytes) -> bytes:
    return b"\x00" + len(message).to_bytes(4, "big") + message


def test_what_is_heard_is_acknowledged_at_once() -> None:
    engine = Engine()
    stream, recorder = stream_on(engine)
    data = framed(b"ab") + framed(b"")
    stream.heard(data[:3])
    stream.heard(data[3:])

    assert [b"ab", b""] == recorder.messages
    assert len(data) == engine.acknowledged


def test_what_is_heard_while_paused_is_acknowledged_when_reading_is_resumed() -> None:
    engine = Engine()
    stream, recorder = stream_on(engine)
    stream.pause_reading()
    stream.heard(framed(b"ab"))
    stream.heard_end()
    before = (list(recorder.messages), recorder.half_closed, engine.acknowledged)

    stream.resume_reading()
    stream.settle()

    assert ([], 0, 0) == before
    assert ([b"ab"], 1, 7) == (recorder.messages, recorder.half_closed, engine.acknowledged)


def test_what_is_held_is_given_back_when_the_call_ends() -> None:
    engine = Engine()
    stream, _ = stream_on(engine)
    stream.pause_reading()
    stream.heard(framed(b"ab"))
    stream.cancel()

    assert 7 == engine.acknowledged


def test_nothing_is_heard_after_the_finish() -> None:
    engine = Engine()
    stream, recorder = stream_on(engine)
    stream.finish()
    stream.heard(framed(b"late"))
    stream.heard_end()

    assert [] == recorder.messages
    assert 0 == recorder.half_closed
    assert 9 == engine.acknowledged


def test_a_half_close_inside_a_message_is_an_error() -> None:
    engine = Engine()
    stream, recorder = stream_on(engine)
    stream.heard(framed(b"abc")[:-1])
    stream.heard_end()
    stream.settle()

    assert Status.INTERNAL == recorder.ends[0].status
    assert ("trailers", (b"grpc-status", b"13")) == engine.asked[0][:2]


def test_an_answer_that_ends_inside_a_message_is_an_error() -> None:
    stream, recorder = stream_on(Engine(serving=False))
    stream.heard(framed(b"abc")[:-1])
    stream.heard_trailers(((b"grpc-status", b"0"),))
    stream.settle()

    assert Status.INTERNAL == recorder.ends[0].status


def test_a_failure_behind_queued_bytes_resets_the_call() -> None:
    engine = Engine()
    engine.waiting = 100
    stream, recorder = stream_on(engine)
    stream.fail(Status.RESOURCE_EXHAUSTED, "too much")
    stream.fail(Status.INTERNAL, "a second time")
    stream.settle()

    assert [("reset", Status.RESOURCE_EXHAUSTED)] == engine.asked
    assert ["too much"] == [end.message for end in recorder.ends]


def test_trailers_that_cannot_be_sent_leave_the_call_open() -> None:
    stream, recorder = stream_on(Engine())

    with pytest.raises(ValueError, match="reserved"):
        stream.finish(trailers=(("grpc-status", "0"),))

    assert not stream.ended
    assert [] == recorder.ends


def test_a_server_that_has_finished_says_no_more() -> None:
    stream, _ = stream_on(Engine())
    stream.finish(Status.ABORTED, "why")

    with pytest.raises(CallEnded, match="ABORTED: why"):
        stream.send(b"x")


def test_a_client_that_has_half_closed_says_no_more() -> None:
    engine = Engine(serving=False)
    stream, _ = stream_on(engine)
    stream.half_close()
    stream.half_close()

    with pytest.raises(CallEnded):
        stream.send(b"x")
    assert [("end",)] == engine.asked


def test_an_answer_before_the_half_close_resets_the_rest_of_the_request() -> None:
    engine = Engine(serving=False)
    stream, recorder = stream_on(engine)
    stream.heard_trailers(((b"grpc-status", b"0"),))
    stream.settle()

    assert [("reset", Status.OK)] == engine.asked
    assert [EndedBy.STATUS] == [end.by for end in recorder.ends]


def test_a_close_without_a_status_is_what_the_reset_means() -> None:
    for serving in (True, False):
        stream, recorder = stream_on(Engine(serving=serving))
        stream.heard_close(0x8)
        stream.settle()

        assert (Status.CANCELLED, EndedBy.PEER) == (recorder.ends[0].status, recorder.ends[0].by)


def test_a_large_message_reserves_its_share_and_gives_it_back() -> None:
    limits = LinkLimits(message_bytes=100, large_messages_bytes=1000)
    engine = Engine(limits)
    stream, recorder = stream_on(engine)
    stream.identified(message_bytes=500)
    data = framed(bytes(400))
    stream.heard(data[:50])
    during = engine.large.left
    stream.heard(data[50:])

    assert 600 == during
    assert 1000 == engine.large.left
    assert [bytes(400)] == recorder.messages


def test_a_large_message_beyond_the_budget_ends_its_call() -> None:
    limits = LinkLimits(message_bytes=100, large_messages_bytes=1000)
    engine = Engine(limits)
    first, _ = stream_on(engine)
    second, recorder = stream_on(engine)
    for stream in (first, second):
        stream.identified(message_bytes=800)
        stream.heard(framed(bytes(700))[:50])
    second.settle()
    first.cancel()

    assert "too many large messages at the same time" == recorder.ends[0].message
    assert 1000 == engine.large.left
