-- Carries out what a worker decided for schedules that it has locked, each by itself: an error with one of them is noted in its row (`problem`),
-- and it is tried again in five seconds. p_decisions: [{"id", "fires": [{"fire_time", "run_at"}], "replace", "next_fire_at",
-- "outcome", "missed"}], times in microseconds. Runs are enqueued as by anybody else, so that their definition is obeyed. Returns whom to wake
-- because of what was cancelled; enqueuing notifies by itself.
-- `lock_timeout`: a run to be replaced whose row another open transaction has locked must not keep the other schedules waiting.
create or replace function currant.fire_schedules(p_decisions jsonb) returns table (
    schedule text, started integer, problem text, queues text[], workers uuid[], ids uuid[]
) language plpgsql
set lock_timeout = '1s' as $$
declare
    decision record;
    fire record;
    own currant.schedules;
    earlier uuid;
    cancelled record;
    v_run uuid;
begin
    for decision in select d.* from jsonb_to_recordset(p_decisions)
        d(id uuid, fires jsonb, "replace" boolean, next_fire_at bigint, outcome text, missed bigint)
    loop
        select * into own from currant.schedules s where s.id = decision.id;
        schedule := own.function || '/' || own.name;
        started := 0; problem := null; queues := '{}'; workers := '{}'; ids := '{}';
        begin
            if decision."replace" then
                for earlier in select e.id from currant.executions e
                    where e.open_schedule = own.id order by e.id
                loop
                    select * into cancelled from currant.cancel_tree(earlier, false);
                    queues := queues || cancelled.queues; workers := workers || cancelled.workers; ids := ids || cancelled.ids;
                end loop;
            end if;
            for fire in select f.* from jsonb_to_recordset(decision.fires) f(fire_time bigint, run_at bigint) order by f.fire_time loop
                continue when exists (select 1 from currant.executions e
                    where e.schedule_id = own.id and e.fire_time = currant.from_micros(fire.fire_time));
                v_run := currant.enqueue_bytes(own.function, own.args, jsonb_strip_nulls(jsonb_build_object('run_at', fire.run_at)));
                update currant.executions e set schedule_id = own.id, open_schedule = own.id, fire_time = currant.from_micros(fire.fire_time) where e.id = v_run;
                own.last_fire_at := currant.from_micros(fire.fire_time);
                started := started + 1;
            end loop;
            update currant.schedules s set next_fire_at = currant.from_micros(decision.next_fire_at),
                due_at = currant.from_micros(decision.next_fire_at), last_fire_at = own.last_fire_at,
                last_outcome = coalesce(decision.outcome, s.last_outcome), missed = s.missed + coalesce(decision.missed, 0)
            where s.id = own.id;
        exception when others then
            started := 0; problem := sqlerrm; queues := '{}'; workers := '{}'; ids := '{}';
        end;
        if problem is not null then
            update currant.schedules s set due_at = clock_timestamp() + interval '5 seconds', last_outcome = 'failed: ' || problem
            where s.id = decision.id;
        end if;
        return next;
    end loop;
end $$;
