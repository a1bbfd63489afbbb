"""What every store promises of the bytes that runs print."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from farhand.domain.run import RunState
from farhand.ports import Fenced, Gap, Kept, Lost
from tests.contract.storing import (
    ERR,
    INLINE,
    OUT,
    Opened,
    add,
    append,
    job_id,
    join,
    move,
    opened,
    run_id,
)

S = RunState
LONG = bytes(n % 251 for n in range(5 * INLINE))


@pytest.fixture(params=["memory", "sqlite", "restarted"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(request.param, tmp_path) as subject:
        await subject.apply(*join(), add(), move(1, S.SENT), move(1, S.RUNNING))
        yield subject


async def read(subject: Opened, offset: int = 0, limit: int = 10_000) -> bytes:
    return await (await subject.look()).output(run_id(), OUT, offset=offset, limit=limit)


async def test_a_chunk_appended_twice_is_read_once(subject: Opened) -> None:
    outcomes = await subject.apply(append(b"abc"), append(b"abc"))
    events = await (await subject.look()).events(job_id(), after=2)

    assert [Kept(3), Kept(3)] == outcomes
    assert b"abc" == await read(subject)
    assert [(0, 3)] == [(event.offset, event.length) for event in events]


async def test_a_resend_may_be_cut_differently(subject: Opened) -> None:
    await subject.apply(append(b"abc"))
    await subject.look()
    outcomes = await subject.apply(append(b"bcde", offset=1), append(b"", offset=5))
    events = await (await subject.look()).events(job_id(), after=2)

    assert [Kept(5), Kept(5)] == outcomes
    assert b"abcde" == await read(subject)
    assert [(0, 3), (3, 2)] == [(event.offset, event.length) for event in events]


async def test_a_gap_is_refused_and_nothing_of_it_kept(subject: Opened) -> None:
    outcomes = await subject.apply(append(b"abc"), append(b"e", offset=4), append(b"", offset=9))

    assert [Kept(3), Gap(3), Gap(3)] == outcomes
    assert b"abc" == await read(subject)


async def test_the_two_streams_know_nothing_of_each_other(subject: Opened) -> None:
    await subject.apply(append(b"out"), append(LONG, stream=ERR))
    store = await subject.look()

    assert {OUT: 3, ERR: len(LONG)} == await store.offsets(run_id())
    assert LONG == await store.output(run_id(), ERR, offset=0, limit=10_000)
    assert b"out" == await store.output(run_id(), OUT, offset=0, limit=10_000)


async def test_a_run_without_output_has_none(subject: Opened) -> None:
    store = await subject.look()

    assert {OUT: 0, ERR: 0} == await store.offsets(run_id())
    assert {OUT: 0, ERR: 0} == await store.offsets(run_id(9))
    assert b"" == await store.output(run_id(), OUT, offset=0, limit=10)
    assert b"" == await store.output(run_id(9), OUT, offset=0, limit=10)


@pytest.mark.parametrize("size", [1, INLINE - 1, INLINE, INLINE + 1, 3 * INLINE, 5 * INLINE])
async def test_output_is_whole_however_it_was_cut(subject: Opened, size: int) -> None:
    pieces = [append(LONG[n : n + size], offset=n) for n in range(0, len(LONG), size)]
    await subject.apply(*pieces[: len(pieces) // 2])
    await subject.look()
    outcomes = await subject.apply(*pieces)

    assert Kept(len(LONG)) == outcomes[-1]
    assert LONG == await read(subject)


async def test_any_part_can_be_read(subject: Opened) -> None:
    await subject.apply(append(LONG[:10]), append(LONG[10:], offset=10))
    store = await subject.look()
    edges = [0, 1, INLINE - 1, INLINE, INLINE + 1, len(LONG) - 1, len(LONG), len(LONG) + 9]
    parts = [(offset, limit) for offset in edges for limit in (1, INLINE, INLINE + 1, 10_000)]
    read_back = [
        await store.output(run_id(), OUT, offset=offset, limit=limit) for offset, limit in parts
    ]

    assert [LONG[offset : offset + limit] for offset, limit in parts] == read_back


async def test_a_final_run_takes_no_more_bytes(subject: Opened) -> None:
    outcomes = await subject.apply(
        append(b"ab"), move(1, S.LOST), append(b"cd", offset=2), move(1, S.FAILED)
    )
    await subject.look()
    late = await subject.apply(append(b"ef", offset=4), append(b"x", n=9))

    assert Kept(4) == outcomes[2]  # a lost run still does
    assert [Lost(S.FAILED), Lost()] == late
    assert b"abcd" == await read(subject)


async def test_a_fenced_session_adds_no_bytes(subject: Opened) -> None:
    outcomes = await subject.apply(append(b"ab", epoch=1), append(b"cd", offset=2, epoch=2))

    assert [Kept(2), Fenced()] == outcomes
    assert b"ab" == await read(subject)
