"""Tokens: made once, written for their owner only, stored as hashes."""

import stat
from pathlib import Path

import pytest

from farhand.controller.enrolment import Enrolment
from farhand.errors import Unauthenticated
from farhand.storage.memory import MemoryControl
from farhand.testing import ManualClock, World


async def test_the_first_start_makes_both_tokens_for_their_owner_only(tmp_path: Path) -> None:
    await Enrolment(MemoryControl(), ManualClock()).begin(tmp_path)
    for name in ("admin.token", "join.token"):
        assert 0o600 == stat.S_IMODE((tmp_path / name).stat().st_mode)


async def test_a_second_start_keeps_the_tokens(tmp_path: Path) -> None:
    control = MemoryControl()
    await Enrolment(control, ManualClock()).begin(tmp_path)
    before = (tmp_path / "admin.token").read_text()
    await Enrolment(control, ManualClock()).begin(tmp_path)

    assert before == (tmp_path / "admin.token").read_text()


async def test_a_deleted_token_is_made_anew_and_the_old_one_counts_no_more(tmp_path: Path) -> None:
    enrolment = Enrolment(MemoryControl(), ManualClock())
    await enrolment.begin(tmp_path)
    old = (tmp_path / "admin.token").read_text().strip()
    (tmp_path / "admin.token").unlink()
    await enrolment.begin(tmp_path)
    new = (tmp_path / "admin.token").read_text().strip()

    assert "admin" == (await enrolment.authenticate(new)).name
    with pytest.raises(Unauthenticated):
        await enrolment.authenticate(old)


async def test_a_token_of_another_data_directory_is_replaced(tmp_path: Path) -> None:
    await Enrolment(MemoryControl(), ManualClock()).begin(tmp_path)
    enrolment = Enrolment(MemoryControl(), ManualClock())
    await enrolment.begin(tmp_path)
    token = (tmp_path / "admin.token").read_text().strip()

    assert "admin" == (await enrolment.authenticate(token)).name


async def test_the_api_is_closed_to_every_other_token() -> None:
    async with World.start(agents=["web-1"]) as world:
        for token in ("", "wrong", world.join_token, world.agent("web-1").secret, "\udcff"):
            with pytest.raises(Unauthenticated):
                await world.enrolment.authenticate(token)
