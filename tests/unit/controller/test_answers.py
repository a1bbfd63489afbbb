"""What is read of what runs printed."""

import pytest

from farhand.controller.answers import TAIL_BYTES, VIEW_BYTES, Answers
from farhand.controller.ids import new_agent, new_job, new_run
from farhand.domain.grouping import Content, Group
from farhand.domain.ids import JobId
from farhand.domain.job import Argv, Job, JobSpec
from farhand.domain.limits import DEFAULTS
from farhand.domain.normalise import Normaliser
from farhand.domain.output import Chunk, StreamName
from farhand.domain.run import Run, RunState, Why
from farhand.ports import AddJob, Append, MoveRun
from farhand.storage.memory import MemoryStore
from farhand.testing.agent import stream_end

OUT, ERR = StreamName.STDOUT, StreamName.STDERR


async def ran(store: MemoryStore, out: bytes = b"", err: bytes = b"", host: str = "web-1") -> Run:
    """A run that has printed this and failed."""
    job = Job(
        id=JobId(new_job()),
        spec=JobSpec(what=Argv(("x",))),
        targets="",
        by="me",
        created_at=1.0,
        counts={RunState.RUNNING: 1},
    )
    run = Run(
        id=new_run(),
        job=job.id,
        agent=new_agent(),
        agent_name=host,
        state=RunState.RUNNING,
        created_at=1.0,
        queue_until=2.0,
        timeout_s=3.0,
    )
    await store.apply(
        [
            AddJob(job=job, runs=(run,)),
            Append(chunk=Chunk(run.id, OUT, 0, out), at=1.0),
            Append(chunk=Chunk(run.id, ERR, 0, err), at=1.0),
            MoveRun(
                run=run.id,
                expect=frozenset({RunState.RUNNING}),
                to=RunState.FAILED,
                at=2.0,
                why=Why.EXIT,
                exit_code=1,
                streams={OUT: stream_end(out), ERR: stream_end(err)},
            ),
        ]
    )
    found = await store.run(run.id)
    assert found is not None
    return found


def answers(store: MemoryStore, *normalise: Normaliser, shown: int = 20) -> Answers:
    return Answers(store, DEFAULTS, normalise, shown=shown)


async def test_the_agents_digest_is_believed_and_nothing_is_read() -> None:
    store = MemoryStore()
    run = await ran(store, b"a")
    answer = await answers(store).answer(run)

    assert answer is not None
    assert (stream_end(b"a").sha256_kept, "") == (answer.stdout, answer.stderr)


async def test_equal_outputs_are_normalised_once_unless_a_name_is_taken_out() -> None:
    store = MemoryStore()
    one, other = await ran(store, b"7 web-1"), await ran(store, b"7 web-1", host="web-2")
    shared = answers(store, Normaliser.NUMBERS)
    named = answers(store, Normaliser.HOSTNAME)

    assert await shared.answer(one) == await shared.answer(other)
    assert await named.answer(one) != await named.answer(other)


async def test_binary_outputs_are_not_normalised() -> None:
    store = MemoryStore()
    answer = await answers(store, Normaliser.NUMBERS).answer(await ran(store, b"\xff7"))

    assert answer is not None
    assert stream_end(b"\xff7").sha256_kept == answer.stdout


async def test_the_last_line_is_read_from_the_end() -> None:
    store = MemoryStore()
    run = await ran(store, err=b"x" * 9 * TAIL_BYTES + b"\nno space left: 7 blocks\n")
    reader = answers(store, Normaliser.NUMBERS)
    answer = await reader.answer(run)
    assert answer is not None
    group = Group(answer, {run.id: "web-1"})
    before = reader.line_known(group)
    await reader.read_line(group)

    assert before is None
    assert "no space left: <number> blocks" == reader.line_known(group)


@pytest.mark.parametrize(("shown", "most"), [(1, DEFAULTS.group_bytes), (100, VIEW_BYTES // 200)])
async def test_all_contents_of_a_view_have_a_bound(shown: int, most: int) -> None:
    store = MemoryStore()
    run = await ran(store, b"x" * 100_000)
    content = await answers(store, shown=shown).content(run, OUT)

    assert Content(head=b"x" * most, kept=100_000) == content
    assert await answers(store).content(run, ERR) is None


async def test_a_diff_is_of_texts_alone() -> None:
    reader = answers(MemoryStore(), Normaliser.HOSTNAME)
    hosts = ("web-1", "web-2")
    one, other = Content(head=b"I am web-1\n", kept=11), Content(head=b"I am web-2\n", kept=11)

    assert [] == await reader.diff(one, other, hosts=hosts)
    assert await reader.diff(None, other, hosts=hosts) is None
    assert await reader.diff(one, Content(head=b"\0", kept=1), hosts=hosts) is None
