import pytest

from farhand.client._errors import (
    ConnectionFailed,
    FarhandApiError,
    NotAllowed,
    StreamLost,
    Unavailable,
    UnexpectedAnswer,
)
from farhand.client._resume import LONGEST_PAUSE_S, Patience

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
    patience.pause(CUT, 110)

    with pytest.raises(StreamLost) as caught:
        patience.pause(CUT, 110.1)
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

    assert ["connection lost (gone); trying again", "connected again"] == told


def test_there_is_no_patience_for_a_controller_that_never_answered() -> None:
    with pytest.raises(ConnectionFailed):
        Patience(known=False).pause(CUT, 1)


@pytest.mark.parametrize(
    "error", [NotAllowed("no", status=401, code="unauthenticated"), UnexpectedAnswer("what?")]
)
def test_what_will_not_pass_is_raised_at_once(error: Exception) -> None:
    assert isinstance(error, NotAllowed | UnexpectedAnswer)

    with pytest.raises(type(error)):
        Patience().pause(error, 1)


def test_a_controller_that_says_when_is_believed_within_bounds() -> None:
    asked = Unavailable("later", status=503, code="overloaded", retry_after_s=2.0)
    forever = Unavailable("later", status=503, code="overloaded", retry_after_s=1e9)

    assert 2.0 <= Patience().pause(asked, 1) <= 2.1
    assert LONGEST_PAUSE_S <= Patience().pause(forever, 1) <= LONGEST_PAUSE_S + 0.1


def test_an_error_of_the_controller_itself_may_pass() -> None:
    assert Patience().pause(FarhandApiError("oops", status=500, code="internal"), 1) >= 0
