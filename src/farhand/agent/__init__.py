"""The daemon on a host: runs what it is asked to and tells the truth about it."""
