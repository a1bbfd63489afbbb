"""Carry gRPC calls over HTTP/2 in both roles, one asyncio.Protocol per connection.

Knows nothing of what the messages mean; they are bytes on both sides.

Server::

    class Echo(Handler):
        def __init__(self, call: Call) -> None:
            self._call = call

        def on_message(self, message: bytes) -> None:
            self._call.identified()  # until then: tight limits, see LinkLimits
            self._call.send(message)

        def on_half_close(self) -> None:  # the client sends no more
            self._call.finish()

        def on_closed(self, end: CallEnd) -> None: ...  # exactly once, the last callback


    server = GrpcServer({"/demo.Echo/Stream": Echo}, limits=LinkLimits())
    host, port = await server.listen("127.0.0.1", 0)
    ...
    await server.drain(grace_s=5.0)  # two-step GOAWAY, wait for calls, then cut

Client::

    link = await connect("127.0.0.1", port)  # ConnectFailed, ProxyRefused
    call = link.open("/demo.Echo/Stream", Collect, metadata=(("k", "v"),), timeout_s=5.0)
    call.send(b"hello")
    call.half_close()
    link.close()
    await link.wait_closed()

A handler is made from its ``Call`` by a factory and is called back on the loop, never inside
``send``, ``finish``, ``cancel`` or ``open``. Nothing needs a task.

- ``Call``: ``path``, ``peer``, ``metadata``, ``ended``, ``queued`` (bytes not yet framed),
  ``writable``; ``send(bytes)``, ``finish(status, message, trailers)`` (server),
  ``half_close()`` (client), ``cancel(message)``, ``pause_reading()``, ``resume_reading()``,
  ``identified(message_bytes=None)``. ``send`` and ``finish`` raise ``CallEnded`` once the call
  is over; ``send`` past ``LinkLimits.queued_bytes_per_call`` resets the call: look at
  ``writable`` and wait for ``on_writable``.
- ``Handler``: ``on_headers(metadata)`` (client), ``on_message(bytes)``, ``on_half_close()``
  (server), ``on_writable()``, ``on_closed(CallEnd)``. An exception ends its call with INTERNAL.
- ``CallEnd``: ``status``, ``message``, ``trailers``, ``by`` (``EndedBy.STATUS``: trailers went
  through; ``HERE``: cancelled here; ``PEER``: reset by the peer; ``DEADLINE``; ``LIMIT``;
  ``LINK``: the connection was lost; ``FAULT``: the handler raised).
- ``Connection`` (client): ``open``, ``draining``, ``closed``, ``close()``, ``wait_closed()``.
- ``GrpcServer``: ``listen``, ``addresses``, ``drain``, ``close``, ``health``, ``connections``.
  TLS and plaintext share a port: ``tls=server_context(...)`` and ``plaintext=policy`` where
  ``policy(peer, path)`` says what a plaintext connection may call.
"""

from farhand.wire.grpc.call import Call, Factory, Handler
from farhand.wire.grpc.client import Connection, connect
from farhand.wire.grpc.errors import (
    CallEnded,
    ConnectFailed,
    LinkClosed,
    LinkError,
    ProtocolError,
    ProxyRefused,
)
from farhand.wire.grpc.health import HealthService
from farhand.wire.grpc.limits import LinkLimits
from farhand.wire.grpc.proxy import HttpProxy
from farhand.wire.grpc.server import GrpcServer, PlaintextPolicy
from farhand.wire.grpc.status import CallEnd, EndedBy, Metadata, Peer, Status
from farhand.wire.grpc.timers import TimerWheel
from farhand.wire.grpc.tls import client_context, server_context

__all__ = [
    "Call",
    "CallEnd",
    "CallEnded",
    "ConnectFailed",
    "Connection",
    "EndedBy",
    "Factory",
    "GrpcServer",
    "Handler",
    "HealthService",
    "HttpProxy",
    "LinkClosed",
    "LinkError",
    "LinkLimits",
    "Metadata",
    "Peer",
    "PlaintextPolicy",
    "ProtocolError",
    "ProxyRefused",
    "Status",
    "TimerWheel",
    "client_context",
    "connect",
    "server_context",
]
