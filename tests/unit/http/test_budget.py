import pytest

from farhand.errors import Overloaded
from farhand.http.budget import LEAST_BYTES, PIECE_BYTES, Budget, Pieces, Share


def test_requests_share_a_budget_and_give_back_what_they_held() -> None:
    budget = Budget(100)
    one, other = Share(budget), Share(budget)
    one.cover(60)
    one.cover(40)  # it has them
    other.cover(40)
    with pytest.raises(Overloaded) as refused:
        other.cover(41)
    one.close()
    other.cover(100)
    other.close()

    assert {"bound": "requests_bytes", "limit": 100} == refused.value.details
    assert 0 == budget.used


def test_who_is_alone_may_exceed_the_budget() -> None:
    budget = Budget(100)
    one, other = Share(budget), Share(budget)
    one.cover(101)
    with pytest.raises(Overloaded):
        other.cover(1)
    one.close()
    one.close()

    assert 0 == budget.used


def test_pieces_get_small_when_many_are_on_their_way_and_never_nothing() -> None:
    pieces = Pieces(2 * PIECE_BYTES)
    with pieces.piece() as first, pieces.piece() as second, pieces.piece() as third:
        during = pieces.used

    assert (PIECE_BYTES, PIECE_BYTES, LEAST_BYTES) == (first, second, third)
    assert 2 * PIECE_BYTES + LEAST_BYTES == during
    assert 0 == pieces.used
