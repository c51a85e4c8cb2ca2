-- Sends a signal to a workflow, in the caller's transaction: the workflow hears of it when that commits (notify_later).
create or replace function currant.signal(id uuid, name text, payload jsonb default 'null') returns void language plpgsql as $$
declare
    sent record;
begin
    if length(coalesce(name, '')) not between 1 and 200 then
        raise exception 'the name of a signal must have 1 to 200 characters, not %', length(coalesce(name, '')) using errcode = 'invalid_parameter_value';
    end if;
    select * into sent from currant.signal_send(id, name, convert_to(coalesce(payload, 'null')::text, 'UTF8'), null);
    if sent.status = 'unknown' then
        raise exception 'there is no execution %', id using errcode = 'no_data_found';
    elsif sent.status = 'finished' then
        raise exception 'execution % takes no signals: it has finished or is not a workflow', id using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform currant.notify_later(sent.queue, sent.worker_id, id);
end $$;
