-- What had not been committed yet when an import began, although its number was lower already, was accepted after that.

alter table jobs add column began_in pg_snapshot;

-- In two steps: what is there is not written anew. Without a value it was committed long before.
alter table job_items add column accepted_in xid8;
alter table job_items alter column accepted_in set default pg_current_xact_id();
