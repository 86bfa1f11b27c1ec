-- Telling people by web push: what a notice needs so that it is neither lost nor sent twice.

-- When it is to be tried, or tried again; while somebody is at it, from when on they are taken for dead.
alter table push_notices rename column tried_at to due_at;
alter index push_notices_tried rename to push_notices_due;
-- Hashes of the endpoints that were told, or that are not asked again: a retry is for the others.
alter table push_notices add column told text[] not null default '{}';
