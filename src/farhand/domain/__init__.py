"""What farhand means by its words, as values and pure functions.

No I/O, no clock, no asyncio, no protobuf: everything here can be tested with plain calls.
"""
