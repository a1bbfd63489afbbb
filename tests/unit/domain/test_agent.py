"""An agent as the controller knows it: the operator's word above the agent's own."""

from dataclasses import replace

from farhand.domain.agent import Agent, Identity, Liveness
from farhand.domain.ids import AgentId

IDENTITY = Identity(
    name="host-7",
    machine_id="m",
    ip="10.0.0.7",
    mac="52:54:00:12:34:56",
    labels={"role": "web", "os": "mine"},
    facts={"os": "linux", "arch": "x86_64"},
)
AGENT = Agent(id=AgentId("agt_01h455vb4pex5vsknk084sn02q"), identity=IDENTITY)


def test_an_agent_is_called_what_it_tells_until_an_operator_names_it() -> None:
    assert "host-7" == AGENT.name
    assert "web-1" == replace(AGENT, given_name="web-1").name


def test_an_agent_without_a_name_can_be_found_by_ip_and_mac() -> None:
    assert "10.0.0.7-52:54:00:12:34:56" == AGENT.ip_mac


def test_given_labels_win_over_the_agents_own() -> None:
    agent = replace(AGENT, given_labels={"role": "db", "env": "prod"})

    assert {"role": "db", "env": "prod", "os": "mine"} == agent.labels


def test_a_given_label_of_none_hides_the_agents_own() -> None:
    assert {"os": "mine"} == replace(AGENT, given_labels={"role": None, "gone": None}).labels


def test_labels_stand_over_facts_in_what_a_selector_asks() -> None:
    assert "mine" == AGENT.terms()["os"]
    assert "linux" == replace(AGENT, given_labels={"os": None}).terms()["os"]


def test_no_label_or_fact_can_pose_as_name_id_or_liveness() -> None:
    posing = {"name": "web-1", "id": "agt_x", "liveness": "online"}
    agent = replace(AGENT, identity=replace(IDENTITY, labels=posing, facts=posing))
    terms = agent.terms()

    assert ("host-7", AGENT.id, "offline") == (terms["name"], terms["id"], terms["liveness"])


def test_a_selector_can_ask_for_the_version_the_address_and_who_is_drained() -> None:
    identity = replace(IDENTITY, software="farhand/0.3.1", ip="10.0.0.7")
    terms = replace(AGENT, identity=identity, drained=True).terms()
    labelled = replace(AGENT, identity=identity, given_labels={"version": "mine"}).terms()

    assert ("0.3.1", "10.0.0.7", "true") == (terms["version"], terms["ip"], terms["drained"])
    assert ("mine", "false") == (labelled["version"], labelled["drained"])


def test_an_agent_is_offline_until_its_stream_says_otherwise() -> None:
    assert Liveness.OFFLINE is AGENT.liveness
