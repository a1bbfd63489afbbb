"""The command line: an ordinary user of the SDK, and the door to boot."""
