"""The people's front door: the HTTP API, its live streams, and the server under them."""
