-- What a retry has to know of what it takes in again: docs/decisions/0050-failed-content.md.

-- Where the newest content came by a retry: the item by which somebody sent the document last. Else null: it is accepted_item.
alter table documents add column listed_item bigint;

-- How often a process ended while it was at this content. Of what failed before it is known by what was said alone.
alter table failed_documents add column deaths integer not null default 0;
update failed_documents set deaths = 1 where detail = 'Reading this content ended the process.';
