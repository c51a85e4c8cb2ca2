"""The dashboard's panels: what each asks of Prometheus, and in which row it is."""

from __future__ import annotations

from dataclasses import dataclass

OF_POOL = '{namespace=~"$namespace",pool=~"$pool"}'
OF_NAMESPACE = '{namespace=~"$namespace"}'
# Pools that share a queue each have the same count, so the greatest is taken.
INCOMPATIBLE = f"max by (namespace, function) (currant_pool_incompatible_runs{OF_POOL})"
COMPLETED = 'outcome="completed"'
FAILED = 'outcome="failed"'
ENDED = 'outcome=~"completed|failed"'


@dataclass(frozen=True)
class Query:
    """A query of a panel, and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A panel. One that shows a single number is red from the number `bad` on."""

    title: str
    description: str
    queries: tuple[Query, ...]
    unit: str = "short"
    bad: float | None = None


def rate(counter: str, by: str = "", extra: str = "") -> str:
    """How fast a counter of the chosen pools grows, per second."""
    labels = OF_POOL[:-1] + (f",{extra}}}" if extra else "}")
    return f"sum{f' by ({by})' if by else ''} (rate({counter}{labels}[$__rate_interval]))"


def once(gauge: str) -> str:
    """A gauge of the queues that the chosen pools claim from; a queue that several pools share counts once."""
    return f"{gauge} and on (database, queue) currant_pool_queue{OF_POOL}"


def pools_where(condition: str) -> str:
    """The number of chosen pools that fulfil a condition on `currant_pool_...`; 0 if none does."""
    return f"count({condition}) or vector(0)"


def quantile(number: str, histogram: str, by: str = "", labels: str = OF_POOL) -> str:
    """A quantile of a histogram."""
    groups = f"le, {by}" if by else "le"
    return f"histogram_quantile({number}, sum by ({groups}) (rate({histogram}_bucket{labels}[$__rate_interval])))"


def percentiles(histogram: str) -> tuple[Query, ...]:
    """Median, 95th and 99th percentile of a histogram."""
    return tuple(
        Query(quantile(number, histogram), legend)
        for number, legend in (("0.5", "median"), ("0.95", "95th percentile"), ("0.99", "99th percentile"))
    )


GLANCE = (
    Panel(
        "Ready to run",
        "Executions that wait for a worker. A queue that several pools share counts once",
        (Query(f"sum({once('currant_queue_ready')})"),),
    ),
    Panel(
        "Running",
        "Executions that run now, including workflows in memory. A queue that several pools share counts once",
        (Query(f"sum({once('currant_queue_running')})"),),
    ),
    Panel(
        "Oldest ready",
        "How long the oldest ready execution has waited",
        (Query(f"max(currant_pool_oldest_ready_seconds{OF_POOL})"),),
        unit="s",
        bad=300,
    ),
    Panel("Workers ready", "Pods that are ready", (Query(f"sum(currant_pool_ready_replicas{OF_POOL})"),)),
    Panel(
        "Pools that are not ready",
        "Pools whose condition Ready is not True",
        (Query(pools_where(f'currant_pool_condition{OF_POOL[:-1]},condition="Ready"}} != 1')),),
        bad=1,
    ),
    Panel(
        "Degraded pools",
        "Pools whose condition Degraded is True: something is wrong with some of their pods",
        (Query(pools_where(f'currant_pool_condition{OF_POOL[:-1]},condition="Degraded"}} == 1')),),
        bad=1,
    ),
    Panel(
        "Roll-outs in progress",
        "Pools that still have pods of an older template, or new ones that are not available",
        (Query(pools_where(f"currant_pool_rolled_out{OF_POOL} == 0")),),
    ),
    Panel(
        "Pools at maxReplicas",
        "Pools that would have more pods with a higher maxReplicas",
        (Query(pools_where(f'currant_pool_scaling_limited{OF_POOL[:-1]},by="maxReplicas"}} == 1')),),
        bad=1,
    ),
    Panel(
        "Incompatible runs",
        "Runs that wait because the deployed code does not fit their histories",
        (Query(f"sum({INCOMPATIBLE}) or vector(0)"),),
        bad=1,
    ),
    Panel(
        "Late schedules",
        "Schedules that should have fired more than five minutes ago",
        (Query(f"count(time() - currant_schedule_next_timestamp_seconds{OF_NAMESPACE} > 300) or vector(0)"),),
        bad=1,
    ),
    Panel(
        "Leading operators", "Exactly one pod of the operator should lead", (Query("sum(currant_operator_leading)"),)
    ),
)

POOLS = (
    Panel(
        "Ready and due",
        "Executions of each queue that could start now, and those that become ready soon",
        (
            Query(once("currant_queue_ready"), "{{queue}} ready"),
            Query(once("currant_queue_due"), "{{queue}} due"),
        ),
    ),
    Panel(
        "Oldest ready",
        "How long the oldest ready execution has waited",
        (Query(f"currant_pool_oldest_ready_seconds{OF_POOL}", "{{namespace}}/{{pool}}"),),
        unit="s",
    ),
    Panel("Running", "Executions that run", (Query(f"currant_pool_running{OF_POOL}", "{{namespace}}/{{pool}}"),)),
    Panel(
        "Pods",
        "The number of pods that the scaler wants, and the pods that exist, are ready, or drain",
        (
            Query(f"currant_pool_desired_replicas{OF_POOL}", "{{namespace}}/{{pool}} desired"),
            Query(f"currant_pool_replicas{OF_POOL}", "{{namespace}}/{{pool}} existing"),
            Query(f"currant_pool_ready_replicas{OF_POOL}", "{{namespace}}/{{pool}} ready"),
            Query(f"currant_pool_draining_replicas{OF_POOL}", "{{namespace}}/{{pool}} draining"),
        ),
    ),
    Panel(
        "What limits the scaler",
        "1 for the limit that kept the number of pods from being another",
        (Query(f"currant_pool_scaling_limited{OF_POOL} == 1", "{{namespace}}/{{pool}} {{by}}"),),
    ),
    Panel(
        "Degraded, and at maxReplicas",
        "Pools whose pods have a problem, and pools that would have more pods with a higher maxReplicas",
        (
            Query(
                f'currant_pool_condition{OF_POOL[:-1]},condition="Degraded"}} == 1', "{{namespace}}/{{pool}} degraded"
            ),
            Query(
                f'currant_pool_scaling_limited{OF_POOL[:-1]},by="maxReplicas"}} == 1',
                "{{namespace}}/{{pool}} at maxReplicas",
            ),
        ),
    ),
    Panel(
        "Roll-outs",
        "0 while a pool has pods of an older template or new pods that are not available, otherwise 1",
        (Query(f"currant_pool_rolled_out{OF_POOL}", "{{namespace}}/{{pool}}"),),
    ),
    Panel(
        "Age of the observations",
        "How long ago the operator last saw a pool's queues. While it cannot see them, it keeps the number of pods",
        (Query(f"time() - currant_pool_last_look_timestamp_seconds{OF_POOL}", "{{namespace}}/{{pool}}"),),
        unit="s",
    ),
)

FUNCTIONS = (
    Panel(
        "Executions that ended, per second",
        "By outcome. Runs with the outcome held are incompatible with the deployed code, and wait for code that fits",
        (Query(rate("currant_worker_executions_total", "outcome"), "{{outcome}}"),),
        unit="ops",
    ),
    Panel(
        "Completed by function, per second",
        "The twenty busiest functions",
        (
            Query(
                f"topk(20, {rate('currant_worker_executions_total', 'function', COMPLETED)})",
                "{{function}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Failure ratio by function",
        "The share of ended executions that failed. An execution that a retry completed counts as completed",
        (
            Query(
                f"{rate('currant_worker_executions_total', 'function', FAILED)} "
                f"/ {rate('currant_worker_executions_total', 'function', ENDED)} > 0",
                "{{function}}",
            ),
        ),
        unit="percentunit",
    ),
    Panel(
        "Incompatible runs by function",
        "Runs that wait because the deployed code does not fit their histories",
        (Query(INCOMPATIBLE, "{{namespace}} {{function}}"),),
    ),
    Panel(
        "Attempts that did not complete, by function, per second",
        "Attempts that failed, were retried, or belong to incompatible runs",
        (
            Query(
                rate("currant_worker_attempts_total", "function, outcome", 'outcome!="completed"') + " > 0",
                "{{function}} {{outcome}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Pick-up latency",
        "The time from ready to claimed. Each worker measures one batch of claims per second",
        percentiles("currant_worker_pickup_latency_seconds"),
        unit="s",
    ),
    Panel(
        "Attempts of tasks, 95th percentile",
        "The time from the start in a slot to the end",
        (Query(quantile("0.95", "currant_worker_attempt_duration_seconds", "function"), "{{function}}"),),
        unit="s",
    ),
    Panel(
        "Workflows, 95th percentile",
        "The time from the first start to the end, including waits",
        (Query(quantile("0.95", "currant_worker_workflow_duration_seconds", "function"), "{{function}}"),),
        unit="s",
    ),
)

WORKERS = (
    Panel(
        "Slots in use",
        "The share of the slots that run a task",
        (
            Query(
                f"sum by (pool) (currant_worker_tasks_running{OF_POOL}) "
                f"/ sum by (pool) (currant_worker_slots{OF_POOL})",
                "{{pool}}",
            ),
        ),
        unit="percentunit",
    ),
    Panel(
        "Workflows in memory",
        "Workflows that wait in memory, without a slot",
        (Query(f"sum by (pool) (currant_worker_workflows_hot{OF_POOL})", "{{pool}}"),),
    ),
    Panel(
        "Claims and their size",
        "Executions claimed per second, and the number that one claim or commit has",
        (
            Query(rate("currant_worker_claims_total"), "claimed per second"),
            Query(quantile("0.5", "currant_worker_claim_size"), "per claim, median"),
            Query(quantile("0.5", "currant_worker_commit_size"), "per commit, median"),
        ),
    ),
    Panel(
        "Replays and evictions, per second",
        "Workflows rebuilt from their history, and evicted from memory",
        (
            Query(rate("currant_worker_replays_total"), "replays"),
            Query(rate("currant_worker_evictions_total"), "evictions"),
        ),
        unit="ops",
    ),
    Panel(
        "Take-overs, lost leases, time-outs, per second",
        "Workers that others declared dead, outcomes that the database refused, and attempts that took too long",
        (
            Query(rate("currant_worker_takeovers_total"), "workers declared dead"),
            Query(rate("currant_worker_leases_lost_total"), "outcomes refused"),
            Query(rate("currant_worker_timeouts_total"), "time-outs"),
        ),
        unit="ops",
    ),
    Panel(
        "Pending writes",
        "Writes that wait until the last transaction is committed, or until the database answers again",
        (Query(f"currant_worker_writes_pending{OF_POOL}", "{{pod}}"),),
    ),
    Panel(
        "Round trips to the database, per second",
        "By the purpose of the statement",
        (Query(rate("currant_worker_database_round_trip_seconds_count", "statement"), "{{statement}}"),),
        unit="ops",
    ),
    Panel(
        "Round trips, 95th percentile",
        "By the purpose of the statement",
        (Query(quantile("0.95", "currant_worker_database_round_trip_seconds", "statement"), "{{statement}}"),),
        unit="s",
    ),
    Panel(
        "Errors and connections, per second",
        "Failed statements by reason, and new connections",
        (
            Query(rate("currant_worker_database_errors_total", "reason"), "{{reason}}"),
            Query(rate("currant_worker_connects_total"), "connections"),
        ),
        unit="ops",
    ),
)

OPERATOR = (
    Panel(
        "Reconciles per second",
        "By kind and outcome",
        (
            Query(
                "sum by (kind, outcome) (rate(currant_operator_reconciles_total[$__rate_interval]))",
                "{{kind}} {{outcome}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Reconcile, 95th percentile",
        "How long one reconcile takes",
        (Query(quantile("0.95", "currant_operator_reconcile_seconds", "kind", ""), "{{kind}}"),),
        unit="s",
    ),
    Panel(
        "Objects that wait to be reconciled",
        "The depth of the operator's work queue",
        (Query("currant_operator_queue_depth", "{{pod}}"),),
    ),
    Panel(
        "API calls per second",
        "Calls to the API server, including watches",
        (
            Query(
                "sum by (verb, resource) (rate(currant_operator_api_requests_total[$__rate_interval]))",
                "{{verb}} {{resource}}",
            ),
        ),
        unit="ops",
    ),
    Panel(
        "Databases",
        "The databases that the operator knows, by state",
        (Query("sum by (state) (currant_operator_databases)", "{{state}}"),),
    ),
    Panel(
        "Database calls, 95th percentile",
        "How long the operator waits for an answer",
        (Query(quantile("0.95", "currant_operator_database_seconds", "verb", ""), "{{verb}}"),),
        unit="s",
    ),
)

SCHEDULES = (
    Panel(
        "Time to the next run",
        "Below 0 the schedule is late: no worker has fired it",
        (
            Query(
                f"currant_schedule_next_timestamp_seconds{OF_NAMESPACE} - time()",
                "{{function}} {{schedule}}",
            ),
        ),
        unit="s",
    ),
    Panel(
        "Since the last run",
        "How long ago the last fire time was for which a schedule started a run",
        (
            Query(
                f"time() - currant_schedule_last_timestamp_seconds{OF_NAMESPACE}",
                "{{function}} {{schedule}}",
            ),
        ),
        unit="s",
    ),
    Panel(
        "Missed in the last day",
        "Fire times without a run, because no worker fired them in time",
        (Query(f"delta(currant_schedule_missed{OF_NAMESPACE}[1d])", "{{function}} {{schedule}}"),),
    ),
)

ROWS = (
    ("Pools", POOLS),
    ("Functions", FUNCTIONS),
    ("Schedules", SCHEDULES),
    ("Workers", WORKERS),
    ("Operator", OPERATOR),
)
