"""How results are cut into responses: every batch, its numbers, and an end that servers see."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.deepflow.batches import (
    NO_NAMESPACES,
    batch_bytes,
    batches,
    failure,
    namespaces,
    result,
)
from farhand.domain.deepflow.messages import (
    BATCH_BYTES,
    DataChunk,
    LinuxNamespace,
    Response,
    Sender,
)
from tests.unit.wire.golden_deepflow import PRINTED, RESPONSES, SENDER, says

NOTHING = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    ("asked", "before", "size"),
    [
        (None, BATCH_BYTES, BATCH_BYTES),
        (None, 2048, 2048),  # it sticks
        (10, BATCH_BYTES, 1024),
        (0, BATCH_BYTES, 1024),
        (1024, BATCH_BYTES, 1024),
        (1 << 31, BATCH_BYTES, 1 << 31),
    ],
)
def test_a_batch_has_the_size_that_was_asked_for_last_but_never_less_than_1024(
    asked: int | None, before: int, size: int
) -> None:
    assert size == batch_bytes(asked, before)


def test_2692_bytes_are_three_batches_of_1024() -> None:
    names = ("the first", "the second", "the last")

    assert [RESPONSES[f"{name} of three batches"][0] for name in names] == list(
        result(SENDER, 3, stdout=PRINTED, size=batch_bytes(10))
    )


@given(st.binary(max_size=100), st.integers(1, 40), st.integers(0, 255))
def test_batches_hold_everything_and_only_the_last_has_the_md5(
    stdout: bytes, size: int, errno: int
) -> None:
    made = list(batches(stdout, size, errno=errno))

    assert stdout == b"".join(chunk.content or b"" for chunk in made)
    assert {(errno, len(stdout), len(made))} == {
        (chunk.errno, chunk.total_len, chunk.pkt_count) for chunk in made
    }
    assert [None] * (len(made) - 1) == [chunk.md5 for chunk in made[:-1]]
    assert hashlib.md5(stdout).hexdigest() == made[-1].md5
    assert all(len(chunk.content or b"") == size for chunk in made[:-1])


@pytest.mark.parametrize(("length", "count"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_an_exact_multiple_ends_with_a_full_batch(length: int, count: int) -> None:
    made = list(batches(b"x" * length, 4))

    assert count == len(made)
    assert (length - 1) % 4 + 1 == len(made[-1].content or b"")


def test_success_without_output_has_an_md5_all_the_same() -> None:
    assert [
        says(6, DataChunk(errno=0, content=b"", md5=NOTHING, total_len=0, pkt_count=1))
    ] == list(result(SENDER, 6))


def test_an_error_beside_output_rides_with_the_md5() -> None:
    made = list(result(SENDER, 18, stdout=b"abcde", errno=3, errmsg="err\n", size=4))

    assert [None, "err\n"] == [response.errmsg for response in made]
    assert [False, True] == [bool(response.result and response.result.md5) for response in made]


def test_an_error_without_output_is_one_response_without_content() -> None:
    expected = RESPONSES["exit 1 without a word"][0]

    assert [expected] == list(result(SENDER, 4, errno=1, errmsg="command 'false' failed"))
    assert RESPONSES["no such command"][0] == failure(SENDER, 20, "command not found for id nope")


@given(st.binary(max_size=30), st.none() | st.text(max_size=3), st.none() | st.integers(0, 9))
def test_every_result_ends_as_a_server_needs_it(
    stdout: bytes, errmsg: str | None, errno: int | None
) -> None:
    *before, last = result(SENDER, 2, stdout=stdout, errmsg=errmsg, errno=errno, size=8)

    assert last.result is not None
    assert last.result.md5 is not None or (last.errmsg is not None and not last.result.content)
    assert [] == [r for r in before if r.errmsg is not None or r.result is None or r.result.md5]


def test_an_empty_list_of_namespaces_is_an_error_because_it_would_look_like_a_heartbeat() -> None:
    one = LinuxNamespace(id=4026531840, ns_type="net", user="root", pid=1, cmd="init")
    sender = Sender("10.0.0.1", "m")

    assert Response(sender=sender, request_id=3, namespaces=(one,)) == namespaces(sender, 3, [one])
    assert Response(sender=sender, request_id=3, errmsg=NO_NAMESPACES) == namespaces(sender, 3, [])
