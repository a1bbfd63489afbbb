"""The answers of a job in groups, now and live."""

import asyncio
import tracemalloc
from collections.abc import Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace

import pytest

from farhand.api import groups as shapes
from farhand.api.writing import dumped
from farhand.bus.local import LocalBus
from farhand.controller.answers import TAIL_BYTES, VIEW_BYTES
from farhand.controller.groups import LINES_READ, Asked, Groups, Sight
from farhand.controller.ids import new_job, new_org, new_run
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.job import Argv, Job, JobSpec
from farhand.domain.limits import DEFAULTS, KIB, MIB
from farhand.domain.messages import FromAgent, RunEnded, RunRefused, RunStarted, StartRun
from farhand.domain.normalise import Normaliser
from farhand.domain.output import Chunk, StreamEnd, StreamName
from farhand.domain.run import Ending, Run, RunState, Why
from farhand.errors import OverShare, UnknownJob
from farhand.ports import AddJob, Append, Change, Event, MoveRun, Prune, RunFilter
from farhand.storage.memory import MemoryStore
from farhand.testing import Behaviour, ManualClock, World, ended, hang, output, succeed
from farhand.testing.agent import stream_end

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


def prints(out: bytes = b"", err: bytes = b"", code: int = 0) -> Behaviour:
    def behave(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 1)
        if out:
            yield output(order.run, out)
        if err:
            yield output(order.run, err, stream="stderr")
        yield ended(order.run, stdout=out, stderr=err, code=code)

    return behave


def ends(**ending: object) -> Behaviour:
    def behave(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 1)
        yield RunEnded(order.run, Ending(**ending))  # type: ignore[arg-type]  # of tests

    return behave


async def looked(world: World, **asked: object) -> Sight:
    submitted = await world.submit()
    return await world.tenant.groups.look(submitted.job.id, Asked(**asked))  # type: ignore[arg-type]  # of tests


async def join(world: World, **behaviours: Behaviour) -> None:
    for name, behaviour in behaviours.items():
        await world.join(name, behaviour=behaviour)


async def test_equal_answers_are_one_group_with_their_hosts_folded() -> None:
    async with World.start() as world:
        await join(world, web1=prints(b"a\n"), web2=prints(b"b\n"), web3=prints(b"a\n"))
        sight = await looked(world)
        first, second = sight.view.groups

        assert ("web[1,3]", 2, True) == (first.hosts, first.count, first.majority)
        assert ("web2", 1, False) == (second.hosts, second.count, second.majority)
        assert first.stdout is not None
        assert b"a\n" == sight.view.contents[first.stdout].head
        assert first.stderr is None
        assert first.diff is None
        assert sight.over
        assert (3, 3, 0) == (sight.progress.total, sight.progress.done, sight.progress.failed)


async def test_the_same_output_is_another_answer_with_another_exit_code() -> None:
    async with World.start() as world:
        await join(world, web1=prints(b"a\n"), web2=prints(b"a\n", code=1))
        sight = await looked(world)

        assert [0, 1] == [group.answer.cause.exit_code for group in sight.view.groups]
        assert 1 == len(sight.view.contents)


async def test_runs_that_were_not_executed_are_grouped_by_reason_without_content() -> None:
    def refuse(order: StartRun) -> Iterable[FromAgent]:
        yield RunRefused(order.run, Why.POLICY, "not here")

    async with World.start() as world:
        await join(world, web1=refuse, web2=refuse, web3=prints(b"x"))
        await world.tenant.agents.edit(
            (await world.tenant.agents.find("web3")).id, by="me", drained=True
        )
        submitted = await world.submit(on=["web1", "web2", "web3"])
        sight = await world.tenant.groups.look(submitted.job.id, Asked())

        assert [("web[1-2]", Why.POLICY, "not here"), ("web3", Why.DRAINED)] == [
            (group.hosts, group.answer.cause.why, group.message)[: 3 - place]
            for place, group in enumerate(sight.view.groups)
        ]
        assert {} == sight.view.contents
        assert not any(group.majority for group in sight.view.groups)
        assert [2, 1] == [cluster.count for cluster in sight.view.failures]


async def test_groups_beyond_the_limit_are_counted() -> None:
    async with World.start() as world:
        for number in range(9):
            await world.join(f"web{number}", behaviour=prints(b"%d" % min(number, 6)))
        sight = await looked(world, limit=2)

        assert ["web[6-8]"] == [group.hosts for group in sight.view.groups if group.count > 1]
        assert (2, 5, 5) == (
            len(sight.view.groups),
            sight.view.more_groups,
            sight.view.more_runs,
        )
        assert 2 == len(sight.view.contents)


class Counting(MemoryStore):
    """Counts how many bytes of output were read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.bytes = 0

    async def output(self, run: RunId, stream: StreamName, *, offset: int, limit: int) -> bytes:
        found = await super().output(run, stream, offset=offset, limit=limit)
        self.reads += 1
        self.bytes += len(found)
        return found


async def test_what_is_read_grows_with_distinct_outputs_and_not_with_hosts() -> None:
    store = Counting()
    async with World.start(store=store) as world:
        for number in range(40):
            await world.join(f"web{number}", behaviour=prints(b"%d" % (number % 3)))
        submitted = await world.submit()
        store.reads = 0
        await world.tenant.groups.look(submitted.job.id, Asked())

        assert 3 == store.reads


async def answered(store: MemoryStore, count: int) -> JobId:
    """A job of so many hosts that all failed, each with an answer of its own."""
    job = Job(
        id=new_job(),
        spec=JobSpec(what=Argv(("x",))),
        targets="",
        by="me",
        created_at=1.0,
        counts={RunState.RUNNING: count},
    )
    runs = tuple(
        Run(
            id=new_run(),
            job=job.id,
            agent=AgentId(f"agt_{number}"),
            agent_name=f"web{number}",
            state=RunState.RUNNING,
            created_at=1.0,
            queue_until=2.0,
            timeout_s=3.0,
        )
        for number in range(count)
    )
    changes: list[Change] = [AddJob(job=job, runs=runs)]
    for number, run in enumerate(runs):
        printed = {OUT: b"%d\n" % number * 4_000, ERR: b"%d\ndisk full\n" % number}
        changes += [
            Append(chunk=Chunk(run.id, stream, 0, data), at=1.0) for stream, data in printed.items()
        ]
        changes.append(
            MoveRun(
                run=run.id,
                expect=frozenset({RunState.RUNNING}),
                to=RunState.FAILED,
                at=2.0,
                why=Why.EXIT,
                exit_code=1,
                streams={stream: stream_end(data) for stream, data in printed.items()},
            )
        )
    await store.apply(changes)
    return job.id


async def test_five_thousand_distinct_answers_have_a_bound() -> None:
    store = Counting()
    job = await answered(store, 5_000)
    groups = Groups(new_org(), store, LocalBus(), ManualClock(), DEFAULTS)
    tracemalloc.start()
    sight = await groups.look(job, Asked(diff=True, limit=100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    written = dumped(shapes.groups(sight.job, sight.progress, sight.view, sight.rollout))

    assert (100, 4_900, 4_900) == (
        len(sight.view.groups),
        sight.view.more_groups,
        sight.view.more_runs,
    )
    told = {cluster.last_line: cluster.count for cluster in sight.view.failures}
    assert {"disk full": LINES_READ, None: 5_000 - LINES_READ} == told
    assert 200 + LINES_READ == store.reads
    assert store.bytes <= VIEW_BYTES + LINES_READ * TAIL_BYTES
    assert len(written) < 2 * VIEW_BYTES
    assert peak < 16 * MIB


async def test_ten_thousand_hosts_with_few_answers_are_written_in_few_bytes() -> None:
    store = MemoryStore()
    job = await answered(store, 1)
    (run,) = (await store.runs(RunFilter(job=job))).items
    many = tuple(replace(run, id=new_run(), agent_name=f"web{number}") for number in range(10_000))
    found = await store.job(job)
    assert found is not None
    whole = replace(found, id=new_job(), counts={RunState.FAILED: len(many)})
    await store.apply([AddJob(job=whole, runs=tuple(replace(r, job=whole.id) for r in many))])
    groups = Groups(new_org(), store, LocalBus(), ManualClock(), DEFAULTS)
    sight = await groups.look(whole.id, Asked())

    assert ["web[0-9999]"] == [group.hosts for group in sight.view.groups]
    assert 10_000 == sight.progress.failed


async def test_a_long_output_is_shown_in_part_and_its_cut_is_told() -> None:
    data = b"x" * 3_000
    end = StreamEnd(
        total=9_000, kept=3_000, cut_at=2_000, cut_bytes=6_000, sha256_kept="", sha256_all=""
    )

    def behave(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 1)
        yield output(order.run, data)
        yield RunEnded(order.run, Ending(why=Why.EXIT, exit_code=0, streams={OUT: end}))

    limits = replace(DEFAULTS, group_bytes=KIB)
    async with World.start(limits=limits) as world:
        await join(world, web1=behave)
        (content,) = (await looked(world)).view.contents.values()

        assert (b"x" * KIB, 3_000, 6_000) == (content.head, content.kept, content.cut_bytes)


async def test_a_digest_that_no_agent_told_is_made_from_what_is_kept() -> None:
    def restarted(data: bytes) -> Behaviour:
        def behave(order: StartRun) -> Iterable[FromAgent]:
            yield RunStarted(order.run, 1)
            yield output(order.run, data)
            streams = {OUT: StreamEnd(total=len(data), kept=len(data))}
            yield RunEnded(order.run, Ending(why=Why.AGENT_RESTARTED, streams=streams))

        return behave

    async with World.start() as world:
        await join(world, a1=restarted(b"same"), a2=restarted(b"same"), a3=restarted(b"else"))
        sight = await looked(world)

        assert ["a[1-2]", "a3"] == [group.hosts for group in sight.view.groups]


@pytest.mark.parametrize(
    ("which", "one", "other"),
    [
        (Normaliser.NUMBERS, b"up  1 day\n", b"up 22 day\n"),
        (Normaliser.ADDRESSES, b"inet 10.0.0.1\n", b"inet 10.0.0.2\n"),
        (Normaliser.HOSTNAME, b"I am web1\n", b"I am web2\n"),
    ],
)
async def test_normalised_outputs_are_the_same_but_for_what_is_taken_out(
    which: Normaliser, one: bytes, other: bytes
) -> None:
    async with World.start() as world:
        await join(world, web1=prints(one), web2=prints(other), web3=prints(b"\xff"))
        sight = await looked(world, normalise=frozenset([which]))
        first, _ = sight.view.groups

        assert ("web[1-2]", False) == (first.hosts, first.answer.partial)
        assert first.stdout is not None
        assert one == sight.view.contents[first.stdout].head  # as its example printed it


async def test_what_is_longer_than_is_compared_is_said_to_be() -> None:
    limits = replace(DEFAULTS, group_read_bytes=10)
    async with World.start(limits=limits) as world:
        await join(world, web1=prints(b"x" * 10 + b"a"), web2=prints(b"x" * 10 + b"b"))
        (group,) = (await looked(world, normalise=frozenset([Normaliser.TIMES]))).view.groups

        assert ("web[1-2]", True) == (group.hosts, group.answer.partial)


async def test_a_group_is_told_by_how_it_differs_from_the_majority() -> None:
    async with World.start() as world:
        await join(
            world,
            web1=prints(b"a\nb\nc\n", b"warn\n"),
            web2=prints(b"a\nb\nc\n", b"warn\n"),
            web3=prints(b"a\nx\nc\n", b"warn\n"),
            web4=prints(b"\0\1"),
        )
        sight = await looked(world, diff=True)
        diffs = {group.hosts: group.diff for group in sight.view.groups}

        assert diffs["web[1-2]"] is None
        assert {OUT: ["@ line 1", " a", "-b", "+x", " c"], ERR: []} == diffs["web3"]
        assert diffs["web4"] is not None
        assert OUT not in diffs["web4"]  # binary


async def test_failures_are_clustered_by_the_last_line_of_stderr() -> None:
    async with World.start() as world:
        for number in range(4):
            err = b"at %d\ndisk full\n" % number
            await world.join(f"web{number}", behaviour=prints(err=err, code=1))
        await world.join("db1", behaviour=prints(code=2))
        view = (await looked(world)).view

        assert 5 == len(view.groups)
        assert [("disk full", "web[0-3]", 4), ("", "db1", 1)] == [
            (cluster.last_line, cluster.hosts, cluster.count) for cluster in view.failures
        ]


async def test_a_watcher_sees_groups_grow_and_the_end() -> None:
    async with World.start() as world:
        await join(world, web1=prints(b"a"), web2=hang, web3=prints(b"a"))
        job = (await world.submit()).job.id
        seen: list[tuple[str, bool]] = []
        async with aclosing(world.tenant.groups.watch(job, Asked())) as sights:
            async for sight in sights:
                seen.append((sight.view.groups[0].hosts, sight.over))
                if len(seen) == 1:
                    assert (1, 2) == (sight.progress.running, sight.progress.done)
                    run = (await world.store.events(job, after=0, limit=99))[-1]
                    assert run.run_id is not None
                    web2 = world.agent("web2")
                    for order in web2.orders(StartRun):
                        assert isinstance(order, StartRun)
                        web2.say(ended(order.run, stdout=b"", code=0))

        assert [("web[1,3]", False), ("web[1,3]", True)] == seen
        assert 0 == world.tenant.groups.count


class Told(MemoryStore):
    """Counts how many events were read."""

    def __init__(self) -> None:
        super().__init__()
        self.told = 0

    async def events(self, job: JobId, *, after: int = 0, limit: int = 100) -> Sequence[Event]:
        found = await super().events(job, after=after, limit=limit)
        self.told += len(found)
        return found


async def test_a_watcher_reads_no_event_of_before() -> None:
    def talk(order: StartRun) -> Iterable[FromAgent]:
        yield RunStarted(order.run, 1)
        for offset in range(500):
            yield output(order.run, b"x", offset=offset)

    store = Told()
    async with World.start(store=store) as world:
        await join(world, web1=talk)
        job = (await world.submit()).job.id
        many = len(await store.events(job, limit=9_999))
        store.told = 0
        async with aclosing(world.tenant.groups.watch(job, Asked())) as sights:
            await anext(sights)
            told = store.told
            (order,) = world.agent("web1").orders(StartRun)
            assert isinstance(order, StartRun)
            world.agent("web1").say(ended(order.run, stdout=b"x" * 500))
            last = [sight async for sight in sights][-1]

    assert many > 100
    assert told < 20
    assert (True, "web1") == (last.over, last.view.groups[0].hosts)


async def test_a_watcher_of_a_job_that_is_over_sees_it_once() -> None:
    async with World.start() as world:
        await join(world, web1=succeed(b"a" * 2_000))
        job = (await world.submit()).job.id
        sights = [sight async for sight in world.tenant.groups.watch(job, Asked())]

        assert [True] == [sight.over for sight in sights]


async def test_a_run_that_is_lost_heals_out_of_its_group() -> None:
    async with World.start() as world:
        await join(world, web1=hang)
        submitted = await world.submit()
        (run,) = submitted.runs
        agent = world.agent("web1")
        await _lose(world, run.id)
        lost = await world.tenant.groups.look(submitted.job.id, Asked())
        agent.say(ended(run.id))
        await _until(world, run.id, RunState.SUCCEEDED)
        healed = await world.tenant.groups.look(submitted.job.id, Asked())

        assert [RunState.LOST] == [group.answer.cause.state for group in lost.view.groups]
        assert {} == lost.view.contents
        assert [RunState.SUCCEEDED] == [group.answer.cause.state for group in healed.view.groups]


@pytest.mark.parametrize("order", [1, -1])
async def test_of_a_run_that_was_tried_again_the_last_try_counts(order: int) -> None:
    store = MemoryStore()
    job = await answered(store, 2)
    first, other = (await store.runs(RunFilter(job=job))).items
    again = replace(first, id=new_run(), retry_of=first.id, state=RunState.SUCCEEDED, exit_code=0)
    whole = await store.job(job)
    assert whole is not None
    tried = replace(whole, id=new_job(), counts={RunState.FAILED: 2, RunState.SUCCEEDED: 1})
    runs = tuple(replace(run, job=tried.id) for run in (first, again, other))[::order]
    await store.apply([AddJob(job=tried, runs=runs)])
    groups = Groups(new_org(), store, LocalBus(), ManualClock(), DEFAULTS)
    sight = await groups.look(tried.id, Asked())

    assert [("web0", RunState.SUCCEEDED), ("web1", RunState.FAILED)] == [
        (group.hosts, group.answer.cause.state) for group in sight.view.groups
    ]
    assert (2, 2, 1) == (sight.progress.total, sight.progress.done, sight.progress.failed)


async def _lose(world: World, run: RunId) -> None:
    await world.store.apply(
        [
            MoveRun(
                run=run,
                expect=frozenset({RunState.RUNNING}),
                to=RunState.LOST,
                at=world.clock.wall(),
                why=Why.CONTACT_LOST,
            )
        ]
    )


async def _until(world: World, run: RunId, state: RunState) -> None:
    async with asyncio.timeout(10):
        while (await world.run(run)).state is not state:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_job_that_is_not_there_is_unknown() -> None:
    async with World.start() as world:
        with pytest.raises(UnknownJob):
            await world.tenant.groups.look(new_job(), Asked())
        async with aclosing(world.tenant.groups.watch(new_job(), Asked())) as sights:
            with pytest.raises(UnknownJob):
                await anext(sights)


async def test_a_job_that_is_deleted_ends_its_watchers() -> None:
    async with World.start() as world:
        await join(world, web1=hang)
        submitted = await world.submit()
        job = submitted.job.id
        async with aclosing(world.tenant.groups.watch(job, Asked())) as sights:
            await anext(sights)
            await _lose(world, submitted.runs[0].id)
            await world.store.apply([Prune(before=1e12, at=1e12)])
            world.tenant.sessions.hint([job])

            with pytest.raises(UnknownJob):
                await anext(sights)


async def test_readers_have_a_share() -> None:
    async with World.start(limits=replace(DEFAULTS, groupings=1)) as world:
        await join(world, web1=hang)
        job = (await world.submit()).job.id
        async with aclosing(world.tenant.groups.watch(job, Asked())) as sights:
            await anext(sights)

            with pytest.raises(OverShare):
                await world.tenant.groups.look(job, Asked())
        await world.tenant.groups.look(job, Asked())
