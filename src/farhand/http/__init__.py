"""The people's front door: the HTTP API. Parses, calls one method, answers."""
