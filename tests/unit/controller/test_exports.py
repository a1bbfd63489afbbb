from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace

import pytest

from farhand.controller.exports import Exports, Told
from farhand.domain.history import ALL_JOBS, SCANNED, JobFilter
from farhand.domain.ids import RunId
from farhand.domain.job import Job
from farhand.domain.limits import Limits
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import RunState
from farhand.errors import OverShare
from farhand.ports import PruneOutput
from farhand.storage.memory import MemoryStore
from tests.contract.storing import OUT, add, append, move, run

S = RunState


async def lines(exports: Exports, which: JobFilter = ALL_JOBS, output_bytes: int = 0) -> list[str]:
    """The ids of what is told, and `-` where nothing is."""
    found: list[str] = []
    async with aclosing(exports.read(which, output_bytes)) as reading:
        async for told in reading:
            match told:
                case None:
                    found.append("-")
                case Job():
                    found.append(f"job {int(told.id[4:])}")
                case Told():
                    found.append(f"run {int(told.run.id[4:])}")
    return found


async def test_each_job_is_told_with_its_runs_behind_it_newest_first() -> None:
    store = MemoryStore()
    await store.apply([add(1, run(1), run(2)), add(2, run(3, job=2))])

    assert ["job 2", "run 3", "job 1", "run 1", "run 2"] == await lines(Exports(store, Limits()))


async def test_a_job_of_many_runs_is_told_whole() -> None:
    store = MemoryStore()
    await store.apply([add(1, *(run(n) for n in range(1, 252)))])

    assert ["job 1", *(f"run {n}" for n in range(1, 252))] == await lines(Exports(store, Limits()))


async def test_who_reads_is_not_left_waiting_while_nothing_is_found() -> None:
    store = MemoryStore()
    await store.apply([add(n, run(n, job=n)) for n in range(1, SCANNED + 2)])

    assert ["-", "-"] == await lines(Exports(store, Limits()), JobFilter(by="nobody"))


async def test_the_beginning_of_each_stream_is_told_if_it_is_asked_for() -> None:
    store = MemoryStore()
    await store.apply([add(), move(1, S.SENT), append(b"abcdef")])
    async with aclosing(Exports(store, Limits()).read(ALL_JOBS, 4)) as reading:
        (told,) = [one async for one in reading if isinstance(one, Told)]

    assert (b"abcd", 6) == told.heads[OUT]


class _Pruning(MemoryStore):
    """A store whose output is pruned just before somebody asks how much there is."""

    async def offsets(self, run: RunId) -> Mapping[StreamName, int]:
        await self.apply([PruneOutput(before=1e9)])
        return await super().offsets(run)


async def test_output_that_was_pruned_meanwhile_is_told_as_that() -> None:
    store = _Pruning()
    ending = replace(move(1, S.FAILED), streams={OUT: StreamEnd(total=3, kept=3)})
    await store.apply([add(), move(1, S.SENT), append(b"abc"), ending])
    async with aclosing(Exports(store, Limits()).read(ALL_JOBS, 4)) as reading:
        (told,) = [one async for one in reading if isinstance(one, Told)]

    assert (b"", 0) == told.heads[OUT]
    assert told.run.output_pruned


async def test_so_many_export_at_once_and_no_more() -> None:
    exports = Exports(MemoryStore(), Limits(exports=1))
    with exports.seat():
        with pytest.raises(OverShare, match="1 exports"), exports.seat():
            pass

        assert 1 == exports.count

    assert 0 == exports.count
