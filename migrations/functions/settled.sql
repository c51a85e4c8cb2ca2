-- From now on their limits are counted.
create or replace function currant.settled(p_functions text[]) returns void language sql as $$
    update currant.definitions d set settled = true where d.function = any (p_functions) and not d.settled
$$;
