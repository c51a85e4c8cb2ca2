-- Executions that may be claimed now, each by a worker that has no other of this kind: they may have killed a worker. As ready_executions, for the
-- index executions_poison_suspects.
create or replace view currant.ready_poison_suspects as
select e.id, e.kind, e.function, e.queue, e.priority, e.ready_at, e.refused_builds, e.defined
from currant.executions e where e.state = 'pending' and e.run_at is null and e.poison_suspect;
