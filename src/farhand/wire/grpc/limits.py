"""Hold every limit of a link in one value, each with its unit and its reason.

Enforces nothing itself: core.py counts bytes and frames, aio.py watches the time.
"""

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """What a peer may cost. The defaults suit agents behind one NAT; a test passes small ones."""

    connect_deadline_s: float = 10.0
    """Client: from the first packet to the server's SETTINGS, through a proxy and TLS."""
    handshake_deadline_s: float = 10.0
    """Server: from accepting a connection to the client's SETTINGS, through TLS."""
    first_message_deadline_s: float = 10.0
    """From the opening of a call to its `identified()`; also for a connection without a call."""
    idle_deadline_s: float = 600.0
    """Server: how long an identified connection may stay without any call."""
    keepalive_interval_s: float = 30.0
    """Silence after which a PING is sent."""
    keepalive_timeout_s: float = 20.0
    """Silence after that PING which ends the connection."""
    stall_deadline_s: float = 30.0
    """How long queued bytes may stay where they are: then the call is reset, or the connection
    is dropped when its own window or its socket is what is stuck."""

    bytes_before_identity: int = 16 * KIB
    """Message bytes of one call before its `identified()`, without the framing."""
    calls_before_identity: int = 8
    """Calls at a time on a connection on which no call is identified yet."""
    unidentified_per_address: int = 256
    """Connections at a time from one address on which no call is identified yet."""
    unidentified: int = 4096
    """The same, from all addresses together."""
    connections: int = 1_000_000
    """Server: all connections, known or not. Below what the process may open, which needs some
    descriptors for other work than this."""
    streams: int = 1024
    """Calls at a time on one connection."""
    message_bytes: int = 4 * MIB
    """One received message, unless `identified(message_bytes=...)` raised it."""
    large_messages_bytes: int = 256 * MIB
    """All messages above `message_bytes` that are being received at one time, of all connections
    of one server or of one client connection."""
    frame_bytes: int = 16 * KIB
    """One HTTP/2 frame; 16 to 64 KiB, because DATA is delivered in whole frames."""
    header_list_bytes: int = 16 * KIB
    """One header list, decoded, with 32 bytes for each field."""
    header_count: int = 64
    """Fields of one header list."""

    stream_window_bytes: int = 4 * MIB
    """What a peer may send on one call before it is acknowledged."""
    connection_window_bytes: int = 16 * MIB
    """The same for all calls of a connection together; a call whose reading is paused keeps its
    part of it."""
    queued_bytes_per_call: int = 16 * MIB
    """Bytes waiting to be framed; a send beyond it (but for a first message) resets the call."""
    writable_bytes_per_call: int = 256 * KIB
    """Queued bytes up to which a call is `writable`."""
    write_buffer_bytes: int = 256 * KIB
    """Bytes in the socket's write buffer above which nothing more is framed."""

    control_burst_bytes: int = MIB
    """Bytes that carry no message (PING, SETTINGS, WINDOW_UPDATE, HEADERS, RST_STREAM, PRIORITY,
    unknown and empty frames, padding) that a peer may send at once."""
    control_bytes_per_s: int = 256 * KIB
    """The same, for ever."""
    resets_burst: int = 1000
    """RST_STREAM frames that a client may send at once."""
    resets_per_s: int = 33
    """The same, for ever."""
    unanswered_acks: int = 200
    """PING and SETTINGS answers that a peer may leave unread."""
    continuations: int = 8
    """CONTINUATION frames of one header list."""

    def settings(self, *, serving: bool) -> dict[int, int]:
        """What the peer is told of them, by the numbers of HTTP/2's SETTINGS."""
        told = {
            0x4: self.stream_window_bytes,
            0x5: self.frame_bytes,
            0x6: self.header_list_bytes,
        }
        return told | ({0x3: self.streams} if serving else {0x2: 0})  # no server push
