-- The values that the code gives a function. While workers of several versions of the code are alive, as in a roll-out, the version that was
-- registered last counts: the new one from its first worker on, and the old one again after a roll-back, because its workers register again or are the
-- only ones. A worker that restarts while others of its code are alive changes nothing, so two versions do not take turns. If no worker is alive, the
-- version that was registered last counts. Null if no worker has ever registered the function.
create or replace function currant.declared(p_function text) returns currant.functions language sql stable
set enable_seqscan = off set jit = off as $$
    select f from currant.functions f where f.function = p_function
    order by case when (select count(*) from currant.functions o where o.function = p_function) > 1 then currant.is_live(f.code) end desc nulls last,
        f.registered_at desc, f.code
    limit 1
$$;
