-- Who is to be told outside is handed to the queue, which knows when it is tried again: here stays only that it was
-- handed over. What was under way is handed over once more, so that none is lost: somebody may be told twice.

delete from push_notices where not done;
alter table push_notices rename column due_at to queued_at;
alter index push_notices_due rename to push_notices_queued;
alter table push_notices drop column tries, drop column done, drop column told;

-- Whether the queue has it. The id and the client's token stay sealed here until the client was told, or is given up.
alter table backchannel_requests add column ping_queued boolean not null default false;
alter table backchannel_requests drop column pings, drop column ping_after;
create index backchannel_requests_ping on backchannel_requests (approval) where ping is not null and not ping_queued;
