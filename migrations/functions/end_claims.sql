-- Notes that of what a worker has claimed so many executions have ended or gone back, by the transactions of their claims. A claim of which nothing
-- runs any more has no row. The settings are those of the calling function.
create or replace function currant.end_claims(p_worker uuid, p_xids bigint[]) returns void language plpgsql as $$
begin
    update currant.claims c set unended = c.unended - ended.number
    from (select u.xid, count(*) as number from unnest(p_xids) u(xid) group by u.xid) ended
    where c.worker_id = p_worker and c.xid = ended.xid;
    delete from currant.claims c using (select distinct u.xid from unnest(p_xids) u(xid)) ended
    where c.worker_id = p_worker and c.xid = ended.xid and c.unended <= 0;
end $$;
