-- Which transaction last changed whether a document is found. A process that holds the corpus in memory reads on from the
-- snapshot that it saw: no order of commits hides a change from that, as it would from a time or a sequence.
alter table documents add column changed_in xid8 not null default pg_current_xact_id();
create index documents_changed_in on documents (changed_in);

create function document_changed() returns trigger language plpgsql as $$
begin
  new.changed_in := pg_current_xact_id();
  return new;
end
$$;
create trigger documents_changed before update of live_revision, chunk_count, collection on documents
  for each row execute function document_changed();
