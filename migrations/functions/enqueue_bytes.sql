-- As enqueue, with arguments that are bytes of JSON already, in UTF-8: they are kept byte for byte.
create or replace function currant.enqueue_bytes(p_function text, p_args bytea, p_options jsonb default '{}') returns uuid language sql as
$$ select c.id from currant.enqueue_checked(p_function, p_args, p_options, null) c $$;
