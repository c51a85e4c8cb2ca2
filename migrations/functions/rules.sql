-- The definitions of these functions, in one snapshot; if there are no definitions it costs one look-up.
create or replace function currant.rules(p_functions text[]) returns currant.rule[] language plpgsql stable as $$
begin
    if not exists (select 1 from currant.definitions) then return '{}'; end if;
    return array(
        select row(d.function, d.queue, d.priority, d.options, d.permits is not null, d.input_hash)::currant.rule
        from (select distinct u.function from unnest(p_functions) u(function)) asked join currant.definitions d on d.function = asked.function);
end $$;
