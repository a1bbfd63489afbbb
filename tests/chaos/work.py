"""Jobs of many shapes, drawn from a generator: what is asked for, and what it must come to.

Pure: the same generator draws the same jobs.
"""

import base64
import json
import random
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from tests.chaos import program
from tests.chaos.program import end_mark, printed

KB: Final = 1024
PLENTY_S: Final = 120.0  # of time, for runs that are to end by themselves
LONG_S: Final = 90.0  # for runs that are to be ended
SIGNALS: Final = (6, 9, 10, 12, 14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One job. *how* it ends by itself: `exit-N` or `signal-N`; None when it must be ended.

    *out* and *err* are all that it prints. *cancel_after_s* counts from the answer; *posts* is how
    many times the same request is sent at once.
    """

    kind: str
    nonce: str
    what: Mapping[str, Any]
    out: bytes = field(repr=False)
    err: bytes = field(repr=False)
    how: str | None = "exit-0"
    agents: tuple[str, ...] = ()
    timeout_s: float = PLENTY_S
    queue_ttl_s: float = PLENTY_S
    output_limit: int | None = None
    stdin: bytes = field(default=b"", repr=False)
    cancel_after_s: float | None = None
    posts: int = 1
    follow: bool = False
    wait_s: float = 0.0  # the answer may be the result
    release_after_s: float | None = None  # held until then

    @property
    def body(self) -> dict[str, Any]:
        """The JSON of the request."""
        body: dict[str, Any] = {
            "targets": {"names": list(self.agents)},
            "timeout_s": self.timeout_s,
            "queue_ttl_s": self.queue_ttl_s,
            **self.what,
        }
        if self.output_limit is not None:
            body["output_limit_bytes"] = self.output_limit
        if self.release_after_s is not None:
            body["hold"] = True
        if self.stdin:
            body["stdin_base64"] = base64.b64encode(self.stdin).decode()
        return body


class Drawer:
    """Draws one job after the other for the agents *names*; runs leave their marks in *marks*.

    At a *pace* of 2 what takes long by itself takes half as long.
    """

    def __init__(self, seed: str, names: Sequence[str], marks: Path, pace: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._seed = seed
        self._names = tuple(names)
        self._marks = str(marks)
        self._pace = pace
        self._count = 0

    def next(self) -> Work:
        """Draw a job."""
        self._count += 1
        draw = self._random
        (shape,) = draw.choices([shape for shape, _ in _KINDS], [weight for _, weight in _KINDS])
        work = shape(self)
        spread = draw.choices([1, 2, len(self._names)], [8, 2, 1])[0]
        return replace(
            work,
            agents=tuple(draw.sample(self._names, min(spread, len(self._names)))),
            posts=draw.choices([1, 2, 3], [6, 2, 1])[0],
            follow=draw.random() < 0.25,
            wait_s=draw.choice([0.0, 0.0, 0.0, 2.0]),
        )

    @property
    def pause_s(self) -> float:
        """How long a person thinks before the next job."""
        return self._random.uniform(0.05, 0.8)

    def _nonce(self) -> str:
        return f"{self._seed}-{self._count}"

    def _python(self, kind: str, **told: Any) -> Work:
        """A run of `program.py`; *told* are its orders."""
        nonce = self._nonce()
        how = told.pop("how", "exit-0")
        stdin = told.pop("stdin", b"")
        more = {name: told.pop(name) for name in _OF_WORK if name in told}
        orders = {"nonce": nonce, "marks": self._marks, **_ORDERS, **told, "how": how or "exit-0"}
        argv = [sys.executable, "-I", "-S", program.__file__, json.dumps(orders)]
        return Work(
            kind=kind,
            nonce=nonce,
            what={"argv": argv},
            out=stdin if told.get("echo") else printed(nonce, "stdout", orders["out"]),
            err=printed(nonce, "stderr", orders["err"]),
            how=how,
            stdin=stdin,
            **more,
        )

    def _shell(self, kind: str, *, script: bool = False, code: int = 0, **more: Any) -> Work:
        """A few lines for /bin/sh, which start in a millisecond."""
        nonce = self._nonce()
        out, err = f"{nonce} says\nthis\n".encode(), f"{nonce} complains\n".encode()
        marks = f'{shlex.quote(self._marks)}/"$FARHAND_RUN"'
        text = (
            f"echo 'start {nonce}' >> {marks}\n"
            f"echo '{nonce} says'; echo '{nonce} complains' >&2; echo this\n"
            f"echo '{end_mark(f'exit-{code}', out, err)}' >> {marks}\nexit {code}\n"
        )
        what: Mapping[str, Any] = {"argv": ["/bin/sh", "-c", text]}
        if script:
            what = {"script": f"#!/bin/sh\n{text}"}
        return Work(kind=kind, nonce=nonce, what=what, out=out, err=err, how=f"exit-{code}", **more)

    # --- The shapes -----------------------------------------------------------------------

    def quick(self) -> Work:
        """Draw the smallest job there is."""
        self._count += 1
        return self._shell("quick")

    def _script(self) -> Work:
        return self._shell("script", script=True, code=self._random.choice([0, 0, 7]))

    def _expiring(self) -> Work:
        return self._shell("expiring", queue_ttl_s=round(self._random.uniform(0.2, 2.0), 2))

    def _held(self) -> Work:
        return self._shell("held", release_after_s=self._random.uniform(0.0, 3.0))

    def _exit(self) -> Work:
        return self._python("exit", how=f"exit-{self._random.randint(1, 255)}", out=100)

    def _signal(self) -> Work:
        return self._python("signal", how=f"signal-{self._random.choice(SIGNALS)}", err=100)

    def _chatter(self) -> Work:
        out, err = (self._random.randint(0, 200 * KB) for _ in "oe")
        return self._python("chatter", out=out, err=err, piece=8 * KB, pause_s=0.005)

    def _flood(self) -> Work:
        out, err = (self._random.randint(0, 3 << 20) for _ in "oe")
        return self._python("flood", out=out, err=err)

    def _cut(self) -> Work:
        limit = self._random.randint(1, 600 * KB)
        out, err = (self._random.randint(0, 1 << 20) for _ in "oe")
        return self._python("cut", out=out, err=err, output_limit=limit)

    def _drip(self) -> Work:
        pieces, pause = self._random.randint(10, 40), self._random.uniform(0.05, 0.2) / self._pace
        size = self._random.choice([1, 100, 20 * KB])
        told = {"piece": size, "pause_s": pause}
        return self._python("drip", out=size * pieces, err=size * (pieces // 2), **told)

    def _sleeper(self) -> Work:
        return self._python("sleeper", out=50, sleep_s=self._random.uniform(1.0, 8.0) / self._pace)

    def _child(self) -> Work:
        child = self._random.choice(["pipes", "nowhere"])
        return self._python("child", out=2000, child=child, sleep_s=self._random.uniform(0, 2))

    def _stdin(self) -> Work:
        data = printed(self._nonce(), "stdin", self._random.randint(1, 200 * KB))
        return self._python("stdin", echo=True, stdin=data)

    def _cancelled(self) -> Work:
        return self._python(
            "cancelled",
            how=None,
            out=3000,
            piece=100,
            pause_s=self._random.uniform(0.01, 0.3),
            sleep_s=LONG_S,
            stubborn=self._random.random() < 0.3,
            child=self._random.choice(["", "", "pipes", "nowhere"]),
            cancel_after_s=self._random.uniform(0.0, 4.0),
        )

    def _timeout(self) -> Work:
        told = {"out": 3000, "piece": 100, "pause_s": 0.02, "sleep_s": LONG_S}
        limit = round(self._random.uniform(0.5, 3.0), 2)
        return self._python("timeout", how=None, timeout_s=limit, **told)


_OF_WORK: Final = ("timeout_s", "queue_ttl_s", "output_limit", "cancel_after_s")
_ORDERS: Final = {"out": 0, "err": 0, "piece": 64 * KB, "pause_s": 0.0, "sleep_s": 0.0}
_KINDS: Final[Sequence[tuple[Callable[[Drawer], Work], int]]] = (
    (Drawer.quick, 6),
    (Drawer._script, 3),
    (Drawer._expiring, 3),
    (Drawer._held, 1),
    (Drawer._exit, 2),
    (Drawer._signal, 2),
    (Drawer._chatter, 3),
    (Drawer._flood, 1),
    (Drawer._cut, 2),
    (Drawer._drip, 3),
    (Drawer._sleeper, 3),
    (Drawer._child, 2),
    (Drawer._stdin, 2),
    (Drawer._cancelled, 3),
    (Drawer._timeout, 2),
)
