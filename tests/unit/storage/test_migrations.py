import logging
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from farhand.errors import StoreUnavailable
from farhand.storage import migrations
from farhand.storage.migrations import HEADS, Kind, upgrade, version_of
from farhand.storage.sqlite import connect

KINDS: list[Kind] = ["org", "control"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_the_newest_migration(kind: Kind) -> None:
    folder = str(Path(migrations.__file__).parent / kind)
    script = ScriptDirectory(folder, version_locations=[folder])

    assert [HEADS[kind]] == script.get_heads()


@pytest.mark.parametrize("kind", KINDS)
def test_a_database_is_brought_to_the_head_once(kind: Kind, tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db")
    before = version_of(db)
    upgrade(kind, db)
    after = version_of(db)
    upgrade(kind, db)
    db.execute("BEGIN")  # nothing was left open
    db.close()

    assert before is None
    assert HEADS[kind] == after


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_versions_database_is_refused_as_such(kind: Kind, tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db")
    upgrade(kind, db)
    db.execute("UPDATE alembic_version SET version_num = 'org_9999'")
    with pytest.raises(StoreUnavailable, match=r"written by a newer farhand.*org_9999"):
        upgrade(kind, db)
    db.execute("BEGIN")
    db.close()


def test_a_migration_that_fails_leaves_nothing(tmp_path: Path) -> None:
    db = connect(tmp_path / "a.db")
    db.execute("CREATE TABLE runs (x)")  # in the way
    with pytest.raises(Exception, match="runs"):
        upgrade("org", db)
    tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master").fetchall()}
    db.close()

    assert {"runs"} == tables


def test_logging_is_left_as_it_was(tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger("alembic").level
    db = connect(tmp_path / "a.db")
    upgrade("org", db)
    db.close()

    assert before == (logging.getLogger().handlers[:], logging.getLogger("alembic").level)


def test_alembic_is_loaded_only_when_there_is_something_to_do(tmp_path: Path) -> None:
    program = """if True:
        import sys
        from pathlib import Path
        from farhand.storage.migrations import upgrade
        from farhand.storage.sqlite import connect
        import farhand.storage
        print("alembic" in sys.modules)
        upgrade("org", connect(Path(sys.argv[1])))
        print("alembic" in sys.modules)
    """

    def loaded() -> list[str]:
        command = [sys.executable, "-c", program, str(tmp_path / "a.db")]
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        return told.stdout.split()

    assert ["False", "True"] == loaded()
    assert ["False", "False"] == loaded()
