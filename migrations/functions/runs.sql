-- Executions that no workflow started as its step, for people and dashboards: payloads as JSON, without internal columns. A stable view.
--   id: the id of the execution
--   kind: task or workflow
--   function: the name of the function
--   queue: the queue in which it waits or ran
--   priority: 0 to 10; a higher one starts first
--   state: pending, running, suspended, completed, failed or cancelled
--   attempt: the number of the attempt, from 1; 0 before the first
--   max_attempts: how many attempts its retry policy allows
--   held: it is incompatible: its history does not fit the code, and it waits for code that does
--   cancel_requested: it was asked to end, and is cleaning up
--   args: the arguments, JSON
--   result: what it returned, JSON
--   error: what it failed with, or its last failed attempt: JSON with type, message and traceback
--   created_at: when it was enqueued
--   run_at: when it becomes ready, if that is later
--   started_at: when it first began to run
--   finished_at: when it ended
--   worker_id: the worker that runs it
--   build: the version of the code that ran it last
--   epoch: how often `currant retry` has begun its history anew
--   worker_losses: how many workers were lost while they ran it
--   max_worker_losses: how many it may cause before it fails as WorkerLost
create or replace view currant.runs as
select e.id, e.kind, e.function, e.queue, e.priority, e.state, e.attempt,
    currant.option(e.kind, e.options, '{retry,max_attempts}')::integer as max_attempts, e.incompatible as held, e.cancel_requested,
    currant.payload_text(e.args, e.encoding) as args,
    currant.payload_text(e.result, e.encoding) as result,
    case when e.state <> 'completed' then currant.payload_text(e.error, e.encoding) end as error,
    e.created_at, e.run_at, e.started_at, e.finished_at, e.worker_id, e.build, e.epoch, e.worker_losses,
    currant.option(e.kind, e.options, '{max_worker_losses}')::integer as max_worker_losses
from currant.executions e where e.parent_id is null;
