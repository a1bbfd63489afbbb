"""The system's time, as the one implementation of Clock that a process runs on."""

import asyncio
import time


class SystemClock:
    """Monotonic and wall time of this host."""

    def now(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, UTC; may jump."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
