"""Enqueue an order, wait for its result, print it. Needs a worker: see `simple_example.py`.

python examples/enqueue_example.py
"""

import asyncio
import sys
from pathlib import Path

# A script's own directory is on the path, its parent is not: `examples` is a package of the directory above.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from examples.simple_example import process_order


async def main() -> None:
    handle = await process_order.queue("order-1", user_id="ann", amount=4_200)
    print(f"enqueued {handle}", flush=True)
    print(f"result   {await handle.result(timeout=60)}")


if __name__ == "__main__":
    asyncio.run(main())
