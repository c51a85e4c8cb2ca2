"""A module that takes more memory than the pod of the test may have."""

from currant import task

BALLAST = bytearray(400 * 1024 * 1024)
BALLAST[::4096] = b"x" * len(BALLAST[::4096])


@task()
async def weigh(number: int) -> int:
    return len(BALLAST)
