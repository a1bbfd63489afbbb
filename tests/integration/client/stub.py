"""A controller of cardboard: answers as it is told, in order, and remembers what it was asked."""

import base64
import json
import ssl
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.integration.client.certificates import Certificate


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """One answer. *parts* go out chunk by chunk; *cut* ends the connection in mid-answer."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    parts: Iterable[bytes] | None = None
    body: bytes = b""
    cut: bool = False
    length: int | None = None  # claimed, where it differs from the body


def told(value: object, status: int = 200, **headers: str) -> Reply:
    """An answer in JSON."""
    kind = "application/problem+json" if status >= 400 else "application/json"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, {"Content-Type": kind, **named}, body=json.dumps(value).encode())


def problem(status: int, code: str, detail: str = "no", **details: object) -> Reply:
    """A refusal."""
    members = {"type": f"urn:farhand:error:{code}", "title": code, "status": status}
    return told({**members, "detail": detail, "code": code, **details}, status)


def stream(*parts: bytes, cut: bool = False) -> Reply:
    """Events, one part after the other."""
    return Reply(200, {"Content-Type": "text/event-stream"}, parts=parts, cut=cut)


def live(parts: Iterable[bytes]) -> Reply:
    """Events that are made while they are read."""
    return Reply(200, {"Content-Type": "text/event-stream"}, parts=parts)


def event(number: int | None, kind: str, data: object) -> bytes:
    """One event as the controller writes it."""
    numbered = "" if number is None else f"id: {number}\n"
    return f"{numbered}event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def output(number: int | None, run: str, offset: int, data: bytes, name: str = "stdout") -> bytes:
    """An `output` event."""
    text = base64.b64encode(data).decode()
    told_data = {"run": run, "stream": name, "offset": offset, "bytes": text}
    return event(number, "output", told_data)


def changed(number: int, run: str, state: str, name: str = "web-1", **more: object) -> bytes:
    """A `run` event."""
    whole = {"run": run, "agent": {"id": f"agt_{name}", "name": name}, "state": state}
    return event(number, "run", {**whole, "why": None, "message": "", "streams": {}, **more})


def ended(number: int, **counts: int) -> bytes:
    """The `end` event."""
    return event(number, "end", {"state": "done", "counts": counts})


def accepted(*names: str, job: str = "job_1") -> Reply:
    """The answer to a job on these hosts: runs run_1, run_2, …"""
    runs = [
        {"id": f"run_{n}", "agent": {"id": f"agt_{name}", "name": name}, "state": "queued"}
        for n, name in enumerate(names, 1)
    ]
    brief = {"id": job, "state": "running", "by": "admin", "targets": ",".join(names)}
    return told({**brief, "summary": "x", "counts": {"queued": len(runs)}, "runs": runs}, 202)


class Stub:
    """What to answer, by method and path; the last answer to a path is given again and again."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.connections = 0
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self._lock = threading.Lock()

    def on(self, method: str, path: str, *replies: Reply) -> None:
        self._replies[method, path] = list(replies)

    def asked(self, method: str, path: str) -> list[Seen]:
        return [seen for seen in self.seen if (seen.method, seen.path) == (method, path)]

    def reply(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            waiting = self._replies.get((seen.method, seen.path))
            if not waiting:
                return problem(404, "not-found", f"nothing at {seen.method} {seen.path}")
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True
    stub: Stub

    def setup(self) -> None:
        super().setup()
        self.stub.connections += 1

    def handle(self) -> None:
        with suppress(OSError):  # a peer that fails the handshake, or goes
            super().handle()

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        reply = self.stub.reply(Seen(self.command, path, query, headers, body))
        try:
            self._write(reply)
        except OSError:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def _write(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.parts is None:
            if reply.status != 204:
                length = len(reply.body) if reply.length is None else reply.length
                self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(reply.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in reply.parts:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            if not reply.cut:
                self.wfile.write(b"0\r\n\r\n")
        if reply.cut or reply.length is not None:
            self.close_connection = True

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def stub_server(*, tls: Certificate | None = None) -> Iterator[Stub]:
    """A stub that listens on loopback."""
    stub = Stub()
    handler = type("Handler", (_Handler,), {"stub": stub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False  # so that closing waits for the answers
    scheme = "http"
    if tls is not None:
        scheme = "https"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.chain, tls.key)
        # The handshake is the handler's: a peer that fails it must not stop the listener.
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    stub.url = f"{scheme}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="stub")
    thread.start()
    try:
        yield stub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
