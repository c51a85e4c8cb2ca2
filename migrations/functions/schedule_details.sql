-- Schedules as `currant schedules` shows them.
--   function: the name of the function that it starts
--   name: the name of the schedule
--   owner: who defined it; in Kubernetes namespace/name of the Workflow
--   cron: its times
--   time_zone: the zone in which these times are meant
--   overlap: Allow, Forbid or Replace: what happens at a time at which the run before has not ended
--   catch_up: None, Last or All: which of the missed times get a run
--   starting_deadline: seconds after which a missed time is given up
--   jitter: seconds by which a start is put off at random, at most
--   suspended: it starts nothing, by itself or with its function's definition
--   last_fire_at: the last time that started a run, ISO 8601
--   next_fire_at: the next time, ISO 8601
--   last_outcome: what came of the last time
--   missed: how many times started no run, since it was made
create or replace view currant.schedule_details as
select s.function, s.name, s.owner, s.cron, s.time_zone, s.overlap, s.catch_up, s.starting_deadline, s.jitter,
    s.suspended or s.definition_suspended as suspended, currant.iso(s.last_fire_at) as last_fire_at,
    case when not s.suspended and not s.definition_suspended then currant.iso(s.next_fire_at) end as next_fire_at, s.last_outcome, s.missed
from currant.schedules s;
