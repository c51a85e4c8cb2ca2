"""The range of every value that callers give. Written by `make generate` from core/src/base/limits.rs."""

from currant._base.checks import Range

# Numbers, and durations in seconds.
PRIORITY = Range(0, 10)
MAX_ATTEMPTS = Range(1, 1_000_000)
MAX_WORKER_LOSSES = Range(0, 1_000_000)
INITIAL = Range(0, 1e10)
MULTIPLIER = Range(1, 1e10)
MAX_DELAY = Range(0, 1e10)
JITTER = Range(0, 1)
TIMEOUT = Range(0, 1e10, above=True)
RETENTION = Range(0, 1e10, above=True)
DELAY = Range(-1e10, 1e10)
CONCURRENCY_LIMIT = Range(1, 2_147_483_647)

# The most characters of a name.
FUNCTION_CHARACTERS = 500
QUEUE_CHARACTERS = 200
SIGNAL_NAME_CHARACTERS = 200
IDEMPOTENCY_KEY_CHARACTERS = 500
NON_RETRYABLE_CHARACTERS = 1_000
OWNER_CHARACTERS = 1_000
