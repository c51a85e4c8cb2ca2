-- Takes one run one step further: a task that ended here is delivered to it, and the next task starts here. It does what commit_batch does for one
-- outcome and one child, at a fifth of the cost of its arrays. Where more is to be done it writes nothing and returns false: a lease is lost, the
-- step was written before, the next step has to wait, or an execution awaits the permit of the one that ended. Then commit_batch is to be called.
create or replace function currant.commit_step(
    p_worker uuid, p_run uuid, p_lease bigint, p_seq bigint, p_clock bigint,
    d_id uuid, d_lease bigint, d_completed boolean, d_payload bytea,
    c_id uuid, c_root uuid, c_epoch integer, c_key text, c_args bytea, c_function text, c_queue text, c_priority smallint,
    c_options text, c_given text
) returns boolean language plpgsql
set lock_timeout = '500ms' set enable_seqscan = off set enable_bitmapscan = off
set plan_cache_mode = force_generic_plan set jit = off as $$
declare
    v_now timestamptz := clock_timestamp();
    v_ours integer;
    v_permit_of text;  -- the function of which the ended one has a permit
    v_claim bigint;    -- the claim of the ended one, whose place there the next one takes
    v_rules currant.rule[] := currant.rules(array[c_function]);
    v_defined boolean := cardinality(v_rules) > 0;
begin
    if v_defined and currant.holds_back(v_rules[1], c_queue, c_priority, c_options::jsonb, c_given) then return false; end if;
    select count(*), max(ours.function) filter (where ours.has_permit), max(ours.claim_xid) filter (where ours.id = d_id)
    into v_ours, v_permit_of, v_claim from (
        select e.id, e.function, e.has_permit, e.claim_xid from currant.executions e
        where e.id = any (array[p_run, d_id]) and e.worker_id = p_worker and e.state = 'running'
            and (e.id = p_run and e.lease = p_lease or e.id = d_id and e.lease = d_lease and e.kind = 'task')
        order by e.id for update) ours;
    if v_ours < 2 then return false; end if;
    if v_permit_of is not null and exists (select 1 from currant.awaiting_queues(v_permit_of)) then return false; end if;
    update currant.claims c set executions = array_replace(c.executions, d_id, c_id) where c.worker_id = p_worker and c.xid = v_claim;
    if not found then return false; end if;
    insert into currant.executions (
        id, root_id, parent_id, parent_epoch, step_key, after_seq, kind, function, queue, priority, args, options, state, worker_id,
        lease, attempt, started_at, attempt_at, claim_xid, build, defined, defined_state, has_permit, created_at, ready_at)
    values (
        c_id, c_root, p_run, c_epoch, c_key, p_seq, 'task', c_function, c_queue, c_priority, c_args, c_options::jsonb, 'running', p_worker, 1, 1, v_now, v_now,
        v_claim, (select coalesce(w.build, '') from currant.workers w where w.id = p_worker), v_defined, case when v_defined then 'running' end,
        v_defined, v_now, v_now);
    update currant.executions e set
        state = case when d_completed then 'completed' else 'failed' end, finished_at = clock_timestamp(),
        defined_state = case when e.defined then case when d_completed then 'completed' else 'failed' end end,
        defined_end = case when e.defined then clock_timestamp() end,
        suspect_losses = 0, loss_suspected = false, poison_suspect = false,
        result = case when d_completed then d_payload end, error = case when d_completed then e.error else d_payload end,
        seq = p_seq, clock = p_clock
    where e.id = d_id;
    return true;
end $$;
