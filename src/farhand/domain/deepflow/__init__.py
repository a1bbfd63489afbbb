"""DeepFlow's remote execution as pure values and pure decisions.

Knows no protobuf, no clock and no loop; `farhand.wire.deepflow` has the bytes.

For both roles:

- `messages`: `Request` (server → agent), `Response` (agent → server), `Sender`, `DataChunk`, …;
  None is "not there" and means something else than a zero
- `catalogue`: `ident_of`, `problem_with` (a command's parameters), `OFFERS` (the ten commands)
- `texts`: the error texts, written (`unknown_ident(…)`) and understood (`trouble(text)`)

For an agent that speaks to a DeepFlow server:

- `batches.result(sender, request_id, stdout=…, errno=…, errmsg=…, size=…)` makes the responses of a
  finished command, `batches.failure` that of one that was not started, `batches.namespaces` that
  of LIST_NAMESPACE; `batches.batch_bytes` says how large batches are after a request
- send `messages.heartbeat(sender)` first and every `HEARTBEAT_S`; a request without exec_type is a
  heartbeat's answer

For a controller that DeepFlow agents dial:

- `session.DeepFlowSession` is what one stream means: responses and orders in, effects out
- `outlet` holds what runs printed until it is stored, within a budget for all streams
"""
