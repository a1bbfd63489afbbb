"""The small values between a core and its shell."""

from farhand.wire.grpc.shell import Budget


def test_a_budget_is_never_given_twice() -> None:
    budget = Budget(10)

    assert [True, False, True] == [budget.reserve(6), budget.reserve(5), budget.reserve(4)]
    budget.release(6)
    assert 6 == budget.left
