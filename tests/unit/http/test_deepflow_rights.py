"""Who asks through DeepFlow's API: headers name a user and take rights away, and give none."""

from ipaddress import ip_network

import pytest
from starlette.datastructures import Headers

from farhand.domain.command import Command
from farhand.http.deepflow.answers import Answered
from farhand.http.deepflow.rights import Asker, Front, asker, listed, resolved

FRONT = Front((ip_network("10.2.0.7"), ip_network("10.3.0.0/24"), ip_network("fd00::/8")))
PS = Command(ident="system_ps_a2f", label="ps")
STRACE = Command(ident="strace_ident", label="strace")
PING = Command(ident="ping", description="a farhand agent's own")
USER = Asker(name="front", user=7, org=1, admin=False)
ADMIN = Asker(name="front", user=1, org=1, admin=True)


def asked(peer: str = "10.2.0.7", **headers: str) -> Asker:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return asker(Headers(named), peer=peer, caller="admin", front=FRONT)


def refusal(*headers: tuple[str, str], peer: str = "10.2.0.7") -> int:
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
    with pytest.raises(Answered) as refused:
        asker(Headers(raw=raw), peer=peer, caller="admin", front=FRONT)
    return refused.value.envelope.status_code


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.2.0.7", True),
        ("10.2.0.8", False),
        ("10.3.0.200", True),
        ("::ffff:10.2.0.7", True),
        ("::ffff:10.2.0.8", False),
        ("fd00::1", True),
        ("fe80::1%eth0", False),
        ("", False),
        ("a-name", False),
    ],
)
def test_a_front_is_trusted_by_its_address(peer: str, trusted: bool) -> None:
    assert trusted == FRONT.trusts(peer)
    assert not Front().trusts(peer)


def test_without_headers_one_asks_with_the_rights_and_the_name_of_the_token() -> None:
    assert Asker(name="admin", user=1, org=1, admin=True) == asked()
    assert Asker(name="admin", user=1, org=1, admin=True) == asked("192.0.2.1")


def test_a_front_names_the_user_and_anybody_else_chooses_a_key_alone() -> None:
    assert Asker(name="admin/user-7", user=7, org=3, admin=True) == asked(
        X_User_Id="7", X_Org_Id="3"
    )
    assert Asker(name="admin", user=7, org=3, admin=True) == asked(
        "192.0.2.1", X_User_Id="7", X_Org_Id="3"
    )


@pytest.mark.parametrize(
    ("kind", "admin"), [("1", True), ("2", True), ("3", False), ("0", False), ("001", True)]
)
def test_a_user_type_other_than_admin_takes_rights_away(kind: str, admin: bool) -> None:
    assert admin == asked(X_User_Type=kind).admin


@pytest.mark.parametrize("kind", ["0", "3", "99"])
def test_a_user_type_that_would_take_rights_is_not_passed_over_where_it_is_not_believed(
    kind: str,
) -> None:
    assert 403 == refusal(("X-User-Type", kind), peer="192.0.2.1")


@pytest.mark.parametrize("peer", ["10.2.0.7", "192.0.2.1"])
@pytest.mark.parametrize("name", ["X-User-Id", "X-User-Type", "X-Org-Id"])
@pytest.mark.parametrize(
    "value", ["", "x", "-1", "1.5", "1e3", " ", "0x1", "1,2", "1" * 19, "\xb2", "1\n2"]
)
def test_a_header_that_is_no_number_is_refused(name: str, value: str, peer: str) -> None:
    assert 400 == refusal((name, value), peer=peer)


@pytest.mark.parametrize("name", ["X-User-Id", "X-User-Type", "X-Org-Id"])
def test_a_header_that_is_there_twice_is_refused(name: str) -> None:
    assert 400 == refusal((name, "1"), (name, "3"))


@pytest.mark.parametrize("org", ["0", "1025"])
def test_an_org_that_cannot_be_is_refused(org: str) -> None:
    assert 400 == refusal(("X-Org-Id", org))


def test_a_user_may_run_what_profiles_and_probes_and_an_admin_all() -> None:
    assert [True, False, True] == [USER.may_run(command) for command in (PS, STRACE, PING)]
    assert [True, True, True] == [ADMIN.may_run(command) for command in (PS, STRACE, PING)]


def test_a_description_is_no_name() -> None:
    assert not USER.may_run(Command(ident="wipe", description="ps"))


def test_of_two_commands_with_one_ident_the_first_counts_for_both() -> None:
    wipe, decoy = Command(ident="x", label="wipe"), Command(ident="x", label="ping")

    assert wipe is resolved([wipe, decoy], "x")
    assert [] == listed([wipe, decoy], USER, None)
    assert None is resolved([wipe], "y")


def test_a_list_is_of_one_kind_or_of_all() -> None:
    commands = [PS, STRACE, PING]

    assert commands == listed(commands, ADMIN, None)
    assert [PS, PING] == listed(commands, USER, None)
    assert [PS] == listed(commands, ADMIN, "profile")
    assert [PING] == listed(commands, USER, "probe")
