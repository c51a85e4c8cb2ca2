-- Executions that may be claimed now: pending, not due later (else they have no ready_xid), with no wait for a permit. Those that may have killed a worker are apart, in
-- ready_poison_suspects, because a worker has at most one of them at a time. This is the one place that says what is ready; the index executions_ready
-- has the same condition. The planner inlines the view, and `for update skip locked` on it locks the executions.
create or replace view currant.ready_executions as
select e.id, e.kind, e.function, e.queue, e.priority, e.state, e.lease, e.attempt, e.ready_at, e.ready_xid, e.refused_builds, e.defined,
    e.has_permit, e.awaiting_permit, e.started_at
from currant.executions e where e.ready_xid is not null and not e.poison_suspect and not e.awaiting_permit;
