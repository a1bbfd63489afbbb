"""Name each run on disk before it starts, so that a restart can tell the truth about it.

Holds no output. The file is allocated ahead, so that a full disk does not stop it, and each
record carries a checksum, so that a torn one at the end is seen and dropped.
"""

import asyncio
import contextlib
import errno
import json
import os
import struct
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

from farhand.domain.ids import RunId, is_id
from farhand.domain.messages import HeldState
from farhand.domain.output import StreamEnd, StreamName
from farhand.domain.run import Ending, Usage, Why
from farhand.errors import DataDirUnwritable

VERSION: Final = b"farhand journal 1\n"
_HEAD: Final = struct.Struct("<II")  # length, crc32; a length of 0 ends the journal


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the journal knows of a run. *pid* is the leader's, in the boot of *boot_id*."""

    run: RunId
    state: HeldState
    at: float  # wall clock, only to forget old ids
    boot_id: str = ""
    pid: int = 0
    ending: Ending | None = None
    why: Why | None = None
    message: str = ""
    settled: bool = False


class Journal:
    """The runs of one agent, on disk. One writer; writes that wait together share one fsync."""

    def __init__(self, path: Path, size: int, keep_s: float) -> None:
        self._path = path
        self._size = size
        self._keep_s = keep_s
        self._fd = -1
        self._end = 0
        self._waiting: asyncio.Future[None] | None = None  # for the next flush
        self._flushing = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self.entries: dict[RunId, Entry] = {}
        self.fsyncs = 0

    @classmethod
    def open(cls, path: Path, *, size: int, keep_s: float, now: float) -> Self:
        """Read the journal at *path*, or begin one; raises DataDirUnwritable.

        Settled runs older than *keep_s* seconds before *now* are forgotten.
        """
        journal = cls(path, size, keep_s)
        try:
            if path.exists():
                journal._load(path.read_bytes())
            journal._rewrite(now)
        except OSError as exc:
            msg = f"the journal {path} cannot be written: {exc.strerror}"
            raise DataDirUnwritable(msg) from exc
        return journal

    def close(self) -> None:
        """Give the file up."""
        self._thread.shutdown()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

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
        others when the file is.
        """
        self.entries[entry.run] = entry
        record = _packed(entry)
        try:
            if self._end + len(record) + _HEAD.size > self._size:
                self._rewrite(entry.at)
            else:
                write_at(self._fd, record, self._end)
                self._end += len(record)
        except OSError as exc:
            msg = f"the journal {self._path} cannot be written: {exc.strerror}"
            raise DataDirUnwritable(msg) from exc

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

        loop.run_in_executor(self._thread, os.fdatasync, self._fd).add_done_callback(finished)

    def _flush_failed(self, error: BaseException, done: asyncio.Future[None] | None) -> None:
        """The kernel may have dropped what was written: nobody's entry is on disk, all go anew."""
        waiting, self._waiting = self._waiting, None
        self._end = self._size
        for each in (done, waiting):
            if each is not None and not each.done():
                msg = f"the journal {self._path} cannot be flushed: {error}"
                each.set_exception(DataDirUnwritable(msg))

    def _load(self, data: bytes) -> None:
        foreign = f"{self._path} is not a journal of this version; move it away to start anew"
        if not data.startswith(VERSION):
            raise DataDirUnwritable(foreign)
        at = len(VERSION)
        while at + _HEAD.size <= len(data):
            length, crc = _HEAD.unpack_from(data, at)
            body = data[at + _HEAD.size : at + _HEAD.size + length]
            if not length or len(body) < length or zlib.crc32(body) != crc:
                break
            at += _HEAD.size + length
            try:
                entry = _unpacked(json.loads(body))
            except (KeyError, TypeError, ValueError) as exc:
                raise DataDirUnwritable(foreign) from exc
            self.entries[entry.run] = entry

    def _rewrite(self, now: float) -> None:
        """Write what counts to a fresh file, allocated ahead, and put it in place."""
        oldest = now - self._keep_s
        self.entries = {
            run: entry
            for run, entry in self.entries.items()
            if not entry.settled or entry.at > oldest
        }
        body = VERSION + b"".join(map(_packed, self.entries.values()))
        size = max(self._size, 2 * len(body))
        fresh = self._path.with_suffix(".new")
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            write_at(fd, body, 0)
            os.fsync(fd)
            fresh.replace(self._path)
        except BaseException:
            os.close(fd)
            with contextlib.suppress(OSError):
                fresh.unlink()
            raise
        if self._fd >= 0:
            # A flush of the old file may be under way in the thread: close it behind that.
            self._thread.submit(os.close, self._fd)
        self._fd, self._end, self._size = fd, len(body), size
        flush_directory(self._path.parent)


def write_at(fd: int, data: bytes, at: int) -> None:
    """Write all of *data*; a disk that takes only some of it is full."""
    if os.pwrite(fd, data, at) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def flush_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _packed(entry: Entry) -> bytes:
    facts: dict[str, Any] = {"run": entry.run, "state": entry.state, "at": entry.at}
    if entry.settled:  # only its id is remembered
        facts["settled"] = True
    else:
        told = {"boot_id": entry.boot_id, "pid": entry.pid, "why": entry.why}
        facts |= {key: value for key, value in told.items() if value}
        if entry.message:
            facts["message"] = entry.message
        if entry.ending is not None:
            facts["ending"] = asdict(entry.ending)
    body = json.dumps(facts, separators=(",", ":")).encode()
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


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
