-- What matches a filter is kept from one question to the next and follows `changed_in`: whoever writes metadata, also by
-- hand, must set that. Publishing does with the revision; a statement that changes metadata alone was never seen.
create or replace trigger documents_changed before update of live_revision, chunk_count, collection, metadata on documents
  for each row execute function document_changed();
