"""What agent and controller can say: values, each named in its direction, and silent on secrets."""

import dataclasses
from typing import get_args

import pytest

from farhand.domain import messages
from farhand.domain.agent import Identity
from farhand.domain.ids import AgentId
from farhand.domain.messages import FromAgent, FromController, Hello, Welcome

PARTS = {messages.HeldRun, messages.Namespace}  # stand inside of others
DEFINED = {
    found
    for found in vars(messages).values()
    if dataclasses.is_dataclass(found) and found.__module__ == messages.__name__
}


def test_every_message_has_a_direction() -> None:
    assert DEFINED - PARTS == {*get_args(FromAgent), *get_args(FromController)}


def test_what_goes_both_ways_is_what_ends_a_stream_or_was_not_understood() -> None:
    both = {found.__name__ for found in {*get_args(FromAgent)} & {*get_args(FromController)}}

    assert {"Goodbye", "Unsupported", "UnknownFrame"} == both


@pytest.mark.parametrize("kind", sorted(DEFINED, key=str))
def test_a_message_is_a_value_that_nothing_changes(kind: type) -> None:
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # every dataclass has it
    assert "__slots__" in vars(kind)


def test_no_secret_shows_where_a_message_is_shown() -> None:
    agent = AgentId("agt_01h455vb4pex5vsknk084sn02q")
    hello = Hello(
        protocols=(1,),
        identity=Identity(name="web-1", machine_id="m"),
        join_token="fhj_1234",
        secret="fha_5678",
    )
    welcome = Welcome(agent=agent, epoch=1, protocol=1, heartbeat_s=20.0, secret="fha_5678")

    assert "1234" not in repr(hello)
    assert "5678" not in repr(hello) + repr(welcome)
