-- The corpus: what may be searched and read once the gate has cleared it.
-- `:vector` is `halfvec` on native Postgres and `vector` on PGlite; `:dimensions` is the embedding model's.

create extension if not exists vector;

create table settings (
  key text primary key,
  value jsonb not null
);

-- Where documents are filed: who may write, what may be lent. Being filed here lets nobody read.
create table collections (
  id text primary key,
  title text not null,
  public_allowed boolean not null default false,
  created_at timestamptz not null default now()
);

-- A folder is filed once, at its first mention.
create table folders (
  id text primary key,
  collection text not null references collections (id)
);

-- Metadata fields that filters may use.
create table fields (
  name text primary key,
  type text not null check (type in ('string', 'number', 'boolean', 'date'))
);

-- One row an id, for ever: a withdrawn id keeps its row, so that it remembers that it was sensitive.
create table documents (
  doc_no integer generated always as identity primary key,
  id text not null unique,
  collection text not null references collections (id),
  -- null: nothing of it can be found or read.
  live_revision bigint,
  -- The newest accepted revision; jobs of older ones end without effect.
  accepted_revision bigint not null default 0,
  title text not null default '',
  uri text,
  owner text,
  source text not null default '',
  metadata jsonb not null default '{}',
  source_updated_at timestamptz,
  source_version bigint,
  chunk_count integer not null default 0,
  was_sensitive boolean not null default false,
  withdrawn_at timestamptz
);
create index documents_collection on documents (collection);
create index documents_metadata on documents using gin (metadata jsonb_path_ops);

-- Only live chunks stand here, and no text: what search touches cannot leak words.
create table chunks (
  chunk_id text primary key,
  doc_no integer not null references documents (doc_no),
  ordinal integer not null,
  embedding :vector(:dimensions),
  tsv tsvector not null
);
create index chunks_doc_no on chunks (doc_no);
create index chunks_tsv on chunks using gin (tsv);
create index chunks_embedding on chunks using hnsw (embedding :vector_ip_ops);

-- Read only for what the gate has cleared.
create table chunk_texts (
  chunk_id text primary key references chunks (chunk_id) on delete cascade,
  text text not null,
  headings text[] not null,
  page integer,
  start_offset integer not null,
  end_offset integer not null
);

create table document_texts (
  doc_no integer primary key references documents (doc_no),
  text text not null
);
