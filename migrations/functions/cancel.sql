-- Cancels an execution and all below it, in the caller's transaction. A workflow may clean up; with `force` it does not.
create or replace function currant.cancel(id uuid, force boolean default false) returns void language plpgsql as $$
declare
    answer record;
begin
    select * into answer from currant.cancel_tree(id, force);
    if answer.status = 'unknown' then
        raise exception 'there is no execution %', id using errcode = 'no_data_found';
    elsif answer.status = 'finished' then
        raise exception 'execution % has already finished', id using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform currant.notify_later(lane, null, null) from unnest(answer.queues) lane;
    perform currant.notify_later(null, w.worker_id, w.id) from unnest(answer.workers, answer.ids) w(worker_id, id);
end $$;
