-- Enqueues a call whose arguments are bytes of JSON already; returns the execution's id.
create or replace function currant.enqueue_bytes(p_function text, p_args bytea, p_options jsonb default '{}') returns uuid language sql as
$$ select c.id from currant.enqueue_checked(p_function, p_args, p_options, null) c $$;
