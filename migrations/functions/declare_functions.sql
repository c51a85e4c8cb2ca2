-- Stores the decorators' values of a worker's functions (currant.functions). p_code: a hash of the values. What is stored already is not written
-- again, so that of ten workers that start together nine only read. Rows are written in order, so that workers do not deadlock.
-- The values of older versions of the code are deleted, if no worker has those versions any more.
create or replace function currant.declare_functions(p_worker uuid, p_code text, p_build text, p_functions jsonb) returns void language plpgsql
set enable_seqscan = off set jit = off as $$
declare
    v_names text[] := array(select f.value ->> 'function' from jsonb_array_elements(p_functions) f);
    v_returns boolean := not currant.is_live(p_code, p_worker);
begin
    -- An item has the columns of the table, by name.
    insert into currant.functions as f
    select n.* from jsonb_array_elements(p_functions) item(value) cross join lateral jsonb_populate_record(null::currant.functions,
        item.value || jsonb_build_object('code', p_code, 'build', p_build, 'registered_at', clock_timestamp())) n
    -- A row with the hash of this code has the same values, so it is not written again, with one exception: the newest row of a function counts, and
    -- after a roll-back another version's row is newer. The first worker of the returning version (v_returns) therefore makes its row the newest.
    where not exists (select 1 from currant.functions o where o.function = n.function and o.code = p_code
        and not (v_returns and exists (
            select 1 from currant.functions x where x.function = n.function and x.registered_at > o.registered_at)))
    order by n.function
    on conflict (function, code) do update set registered_at = clock_timestamp(), build = excluded.build;
    delete from currant.functions f using (
        select o.function, o.code from currant.functions o
        where o.function = any (v_names) and o.code <> p_code and not currant.is_live(o.code)
        order by o.function, o.code for update skip locked) gone
    where f.function = gone.function and f.code = gone.code;
end $$;
