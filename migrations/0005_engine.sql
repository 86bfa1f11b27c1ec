-- The embedded OpenFGA engine's stores: loaded into memory at start, written through on every change.
-- Unused where OPENFGA_API_URL names a server.
create table engine_stores (
  id text primary key,
  name text not null,
  created_at text not null,
  updated_at text not null
);

create table engine_models (
  store_id text not null references engine_stores (id) on delete cascade,
  id text not null,
  json jsonb not null,
  primary key (store_id, id)
);

create table engine_tuples (
  store_id text not null references engine_stores (id) on delete cascade,
  object text not null,
  relation text not null,
  subject text not null,
  condition jsonb,
  ulid text not null,
  primary key (store_id, object, relation, subject)
);

-- `collate "C"`: ulids sort by byte, whatever the database's language.
create table engine_changes (
  store_id text not null references engine_stores (id) on delete cascade,
  ulid text collate "C" not null,
  operation text not null check (operation in ('write', 'delete')),
  object text not null,
  relation text not null,
  subject text not null,
  condition jsonb,
  primary key (store_id, ulid)
);
