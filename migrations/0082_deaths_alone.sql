-- Runs that began alone and never ended: only they tell which of those that were processed together ends the process.
alter table revisions add column deaths_alone integer not null default 0;
