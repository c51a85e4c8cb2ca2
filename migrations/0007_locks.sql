-- The order of locks where it was not kept (docs/locks.md), and whose locks stop a worker.

-- As before, but the tree is locked in one go in the order of ids. Growing meanwhile it is locked further; it grows no more then, since
-- a run starts steps under its own lock.
create or replace function currant.cancel_tree(p_id uuid, p_force boolean)
returns table (status text, queues text[], workers uuid[], ids uuid[]) language plpgsql as $$
declare
    target currant.executions;
    tree uuid[] := array[p_id];
    grown uuid[];
begin
    queues := '{}'; workers := '{}'; ids := '{}';
    loop
        if p_force then
            grown := array(
                with recursive below as (
                    select p_id as id
                    union all
                    select e.id from below join currant.executions e on e.parent_id = below.id)
                select below.id from below);
            exit when grown <@ tree and target.id is not null;
            tree := grown;
        end if;
        perform 1 from currant.executions e where e.id = any (tree || (select t.parent_id from currant.executions t where t.id = p_id))
            order by e.id for update;
        select * into target from currant.executions e where e.id = p_id;
        exit when not p_force or target.id is null;
    end loop;
    status := case when target.id is null then 'unknown' when target.finished_at is not null then 'finished' else 'ok' end;
    if status <> 'ok' then
        return next; return;
    end if;
    if p_force then
        select coalesce(array_agg(e.worker_id), '{}'), coalesce(array_agg(e.id), '{}') into workers, ids
        from currant.executions e where e.id = any (tree) and e.state = 'running';
        update currant.executions e set state = 'cancelled', finished_at = clock_timestamp(), lease = e.lease + 1, run_at = null,
            held = false, parked = false, cancel_requested = true
        where e.id = any (tree) and e.finished_at is null;
    else
        select coalesce(array_agg(w.queue) filter (where w.tag = 'queue'), '{}'), coalesce(array_agg(w.worker_id) filter (where w.tag = 'worker'), '{}'),
            coalesce(array_agg(w.id) filter (where w.tag = 'worker'), '{}')
        into queues, workers, ids from currant.cancel_rows(tree) w;
    end if;
    select queues || coalesce(array_agg(w.queue) filter (where w.tag = 'queue'), '{}'), workers || coalesce(array_agg(w.worker_id) filter (where w.tag = 'worker'), '{}'),
        ids || coalesce(array_agg(w.id) filter (where w.tag = 'worker'), '{}')
    into queues, workers, ids from (
        select * from currant.wake_parents(array[p_id]) union all select * from currant.wake_waiting(tree)) w;
    return next;
end $$;

-- As before, but these lock the workers that they end before they change them: a claim of such a worker passes over a row that is locked,
-- and would wait for one that is changed and then locked, with executions in hand.
create or replace function currant.register_worker(
    p_id uuid, p_name text, p_host text, p_pid integer, p_build text, p_queues text[], p_tasks text[], p_workflows text[],
    p_concurrency integer, p_timeout double precision, p_pool text default null, p_pod_name text default null,
    p_pod_uid text default null
) returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql as $$
declare
    v_new boolean := not exists (select 1 from currant.workers w where w.id = p_id);
    v_before uuid[] := '{}';
begin
    insert into currant.workers as w
        (id, name, host, pid, build, queues, tasks, workflows, concurrency, timeout, pool, pod_name, pod_uid)
    values (p_id, p_name, p_host, p_pid, p_build, p_queues, p_tasks, p_workflows, p_concurrency, p_timeout, p_pool, p_pod_name, p_pod_uid)
    on conflict on constraint workers_pkey do update set
        name = excluded.name, host = excluded.host, pid = excluded.pid, build = excluded.build, queues = excluded.queues,
        tasks = excluded.tasks, workflows = excluded.workflows, concurrency = excluded.concurrency,
        timeout = excluded.timeout, last_heartbeat = clock_timestamp(), stopped_at = null,
        pool = excluded.pool, pod_name = excluded.pod_name, pod_uid = excluded.pod_uid
        where not w.pod_gone;
    -- A pod has one worker: whoever was here before us has died, however fresh its last heartbeat is. Only a new worker says so:
    -- one that registers again may itself have been declared dead by mistake, and two would do it to each other for ever.
    if v_new and p_pod_uid is not null then
        v_before := array(
            select w.id from currant.workers w where w.pod_uid = p_pod_uid and w.id <> p_id and w.stopped_at is null
            order by w.id for update);
        update currant.workers w set last_heartbeat = '-infinity' where w.id = any (v_before);
        return query select t.tag, t.queue, t.worker_id, t.id from unnest(v_before) dead(id) cross join lateral currant.take_over(dead.id) t;
    end if;
end $$;

create or replace function currant.end_workers(p_pod_uids text[])
returns table (tag text, queue text, worker_id uuid, id uuid) language plpgsql as $$
declare
    v_gone uuid[];
begin
    v_gone := array(
        select w.id from currant.workers w where w.pod_uid = any (p_pod_uids) and w.stopped_at is null order by w.id for update);
    update currant.workers w set last_heartbeat = '-infinity', pod_gone = true where w.id = any (v_gone);
    return query select t.tag, t.queue, t.worker_id, t.id from unnest(v_gone) dead(id) cross join lateral currant.take_over(dead.id) t;
end $$;

-- On which of these executions' rows somebody holds a lock at this moment; of `p_ending` ones, also on a row of an unfinished child. A
-- function, since the role of workers has no right to lock rows itself.
create function currant.locked_rows(p_ids uuid[], p_ending uuid[]) returns setof uuid language sql as $$
    with touched as (
        select e.id, e.id as by from currant.executions e where e.id = any (p_ids)
        union all
        select e.id, e.parent_id from currant.executions e where e.parent_id = any (p_ending) and e.finished_at is null
    ), free as (
        select e.id from currant.executions e where e.id in (select t.id from touched t) for update skip locked
    )
    select distinct t.by from touched t where not exists (select 1 from free f where f.id = t.id)
$$;
