-- Executions as people and dashboards read them: payloads as JSON, without internal columns. A stable view.
create or replace view currant.runs as
select e.id, e.kind, e.function, e.queue, e.priority, e.state, e.attempt, e.max_attempts, e.incompatible as held, e.cancel_requested,
    currant.payload_text(e.args, e.encoding) as args,
    currant.payload_text(e.result, e.encoding) as result,
    case when e.state <> 'completed' then currant.payload_text(e.error, e.encoding) end as error,
    e.created_at, e.run_at, e.started_at, e.finished_at, e.worker_id, e.build, e.epoch, e.worker_losses, e.max_worker_losses
from currant.executions e where e.parent_id is null;
