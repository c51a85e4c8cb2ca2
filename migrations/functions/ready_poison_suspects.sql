-- Executions that may be claimed now, each by a worker that has no other of this kind: they may have killed a worker. As ready_executions, for the
-- index executions_poison_suspects.
create or replace view currant.ready_poison_suspects as
select e.id, e.kind, e.function, e.queue, e.priority, e.ready_at, e.ready_xid, e.refused_builds, e.defined
from currant.executions e where e.ready_xid is not null and e.poison_suspect;
