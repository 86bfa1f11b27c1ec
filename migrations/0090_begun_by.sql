-- The process whose run of the revision began last and is not known to have ended: what it sees of itself later was no death.
alter table revisions add column begun_by text;
