"""What an answer to RUN_COMMAND means: every way in which it ends, and every damage it can have."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farhand.domain.deepflow import batches, texts
from farhand.domain.deepflow.answer import KILLED, Answer, Verdict, completes
from farhand.domain.deepflow.messages import DataChunk, LinuxNamespace, RemoteCommand, Response
from farhand.domain.run import Why
from tests.unit.wire.golden_deepflow import HELLO_MD5, RESPONSES, SENDER, says


def verdict_on(*responses: Response) -> Verdict:
    answer = Answer()
    for response in responses:
        assert completes(response) == (response is responses[-1])
        if response.result is not None:
            answer.add(response.result)
    return answer.verdict(responses[-1])


def golden(*names: str) -> Verdict:
    return verdict_on(*(RESPONSES[name][0] for name in names))


# --- every end that was seen --------------------------------------------------------------

SEEN: list[tuple[Sequence[str], Verdict]] = [
    (["success without output"], Verdict(why=Why.EXIT, exit_code=0)),
    (
        ["success without output, with a mark of its end"],
        Verdict(why=Why.EXIT, exit_code=0),
    ),
    (["a small output"], Verdict(why=Why.EXIT, exit_code=0)),
    (
        [f"{name} of three batches" for name in ("the first", "the second", "the last")],
        Verdict(why=Why.EXIT, exit_code=0),
    ),
    (["exit 1 without a word"], Verdict(why=Why.EXIT, exit_code=1)),
    (["exit 3 with output and an error"], Verdict(why=Why.EXIT, exit_code=3, stderr=b"err\n")),
    (["exit 4 with an error that is no text"], Verdict(why=Why.EXIT, exit_code=4)),
    (["killed after output"], Verdict(why=Why.SIGNAL, message=KILLED)),
    (
        ["a trace"],
        Verdict(
            why=Why.SIGNAL,
            message=KILLED,
            stderr=b"strace: Process 4242 attached\nread(0, ",
        ),
    ),
]


@pytest.mark.parametrize(("names", "verdict"), SEEN, ids=[names[0] for names, _ in SEEN])
def test_a_program_ended_as_the_agent_tells(names: Sequence[str], verdict: Verdict) -> None:
    assert verdict == golden(*names)


REFUSALS = {
    "no such command": Why.UNKNOWN_COMMAND,
    "no command named": Why.UNKNOWN_COMMAND,
    "a parameter that is not there": Why.INVALID_PARAMETER,
    "a parameter that does not match": Why.INVALID_PARAMETER,
    "a process that is gone": Why.NAMESPACES,
    "an execution type that the agent does not know": Why.UNSUPPORTED,
    "an execution type that the agent was built without": Why.UNSUPPORTED,
}


@pytest.mark.parametrize(("name", "why"), REFUSALS.items())
def test_a_refusal_is_told_in_the_agents_words(name: str, why: Why) -> None:
    assert Verdict(why=why, message=RESPONSES[name][0].errmsg or "", refused=True) == golden(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("a program that is not there", Why.PROGRAM_NOT_FOUND),
        ("a system call that failed", Why.AGENT_FAILED),
    ],
)
def test_a_failure_of_the_agent_is_no_refusal(name: str, why: Why) -> None:
    assert Verdict(why=why, message=RESPONSES[name][0].errmsg or "") == golden(name)


# --- what its own server does not see -----------------------------------------------------


def test_an_error_beside_content_is_the_end_also_without_an_md5() -> None:
    last = says(2, DataChunk(errno=3, content=b"out", total_len=3, pkt_count=1), errmsg="err")

    assert Verdict(why=Why.EXIT, exit_code=3, stderr=b"err") == verdict_on(last)


def test_an_error_without_a_result_is_the_agents_own() -> None:
    assert Verdict(why=Why.AGENT_FAILED, message="odd") == verdict_on(says(2, errmsg="odd"))
    assert verdict_on(says(2, errmsg=texts.unknown_ident("x"))).refused


def test_an_error_of_megabytes_is_told_in_brief() -> None:
    assert 8 * 1024 + 1 == len(verdict_on(says(2, errmsg="x" * 100_000)).message)


def test_an_md5_alone_is_a_success_of_what_came() -> None:
    assert Verdict(why=Why.EXIT, exit_code=0) == verdict_on(
        says(2, DataChunk(content=b"hel")), says(2, DataChunk(content=b"lo", md5=HELLO_MD5))
    )


def test_an_exit_code_counts_also_when_there_is_no_error_text() -> None:
    assert Verdict(why=Why.EXIT, exit_code=7) == verdict_on(says(2, DataChunk(errno=7)))


def test_errno_0_beside_an_agents_own_text_is_that_text_and_no_signal() -> None:
    refused = says(2, DataChunk(errno=0), errmsg=texts.unknown_ident("x"))

    assert Why.UNKNOWN_COMMAND is verdict_on(refused).why


def test_what_a_program_printed_is_not_taken_for_the_agents_text() -> None:
    """It printed to stdout or had an exit code: a program did run."""
    text = texts.unknown_ident("x")
    chunk = DataChunk(
        errno=0, content=b"out", md5=hashlib.md5(b"out").hexdigest(), total_len=3, pkt_count=1
    )

    assert Verdict(why=Why.SIGNAL, message=KILLED, stderr=text.encode()) == verdict_on(
        says(2, chunk, errmsg=text)
    )
    assert Verdict(why=Why.EXIT, exit_code=1, stderr=text.encode()) == verdict_on(
        says(2, DataChunk(errno=1), errmsg=text)
    )


@pytest.mark.parametrize(
    "answer",
    [
        says(2),
        says(2, commands=(RemoteCommand(ident="x"),)),
        says(2, namespaces=(LinuxNamespace(id=1),)),
    ],
)
def test_an_answer_of_another_kind_ends_the_run_as_a_failure(answer: Response) -> None:
    assert Why.AGENT_FAILED is verdict_on(answer).why


# --- damage -------------------------------------------------------------------------------

WHOLE = list(batches.result(SENDER, 2, stdout=b"0123456789", size=4))
LAST = WHOLE[-1].result
assert LAST is not None


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ([WHOLE[0], WHOLE[2]], "it announced 10 bytes and sent 6"),
        ([WHOLE[1], WHOLE[0], WHOLE[2]], "its MD5 is 781e5e245d69b566979b86e28d23f2c7"),
        ([*WHOLE[:2], says(2, replace(LAST, md5="00"))], "its MD5 is 00,"),
        ([*WHOLE[:2], says(2, replace(LAST, pkt_count=4))], "it announced 4 batches and sent 3"),
        ([*WHOLE[:2], says(2, replace(LAST, total_len=0))], "it announced 0 bytes and sent 10"),
        ([*WHOLE[:2], says(2, DataChunk(total_len=10))], "it announced 10 bytes and sent 8"),
        ([WHOLE[0], says(2, DataChunk(total_len=9), errmsg="e")], "announced 9 bytes and sent 4"),
    ],
)
def test_damage_is_an_error_that_says_what_does_not_fit(
    answer: list[Response], problem: str
) -> None:
    found = verdict_on(*answer)

    assert Why.OUTPUT_CORRUPT is found.why
    assert problem in found.message


def test_an_md5_in_capitals_is_the_same() -> None:
    capitals = DataChunk(content=b"hello", md5=HELLO_MD5.upper())

    assert Why.EXIT is verdict_on(says(2, capitals)).why


def test_what_could_not_be_held_is_told_and_the_exit_code_kept() -> None:
    answer = Answer()
    answer.add(DataChunk(errno=3, content=b"hello", md5=HELLO_MD5))
    answer.lose(5)

    found = answer.verdict(says(2, DataChunk(), errmsg="err"))

    assert (Why.OUTPUT_CORRUPT, 3, b"err") == (found.why, found.exit_code, found.stderr)
    assert found.message.startswith("5 bytes of its output")


@given(
    st.binary(max_size=40),
    st.integers(1, 9),
    st.integers(0, 255),
    st.none() | st.text(max_size=5),
)
def test_every_result_that_an_agent_makes_is_understood(
    stdout: bytes, size: int, errno: int, errmsg: str | None
) -> None:
    found = verdict_on(
        *batches.result(SENDER, 2, stdout=stdout, size=size, errno=errno, errmsg=errmsg)
    )

    if errmsg is not None and errno == 0:
        assert Why.SIGNAL is found.why
    else:
        assert (Why.EXIT, errno) == (found.why, found.exit_code)
    assert (errmsg or "").encode() == found.stderr
