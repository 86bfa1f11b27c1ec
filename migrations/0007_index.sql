-- The permission index: a replica of OpenFGA's tuples, so that a start need not read them all again. It only nominates;
-- losing it loses nothing. Written by one process at a time, whoever holds the version that it last saw.
-- `collate "C"`: read in pages by key, which must sort alike whatever the database's language.
create table index_tuples (
  object text collate "C" not null,
  relation text collate "C" not null,
  subject text collate "C" not null,
  condition jsonb,
  -- Milliseconds since the epoch, by OpenFGA's clock.
  written_at bigint not null,
  primary key (object, relation, subject)
);

-- `mark`: how far in OpenFGA's change log the rows reach; they may be newer, never older. Null while they are filled.
create table index_state (
  single boolean primary key default true check (single),
  store_id text not null,
  mark jsonb,
  filling bigint not null,
  version bigint not null,
  saved_at timestamptz not null default now()
);
