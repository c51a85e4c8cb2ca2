-- Ranges that are all of each queue (select_claimable has what they mean).
create or replace function currant.whole_queues(
    p_queues text[], out l_ends integer[], out r_tops smallint[], out r_bottoms smallint[], out r_from bigint[], out r_to bigint[]
) language sql immutable as $$
    select array(select generate_series(1, cardinality(p_queues))), array_fill(10::smallint, number), array_fill(0::smallint, number),
        array_fill(-1::bigint, number), array_fill(9223372036854775807, number)
    from (select array[cardinality(p_queues)] as number) n
$$;
