-- Whether a worker would find something to claim in these queues, as far as can be seen without counting permits.
create or replace function currant.any_ready(p_queues text[]) returns boolean language sql stable
set enable_seqscan = off set jit = off as $$
    select exists (
        select 1 from unnest(p_queues) lane(queue) cross join lateral (
            (select 1 from currant.ready_executions e where e.queue = lane.queue limit 1)
            union all
            (select 1 from currant.ready_poison_suspects e where e.queue = lane.queue limit 1)) something)
$$;
