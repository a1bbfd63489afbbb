"""Orders as requests, and which of them an agent takes."""

from farhand.domain.deepflow.effects import Order
from farhand.domain.deepflow.messages import REQUEST_BYTES, ExecType, Parameter, Request
from farhand.domain.ids import RunId
from farhand.wire.deepflow import encode_request

RUN = RunId("run_01h455vb4pex5vsknk084sn02q")


def order(ident: str = "system_d2e", **params: str) -> Order:
    return Order(
        run=RUN,
        ident=ident,
        params=params,
        linux_ns_pid=7,
        queue_until=1.0,
        timeout_s=1.0,
        output_bytes=1,
        grant=1,
    )


def test_an_order_becomes_a_request_that_leaves_nothing_to_what_was_said_before() -> None:
    expected = Request(
        request_id=9,
        exec_type=ExecType.RUN_COMMAND,
        params=(Parameter("ns", "a"), Parameter("pod", "b")),
        linux_ns_pid=7,
        batch_len=4096,
        ident="x",
    )

    assert expected == order("x", ns="a", pod="b").request(9, 4096)


def test_an_order_that_fits_can_be_sent() -> None:
    largest = order(x="ü" * ((REQUEST_BYTES - 200) // 2))

    assert largest.fits
    assert len(encode_request(largest.request(2**64 - 1, 2**32 - 1))) <= REQUEST_BYTES
    assert not order(x="x" * REQUEST_BYTES).fits
    assert not order(**{str(at): "" for at in range(70_000)}).fits
