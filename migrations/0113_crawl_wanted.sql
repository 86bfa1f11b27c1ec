-- When somebody last wanted everything of a source read again, and what its groups hold compared with OpenFGA. It stays
-- until a reading of all of it that began later has ended.
alter table sources add column crawl_wanted_at timestamptz;
-- Earlier versions compared nothing, and took what follows a space in a name for another name.
delete from source_tuples where tuple ~ '^[^ ]* [^ ]* [^ ]* ';
update sources set crawl_wanted_at = now();
