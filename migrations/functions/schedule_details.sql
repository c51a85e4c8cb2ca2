-- Schedules as `currant schedules` shows them.
create or replace view currant.schedule_details as
select s.function, s.name, s.owner, s.cron, s.time_zone, s.overlap, s.catch_up, s.starting_deadline, s.jitter,
    s.suspended or s.definition_suspended as suspended, currant.iso(s.last_fire_at) as last_fire_at,
    case when not s.suspended and not s.definition_suspended then currant.iso(s.next_fire_at) end as next_fire_at, s.last_outcome, s.missed
from currant.schedules s;
