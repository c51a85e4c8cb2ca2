-- The error of an execution that is not started again after its worker was lost: p_losses workers were lost that only it can have killed.
create or replace function currant.worker_lost(p_id uuid, p_losses integer, p_most integer) returns bytea language sql stable as $$
    select convert_to(json_build_object('type', 'WorkerLost', 'message', case p_most
        when 0 then 'its worker was lost, and max_worker_losses=0: it is not started again'
        else format('%s workers were lost while it ran on them: more than max_worker_losses=%s', p_losses, p_most) end,
        'traceback', '', 'id', p_id)::text, 'UTF8')
$$;
