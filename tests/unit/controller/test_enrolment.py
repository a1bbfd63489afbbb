"""Tokens: made once, written for their owner only, stored as hashes."""

import stat
from pathlib import Path

import pytest

from farhand.controller.enrolment import Enrolment
from farhand.domain.agent import Identity
from farhand.domain.deepflow.abilities import identity_of
from farhand.domain.deepflow.messages import Sender
from farhand.domain.messages import Hello
from farhand.errors import JoinRefused, Unauthenticated
from farhand.ports import RemoveAgent
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


# --- agents that prove nothing ------------------------------------------------------------


def _unproved(ip: str = "10.0.0.1") -> Identity:
    return identity_of(Sender(ip, "00:00:00:00:00:01"), stream="s")


async def test_the_same_ip_and_mac_are_the_same_agent_for_ever() -> None:
    async with World.start() as world:
        org = await world.enrolment.unproved_org()
        admissions = [
            await world.enrolment.admit_unproved(_unproved(), org, world.store, most=9)
            for _ in range(2)
        ]
        other = await world.enrolment.admit_unproved(
            _unproved("10.0.0.2"), org, world.store, most=9
        )

        assert 1 == len({admission.agent for admission in admissions})
        assert other.agent != admissions[0].agent
        assert "" == admissions[0].secret


async def test_a_machine_id_of_agents_that_prove_nothing_cannot_be_joined_with() -> None:
    async with World.start() as world:
        org = await world.enrolment.unproved_org()
        known = await world.enrolment.admit_unproved(_unproved(), org, world.store, most=9)
        hello = Hello(protocols=(1,), identity=_unproved(), join_token=world.join_token)
        with pytest.raises(JoinRefused):
            await world.enrolment.admit(hello, world.store)

        assert await world.store.agent(known.agent) is not None


async def test_only_deepflow_agents_need_no_credential() -> None:
    async with World.start() as world:
        org = await world.enrolment.unproved_org()
        with pytest.raises(JoinRefused):
            await world.enrolment.admit_unproved(
                Identity(name="web-1", machine_id="m"), org, world.store, most=9
            )


async def test_an_agent_without_a_secret_is_not_forgotten_for_not_confirming_one() -> None:
    async with World.start() as world:
        org = await world.enrolment.unproved_org()
        known = await world.enrolment.admit_unproved(_unproved(), org, world.store, most=9)
        agent = await world.store.agent(known.agent)
        assert agent is not None
        await world.enrolment.forget_stranger(org, agent, world.store)

        assert await world.store.agent(known.agent) is not None


async def test_removed_agents_make_room_for_others() -> None:
    async with World.start() as world:
        org = await world.enrolment.unproved_org()
        first = await world.enrolment.admit_unproved(_unproved(), org, world.store, most=1)
        with pytest.raises(JoinRefused, match="limit"):
            await world.enrolment.admit_unproved(_unproved("10.0.0.2"), org, world.store, most=1)
        await world.store.apply([RemoveAgent(agent=first.agent, at=1.0)])

        await world.enrolment.admit_unproved(_unproved("10.0.0.2"), org, world.store, most=1)
