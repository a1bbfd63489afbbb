"""Name each run on disk before it starts, so that a restart can tell the truth about it.

Holds no output. Two files, allocated ahead, that take turns: what counts is written to the other
one when this one is full, so that a full disk stops neither. Each record carries a checksum, so
that a torn one at the end is seen and dropped.
"""

import asyncio
import contextlib
import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from farhand.agent.pastruns import KEY_BYTES, Past, PastRuns, key_of
from farhand.domain.ids import RunId, is_id
from farhand.domain.messages import HeldState
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Ending, Usage, Why
from farhand.errors import DataDirUnwritable

VERSION_1: Final = b"farhand journal 1\n"  # one file, with JSON for settled runs as well
VERSION: Final = b"farhand journal 2\n"
_TOP: Final = struct.Struct("<18sQ16sIII")  # version, turn, horizon, ids, length, crc32
_HEAD: Final = struct.Struct("<II")  # length, crc32; what does not fit its checksum is the end
_ENTRY: Final = b"E"
_SETTLED: Final = b"S"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the journal knows of a run. *pid* is the leader's, in the boot of *boot_id*."""

    run: RunId
    state: HeldState
    boot_id: str = ""
    pid: int = 0
    ending: Ending | None = None
    why: Why | None = None
    message: str = ""


class Journal:
    """The runs of one agent, on disk. One writer; writes that wait together share one fsync."""

    def __init__(self, path: Path, size: int, ids: int) -> None:
        self._files = [_File(path), _File(path.with_name(f"{path.name}.twin"))]
        self._size = size
        self._ids = ids
        self._turn = 1  # how often they took turns: even ones are the first file's
        self._end = 0
        self._waiting: asyncio.Future[None] | None = None  # for the next flush
        self._flushing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self.entries: dict[RunId, Entry] = {}  # of runs that are not settled
        self.past = PastRuns(ids)
        self.fsyncs = 0

    @classmethod
    def open(cls, path: Path, *, size: int, ids: int) -> Self:
        """Read the journal at *path*, or begin one; raises DataDirUnwritable.

        Each of its two files has *size* bytes; so many *ids* of settled runs are remembered.
        """
        journal = cls(path, size, ids)
        try:
            journal._load()
            journal._compact()
            flush_directory(path.parent)
        except OSError as exc:
            journal.close()
            raise journal._unwritable(exc) from exc
        except BaseException:
            journal.close()
            raise
        return journal

    def close(self) -> None:
        """Give the files up."""
        self._thread.shutdown()
        for file in self._files:
            file.close()

    def knows(self, run: RunId) -> Past:
        """Tell whether the run was here before."""
        return Past.SEEN if run in self.entries else self.past.of(key_of(run))

    async def commit(self, entry: Entry) -> None:
        """Write *entry* and return when it is on disk. Raises DataDirUnwritable."""
        self.note(entry)
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            if not self._flushing:
                self._flushing = True
                loop.call_soon(self._flush)
        await asyncio.shield(self._waiting)

    def note(self, entry: Entry) -> None:
        """Write *entry*; it is on disk with the next commit, or when the kernel gets to it.

        Raises DataDirUnwritable; the entry is then remembered here, and written again with all
        others when the files are.
        """
        self.entries[entry.run] = entry
        self._write(_packed(entry))

    def settle(self, run: RunId) -> None:
        """Remember of the run that it was here, and nothing else. Raises as `note` does."""
        self.entries.pop(run, None)
        key = key_of(run)
        self.past.add(key)
        self._write(_SETTLED + key)

    def _write(self, body: bytes) -> None:
        file = self._files[self._turn % 2]
        record = _record(body, self._turn)
        try:
            if self._end + len(record) > file.size:
                self._compact()
            else:
                file.write(record, self._end)
                self._end += len(record)
        except OSError as exc:
            self._end = self._files[self._turn % 2].size  # next time all that counts goes anew
            raise self._unwritable(exc) from exc

    def _unwritable(self, cause: BaseException) -> DataDirUnwritable:
        told = cause.strerror if isinstance(cause, OSError) else cause
        return DataDirUnwritable(f"the journal {self._files[0].path} cannot be written: {told}")

    # --- flushing -------------------------------------------------------------------------

    def _flush(self) -> None:
        done, self._waiting = self._waiting, None
        self.fsyncs += 1
        loop = asyncio.get_running_loop()

        def finished(work: asyncio.Future[None]) -> None:
            if error := work.exception():
                self._flush_failed(error, done)
            elif done is not None and not done.done():
                done.set_result(None)
            if self._waiting is None:
                self._flushing = False
            else:
                self._flush()

        fd = self._files[self._turn % 2].fd
        loop.run_in_executor(self._thread, os.fdatasync, fd).add_done_callback(finished)

    def _flush_failed(self, error: BaseException, done: asyncio.Future[None] | None) -> None:
        """The kernel may have dropped what was written: nobody's entry is on disk, all go anew."""
        waiting, self._waiting = self._waiting, None
        self._end = self._files[self._turn % 2].size
        for each in (done, waiting):
            if each is not None and not each.done():
                each.set_exception(self._unwritable(error))

    # --- the two files --------------------------------------------------------------------

    def _compact(self) -> None:
        """Write what counts to the other file, and go on there; the old one counts no more."""
        turn = self._turn + 1
        old, file = self._files[self._turn % 2], self._files[turn % 2]
        entries = (_record(_packed(entry), turn) for entry in self.entries.values())
        body = self.past.keys + b"".join(entries)
        facts = (VERSION, turn, self.past.horizon, len(self.past), len(body))
        top = _TOP.pack(*facts, zlib.crc32(body, zlib.crc32(_TOP.pack(*facts, 0))))
        end = len(top) + len(body)
        file.allocate(max(self._size, 2 * end), least=end)
        file.write(top + body, 0)
        os.fsync(file.fd)
        self._turn, self._end = turn, end
        with contextlib.suppress(OSError):
            # Should the new file be damaged one day, the old one must not pass for the truth.
            old.write(bytes(_TOP.size), 0)

    def _load(self) -> None:
        found = [file.load() for file in self._files]
        try:
            self._understand(found)
        except (KeyError, TypeError, ValueError) as exc:
            msg = (
                f"{self._files[0].path} is damaged, or not a journal of this version; "
                "move it and its twin away to start anew"
            )
            raise DataDirUnwritable(msg) from exc
        for file in self._files:
            file.allocate(max(self._size, file.size), least=_TOP.size)

    def _understand(self, found: list[bytes]) -> None:
        whole = [data for data in found if _is_whole(data)]
        if whole:
            self._read(max(whole, key=_turn_of))
        elif found[0].startswith(VERSION_1):
            self._read_version_1(found[0])
        elif any(data[: _TOP.size].strip(b"\0") for data in found):
            raise ValueError("neither file is whole")

    def _read(self, data: bytes) -> None:
        _, self._turn, horizon, ids, _, _ = _TOP.unpack_from(data)
        at = _TOP.size + ids * KEY_BYTES
        self.past = PastRuns(self._ids, data[_TOP.size : at], horizon)
        runs: dict[bytes, RunId] = {}
        for body in _bodies(data, at, self._turn):
            kind, rest = body[:1], body[1:]
            if kind == _SETTLED and len(rest) == KEY_BYTES:
                self.past.add(rest)
                self.entries.pop(runs.pop(rest, RunId("")), None)
            elif kind == _ENTRY:
                entry = _unpacked(json.loads(rest))
                self.entries[entry.run] = entry
                runs[key_of(entry.run)] = entry.run
            else:
                raise ValueError(f"{kind!r} is no kind of record")

    def _read_version_1(self, data: bytes) -> None:
        """Take over what the first kind of journal knew; it was one file."""
        self._turn = 0
        for body in _bodies(data, len(VERSION_1), 0):
            facts = json.loads(body)
            del facts["at"]
            settled = facts.pop("settled", False)
            entry = _unpacked(facts)
            self.entries[entry.run] = entry
            if settled:
                del self.entries[entry.run]
                self.past.add(key_of(entry.run))


class _File:
    """One of the two files: how long it is, and its descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = -1
        self.size = 0

    def load(self) -> bytes:
        """Open the file, make it if there is none, and return all of it. Raises OSError."""
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.fd).st_size
        return os.pread(self.fd, self.size, 0)

    def allocate(self, size: int, *, least: int) -> None:
        """Make it *size* bytes long; raises OSError when not even *least* bytes can be had."""
        if self.size > size:
            os.ftruncate(self.fd, size)
        elif self.size < size or os.fstat(self.fd).st_blocks * 512 < size:
            try:
                os.posix_fallocate(self.fd, 0, size)
            except OSError:
                if self.size < least:
                    raise
        self.size = os.fstat(self.fd).st_size

    def write(self, data: bytes, at: int) -> None:
        """Write all of *data*; a disk that takes only some of it is full."""
        if os.pwrite(self.fd, data, at) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def flush_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _is_whole(data: bytes) -> bool:
    """It begins with all that counted when it was written."""
    if len(data) < _TOP.size or not data.startswith(VERSION):
        return False
    *facts, length, crc = _TOP.unpack_from(data)
    body = data[_TOP.size : _TOP.size + length]
    found: int = zlib.crc32(body, zlib.crc32(_TOP.pack(*facts, length, 0)))
    return len(body) == int(length) and found == int(crc)


def _turn_of(data: bytes) -> int:
    turn: int = _TOP.unpack_from(data)[1]
    return turn


def _record(body: bytes, turn: int) -> bytes:
    """A record that counts in this turn only: the file has older ones behind its end."""
    return _HEAD.pack(len(body), zlib.crc32(body, turn & 0xFFFFFFFF)) + body


def _bodies(data: bytes, at: int, turn: int) -> Iterator[bytes]:
    """The records from *at* on, up to the first that is torn or older."""
    while at + _HEAD.size <= len(data):
        length, crc = _HEAD.unpack_from(data, at)
        at += _HEAD.size + length
        body = data[at - length : at]
        if not length or len(body) < length or zlib.crc32(body, turn & 0xFFFFFFFF) != crc:
            return
        yield body


def _packed(entry: Entry) -> bytes:
    facts: dict[str, Any] = {"run": entry.run, "state": entry.state}
    told = {"boot_id": entry.boot_id, "pid": entry.pid, "why": entry.why, "message": entry.message}
    facts |= {key: value for key, value in told.items() if value}
    if entry.ending is not None:
        facts["ending"] = _told(entry.ending)
    return _ENTRY + json.dumps(facts, separators=(",", ":")).encode()


def _told(ending: Ending) -> dict[str, Any]:
    """The fields of an ending; `dataclasses.asdict` is ten times as slow."""
    return {
        "why": ending.why,
        "exit_code": ending.exit_code,
        "signal": ending.signal,
        "message": ending.message,
        "duration_s": ending.duration_s,
        "usage": _fields_of(ending.usage),
        "streams": {name: _fields_of(end) for name, end in ending.streams.items()},
    }


def _fields_of(value: Usage | StreamEnd) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _unpacked(facts: dict[str, Any]) -> Entry:
    if not is_id("run", facts["run"]):
        raise ValueError(f"{facts['run']!r} is no run's id")
    ending: Mapping[str, Any] | None = facts.pop("ending", None)
    why = facts.pop("why", None)
    entry = Entry(**{**facts, "state": HeldState(facts["state"])})
    return replace(entry, why=Why(why) if why else None, ending=_ending(ending) if ending else None)


def _ending(facts: Mapping[str, Any]) -> Ending:
    return Ending(
        **{
            **facts,
            "why": Why(facts["why"]),
            "usage": Usage(**facts["usage"]),
            "streams": {
                StreamName(name): StreamEnd(**end) for name, end in facts["streams"].items()
            },
        }
    )
