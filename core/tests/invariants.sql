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
        check (not awaiting_permit or (defined and state = 'pending' and run_at is null and not poison_suspect and not has_permit));

-- An execution that becomes ready carries the transaction that made it so: a claim that goes on from a cursor finds it by that.
create function currant.ready_by_this_transaction() returns trigger language plpgsql as $$
begin
    if new.ready_xid <> currant.xid() then
        raise exception 'execution % becomes ready without ready_xid', new.id using errcode = 'check_violation';
    end if;
    return new;
end $$;
create trigger ready_when_inserted before insert on currant.executions for each row
    when (new.state = 'pending' and new.run_at is null and not new.poison_suspect and not new.awaiting_permit)
    execute function currant.ready_by_this_transaction();
create trigger ready_when_updated before update on currant.executions for each row
    when (new.state = 'pending' and new.run_at is null and not new.poison_suspect and not new.awaiting_permit
        and not (old.state = 'pending' and old.run_at is null and not old.poison_suspect and not old.awaiting_permit))
    execute function currant.ready_by_this_transaction();
