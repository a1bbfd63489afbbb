"""Runs in groups by what came of them."""

from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.grouping import (
    HOSTS_CHARS,
    LINE_CHARS,
    Answer,
    Cause,
    Content,
    Grouping,
    View,
    cause_of,
    clusters,
    digest_of,
    hosts_cut,
    last_line_of,
    majority_of,
    printed,
)
from farhand.domain.ids import AgentId, JobId, RunId
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Run, RunState, Why

OK = Cause(state=RunState.SUCCEEDED, why=Why.EXIT, exit_code=0)
FAILED = Cause(state=RunState.FAILED, why=Why.EXIT, exit_code=1)
AWAY = Cause(state=RunState.EXPIRED, why=Why.QUEUE_TTL)


def answer(cause: Cause = OK, out: str = "", err: str = "") -> Answer:
    return Answer(cause=cause, stdout=out, stderr=err)


def run(state: RunState, **known: object) -> Run:
    return Run(
        id=RunId("run_1"),
        job=JobId("job_1"),
        agent=AgentId("agt_1"),
        agent_name="web-1",
        state=state,
        created_at=1.0,
        queue_until=2.0,
        timeout_s=3.0,
        **known,  # type: ignore[arg-type]  # of tests
    )


def told(grouping: Grouping) -> list[tuple[Answer, list[str]]]:
    return [(group.answer, sorted(group.members)) for group in grouping.ordered()]


PLACES = st.lists(
    st.tuples(
        st.sampled_from([RunId(f"run_{n}") for n in range(6)]),
        st.sampled_from([answer(), answer(out="a"), answer(FAILED, err="b"), answer(AWAY)]),
    )
)


@given(PLACES, st.randoms(use_true_random=False))
def test_groups_are_the_same_in_whatever_order_runs_end(
    places: list[tuple[RunId, Answer]], random: object
) -> None:
    last = dict(places)
    forwards, shuffled = Grouping(), Grouping()
    for one, found in places:
        forwards.place(one, one, found)
    mixed = list(last.items())
    random.shuffle(mixed)  # type: ignore[attr-defined]  # a Random of Hypothesis
    for one, found in mixed:
        shuffled.place(one, one, found)

    assert told(shuffled) == told(forwards)
    assert len(last) == sum(len(group.members) for group in forwards.ordered())
    sizes = [len(group.members) for group in forwards.ordered()]
    assert sorted(sizes, reverse=True) == sizes


def test_a_run_that_heals_leaves_the_group_it_was_in() -> None:
    grouping = Grouping()
    grouping.place(RunId("run_1"), "web-1", answer(AWAY))
    grouping.place(RunId("run_1"), "web-1", answer(out="a"))
    grouping.place(RunId("run_2"), "web-2", answer(out="a"))
    grouping.place(RunId("run_2"), "web-2", None)

    assert [(answer(out="a"), ["run_1"])] == told(grouping)


def test_the_majority_is_of_hosts_that_answered() -> None:
    grouping = Grouping()
    for number in range(3):
        grouping.place(RunId(f"run_{number}"), f"web-{number}", answer(AWAY))
    grouping.place(RunId("run_8"), "web-8", answer(out="b"))
    grouping.place(RunId("run_9"), "web-9", answer(FAILED))
    majority = majority_of(grouping.ordered())

    assert majority is not None
    assert (answer(out="b"), RunId("run_8")) == (majority.answer, majority.example)
    assert majority_of(Grouping().ordered()) is None


def test_failures_are_put_together_by_cause_and_last_line() -> None:
    grouping = Grouping()
    for number, (cause, err) in enumerate(
        [(FAILED, "x"), (FAILED, "y"), (FAILED, "z"), (AWAY, ""), (OK, "x")]
    ):
        grouping.place(RunId(f"run_{number}"), f"web-{number}", answer(cause, err=err))
    lines = {"x": "no space", "y": "no space", "z": "no route", "": ""}
    found = clusters(grouping.ordered(), lambda group: lines[group.answer.stderr])

    assert [
        (FAILED, "no space", {"web-0", "web-1"}),
        (FAILED, "no route", {"web-2"}),
        (AWAY, "", {"web-3"}),
    ] == sorted(
        ((c.cause, c.last_line, set(c.members.values())) for c in found),
        key=lambda told: sorted(told[2]),
    )
    assert 2 == len(found[0].members)


def test_what_is_not_known_whole_has_no_content() -> None:
    end = StreamEnd(total=3, kept=3, sha256_kept="a", sha256_all="a")
    streams = {StreamName.STDOUT: end}

    assert end == printed(run(RunState.FAILED, streams=streams), StreamName.STDOUT)
    assert printed(run(RunState.LOST, streams=streams), StreamName.STDOUT) is None
    assert printed(run(RunState.EXPIRED), StreamName.STDOUT) is None
    assert AWAY == cause_of(run(RunState.EXPIRED, why=Why.QUEUE_TTL))


def test_cut_streams_are_the_same_only_if_the_whole_was() -> None:
    one = StreamEnd(total=9, kept=3, cut_bytes=6, sha256_kept="a", sha256_all="b")
    other = StreamEnd(total=9, kept=3, cut_bytes=6, sha256_kept="a", sha256_all="c")

    assert digest_of(one) != digest_of(other)
    assert "a" == digest_of(StreamEnd(total=3, kept=3, sha256_kept="a", sha256_all="a"))
    assert "" == digest_of(None)
    assert digest_of(StreamEnd(total=3, kept=3)) is None  # its agent could not tell


def test_the_last_line_is_the_last_that_says_something() -> None:
    assert "b c" == last_line_of("a\nb c  \n\n \n")
    assert "" == last_line_of("\n \n")
    assert LINE_CHARS == len(last_line_of("x" * 999))


@given(st.lists(st.sampled_from(["web-1", "db[1-9,12]", "a" * 90, "x[" + "1,3," * 900 + "9]"])))
def test_hosts_are_cut_where_a_set_of_names_ends(parts: list[str]) -> None:
    folded = ",".join(parts)
    cut, was_cut = hosts_cut(folded)

    assert was_cut == (len(folded) > HOSTS_CHARS)
    assert len(cut) <= HOSTS_CHARS + 1
    assert cut.count("[") == cut.count("]")
    assert not cut.endswith(",")


def test_contents_that_somebody_has_are_left_out() -> None:
    view = View(contents={"a": Content(head=b"1", kept=1), "b": Content(head=b"2", kept=1)})

    assert {"b": Content(head=b"2", kept=1)} == view.without(["a", "z"]).contents
