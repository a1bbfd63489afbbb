"""What every store promises of jobs, their runs and their events."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from farhand.domain.job import Argv, CommandCall, JobSpec, NamespaceKind, NamespacesOf, Script, What
from farhand.domain.output import StreamEnd
from farhand.domain.run import RunState, Usage, Why
from farhand.ports import (
    Added,
    AddJob,
    CancelJob,
    Done,
    Event,
    Fenced,
    Full,
    Gap,
    Kept,
    Lost,
    Moved,
    MoveRun,
    Prune,
    Pruned,
    Record,
    Repeat,
    Repeated,
    RequestCancel,
)
from tests.contract.storing import (
    INLINE,
    OUT,
    Opened,
    add,
    agent_id,
    append,
    job,
    job_id,
    join,
    move,
    opened,
    run,
    run_id,
    the_job,
    the_run,
    told,
)

S = RunState


@pytest.fixture(params=["memory", "sqlite", "restarted"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Opened]:
    async with opened(request.param, tmp_path) as subject:
        yield subject


# --- jobs -----------------------------------------------------------------------------------

WHATS = [Argv(("echo", "a b", "")), Script("#!/bin/sh\necho ü"), CommandCall("ping", {"host": "a"})]


@pytest.mark.parametrize("what", WHATS, ids=lambda what: type(what).__name__)
async def test_a_job_comes_back_as_it_was_written(subject: Opened, what: What) -> None:
    spec = JobSpec(
        what=what,
        stdin=b"\x00\xff",
        env={"A": "1"},
        cwd="/srv",
        user="nobody",
        namespaces_of=NamespacesOf(7, (NamespaceKind.NET, NamespaceKind.PID)),
        timeout_s=1.5,
        queue_ttl_s=2.5,
        output_limit_bytes=3,
        nice=-4,
        rlimits={"nofile": 5},
        keep_children=True,
    )
    written = job(spec=spec)
    (added,) = await subject.apply(AddJob(job=written, runs=(run(),)))
    store = await subject.look()

    assert Added() == added
    assert replace(written, counts={S.QUEUED: 1}) == await store.job(job_id())
    assert run() == await store.run(run_id())
    assert [] == await store.events(job_id())


async def test_what_is_not_there_is_none_or_empty(subject: Opened) -> None:
    store = await subject.look()

    assert await store.job(job_id()) is None
    assert await store.run(run_id()) is None
    assert [] == await store.events(job_id())
    assert [] == (await store.jobs()).items


async def test_a_job_beyond_the_open_runs_of_the_org_is_not_written(subject: Opened) -> None:
    key = Repeat(by="admin", key="k", digest="d", until=1e9)
    first = add(1, run(1), run(2), repeat=key)
    beyond = replace(add(2, run(3, job=2)), open_runs=2)
    ended = (move(1, S.SENT), move(1, S.RUNNING), move(1, S.FAILED))
    last = replace(add(3, run(4, job=3)), open_runs=2)
    outcomes = await subject.apply(first, beyond, replace(first, open_runs=0), *ended, last)
    again = await subject.apply(replace(add(4, run(5, job=4), repeat=key), open_runs=0))
    more = await subject.apply(replace(add(5, run(6, job=5)), open_runs=2))
    store = await subject.look()

    assert [Added(), Full(2), Added()] == outcomes[:3]
    assert Added() == outcomes[-1]
    assert [Repeated(job_id(1), same=True)] == again  # known is known, however full it is
    assert [Full(2)] == more
    assert [True, False, True, False, False] == [
        await store.job(job_id(n)) is not None for n in range(1, 6)
    ]


async def test_a_job_written_again_is_the_same_job(subject: Opened) -> None:
    outcomes = await subject.apply(add(), add())
    store = await subject.look()

    assert [Added(), Added()] == outcomes
    assert {S.QUEUED: 1} == (await the_job(store)).counts


async def test_a_job_whose_runs_all_rest_from_the_start_has_ended(subject: Opened) -> None:
    await subject.apply(add(1, run(state=S.REFUSED)))
    store = await subject.look()

    assert [Event(seq=1, kind="end", at=100.0)] == await store.events(job_id())


async def test_a_repeated_key_is_the_job_it_made(subject: Opened) -> None:
    first = Repeat(by="admin", key="k", digest="d", until=500.0)
    await subject.apply(add(1, repeat=first))
    await subject.look()
    outcomes = await subject.apply(
        add(2, repeat=first),
        add(3, repeat=replace(first, digest="other")),
        add(4, repeat=replace(first, by="somebody")),
        add(5, repeat=replace(first, until=900.0), at=500.0),
        add(6, repeat=replace(first, until=950.0), at=600.0),
    )

    assert outcomes == [
        Repeated(job_id(1), same=True),
        Repeated(job_id(1), same=False),
        Added(),
        Added(),  # the key had expired
        Repeated(job_id(5), same=True),
    ]
    assert await (await subject.look()).job(job_id(2)) is None


async def test_what_a_key_was_used_for_can_be_asked(subject: Opened) -> None:
    used = Repeat(by="admin", key="k", digest="d", until=500.0)
    await subject.apply(*join(), add(1, repeat=used), move(1, S.REFUSED))
    store = await subject.look()

    assert (used, job_id(1)) == await store.repeat("admin", "k")
    assert await store.repeat("admin", "l") is None
    assert await store.repeat("other", "k") is None

    await subject.apply(Prune(before=1000.0, at=100.0))

    assert await (await subject.look()).repeat("admin", "k") is None


async def test_the_audit_has_a_job_when_it_is_written_and_not_when_it_is_not(
    subject: Opened,
) -> None:
    record = Record(at=100.0, by="admin", action="job.submitted", subject=job_id(1))
    used = Repeat(by="admin", key="k", digest="d", until=500.0)
    await subject.apply(
        replace(add(1, repeat=used), record=record),
        replace(add(2, repeat=used), record=replace(record, subject=job_id(2))),
        replace(add(3), record=replace(record, subject=job_id(3)), open_runs=1),
    )
    store = await subject.look()

    assert [record] == list((await store.audit()).items)


# --- moving runs ----------------------------------------------------------------------------


async def test_a_run_keeps_all_that_its_moves_told(subject: Opened) -> None:
    await subject.apply(*join(), add())
    end = StreamEnd(total=9, kept=6, cut_at=3, cut_bytes=3, sha256_kept="a", sha256_all="b")
    usage = Usage(user_s=0.5, system_s=0.25, max_rss_bytes=4096)
    outcomes = await subject.apply(
        move(1, S.SENT, at=110.0),
        replace(move(1, S.RUNNING, at=120.0, epoch=1), pid=42),
        append(b"abcxyz", epoch=1),
        MoveRun(
            run=run_id(),
            expect=frozenset({S.RUNNING}),
            to=S.FAILED,
            at=130.0,
            agent=agent_id(),
            epoch=1,
            why=Why.SIGNAL,
            message="killed",
            exit_code=None,
            signal=9,
            duration_s=9.5,
            usage=usage,
            streams={OUT: end},
        ),
    )
    store = await subject.look()
    ended = replace(
        run(),
        state=S.FAILED,
        why=Why.SIGNAL,
        message="killed",
        signal=9,
        pid=42,
        sent_at=110.0,
        started_at=120.0,
        ended_at=130.0,
        duration_s=9.5,
        usage=usage,
        streams={OUT: end},
    )

    assert outcomes[-1] == Moved(ended)
    assert ended == await the_run(store)
    assert {S.FAILED: 1} == (await the_job(store)).counts
    assert ["sent", "running", "output", "failed", "end"] == await told(store)
    assert ended == (await store.events(job_id(), after=3))[0].run


async def test_a_run_in_another_state_is_not_moved(subject: Opened) -> None:
    await subject.apply(add())
    outcomes = await subject.apply(
        move(1, S.RUNNING, expect=frozenset({S.SENT})),
        move(1, S.RUNNING),  # no step of the table
        move(2, S.SENT),
    )

    assert [Lost(S.QUEUED), Lost(S.QUEUED), Lost()] == outcomes
    assert [] == await told(await subject.look())


async def test_of_two_who_move_a_run_one_loses(subject: Opened) -> None:
    await subject.apply(add())
    queued = frozenset({S.QUEUED})
    outcomes = await subject.apply(
        move(1, S.SENT, expect=queued), move(1, S.CANCELLED, expect=queued)
    )

    assert isinstance(outcomes[0], Moved)
    assert Lost(S.SENT) == outcomes[1]


async def test_an_older_session_is_fenced(subject: Opened) -> None:
    joined, session = join()
    await subject.apply(joined, session, add(), move(1, S.SENT))
    await subject.apply(session)
    await subject.look()
    outcomes = await subject.apply(
        move(1, S.RUNNING, epoch=1),
        append(b"x", epoch=1),
        move(1, S.RUNNING, epoch=2),
        append(b"x", epoch=3),
    )

    assert [Fenced(), Fenced(), Fenced()] == [outcomes[n] for n in (0, 1, 3)]
    assert isinstance(outcomes[2], Moved)


async def test_a_session_cannot_write_to_the_run_of_another_agent(subject: Opened) -> None:
    theirs, mine = run(1, of=1, job=1), run(2, of=2, job=1)
    await subject.apply(*join(1), *join(2), add(1, theirs, mine), move(1, S.SENT), move(2, S.SENT))
    await subject.look()
    outcomes = await subject.apply(
        move(1, S.RUNNING, of=2, epoch=1),
        move(1, S.REFUSED, of=2, epoch=1),
        append(b"x", n=1, of=2, epoch=1),
        replace(move(1, S.RUNNING), epoch=1),  # an epoch of nobody's
        replace(append(b"x", n=1), epoch=1),
        replace(move(1, S.RUNNING), agent=agent_id(1)),  # an agent without an epoch
        move(2, S.RUNNING, of=2, epoch=1),
        append(b"x", n=2, of=2, epoch=1),
    )
    store = await subject.look()

    assert [Lost(), Lost(), Lost(), Lost(), Lost(), Fenced()] == outcomes[:6]
    assert isinstance(outcomes[6], Moved)
    assert Kept(1) == outcomes[7]
    assert S.SENT is (await the_run(store, 1)).state
    assert 0 == (await store.offsets(run_id(1)))[OUT]


async def test_a_run_does_not_end_before_its_output_is_stored(subject: Opened) -> None:
    end = StreamEnd(total=3, kept=3, sha256_kept="a", sha256_all="a")
    finish = replace(move(1, S.SUCCEEDED, epoch=1), streams={OUT: end})
    await subject.apply(*join(), add(), move(1, S.SENT), append(b"ab", epoch=1))
    early = await subject.apply(finish, append(b"c", offset=2, epoch=1), finish)
    store = await subject.look()

    assert Gap(2) == early[0]
    assert isinstance(early[2], Moved)
    assert S.SUCCEEDED is (await the_run(store)).state


async def test_the_queue_ttl_starts_when_a_run_leaves_held(subject: Opened) -> None:
    await subject.apply(add(1, run(state=S.HELD)), move(1, S.QUEUED, at=1000.0))
    store = await subject.look()

    assert 1300.0 == (await the_run(store)).queue_until


async def test_a_run_that_is_queued_again_was_not_sent(subject: Opened) -> None:
    await subject.apply(add(), move(1, S.SENT, at=110.0), move(1, S.QUEUED, at=120.0))
    store = await subject.look()

    assert run() == await the_run(store)


async def test_a_run_whose_cancel_was_asked_is_not_queued_again(subject: Opened) -> None:
    await subject.apply(add(), move(1, S.SENT), RequestCancel(run=run_id(), at=150.0))
    (outcome,) = await subject.apply(move(1, S.QUEUED, at=160.0))
    store = await subject.look()
    found = await the_run(store)

    assert Moved(found) == outcome
    assert (S.CANCELLED, Why.CANCELLED, 160.0) == (found.state, found.why, found.ended_at)
    assert ["sent", "cancelled", "end"] == await told(store)


async def test_lost_ends_the_waiting_and_heals(subject: Opened) -> None:
    await subject.apply(add(), move(1, S.SENT), move(1, S.LOST, why=Why.CONTACT_LOST))
    lost = await the_run(await subject.look())
    await subject.apply(move(1, S.RUNNING, at=300.0))
    healed = await the_run(await subject.look())
    await subject.apply(move(1, S.LOST), move(1, S.SUCCEEDED, at=400.0))
    store = await subject.look()

    assert Why.CONTACT_LOST == lost.why
    assert lost.ended_at is None
    assert (None, 300.0) == (healed.why, healed.started_at)
    assert 400.0 == (await the_run(store)).ended_at
    assert ["sent", "lost", "end", "running", "lost", "end", "succeeded"] == await told(store)
    assert (await the_job(store)).open == 0


async def test_a_job_ends_with_its_last_open_run(subject: Opened) -> None:
    await subject.apply(add(1, run(1), run(2, state=S.HELD), run(3)))
    await subject.apply(move(1, S.EXPIRED), move(2, S.CANCELLED))
    before = await told(await subject.look())
    await subject.apply(move(3, S.REFUSED))
    store = await subject.look()

    assert ["expired", "cancelled"] == before
    assert ["expired", "cancelled", "refused", "end"] == await told(store)
    assert {S.EXPIRED: 1, S.CANCELLED: 1, S.REFUSED: 1} == (await the_job(store)).counts


async def test_events_are_numbered_without_holes_and_read_in_pages(subject: Opened) -> None:
    await subject.apply(add(1, run(1), run(2)), add(2, run(3, job=2)))
    await subject.apply(move(1, S.SENT), move(3, S.SENT), append(b"ab"), move(2, S.SENT))
    await subject.apply(append(b"cd", offset=2))
    store = await subject.look()
    events = await store.events(job_id())

    assert [1, 2, 3, 4] == [event.seq for event in events]
    assert events[1:3] == await store.events(job_id(), after=1, limit=2)
    assert [] == await store.events(job_id(), after=4)
    assert events[3] == Event(
        seq=4, kind="output", at=300.0, run_id=run_id(), stream=OUT, offset=2, length=2
    )


# --- cancelling -----------------------------------------------------------------------------


async def test_a_wish_to_cancel_ends_what_was_not_sent(subject: Opened) -> None:
    runs = run(1), run(2, state=S.HELD), run(3), run(4)
    await subject.apply(add(1, *runs), move(3, S.SENT), move(4, S.REFUSED))
    outcomes = await subject.apply(*(RequestCancel(run=run_id(n), at=210.0) for n in range(1, 6)))
    store = await subject.look()
    ended = [await the_run(store, n) for n in (1, 2)]
    sent = await the_run(store, 3)

    assert [Moved(ended[0]), Moved(ended[1]), Moved(sent), Lost(S.REFUSED), Lost()] == outcomes
    assert [(S.CANCELLED, Why.CANCELLED, 210.0)] * 2 == [
        (found.state, found.why, found.ended_at) for found in ended
    ]
    assert (S.SENT, True) == (sent.state, sent.cancel_requested)
    assert ["sent", "refused", "cancelled", "cancelled"] == await told(store)


async def test_cancelling_a_job_reaches_every_open_run(subject: Opened) -> None:
    await subject.apply(add(1, run(1), run(2)), move(2, S.SENT), move(2, S.RUNNING))
    outcomes = await subject.apply(
        CancelJob(job=job_id(), at=210.0), CancelJob(job=job_id(9), at=210.0)
    )
    store = await subject.look()

    assert [Done(), Lost()] == outcomes
    assert (await the_job(store)).cancel_requested
    assert S.CANCELLED == (await the_run(store, 1)).state
    assert (await the_run(store, 2)).cancel_requested


# --- pruning --------------------------------------------------------------------------------


async def test_resting_jobs_are_pruned_with_all_they_had(subject: Opened) -> None:
    key = Repeat(by="admin", key="k", digest="d", until=10_000.0)
    await subject.apply(add(1, repeat=key), add(2, at=110.0), add(3, at=120.0), add(4, at=130.0))
    for n in (1, 3, 4):
        await subject.apply(move(n, S.SENT), append(b"x" * 2 * INLINE, n=n), move(n, S.FAILED))
    outcomes = await subject.apply(Prune(before=130.0, at=500.0))
    store = await subject.look()

    assert [Pruned(2)] == outcomes
    assert [job_id(4), job_id(2)] == [found.id for found in (await store.jobs()).items]
    assert await store.run(run_id(1)) is None
    assert [] == await store.events(job_id(1))
    assert b"" == await store.output(run_id(1), OUT, offset=0, limit=1000)
    assert 2 * INLINE == len(await store.output(run_id(4), OUT, offset=0, limit=1000))
    assert [Added()] == await subject.apply(add(5, repeat=key))


async def test_one_prune_takes_no_more_than_its_limit(subject: Opened) -> None:
    await subject.apply(*(add(n, run(n, job=n, state=S.REFUSED), at=200.0 - n) for n in (1, 2, 3)))
    prune = Prune(before=500.0, at=500.0, limit=2)
    first = await subject.apply(prune)
    left = (await (await subject.look()).jobs()).items

    assert [Pruned(2)] == first
    assert [job_id(1)] == [found.id for found in left]  # the youngest
    assert [Pruned(1), Pruned(0)] == await subject.apply(prune, prune)


async def test_a_pruned_run_loses_its_race(subject: Opened) -> None:
    await subject.apply(add(), move(1, S.SENT), move(1, S.LOST))
    outcomes = await subject.apply(
        Prune(before=500.0, at=500.0), move(1, S.RUNNING), append(b"x"), add()
    )

    assert [Pruned(1), Lost(), Lost(), Added()] == outcomes


async def test_keys_that_ended_are_forgotten(subject: Opened) -> None:
    key = Repeat(by="admin", key="k", digest="d", until=500.0)
    await subject.apply(add(1, repeat=key), Prune(before=0.0, at=500.1))
    await subject.look()

    assert [Added()] == await subject.apply(add(2, repeat=key))


async def test_how_many_runs_are_waited_for_is_told_without_the_job(subject: Opened) -> None:
    before = await (await subject.look()).waiting(job_id(1))
    await subject.apply(add(1))
    one = await (await subject.look()).waiting(job_id(1))
    await subject.apply(CancelJob(job=job_id(1), at=1.0))

    assert (None, 1, 0) == (before, one, await (await subject.look()).waiting(job_id(1)))


async def test_old_lines_of_the_audit_are_deleted(subject: Opened) -> None:
    lines = [Record(at=at, by="me", action="a", subject="s") for at in (1.0, 2.0, 3.0)]
    await subject.apply(*lines, Prune(before=0.0, at=0.0, audit_before=2.0))

    assert [3.0, 2.0] == [line.at for line in (await (await subject.look()).audit()).items]
