"""The control database in SQLite: who may speak, and for which org.

Small and asked seldom: one thread, one connection, one commit per change.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.dialects import sqlite

from farhand.domain.ids import OrgId
from farhand.errors import StoreUnavailable
from farhand.ports import Credential
from farhand.storage.migrations import upgrade
from farhand.storage.rows import Values
from farhand.storage.sqlite import connect, explained
from farhand.storage.statements import compiled
from farhand.storage.tables import credentials, orgs

T = TypeVar("T")

CREDENTIAL: Final = compiled(
    select(
        credentials.c.kind, credentials.c.org, credentials.c.subject, credentials.c.created_at
    ).where(credentials.c.hash == bindparam("hash"))
)
HAS_CREDENTIAL: Final = compiled(
    select(credentials.c.hash).where(
        credentials.c.org == bindparam("owner"),
        credentials.c.kind == bindparam("kind"),
        credentials.c.subject == bindparam("subject"),
    )
)
PUT_CREDENTIAL: Final = compiled(
    insert(credentials).prefix_with("OR REPLACE"), [column.name for column in credentials.c]
)
REMOVE_CREDENTIALS: Final = compiled(
    delete(credentials).where(
        credentials.c.org == bindparam("owner"),
        credentials.c.kind == bindparam("kind"),
        credentials.c.subject == bindparam("subject"),
    )
)
ORG_NAMED: Final = compiled(select(orgs.c.id).where(orgs.c.name == bindparam("name")))
ADD_ORG: Final = compiled(
    sqlite.insert(orgs).on_conflict_do_nothing(), [column.name for column in orgs.c]
)


class SqlControl:
    """A Control in one SQLite file. Open it with `open_sql_control`."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._thread = ThreadPoolExecutor(1, "store-control")
        self._closed = False

    async def close(self) -> None:
        """Wait for what is under way, then let go of the file."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._thread.shutdown)
        self._db.close()

    async def _run(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise StoreUnavailable("the store is closed")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError) as exc:
            raise explained(exc) from exc

    async def _write(self, statement: str, values: Values) -> None:
        await self._run(lambda: self._db.execute(statement, values))

    async def credential(self, token_hash: str) -> Credential | None:
        found = await self._run(
            lambda: self._db.execute(CREDENTIAL, {"hash": token_hash}).fetchall()
        )
        for kind, org, subject, created_at in found:
            return Credential(
                hash=token_hash, kind=kind, org=org, subject=subject, created_at=created_at
            )
        return None

    async def add_credential(self, credential: Credential) -> None:
        values: Values = {
            "hash": credential.hash,
            "kind": credential.kind,
            "org": credential.org,
            "subject": credential.subject,
            "created_at": credential.created_at,
        }
        await self._write(PUT_CREDENTIAL, values)

    async def has_credential(self, org: OrgId, *, kind: str, subject: str) -> bool:
        values = {"owner": org, "kind": kind, "subject": subject}
        found = await self._run(lambda: self._db.execute(HAS_CREDENTIAL, values).fetchall())
        return bool(found)

    async def remove_credentials(self, org: OrgId, *, kind: str, subject: str) -> None:
        await self._write(REMOVE_CREDENTIALS, {"owner": org, "kind": kind, "subject": subject})

    async def org_named(self, name: str) -> OrgId | None:
        found = await self._run(lambda: self._db.execute(ORG_NAMED, {"name": name}).fetchall())
        return OrgId(found[0][0]) if found else None

    async def add_org(self, org: OrgId, name: str, at: float) -> None:
        await self._write(ADD_ORG, {"id": org, "name": name, "created_at": at})


async def open_sql_control(path: Path) -> SqlControl:
    """Open the control database at *path*, made and upgraded where needed.

    Raises StoreUnavailable (a newer version's), DataDirUnwritable.
    """

    def opened() -> sqlite3.Connection:
        db = connect(path)
        try:
            upgrade("control", db)
        except BaseException:
            db.close()
            raise
        return db

    try:
        return SqlControl(await asyncio.to_thread(opened))
    except (sqlite3.Error, OSError) as exc:
        raise explained(exc) from exc
