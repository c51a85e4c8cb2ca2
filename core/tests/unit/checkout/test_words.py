"""The words that docs/internals/words.md retires do not come back: in users' texts, and as names in code."""

from __future__ import annotations

# For each: what the text says, and what to write.
RETIRED_PROSE = {
    r"\bputs? out\b|\bputting out\b": "evicted (of memory)",
    r"\b(is|are|was|were|be|been|being|stays?|remains?) held\b(?! by)|\bheld (run|workflow|execution)s?\b|\bholds? the run\b"
    r"|\(held\)": "incompatible (a run); kept (a number of pods)",
    r"\b(un)?park(s|ed|ing)?\b": "awaits a permit; kept (a run that does not end)",
    r"\bplaces? (is|are|becomes?) free\b|\bfree places?\b|\bwaits? for a place\b|\bgates?\b|\bgated\b": "permit, limit",
    r"\bstrays?\b": "executions that should await a permit",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bsuspected\b": "poison suspect",
}
RETIRED_NAMES = {
    r"\b(v_)?(un)?parked\b|\bpark_\w+": "awaiting_permit",
    r"\b(v_(more_)?)?strays?\b": "runs that should await a permit",
    r"\bClaimMarks\b|\bMarks\b(?=.*claim)|\bmod marks\b": "claim cursors",
    r"\bBell\b|\bbell\b": "wake-up fd",
    r"\bAside\b": "deferred writes",
    r"\bStanding\b": "ExecutionStatus",
    r"\bput_out\b": "evict",
    r"\bsuspected\b": "poison_suspect",
    r"\bloop_guard\b|\bloop_asyncio\b": "blocking_guard, asyncio_patches",
}
# Places that may have such a word, and why.
ALLOWED: dict[str, str] = {
    "docs/internals/words.md": "the list itself",
}
