"""DeepFlow's error texts, letter by letter, and what those that arrive mean."""

import pytest

from farhand.domain.deepflow import texts
from farhand.domain.run import Why

STRACE = "timeout --signal=KILL --preserve-status $timeout strace -f -p $pid"
NONE = "No such file or directory (os error 2)"
START = "execute failed: command execution failed with"

WRITTEN = [
    (texts.NO_IDENT, "command_ident not specified in run command request"),
    (texts.unknown_ident("nope"), "command not found for id nope"),
    (
        texts.rejected("date", "param `x` not found"),
        "rejected run command 'date' with invalid params: param `x` not found",
    ),
    (texts.no_namespace(99), f"open namespace file /proc/99/ns/net failed: {NONE}"),
    (texts.not_started("nope -x"), f"command 'nope -x' {START} {NONE}"),
    (texts.failed("false"), "command 'false' failed"),
    (texts.unsupported(99), "unsupported execution type: 99"),
    (texts.unsupported(texts.REPLAY), "unsupported execution type: DryReplayPcap"),
    (texts.SYSTEM_CALL, "transparent"),
]


@pytest.mark.parametrize(("written", "text"), WRITTEN)
def test_a_text_is_written_as_agents_write_it(written: str, text: str) -> None:
    assert text == written


MEANINGS = [
    (texts.NO_IDENT, Why.UNKNOWN_COMMAND, True),
    (texts.unknown_ident("nope"), Why.UNKNOWN_COMMAND, True),
    (texts.rejected(STRACE, "param `pid` is invalid"), Why.INVALID_PARAMETER, True),
    (texts.no_namespace(99), Why.NAMESPACES, True),
    (texts.unsupported(texts.REPLAY), Why.UNSUPPORTED, True),
    (texts.not_started("nope"), Why.PROGRAM_NOT_FOUND, False),
    (texts.not_started("nope", texts.NO_PERMISSION), Why.NOT_EXECUTABLE, False),
    (texts.not_started("nope", "Out of memory (os error 12)"), Why.SPAWN_FAILED, False),
    ("command 'kubectl' execute failed: kubernetes failed with x", Why.AGENT_FAILED, False),
    (texts.SYSTEM_CALL, Why.AGENT_FAILED, False),
]


@pytest.mark.parametrize(("text", "why", "refused"), MEANINGS)
def test_an_agents_own_text_is_known_for_what_it_means(text: str, why: Why, refused: bool) -> None:
    assert texts.Trouble(why, refused) == texts.trouble(text)


@pytest.mark.parametrize(
    "text",
    ["", "err\n", texts.failed("false"), "strace: Process 1 attached\n", "sh: command not found"],
)
def test_anything_else_was_printed_by_a_program(text: str) -> None:
    assert texts.trouble(text) is None


def test_a_long_text_was_printed_by_a_program_however_it_begins() -> None:
    assert texts.trouble(texts.unknown_ident("x" * 10_000)) is None


def test_that_a_command_failed_is_not_what_it_printed() -> None:
    assert b"" == texts.stderr_of(texts.failed("sh /tmp/kill9.sh"))
    assert b"err\n" == texts.stderr_of("err\n")
    assert "ungültig\n".encode() == texts.stderr_of("ungültig\n")
