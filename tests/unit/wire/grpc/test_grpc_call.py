"""A handler that implements nothing is a handler."""

from farhand.wire.grpc import CallEnd, Handler, Status


def test_every_callback_may_be_left_out() -> None:
    handler = Handler()
    handler.on_headers(())
    handler.on_message(b"")
    handler.on_half_close()
    handler.on_writable()
    handler.on_closed(CallEnd(Status.OK))

    assert not hasattr(handler, "__dict__")
