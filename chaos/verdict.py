"""The judge. Nothing here asks anybody: what was promised, what ran and what is stored go in, complaints come out."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from chaos.facts import TERMINAL, Facts, Row
from chaos.ledger import Attempt
from chaos.load import PROMISED, UNSAID, WITHDRAWN, Order

# Rows and ledger are written by two clocks of one machine; they agree to less than this (seconds).
CLOCKS = 0.005
# A worker knows the server's clock as well as its round trips are quick; the slowed network is what makes it worst.
SERVER_CLOCK = 0.2


@dataclass
class Verdict:
    """The complaints by rule; none: the seed is passed."""

    complaints: dict[str, list[str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against it."""
        return not any(self.complaints.values())


def judge(facts: Facts) -> Verdict:
    """Every rule, whatever the others found."""
    return Verdict(
        {
            "lost": lost(facts),
            "twice": twice(facts),
            "recorded step run again": run_again(facts),
            "at most once": at_most_once(facts),
            "wrong": wrong(facts),
            "stuck": stuck(facts),
            "signals": signals(facts),
            "early": early(facts),
            "locks": list(facts.locks),
            "workers": list(facts.deserters),
            "seen by customers": list(facts.book.complaints),
        }
    )


def _roots(facts: Facts) -> dict[str, list[Row]]:
    roots: dict[str, list[Row]] = defaultdict(list)
    for row in facts.rows:
        if row.parent is None:
            roots[row.tag].append(row)
    return roots


def lost(facts: Facts) -> list[str]:
    """Every promised execution exists; one that commits with the customer's rows exists if they do."""
    roots = _roots(facts)
    found = []
    for order in facts.book.orders:
        count = len(roots[order.tag])
        if order.fate == PROMISED and count == 0:
            found.append(f"{order.tag} was promised and is not there")
        if order.transactional and (order.tag in facts.customers) != (count > 0):
            there = "its execution" if count else "its customer's row"
            found.append(f"{order.tag}: only {there} is there of a transaction that wrote both")
    return found


def twice(facts: Facts) -> list[str]:
    """One execution for each order, at most; one outcome for each execution; nothing of what was rolled back."""
    roots = _roots(facts)
    found = []
    for order in facts.book.orders:
        count = len(roots[order.tag])
        if count > 1:
            found.append(f"{order.tag} is there {count} times")
        if order.fate == WITHDRAWN and count:
            found.append(f"{order.tag} is there though its transaction was rolled back")
    written = Counter(record.id for record in facts.records)
    found += [f"the outcome of {id} was recorded {count} times" for id, count in written.items() if count > 1]
    for tag, rows in roots.items():
        if tag.endswith("/detached") and len(rows) > 1:
            found.append(f"{tag} was started {len(rows)} times")
    return found


def run_again(facts: Facts) -> list[str]:
    """No attempt begins after the outcome of its execution was recorded, unless it had been claimed before.

    A zombie that was frozen between its claim and the function's first line does begin, under a number that is below
    the recorded one's: its write is refused. `superseded` counts these. What may not be started twice fails under the
    number of its only start, which a zombie may still make: `at_most_once` judges that.
    """
    return [
        f"attempt {attempt.number} of {attempt.function} {attempt.tag} began {late:.3f} s after its record"
        for attempt, late, number in _late(facts)
        if attempt.number >= number and attempt.function != "at_most_once"
    ]


def at_most_once(facts: Facts) -> list[str]:
    """A task that may lose no worker was started once at most."""
    starts = Counter((attempt.id, attempt.tag) for attempt in facts.attempts if attempt.function == "at_most_once")
    return [f"{tag} ({id}) was started {count} times" for (id, tag), count in starts.items() if count > 1]


def superseded(facts: Facts) -> int:
    """How many attempts of zombies began after another attempt's outcome was recorded."""
    return sum(attempt.number < number for attempt, _, number in _late(facts))


def _late(facts: Facts) -> list[tuple[Attempt, float, int]]:
    recorded = {record.id: record for record in facts.records if record.state != "cancelled"}
    return [
        (attempt, attempt.begin - record.at, record.attempt)
        for attempt in facts.attempts
        if (record := recorded.get(attempt.id)) is not None and attempt.begin > record.at + CLOCKS
    ]


def wrong(facts: Facts) -> list[str]:
    """Results are those that follow from the arguments, by what really ran."""
    roots = _roots(facts)
    found = [
        f"{row.function} {row.tag} started anew, {row.epoch} times: {row.error[:200]}"
        for row in facts.rows
        if row.epoch
    ]
    ran = {attempt.id for attempt in facts.attempts}
    for row in facts.rows:
        if row.kind == "task" and row.state == "completed" and row.id not in ran:
            found.append(f"{row.function} {row.tag} is completed and never ran")
    for order in facts.book.orders:
        for row in roots[order.tag]:
            found += _wrong_end(order, row)
    return found


def _wrong_end(order: Order, row: Row) -> list[str]:
    if row.state not in TERMINAL:
        return []  # stuck: another rule
    if row.state == "cancelled" and order.cancelled:
        return []
    if order.kind == "at_most_once" and row.state == "failed" and "WorkerLost" in row.error:
        return []
    if row.state != "completed":
        return [f"{order.tag} has {row.state}: {row.error[:300]}"]
    if order.expected is not UNSAID and row.result != order.expected:
        return [f"{order.tag} has the result {row.result!r} instead of {order.expected!r}"]
    if order.kind == "race" and sorted(row.result) != list(range(len(row.result))):
        return [f"{order.tag} has the result {row.result!r}, which is no order of its runners"]
    if order.kind == "chance" and row.result[1::2] != [2 * number for number in row.result[0::2]]:
        return [f"{order.tag} has the result {row.result!r}: chance gave something else in a replay"]
    return []


def stuck(facts: Facts) -> list[str]:
    """Everything has ended."""
    found = [f"{count} of {what}" for what, count in facts.unfinished.items()]
    by_id = {row.id: row for row in facts.rows}
    for row in facts.rows:
        if row.state not in TERMINAL:
            above = f", below {by_id[row.parent].tag}" if row.parent in by_id else ""
            found.append(
                f"{row.function} {row.tag} ({row.id}{above}) is {row.state}{', held' * row.held}: {row.error[:300]}"
            )
    return found


def signals(facts: Facts) -> list[str]:
    """Each was stored once, in the order sent, consumed once at most; a wait has its signal or its time-out."""
    found = [
        f"the wait {wait.key} of {wait.run} ended as {wait.status} with {wait.signals} signals"
        for wait in facts.waits
        if wait.signals != (wait.status == "completed")
    ]
    by_run: dict[str, list[object]] = defaultdict(list)
    consumed: dict[str, list[object]] = defaultdict(list)
    for signal in sorted(facts.signals, key=lambda signal: signal.ordinal):
        by_run[signal.run].append(signal.payload)
        if signal.consumed_by is not None:
            consumed[signal.run].append(signal.payload)
    roots = _roots(facts)
    for order in facts.book.orders:
        for row in roots[order.tag]:
            if order.kind == "signalled":
                found += _wrong_signals(order, row, by_run[row.id], consumed[row.id])
            if order.kind == "listener" and len(by_run[row.id]) > 1:
                found.append(f"{order.tag} was sent {by_run[row.id]!r}: a workflow's signal came twice")
    return found


def _wrong_signals(order: Order, row: Row, stored: list[object], consumed: list[object]) -> list[str]:
    found = []
    if missing := [number for number in order.sent if number not in stored]:
        found.append(f"{order.tag}: the signals {missing} were promised and are not there")
    # A sender whose call failed does not send on: at most one more than promised is stored.
    if stored != sorted(set(map(int, map(str, stored)))):
        found.append(f"{order.tag}: its signals are stored as {stored!r}")
    if row.state == "completed" and [heard for heard in row.result if heard is not None] != consumed:
        found.append(f"{order.tag} heard {row.result!r}, and consumed are {consumed!r}")
    return found


def early(facts: Facts) -> list[str]:
    """No timer fired before it was due: what follows it began that long after what goes before it ended.

    By the server's clock, as far as the worker can know it.
    """
    ends: dict[str, float] = {}
    for attempt in facts.attempts:
        if attempt.tag.endswith("/before") and attempt.end is not None:
            tag = attempt.tag.removesuffix("/before")
            ends[tag] = min(attempt.end, ends.get(tag, attempt.end))  # a zombie's may be later than what was recorded
    seconds = {order.tag: order.seconds for order in facts.book.orders if order.seconds}
    return [
        f"{tag} slept {attempt.begin - ends[tag]:.3f} s instead of {seconds[tag]} s"
        for attempt in facts.attempts
        if attempt.tag.endswith("/after") and (tag := attempt.tag.removesuffix("/after")) in ends and tag in seconds
        if attempt.begin - ends[tag] < seconds[tag] - SERVER_CLOCK
    ]
