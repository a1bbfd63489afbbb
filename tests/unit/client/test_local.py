import json
import os
import stat
from pathlib import Path

import pytest

from farhand.client._errors import NotConfigured
from farhand.client._local import (
    Local,
    address,
    local_file,
    read_local,
    remove_local,
    write_local,
)

URL = "http://127.0.0.1:7440"


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin.token"
    path.touch(mode=0o600)
    path.write_text("secret\n")
    return path


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"XDG_RUNTIME_DIR": "/r", "XDG_STATE_HOME": "/s"}, "/r/farhand/controller.json"),
        ({"XDG_STATE_HOME": "/s", "HOME": "/h"}, "/s/farhand/controller.json"),
        ({"HOME": "/h"}, "/h/.local/state/farhand/controller.json"),
    ],
)
def test_the_file_lies_where_the_user_keeps_such_things(env: dict[str, str], expected: str) -> None:
    assert Path(expected) == local_file(env)


def test_what_a_controller_leaves_its_own_user_finds(env: dict[str, str], token_file: Path) -> None:
    path = write_local(env, URL, token_file, Path("/tmp/ca.pem"))

    assert Local(url=URL, token_file=token_file, ca=Path("/tmp/ca.pem")) == read_local(env)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert [path] == list(path.parent.iterdir())


def test_the_address_is_read_with_its_token(env: dict[str, str], token_file: Path) -> None:
    path = write_local(env, URL, token_file)
    found = address(env)

    assert (URL, "secret", None, str(path)) == (found.url, found.token, found.ca, found.source)


def test_the_environment_comes_before_the_file(env: dict[str, str], token_file: Path) -> None:
    write_local(env, URL, token_file)
    env |= {"FARHAND_URL": "http://other:1", "FARHAND_TOKEN": "t", "FARHAND_CA": "/ca.pem"}
    found = address(env)

    assert ("http://other:1", "t", "/ca.pem") == (found.url, found.token, found.ca)


def test_the_local_token_is_not_sent_to_another_controller(
    env: dict[str, str], token_file: Path
) -> None:
    write_local(env, URL, token_file)
    found = address(env, url="http://other:1")

    assert ("http://other:1", None) == (found.url, found.token)


def test_a_token_may_be_given_for_the_local_controller(
    env: dict[str, str], token_file: Path
) -> None:
    write_local(env, URL, token_file)
    found = address(env, token="mine")

    assert (URL, "mine") == (found.url, found.token)


def test_without_anything_there_is_no_controller(env: dict[str, str]) -> None:
    with pytest.raises(NotConfigured) as caught:
        address(env)

    assert "not-configured" == caught.value.code


@pytest.mark.parametrize("mode", [0o644, 0o620, 0o604])
def test_a_file_that_others_may_touch_is_refused(
    env: dict[str, str], token_file: Path, mode: int
) -> None:
    write_local(env, URL, token_file).chmod(mode)

    with pytest.raises(NotConfigured) as caught:
        read_local(env)
    assert "local-file-unsafe" == caught.value.code


def test_a_token_that_others_can_read_is_refused(env: dict[str, str], token_file: Path) -> None:
    write_local(env, URL, token_file)
    token_file.chmod(0o644)

    with pytest.raises(NotConfigured) as caught:
        address(env)
    assert "local-file-unsafe" == caught.value.code


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(env: dict[str, str], token_file: Path) -> None:
    os.chown(write_local(env, URL, token_file), 65534, -1)

    with pytest.raises(NotConfigured, match="does not belong"):
        read_local(env)


def test_a_pipe_in_its_place_is_refused_and_never_waited_for(env: dict[str, str]) -> None:
    path = local_file(env)
    path.parent.mkdir(parents=True)
    os.mkfifo(path, 0o600)

    with pytest.raises(NotConfigured):
        read_local(env)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"url": "x"}', "null", '"x"'])
def test_a_file_of_another_kind_is_refused(
    env: dict[str, str], token_file: Path, content: str
) -> None:
    write_local(env, URL, token_file).write_text(content)

    with pytest.raises(NotConfigured) as caught:
        read_local(env)
    assert "local-file-invalid" == caught.value.code


@pytest.mark.parametrize("content", ["", "two words", "line\nbreak", "ünïcode"])
def test_a_token_that_no_header_can_carry_is_refused(
    env: dict[str, str], token_file: Path, content: str
) -> None:
    write_local(env, URL, token_file)
    token_file.write_text(content)

    with pytest.raises(NotConfigured) as caught:
        address(env)
    assert "token-invalid" == caught.value.code


def test_a_token_file_that_is_gone_is_named(env: dict[str, str], tmp_path: Path) -> None:
    write_local(env, URL, tmp_path / "nowhere")

    with pytest.raises(NotConfigured, match="nowhere"):
        address(env)


def test_a_second_controller_takes_the_place_of_the_first(
    env: dict[str, str], token_file: Path
) -> None:
    write_local(env, URL, token_file)
    path = write_local(env, "http://127.0.0.1:2", token_file)

    assert "http://127.0.0.1:2" == json.loads(path.read_text())["url"]


def test_a_controller_takes_only_its_own_file_away(env: dict[str, str], token_file: Path) -> None:
    path = write_local(env, URL, token_file)
    remove_local(env, "http://127.0.0.1:2")
    still_there = path.exists()
    remove_local(env, URL)
    remove_local(env, URL)
    remove_local(env)

    assert (True, False) == (still_there, path.exists())
