"""The SDK: an ordinary user of the HTTP API, asynchronous or blocking."""
