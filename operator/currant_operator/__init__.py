"""The Kubernetes operator of Currant.

Pure, and tested without a cluster: `resources` (the custom resources, parsed), `observed` (what a plan is made from),
`plans` (what a plan is), `plan_pool`, `plan_workflow`, `manifests`, `scaling`, `conditions`. Everything else does I/O.
"""

from __future__ import annotations

__version__ = "0.1.0"
