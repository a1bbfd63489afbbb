"""A DeepFlow agent in this product's words, and what it cannot do."""

from typing import Any

import pytest

from farhand.domain.agent import Identity
from farhand.domain.command import OutputFormat, ParamType
from farhand.domain.deepflow.abilities import (
    LISTED_BYTES,
    commands_of,
    identity_of,
    namespaces_of,
    too_large,
    unsupported,
)
from farhand.domain.deepflow.catalogue import DEFAULT_PATTERN, OFFERS
from farhand.domain.deepflow.messages import (
    CommandParam,
    LinuxNamespace,
    OutputKind,
    ParamKind,
    RemoteCommand,
    Sender,
)
from farhand.domain.ids import check_name
from farhand.domain.job import Argv, CommandCall, JobSpec, NamespaceKind, NamespacesOf, Script

DATE = CommandCall("system_d2e", {})


def test_an_agent_is_called_by_its_ip_and_mac_and_shown_as_what_it_is() -> None:
    found = identity_of(Sender("10.0.0.1", "00:00:00:00:00:01", "t", ""), stream="s")

    assert "10.0.0.1-00:00:00:00:00:01" == check_name(found.name)
    assert "deepflow:10.0.0.1-00:00:00:00:00:01" == found.machine_id
    assert found.deepflow
    assert ("namespaces",) == found.capabilities
    assert {"protocol": "deepflow", "deepflow_team": "t"} == found.facts


def test_facts_are_bounded() -> None:
    found = identity_of(Sender("1.1.1.1", "a", "t" * 1000, "g" * 1000), stream="s")

    assert all(len(value) <= 128 for value in found.facts.values())


def test_each_stream_has_a_catalogue_of_its_own() -> None:
    sender = Sender("10.0.0.1", "a")

    assert identity_of(sender, stream="1").catalogue != identity_of(sender, stream="2").catalogue


def test_other_agents_are_none() -> None:
    assert not Identity(name="10.0.0.1-a", machine_id="m").deepflow


@pytest.mark.parametrize("more", [{}, {"namespaces_of": NamespacesOf(7, (NamespaceKind.NET,))}])
def test_a_command_can_be_run_also_in_a_network_namespace(more: dict[str, Any]) -> None:
    assert "" == unsupported(JobSpec(what=DATE, timeout_s=9, output_limit_bytes=1, **more))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"what": Argv(("true",))}, "a program or a script"),
        ({"what": Script("true")}, "a program or a script"),
        ({"stdin": b"x"}, "standard input"),
        ({"env": {"A": "1"}}, "environment"),
        ({"cwd": "/"}, "working directory"),
        ({"user": "root"}, "user"),
        ({"nice": 1}, "niceness"),
        ({"rlimits": {"as": 1}}, "rlimits"),
        ({"keep_children": True}, "children"),
        ({"namespaces_of": NamespacesOf(7, (NamespaceKind.PID,))}, "namespaces other than"),
    ],
)
def test_what_it_cannot_do_is_named(asked: dict[str, Any], named: str) -> None:
    told = unsupported(JobSpec(**{"what": DATE, **asked}))

    assert named in told
    assert "farhand commands" in told


def test_its_commands_have_idents_names_and_patterns() -> None:
    found = commands_of(offer.command for offer in OFFERS)
    strace = next(command for command in found if command.label == "strace")

    assert [offer.command.ident for offer in OFFERS] == [command.ident for command in found]
    assert "system" == strace.group
    assert ["^[0-9]+s$", "^[0-9]+$"] == [param.pattern for param in strace.params]
    assert all(param.required for param in strace.params)


def test_of_two_commands_with_one_ident_the_first_is_shown_for_that_is_what_runs() -> None:
    listed = [RemoteCommand(ident="x", cmd="first"), RemoteCommand(ident="x", cmd="second")]

    assert ["first"] == [command.label for command in commands_of([*listed, RemoteCommand()])]


def test_what_a_command_leaves_out_is_as_its_agent_takes_it() -> None:
    params = (
        CommandParam(name="p"),
        CommandParam(),
        CommandParam(name="b", kind=ParamKind.BOOLEAN),
    )
    (found,) = commands_of([RemoteCommand(ident="x", params=params, output=OutputKind.BINARY)])
    text, flag = found.params

    assert (DEFAULT_PATTERN, False, ParamType.TEXT) == (text.pattern, text.required, text.type)
    assert ParamType.BOOL is flag.type
    assert OutputFormat.BINARY is found.output


def test_a_list_has_a_bound() -> None:
    long = RemoteCommand(ident="x", params=(CommandParam(name="p", regex="a" * LISTED_BYTES),))

    assert too_large([long])
    assert too_large([RemoteCommand(ident="x")] * (LISTED_BYTES // 16 + 1))
    assert not too_large(offer.command for offer in OFFERS)


def test_namespaces_are_those_of_the_network_that_name_a_process() -> None:
    listed = [
        LinuxNamespace(id=7, ns_type="net", user="root", pid=1, cmd="/sbin/init"),
        LinuxNamespace(id=8, ns_type="net"),
        LinuxNamespace(id=9, ns_type="pid", pid=2),
        LinuxNamespace(pid=3),
    ]
    first, second = namespaces_of(listed)

    assert (7, NamespaceKind.NET, 1, "root", "/sbin/init") == (
        first.id,
        first.kind,
        first.pid,
        first.owner,
        first.command,
    )
    assert (0, 3) == (second.id, second.pid)
