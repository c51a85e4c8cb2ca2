-- Constraints that hold for every execution at every commit. The tests of Rust and Python add these constraints to their databases; others go
-- without them, since each statement would compile them anew (docs/internals/performance.md has the cost). Callers' values are checked before.
alter table currant.executions
    add constraint a_known_kind check (kind in ('task', 'workflow')),
    add constraint a_known_state check (state in ('pending', 'running', 'suspended', 'completed', 'failed', 'cancelled')),
    add constraint has_a_function check (function <> ''),
    add constraint has_a_queue check (length(queue) between 1 and 200),
    add constraint priority_in_range check (priority between 0 and 10),
    add constraint options_in_their_stored_form check (options is null or currant.checked_options(options, '{}', 'the options') = options),
    add constraint root_has_no_place check ((parent_id is null) = (step_key is null) and (parent_id is null) = (parent_epoch is null)),
    add constraint only_workflows_suspend check (state <> 'suspended' or kind = 'workflow'),
    add constraint running_has_a_worker check (state <> 'running' or (worker_id is not null and lease > 0)),
    add constraint due_only_while_waiting check (run_at is null or state in ('pending', 'suspended')),
    add constraint terminal_has_an_end check ((state in ('completed', 'failed', 'cancelled')) = (finished_at is not null)),
    add constraint completed_has_a_result check ((state = 'completed') = (result is not null)),
    add constraint failed_has_an_error check (state <> 'failed' or error is not null),
    add constraint incompatible_is_suspended check (not incompatible or (state = 'suspended' and refused_builds is not null)),
    add constraint delivered_once_ended check (seq is null or (clock is not null and state in ('completed', 'failed', 'cancelled'))),
    add constraint only_what_has_not_started_awaits_a_permit
        check (not awaiting_permit or (defined and state = 'pending' and run_at is null and not poison_suspect and not has_permit)),
    add constraint ready_has_its_transaction check ((ready_xid is not null) = (state = 'pending' and run_at is null)),
    add constraint suspended_since_when check ((suspended_at is not null) = (state = 'suspended')),
    add constraint state_is_copied_for_a_definition check (defined_state is not distinct from case when defined then state end),
    add constraint end_is_copied_for_a_definition check ((defined_end is not null) = (defined and finished_at is not null)),
    add constraint its_schedule_is_open_until_it_ends check (open_schedule is not distinct from case when finished_at is null then schedule_id end);

-- An execution that becomes ready carries the transaction that made it so: a claim that reads from a floor on finds it by that.
create function currant.ready_by_this_transaction() returns trigger language plpgsql as $$
begin
    if new.ready_xid <> currant.xid() then
        raise exception 'execution % becomes ready without ready_xid', new.id using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger ready_when_inserted before insert on currant.executions for each row
    when (new.ready_xid is not null) execute function currant.ready_by_this_transaction();
create trigger ready_when_updated before update on currant.executions for each row
    when (new.ready_xid is not null and not new.poison_suspect and not new.awaiting_permit
        and (old.ready_xid is null or old.poison_suspect or old.awaiting_permit)) execute function currant.ready_by_this_transaction();

-- An execution that runs when a transaction commits is named in a claim of its worker: a dead worker's executions are found by that.
create function currant.running_is_claimed() returns trigger language plpgsql as $$
begin
    if exists (select 1 from currant.executions e where e.id = new.id and e.state = 'running' and not exists (
        select 1 from currant.claims c where c.worker_id = e.worker_id and c.xid = e.claim_xid and e.id = any (c.executions)))
    then
        raise exception 'execution % runs without a claim', new.id using errcode = 'check_violation';
    end if;
    return null;
end $$;
create constraint trigger running_is_claimed after insert or update on currant.executions deferrable initially deferred for each row
    when (new.state = 'running') execute function currant.running_is_claimed();
