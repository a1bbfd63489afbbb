"""Past runs: remembered in sixteen bytes, forgotten by age of the id, never taken for new."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from farhand.agent.pastruns import KEY_BYTES, Past, PastRuns, key_of
from farhand.controller.ids import new_run
from farhand.domain.ids import RunId

NUMBERS = st.integers(0, 40)


def key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "big")


def test_a_key_is_the_uuid_of_the_id() -> None:
    example = RunId("run_01h455vb4pex5vsknk084sn02q")  # of the TypeID specification

    assert "01890a5dac96774bbcceb302099a8057" == key_of(example).hex()


def test_keys_are_ordered_as_the_ids_are() -> None:
    runs = [new_run() for _ in range(50)]

    assert sorted(runs) == sorted(runs, key=key_of)


def test_the_largest_id_has_a_key() -> None:
    assert b"\xff" * KEY_BYTES == key_of(RunId("run_7" + "z" * 25))


def test_what_was_never_here_is_new() -> None:
    assert Past.NEW is PastRuns(3).of(key(1))


@given(st.lists(NUMBERS), st.integers(1, 10))
def test_the_newest_are_seen_and_older_ones_forgotten_in_whatever_order_they_came(
    numbers: list[int], most: int
) -> None:
    past = PastRuns(most)
    for number in numbers:
        past.add(key(number))
    seen = sorted(set(numbers))[-most:]
    oldest = max(set(numbers) - set(seen), default=0)

    assert seen == [n for n in range(41) if past.of(key(n)) is Past.SEEN]
    assert set(range(oldest + 1)) - set(seen) == {
        n for n in range(41) if past.of(key(n)) is Past.FORGOTTEN
    } | {0} - set(seen)


@given(st.lists(NUMBERS), NUMBERS)
def test_no_run_that_was_here_is_ever_new_again(numbers: list[int], horizon: int) -> None:
    past = PastRuns(2, horizon=key(horizon))
    for number in numbers:
        past.add(key(number))

    assert not any(past.of(key(number)) is Past.NEW for number in numbers)
    assert past.of(key(horizon)) is not Past.NEW


def test_they_are_carried_over_and_a_smaller_bound_forgets() -> None:
    past = PastRuns(5)
    for number in (3, 1, 4, 9, 6):
        past.add(key(number))
    carried = PastRuns(2, past.keys, past.horizon)

    assert (2, key(4)) == (len(carried), carried.horizon)
    assert [Past.FORGOTTEN, Past.SEEN] == [carried.of(key(number)) for number in (4, 6)]


def test_each_takes_little_more_than_its_bytes() -> None:
    past = PastRuns(10_000)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(10_000):
        past.add(key(number))
    size = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert size < 1.3 * 10_000 * KEY_BYTES
