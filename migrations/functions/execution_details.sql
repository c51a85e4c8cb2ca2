-- One execution as `currant show` and `list` print it. This view is for Currant itself: columns come and go with releases.
create or replace view currant.execution_details as
select e.id, e.kind, e.function, e.queue, e.priority, e.state, e.attempt, e.worker_losses,
    currant.iso(e.created_at) as created_at, currant.iso(e.run_at) as run_at, currant.iso(e.started_at) as started_at,
    currant.iso(e.finished_at) as finished_at, e.parent_id, e.root_id, e.epoch, e.parent_epoch, e.step_key, e.seq,
    case when e.state = 'running' or e.finished_at is not null then e.worker_id end as worker_id,
    case when e.state = 'running' or e.finished_at is not null then (select w.name from currant.workers w where w.id = e.worker_id) end as worker,
    e.build, currant.merge_options(currant.default_options(e.kind), e.options)::text as options, e.cancel_requested, e.incompatible as held, case when e.state <> 'completed' then e.error end as error, e.args, e.result
from currant.executions e;
