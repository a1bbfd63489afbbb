import pytest

from farhand.client._errors import (
    AnswerLost,
    ConnectionFailed,
    FarhandApiError,
    NotAllowed,
    StreamLost,
    TlsFailed,
    Unavailable,
    UnexpectedAnswer,
)
from farhand.client._resume import ASKED, LONGEST_PAUSE_S, Patience

CUT = ConnectionFailed("gone")


def test_pauses_grow_to_a_bound_and_begin_anew_after_progress() -> None:
    patience = Patience(limit_s=1e9)
    pauses = [patience.pause(CUT, now) for now in range(30)]
    patience.progressed()

    assert all(0 <= pause <= LONGEST_PAUSE_S for pause in pauses)
    assert pauses[0] <= 0.1
    assert max(pauses[10:]) > 1
    assert patience.pause(CUT, 31) <= 0.1


def test_patience_ends() -> None:
    patience = Patience(limit_s=10)
    patience.pause(CUT, 100)

    assert 0 < patience.pause(CUT, 109.9) <= 0.11  # one more try when it ends
    with pytest.raises(StreamLost) as caught:
        patience.pause(CUT, 110)
    assert CUT is caught.value.__cause__


def test_hearing_something_starts_the_patience_anew() -> None:
    patience = Patience(limit_s=10)
    patience.pause(CUT, 100)
    patience.heard()

    assert patience.pause(CUT, 200) >= 0


def test_connecting_alone_does_not() -> None:
    patience = Patience(limit_s=10)
    patience.pause(CUT, 100)
    patience.connected()

    with pytest.raises(StreamLost):
        patience.pause(CUT, 200)


def test_a_loss_is_told_once_and_so_is_the_return() -> None:
    told: list[str] = []
    patience = Patience(notice=told.append)
    patience.pause(CUT, 1)
    patience.pause(CUT, 2)
    patience.connected()
    patience.connected()

    assert [
        (
            "lost the controller (gone); the job goes on and all that it prints is kept; "
            "trying again for 60 s at most"
        ),
        "the controller is there again; the output goes on where it stopped",
    ] == told


def test_a_long_loss_is_told_again_and_ever_less_often() -> None:
    told: list[str] = []
    patience = Patience(limit_s=600, notice=told.append)
    for now in range(0, 600, 5):
        patience.pause(CUT, now)

    assert [
        f"still no luck after {after} (gone); trying again for {left} at most"
        for after, left in (("60 s", "9 min"), ("2 min", "8 min"), ("4 min", "6 min"))
    ] == told[1:4]
    assert 5 == len(told)


def test_a_controller_that_is_busy_is_not_said_to_be_lost() -> None:
    told: list[str] = []
    busy = Unavailable("full", status=503, code="overloaded", retry_after_s=1.0)
    patience = Patience(notice=told.append, words=ASKED, known=False)
    patience.pause(busy, 1)
    patience.connected()

    assert [
        "the controller takes no more just now (full); trying again for 60 s at most",
        "the controller is there again",
    ] == told


def test_at_the_end_a_refusal_is_told_as_it_was_with_what_became_of_the_request() -> None:
    busy = Unavailable("full", status=429, code="over-share", retry_after_s=1.0)
    for first, hint in (
        (busy, "tried for 10 s; nothing was done"),
        (AnswerLost("cut"), "an earlier try may have been heard; `farhand jobs` shows what"),
    ):
        patience = Patience(limit_s=10, words=ASKED)
        patience.pause(first, 1)
        with pytest.raises(Unavailable) as caught:
            patience.pause(busy, 11)

        assert busy is caught.value
        assert caught.value.hint.startswith(hint)


def test_an_agent_that_is_gone_is_not_waited_for() -> None:
    gone = Unavailable("gone", status=503, code="agent-gone")

    with pytest.raises(Unavailable):
        Patience(words=ASKED).pause(gone, 1)


def test_whoever_only_closes_connections_is_soon_given_up() -> None:
    lost = AnswerLost("closed")
    patience = Patience(known=False, words=ASKED)
    for now in range(2):
        patience.pause(lost, now)
        patience.pause(CUT, now)  # nobody listens for a moment: it was there

    with pytest.raises(AnswerLost):
        patience.pause(lost, 3)


def test_there_is_no_patience_for_a_controller_that_never_answered() -> None:
    with pytest.raises(ConnectionFailed):
        Patience(known=False).pause(CUT, 1)


@pytest.mark.parametrize(
    "error",
    [
        NotAllowed("no", status=401, code="unauthenticated"),
        UnexpectedAnswer("what?"),
        TlsFailed("the certificate is not trusted"),
    ],
)
def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    assert isinstance(error, NotAllowed | UnexpectedAnswer | TlsFailed)

    with pytest.raises(type(error)):
        Patience().pause(error, 1)


def test_a_controller_that_says_when_is_believed_within_bounds() -> None:
    asked = Unavailable("later", status=503, code="overloaded", retry_after_s=2.0)
    forever = Unavailable("later", status=503, code="overloaded", retry_after_s=1e9)

    assert 2.0 <= Patience().pause(asked, 1) <= 2.1
    assert 60.0 == Patience(limit_s=60).pause(forever, 1)  # as long as there is patience


def test_an_error_of_the_controller_itself_may_pass() -> None:
    assert Patience().pause(FarhandApiError("oops", status=500, code="internal"), 1) >= 0
