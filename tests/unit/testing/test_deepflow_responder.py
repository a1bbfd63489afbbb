"""The fake DeepFlow agent answers what the real one was seen to answer."""

import pytest

from farhand.domain.deepflow import texts
from farhand.domain.deepflow.catalogue import OFFERS, offer
from farhand.domain.deepflow.messages import (
    DataChunk,
    ExecType,
    LinuxNamespace,
    Parameter,
    Request,
    Response,
)
from farhand.testing.deepflow import Behaviour, Outcome, Responder, hold, print_out
from tests.unit.wire.golden_deepflow import PRINTED, RESPONSES, says

STRACE = "system_t5t_--s9L_--p13s_$t5t_s4e_-f_-p_$pid"


def responder(behaviour: Behaviour | None = None) -> Responder:
    """An agent whose first heartbeat has gone."""
    return Responder(behaviour=behaviour or print_out(), beats=0)


def run(
    request_id: int = 2,
    ident: str | None = "system_d2e",
    *,
    batch_len: int | None = None,
    pid: int | None = None,
    params: tuple[Parameter, ...] = (),
) -> Request:
    return Request(
        request_id=request_id,
        exec_type=ExecType.RUN_COMMAND,
        ident=ident,
        batch_len=batch_len,
        linux_ns_pid=pid,
        params=params,
    )


def answers(agent: Responder, *requests: Request) -> list[Response]:
    for request in requests:
        agent.receive(request)
    return agent.poll_all()


def golden(*names: str) -> list[Response]:
    return [RESPONSES[name][0] for name in names]


def test_a_heartbeat_comes_first_and_again_when_it_is_time() -> None:
    agent = Responder()

    assert golden("a heartbeat") == agent.poll_all()
    agent.beat()
    assert golden("a heartbeat") == agent.poll_all()


TRANSCRIPTS: list[tuple[list[str], Outcome, int, str]] = [
    (["a small output"], Outcome(stdout=b"hello"), 2, "date"),
    (
        [f"{name} of three batches" for name in ("the first", "the second", "the last")],
        Outcome(stdout=PRINTED),
        3,
        "date",
    ),
    (["exit 1 without a word"], Outcome(code=1), 4, "false"),
    (
        ["exit 3 with output and an error"],
        Outcome(stdout=b"out\n", stderr=b"err\n", code=3),
        18,
        "date",
    ),
    (["exit 4 with an error that is no text"], Outcome(stderr=b"\xff", code=4), 18, "odd"),
    (["killed after output"], Outcome(stdout=b"out\n", code=None), 18, "sh /tmp/kill9.sh"),
    (["success without output"], Outcome(stderr=b"dropped for ever"), 6, "date"),
    (
        ["a trace"],
        Outcome(stderr=b"strace: Process 4242 attached\nread(0, ", code=None),
        19,
        "date",
    ),
    (
        ["a program that is not there"],
        Outcome(not_started="No such file or directory (os error 2)"),
        20,
        "netstat -tunp",
    ),
    (["a system call that failed"], Outcome(trouble="transparent"), 20, "date"),
]


@pytest.mark.parametrize(
    ("names", "outcome", "request_id", "cmdline"), TRANSCRIPTS, ids=[t[0][0] for t in TRANSCRIPTS]
)
def test_a_command_is_answered_as_it_was_seen(
    names: list[str], outcome: Outcome, request_id: int, cmdline: str
) -> None:
    agent = responder(lambda _: outcome)
    agent.offers = (offer("test", cmdline),)
    ident = agent.offers[0].command.ident

    assert golden(*names) == answers(agent, run(request_id, ident, batch_len=10))


def test_what_cannot_be_run_is_answered_as_it_was_seen() -> None:
    agent = responder()
    agent.offers = (
        *OFFERS,
        offer("test", "date $pid", {"pid": ("^[0-9]+$", "")}),
    )
    wrong = (Parameter("pid", "x"),)

    assert golden(
        "no command named",
        "no such command",
        "a parameter that is not there",
        "a parameter that does not match",
        "a process that is gone",
    ) == answers(
        agent,
        run(20, None),
        run(20, "nope"),
        run(20, "test_d2e_$pid"),
        run(20, "test_d2e_$pid", params=wrong),
        run(20, pid=99),
    )


def test_the_agents_own_namespace_and_that_of_a_process_that_is_there_can_be_entered() -> None:
    agent = responder(print_out(b"hello"))

    assert golden("a small output") == answers(agent, run(pid=agent.own_pid))
    assert golden("a small output") == answers(agent, run(pid=1))


def test_an_unknown_type_has_an_error_from_a_new_agent_and_nothing_from_an_old_one() -> None:
    unknown, replay = (Request(request_id=42, exec_type=number) for number in (99, 3))
    old = responder()
    old.answers_unknown = False

    assert golden(
        "an execution type that the agent does not know",
        "an execution type that the agent was built without",
    ) == answers(responder(), unknown, replay)
    assert [] == answers(old, unknown, replay)
    assert [] == answers(responder(), Request(request_id=0), Request(ident="system_d2e"))


def test_a_batch_size_sticks_for_the_rest_of_the_stream() -> None:
    agent = responder(print_out(PRINTED))

    assert 3 == len(answers(agent, run(batch_len=10)))
    assert 3 == len(answers(agent, run()))
    assert 1 == len(answers(agent, run(batch_len=1 << 20)))


def test_a_second_run_orphans_the_first() -> None:
    agent = responder(hold(b"hello"))
    first, second = run(1), run(2)

    assert [] == answers(agent, first, second)
    assert [first] == agent.orphans
    agent.finish()
    assert golden("a small output") == agent.poll_all()


def test_a_second_list_of_namespaces_orphans_the_first() -> None:
    agent = responder()
    agent.holds_lists = True
    first, second = (Request(request_id=at, exec_type=1) for at in (1, 2))

    assert [] == answers(agent, first, second)
    agent.list_now()
    assert [2] == [response.request_id for response in agent.poll_all()]
    assert [first] == agent.orphans


def test_commands_are_listed_at_once_while_one_runs() -> None:
    agent = responder(hold())
    (listed,) = answers(agent, run(), Request(request_id=42, exec_type=0))

    assert [each.command for each in OFFERS] == list(listed.commands)
    assert 42 == listed.request_id
    assert None is not agent.running


def test_no_namespaces_look_like_a_heartbeat_and_an_error_has_no_result() -> None:
    agent, list_ = responder(), Request(request_id=42, exec_type=1)
    agent.namespaces = ()
    assert golden("no namespaces") == answers(agent, list_)

    agent.namespaces = "Permission denied (os error 13)"
    assert golden("namespaces that cannot be listed") == answers(agent, list_)

    agent.namespaces = (LinuxNamespace(id=1),)
    assert [says(42, namespaces=(LinuxNamespace(id=1),))] == answers(agent, list_)


def test_nothing_goes_out_between_the_batches_of_a_result() -> None:
    agent = responder(print_out(PRINTED))
    agent.receive(run(3, batch_len=1024))
    assert golden("the first of three batches") == [agent.poll()]
    agent.beat()
    agent.receive(Request(request_id=42, exec_type=0))

    rest = agent.poll_all()

    assert golden("the second of three batches", "the last of three batches") == rest[:2]
    assert [42, None] == [response.request_id for response in rest[2:]]


def test_parameters_beyond_the_most_that_any_command_takes_are_not_seen() -> None:
    agent = responder()
    needed = (Parameter("timeout", "1s"), Parameter("pid", "1"))
    (rejected,) = answers(agent, run(2, STRACE, params=(Parameter("x"), *needed)))

    assert [says(2, DataChunk())] == answers(agent, run(2, STRACE, params=needed))
    assert (rejected.errmsg or "").endswith("param `pid` not found")


def test_of_two_commands_with_one_ident_the_first_is_run() -> None:
    seen: list[list[str]] = []

    def behave(argv: list[str]) -> Outcome:
        seen.append(argv)
        return Outcome()

    agent = responder(behave)
    agent.offers = (offer("test", "sh /a/kill9.sh"), offer("test", "sh /a/okerr.sh"))
    (listed,) = answers(agent, Request(request_id=1, exec_type=0))
    answers(agent, run(2, "test_sh_/9h"))

    assert ["test_sh_/9h"] * 2 == [command.ident for command in listed.commands]
    assert [["sh", "/a/kill9.sh"]] == seen


def test_a_held_command_may_end_in_another_way() -> None:
    agent = responder(hold(b"never"))
    agent.receive(run(4))
    agent.poll_all()
    agent.finish(Outcome(code=1))

    assert [says(4, DataChunk(errno=1), errmsg=texts.failed("date"))] == agent.poll_all()
    agent.finish()
    assert [] == agent.poll_all()
