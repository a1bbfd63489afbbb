"""The leaky bucket of bytes that carry nothing."""

from farhand.wire.grpc.rate import ControlRate


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.asked = 0

    def __call__(self) -> float:
        self.asked += 1
        return self.now


def rate(clock: Clock) -> ControlRate:
    return ControlRate(1000, 100, most_forgiven=500, clock=clock)


def test_a_burst_is_allowed_without_asking_the_time() -> None:
    clock = Clock()
    control = rate(clock)
    control.add(1000)

    assert not control.exceeded()
    assert 1 == clock.asked


def test_more_than_the_burst_is_too_much_until_time_has_passed() -> None:
    clock = Clock()
    control = rate(clock)
    control.add(1200)
    at_once = control.exceeded()
    clock.now = 3.0

    assert at_once
    assert not control.exceeded()


def test_what_is_forgiven_does_not_count_but_has_an_end() -> None:
    control = rate(Clock())
    control.add(5000)
    control.forgive(5000)
    control.forgive(10_000)
    control.add(1500)
    exactly = control.exceeded()
    control.add(1)

    assert not exactly
    assert control.exceeded()
