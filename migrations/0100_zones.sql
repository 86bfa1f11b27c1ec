-- Where folders and zones are filed, each once, at its first mention: `folder:x`, `zone:y`.
create table filings (
  object text primary key check (object like 'folder:%' or object like 'zone:%'),
  collection text not null references collections (id)
);

insert into filings (object, collection) select 'folder:' || id, collection from folders;
drop table folders;
