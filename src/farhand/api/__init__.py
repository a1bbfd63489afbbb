"""The JSON shapes of the HTTP API. Holds no behaviour."""
