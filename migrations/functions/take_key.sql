-- Takes the key for this execution, unless an execution that is neither failed nor cancelled has it. Returns the execution that has it then.
-- That one is looked up in a second statement: ON CONFLICT and SELECT in one see different snapshots and can find no row (rule l).
create or replace function currant.take_key(p_function text, p_key text, p_id uuid) returns uuid language plpgsql as $$
declare
    held currant.idempotency_keys;
begin
    loop
        insert into currant.idempotency_keys (function, key, execution_id) values (p_function, p_key, p_id)
        on conflict (function, key) do nothing;
        if found then return p_id; end if;
        select * into held from currant.idempotency_keys k where k.function = p_function and k.key = p_key for update;
        if found then
            if held.execution_id = p_id or (held.expires_at > clock_timestamp() and exists (
                select 1 from currant.executions e where e.id = held.execution_id and e.state not in ('failed', 'cancelled')))
            then
                return held.execution_id;
            end if;
            update currant.idempotency_keys k set execution_id = p_id, expires_at = clock_timestamp() + interval '30 days'
            where k.function = p_function and k.key = p_key;
            return p_id;
        end if;
    end loop;
end $$;
