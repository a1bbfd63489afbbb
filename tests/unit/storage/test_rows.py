from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.agent import Agent, Identity, Liveness
from farhand.domain.ids import AgentId
from farhand.domain.job import Argv, CommandCall, Job, JobSpec, NamespaceKind, NamespacesOf, Script
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Run, RunState, Usage, Why
from farhand.ports import Event, Record
from farhand.storage.changes import Tally
from farhand.storage.rows import (
    AGENT_COLUMNS,
    EVENT_COLUMNS,
    JOB_COLUMNS,
    RECORD_COLUMNS,
    RUN_COLUMNS,
    agent_of,
    agent_values,
    event_of,
    event_values,
    job_of,
    job_values,
    record_of,
    record_values,
    run_of,
    run_values,
)
from tests.contract.storing import agent_id, job_id, run, run_id

texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.dictionaries(texts, texts, max_size=3)
seconds = st.floats(0, 1e10)
counts = st.integers(0, 1 << 40)

usages = st.builds(Usage, user_s=seconds, system_s=seconds, max_rss_bytes=counts)
ends = st.builds(StreamEnd, total=counts, kept=counts, cut_at=counts, sha256_kept=texts)
runs = st.builds(
    Run,
    id=st.just(run_id()),
    job=st.just(job_id()),
    agent=st.just(agent_id()),
    agent_name=texts,
    state=st.sampled_from(RunState),
    why=st.none() | st.sampled_from(Why),
    message=texts,
    exit_code=st.none() | st.integers(0, 255),
    cancel_requested=st.booleans(),
    created_at=seconds,
    queue_until=seconds,
    timeout_s=seconds,
    started_at=st.none() | seconds,
    duration_s=st.none() | seconds,
    usage=st.none() | usages,
    streams=st.dictionaries(st.sampled_from(StreamName), ends),
)
specs = st.builds(
    JobSpec,
    what=st.builds(lambda argv: Argv(tuple(argv)), st.lists(texts))
    | st.builds(Script, texts)
    | st.builds(CommandCall, texts, names),
    stdin=st.binary(max_size=9),
    env=names,
    cwd=st.none() | texts,
    namespaces_of=st.none()
    | st.builds(NamespacesOf, counts, st.tuples(st.sampled_from(NamespaceKind))),
    nice=st.none() | st.integers(-20, 19),
    rlimits=st.dictionaries(texts, counts, max_size=2),
    keep_children=st.booleans(),
    rerunnable=st.booleans(),
)
jobs = st.builds(
    Job,
    id=st.just(job_id()),
    spec=specs,
    targets=texts,
    by=texts,
    created_at=seconds,
    cancel_requested=st.booleans(),
)
identities = st.builds(
    Identity,
    name=texts,
    machine_id=texts,
    labels=names,
    facts=names,
    capabilities=st.lists(texts).map(tuple),
)
agents = st.builds(
    Agent,
    id=st.just(AgentId("agt_1")),
    identity=identities,
    given_name=st.none() | texts,
    given_labels=st.dictionaries(texts, st.none() | texts, max_size=3),
    drained=st.booleans(),
    liveness=st.sampled_from(Liveness),
    epoch=counts,
    last_seen_at=seconds,
)
facts = st.dictionaries(texts, st.none() | st.booleans() | counts | texts | st.lists(texts))
records = st.builds(Record, at=seconds, by=texts, action=texts, subject=texts, facts=facts)


@given(runs)
def test_a_run_comes_back(written: Run) -> None:
    values = run_values(written)

    assert written == run_of([values[name] for name in RUN_COLUMNS])


@given(runs)
def test_an_event_comes_back_with_the_run_as_it_was(written: Run) -> None:
    event = Event(seq=3, kind="run", at=1.5, run_id=written.id, run=written)
    values = event_values(1, event)

    assert event == event_of([values[name] for name in EVENT_COLUMNS])


@given(jobs)
def test_a_job_comes_back(written: Job) -> None:
    tally = Tally(
        {RunState.SENT: 2, RunState.LOST: 0}, 7, cancel_requested=written.cancel_requested
    )
    values = job_values(written, tally)

    assert replace(written, counts={RunState.SENT: 2}) == job_of(
        [values[name] for name in JOB_COLUMNS]
    )


@given(agents)
def test_an_agent_comes_back(written: Agent) -> None:
    values = agent_values(written)

    assert written == agent_of([values[name] for name in AGENT_COLUMNS])


@given(records)
def test_a_line_of_the_audit_comes_back(written: Record) -> None:
    values = record_values(written)

    assert written == record_of([values[name] for name in RECORD_COLUMNS])


def test_what_an_older_version_did_not_write_has_its_default() -> None:
    values = run_values(run()) | {"usage": '{"user_s":1.0}', "streams": '{"stdout":{"total":4}}'}
    read = run_of([values[name] for name in RUN_COLUMNS])

    assert Usage(user_s=1.0) == read.usage
    assert {StreamName.STDOUT: StreamEnd(total=4)} == read.streams
