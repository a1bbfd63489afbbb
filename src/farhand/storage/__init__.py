"""Where jobs, runs and output are kept. The store holds the truth."""

from farhand.storage.open import Storage, open_memory, open_storage

__all__ = ["Storage", "open_memory", "open_storage"]
