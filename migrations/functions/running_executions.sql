-- Executions that run, or that a worker holds in memory. They are found by the rows of `claims`; an index would have to change with each outcome.
-- A row may still name executions that have ended or gone back, and one that the same worker claimed again is named twice.
create or replace view currant.running_executions as
select e.id, e.kind, e.function, e.queue, e.state, e.lease, e.attempt, e.attempt_at, e.worker_id, e.defined
from (select distinct named.id from currant.claims c cross join lateral unnest(c.executions) named(id)) claimed cross join lateral (
    select * from currant.executions x where x.id = claimed.id and x.state = 'running' offset 0) e;
