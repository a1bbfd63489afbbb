"""What the words mean: pure values and decisions, without I/O, clock or asyncio."""
