"""The answer to one RUN_COMMAND: when it is complete, whether it is whole, and what it means.

Holds no output; it counts and digests what passes.
"""

import hashlib
from dataclasses import dataclass

from farhand.domain.deepflow.messages import DataChunk, Response
from farhand.domain.deepflow.texts import brief, stderr_of, trouble
from farhand.domain.run import Why

KILLED = "a signal ended it; DeepFlow agents do not say which"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer means. *refused*: the agent started nothing. *stderr* rode in the error."""

    why: Why
    exit_code: int | None = None
    message: str = ""
    stderr: bytes = b""
    refused: bool = False


def completes(response: Response) -> bool:
    """Whether nothing more comes for a run after this response.

    Its own server waits for ever on some of these: success without output, an error beside content
    without an MD5.
    """
    chunk = response.result
    return (
        response.errmsg is not None or chunk is None or chunk.md5 is not None or not chunk.content
    )


class Answer:
    """What came for one run so far."""

    __slots__ = ("_batches", "_digest", "_errno", "_lost", "_said", "received")

    def __init__(self) -> None:
        self._digest = hashlib.md5(usedforsecurity=False)
        self._errno: int | None = None
        self._batches = 0
        self._lost = 0
        self._said = DataChunk()  # what the last batch said of the whole
        self.received = 0  # bytes of stdout

    def add(self, chunk: DataChunk) -> None:
        """Take a batch."""
        content = chunk.content or b""
        self._digest.update(content)
        self._batches += 1
        self.received += len(content)
        self._said = chunk
        if chunk.errno is not None:
            self._errno = chunk.errno

    def lose(self, size: int) -> None:
        """*size* bytes of it could not be held."""
        self._lost += size

    def verdict(self, last: Response) -> Verdict:
        """What it means, after *last*, which completed it."""
        meant = self._meaning(last)
        if self._lost:
            told = f"{self._lost} bytes of its output could not be held here and are gone"
        elif not meant.refused and (problem := self._problem()):
            told = f"the agent's answer is damaged: {problem}"
        else:
            return meant
        return Verdict(
            why=Why.OUTPUT_CORRUPT, exit_code=meant.exit_code, message=told, stderr=meant.stderr
        )

    def _meaning(self, last: Response) -> Verdict:
        errmsg = last.errmsg
        if errmsg is None:
            if last.result is None:
                told = "the agent answered with something that is no result"
                return Verdict(why=Why.AGENT_FAILED, message=told)
            return Verdict(why=Why.EXIT, exit_code=self._errno or 0)
        if not self.received and not self._errno and (own := trouble(errmsg)):
            return Verdict(why=own.why, message=errmsg, refused=own.refused)
        if last.result is None:
            return Verdict(why=Why.AGENT_FAILED, message=brief(errmsg))
        if self._errno:
            return Verdict(why=Why.EXIT, exit_code=self._errno, stderr=stderr_of(errmsg))
        return Verdict(why=Why.SIGNAL, message=KILLED, stderr=stderr_of(errmsg))

    def _problem(self) -> str:
        """What of the end does not fit what came, or nothing."""
        said = self._said
        if said.total_len is not None and said.total_len != self.received:
            return f"it announced {said.total_len} bytes and sent {self.received}"
        if said.pkt_count is not None and max(1, said.pkt_count) != self._batches:
            return f"it announced {said.pkt_count} batches and sent {self._batches}"
        if said.md5 is not None and said.md5.lower() != self._digest.hexdigest():
            return f"its MD5 is {said.md5[:40]}, that of what it sent {self._digest.hexdigest()}"
        return ""
