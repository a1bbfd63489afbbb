"""What became of a run, in DeepFlow's words, and what it printed, sealed while it is read.

Holds one piece of the output at a time, whatever its size. Ends nothing and waits for nothing.
"""

import asyncio
import codecs
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from farhand.domain.agent import Agent
from farhand.domain.output import StreamName
from farhand.domain.run import Run, RunState, Why
from farhand.errors import StoreUnavailable
from farhand.http.answer import Json
from farhand.http.deepflow.answers import STATUS, OptStatus, around, envelope
from farhand.http.deepflow.asked import RunAsked
from farhand.http.deepflow.cipher import Cipher, sealed_length
from farhand.http.door import Caller

READ_BYTES: Final = 256 * 1024

AGENT: Final = "deepflow-agent"
SERVER: Final = "deepflow-server"
BINARY: Final = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Reply:
    """The way back to one caller: the key, and what was asked for."""

    here: Caller
    cipher: Cipher
    asked: RunAsked

    def unable(self, side: str, told: str) -> Json:
        """Say that a command was not run, and which side says so."""
        description = unable(side, self.asked.label, told)
        return envelope(OptStatus.SERVER_ERROR, description, self.cipher.sealed(b"").decode())

    async def of_run(self, agent: Agent, run: Run, *, waited: bool, stopping: bool) -> Response:
        """Tell what became of *run* and what it has printed so far.

        *waited* when its time is over, *stopping* when the controller ends before the run does.
        """
        if stopping and not run.state.resting:
            told = f"this controller is stopping; the job {run.job} goes on"
            status = OptStatus.SERVICE_UNAVAILABLE
            return await self._sealed(run, status, unable(SERVER, self.asked.label, told))
        status, description = verdict(
            run,
            agent,
            await self._errors(run),
            label=self.asked.label,
            waited_s=self.here.limits.deepflow_wait_s if waited else None,
        )
        return await self._sealed(run, status, description)

    async def _errors(self, run: Run) -> str:
        """Return what the run printed to stderr, as far as it is text and fits an answer."""
        most, store = self.here.limits.wait_output_bytes, self.here.tenant.store
        stored = (await store.offsets(run.id)).get(StreamName.STDERR, 0)
        data = await store.output(run.id, StreamName.STDERR, offset=0, limit=most)
        cut = stored > len(data)
        try:
            text = codecs.getincrementaldecoder("utf-8")().decode(data, not cut)
        except UnicodeDecodeError:
            return ""
        return f"{text}\n… {stored} bytes in all, kept with {run.id}" if cut else text

    async def _sealed(self, run: Run, status: OptStatus, description: str) -> Response:
        size = (await self.here.tenant.store.offsets(run.id)).get(StreamName.STDOUT, 0)
        headers = {
            "Farhand-Job": run.job,
            "Farhand-Run": run.id,
            "Farhand-Run-State": run.state.value,
        }
        head, tail, media = b"", b"", BINARY
        if not self.asked.binary or status is not OptStatus.SUCCESS:
            head, tail = around(status, description)
            media = Json.media_type
        elif self.asked.output_filename:
            name = quote(self.asked.output_filename, safe="")
            headers["Content-Disposition"] = f"attachment; filename*=utf-8''{name}"
        headers["Content-Length"] = str(len(head) + sealed_length(size) + len(tail))
        body = self._body(run, size, head, tail)
        return StreamingResponse(body, STATUS[status], headers, media_type=media)

    async def _body(self, run: Run, size: int, head: bytes, tail: bytes) -> AsyncIterator[bytes]:
        sealing, at = self.cipher.sealing(), 0
        yield head
        while at < size:
            data = await self.here.tenant.store.output(
                run.id, StreamName.STDOUT, offset=at, limit=min(READ_BYTES, size - at)
            )
            if not data:
                raise StoreUnavailable(f"the output of {run.id} was deleted while it was read")
            yield sealing.update(data)
            at += len(data)
            await asyncio.sleep(0)  # a fast reader must not starve everybody else
        yield sealing.finish() + tail


def unable(side: str, label: str, told: str) -> str:
    """Return the sentence in which DeepFlow tells that a command came to nothing."""
    return (
        f"The {side} is unable to execute the `{label}` command. "
        f"Detailed error information is as follows:\n\n{told}"
    )


def verdict(
    run: Run, agent: Agent, errors: str, *, label: str, waited_s: float | None
) -> tuple[OptStatus, str]:
    """Return what became of a run as status and description.

    *errors* is its stderr; *waited_s* is how long was waited when that time is over.
    """
    match run.state:
        case RunState.SUCCEEDED:
            end = run.streams.get(StreamName.STDOUT)
            if end is None or not end.cut_bytes:
                return OptStatus.SUCCESS, ""
            told = f"{end.cut_bytes} bytes are missing at {end.cut_at}: more than is kept of a run"
            return OptStatus.PARTIAL_RESULT, told
        case RunState.FAILED if run.why in {Why.EXIT, Why.SIGNAL}:
            side, told = AGENT, errors or f"command '{label}' failed"
        case RunState.FAILED | RunState.REFUSED:
            side, told = AGENT, "\n".join(filter(None, (errors, run.message)))
        case RunState.CANCELLED if waited_s is None:
            side, told = AGENT, "the command was cancelled"
        case RunState.LOST if run.why is not Why.NO_CANCEL:
            name = f"agent(key: {agent.ip_mac}, name: {agent.name})"
            side, told = SERVER, f"{name} command manager is lost"
        case _:
            seconds = run.timeout_s if waited_s is None else waited_s
            side, told = SERVER, f"timeout({seconds:g}s) to run agent command"
    return OptStatus.SERVER_ERROR, unable(side, label, told)
