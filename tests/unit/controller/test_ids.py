"""Ids have the form everybody recognises; tokens are long and never stored."""

from farhand.controller.ids import (
    new_agent,
    new_job,
    new_org,
    new_preview,
    new_run,
    new_schedule,
    new_token,
    token_hash,
)
from farhand.domain.ids import is_id


def test_minted_ids_are_recognised_and_sort_by_time() -> None:
    assert is_id("org", new_org())
    assert is_id("agt", new_agent())
    assert is_id("job", new_job())
    assert is_id("run", new_run())
    assert is_id("sch", new_schedule())
    assert is_id("pre", new_preview())
    runs = [new_run() for _ in range(100)]

    assert runs == sorted(runs)


def test_tokens_differ_and_their_hash_does_not_hold_them() -> None:
    first, second = new_token("api"), new_token("api")

    assert first != second
    assert first not in token_hash(first)
    assert 64 == len(token_hash(first))
