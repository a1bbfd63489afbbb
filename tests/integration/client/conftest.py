from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.client.clients import Face, Kind, facing
from tests.integration.client.shell import Shell
from tests.integration.client.stub import Stub, stub_server

KINDS = ["blocking", "asynchronous"]


@pytest.fixture
def stub() -> Iterator[Stub]:
    with stub_server() as stub:
        yield stub


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def told() -> list[str]:
    """The notices that the client gave."""
    return []


@pytest.fixture
def face(kind: Kind, stub: Stub, told: list[str]) -> Iterator[Face]:
    with facing(kind, stub.url, patience_s=20.0, notice=told.append) as face:
        yield face


@pytest.fixture
def farhand(stub: Stub, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(stub, tmp_path, capfdbinary)
