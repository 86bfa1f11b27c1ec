-- The embedded OpenFGA engine's stores: loaded into memory at start, written through on every change.
-- Unused where OPENFGA_API_URL names a server.
create table engine_stores (
  id text primary key,
  name text not null,
  created_at timestamptz not null
);

create table engine_models (
  store_id text not null references engine_stores (id) on delete cascade,
  id text not null,
  model jsonb not null,
  primary key (store_id, id)
);

create table engine_tuples (
  store_id text not null references engine_stores (id) on delete cascade,
  object text not null,
  relation text not null,
  subject text not null,
  condition jsonb,
  written_at timestamptz not null,
  primary key (store_id, object, relation, subject)
);

create table engine_changes (
  store_id text not null references engine_stores (id) on delete cascade,
  id text not null,
  operation text not null,
  object text not null,
  relation text not null,
  subject text not null,
  condition jsonb,
  at timestamptz not null,
  primary key (store_id, id)
);
