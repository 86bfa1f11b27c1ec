-- OpenFGA's log lacks what it had told of: whoever starts later has to know, and `remit recover` alone ends it.
alter table epochs add column log_went_back boolean not null default false;
