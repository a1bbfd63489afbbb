"""Who has room again and who is stuck, without any HTTP/2."""

from math import inf

from farhand.wire.grpc import LinkLimits
from farhand.wire.grpc.queues import SendQueues, Stuck
from farhand.wire.grpc.stream import Stream
from tests.unit.wire.grpc.pair import Pair

LIMITS = LinkLimits(writable_bytes_per_call=100, stall_deadline_s=30.0)


class Fake:
    """Windows that say what they are told to."""

    def __init__(self) -> None:
        self.bytes: dict[Stream, int] = {}
        self.now = 0.0
        self.queues = SendQueues(self, LIMITS, lambda: self.now)

    def queued(self, stream: Stream) -> int:
        return self.bytes.get(stream, 0)

    @property
    def queued_bytes(self) -> int:
        return sum(self.bytes.values())

    def stuck(self, stream: Stream) -> Stuck:
        return Stuck.CALL

    def push(self, stream: Stream, size: int) -> None:
        stream.offered += size
        stream.blocked = size > LIMITS.writable_bytes_per_call
        self.bytes[stream] = self.bytes.get(stream, 0) + size
        self.queues.add(stream)


def stream() -> Stream:
    return Stream(Pair().client.core, 1, "/", ())


def test_a_queue_that_is_empty_after_a_flush_is_watched_no_more() -> None:
    fake, one = Fake(), stream()
    fake.push(one, 200)
    fake.bytes.clear()

    assert [one] == fake.queues.review()
    assert not fake.queues
    assert inf == fake.queues.due


def test_a_blocked_stream_has_room_when_its_own_queue_is_small_enough() -> None:
    fake, one, other = Fake(), stream(), stream()
    fake.push(one, 200)
    fake.push(other, 200)
    fake.bytes[one] = 100

    assert [one] == fake.queues.review()


def test_a_queue_that_does_not_move_is_stalled_at_the_deadline() -> None:
    fake, one = Fake(), stream()
    fake.push(one, 200)
    fake.queues.review()
    early = fake.queues.stalled(29.0)

    assert 30.0 == fake.queues.due
    assert [] == early
    assert [(one, Stuck.CALL)] == fake.queues.stalled(30.0)


def test_a_queue_that_moves_gets_a_new_deadline() -> None:
    fake, one = Fake(), stream()
    fake.push(one, 200)
    fake.queues.review()
    fake.bytes[one] = 150

    assert [] == fake.queues.stalled(30.0)
    assert 60.0 == fake.queues.due


def test_a_stream_that_is_gone_is_not_watched() -> None:
    fake, one, other = Fake(), stream(), stream()
    fake.push(one, 200)
    fake.push(other, 200)
    fake.queues.discard(one)
    fake.queues.review()

    assert [(other, Stuck.CALL)] == fake.queues.stalled(30.0)
    fake.queues.clear()
    assert not fake.queues
