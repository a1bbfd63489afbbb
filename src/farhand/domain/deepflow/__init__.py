"""DeepFlow's remote execution as pure values and pure decisions.

Knows no protobuf, no clock and no loop.

- `messages`: what agent and server say (`Request`, `Response`, `Sender`, `DataChunk`, …)
"""
