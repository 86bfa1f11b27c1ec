-- Ingestion: what was accepted and is not yet in force. Nothing here is read by search.

-- What a caller asked for and can look up: one document, one withdrawal, or one import of many lines.
create table jobs (
  id text primary key,
  -- The service that asked; nobody else may look it up.
  owner text not null,
  kind text not null check (kind in ('document', 'withdrawal', 'import')),
  -- `receiving`: an import's body is still coming in. `broken`: it stopped in the middle.
  state text not null default 'open' check (state in ('receiving', 'open', 'broken')),
  total integer not null default 0,
  done integer not null default 0,
  failed integer not null default 0,
  notes jsonb not null default '[]',
  idempotency_key text,
  -- sha256 of the request; null while an import's body is still coming in.
  digest text,
  -- Items with a higher number were accepted after this job began: a snapshot never withdraws those.
  items_before bigint not null default 0,
  created_at timestamptz not null default now(),
  unique (owner, idempotency_key)
);
create index jobs_created_at on jobs (created_at);

create table job_items (
  item_no bigint generated always as identity primary key,
  job_id text not null references jobs (id) on delete cascade,
  line integer,
  document_id text,
  state text not null check (state in ('queued', 'done', 'failed')),
  -- With `failed` an error, else a note: superseded, stale_version, sensitivity_kept.
  code text,
  field text,
  detail text
);
create index job_items_told on job_items (job_id, item_no) where code is not null;
create index job_items_document on job_items (document_id, item_no);

-- An accepted input, kept until it is published, superseded or refused by its parser.
create table revisions (
  doc_no integer not null references documents (doc_no),
  revision bigint not null,
  item_no bigint not null references job_items (item_no) on delete cascade,
  source text not null,
  title text not null,
  uri text,
  mime_type text not null,
  content bytea not null,
  metadata jsonb not null,
  owner text,
  -- The tuples that shall be in force once this is published.
  access jsonb not null,
  source_updated_at timestamptz,
  source_version bigint,
  -- First content of this id, or first after a withdrawal: whatever tuples are found on it are not ours.
  creates boolean not null,
  -- Access was set anew after this was accepted: it holds even if the content cannot be read.
  retagged boolean not null default false,
  -- Set once all chunks are staged, so that a restart does not embed them again.
  staged_text text,
  -- Runs that began and never ended: what kills the process is given up after a few.
  deaths integer not null default 0,
  primary key (doc_no, revision)
);

-- Chunks that no search sees yet.
create table staged_chunks (
  doc_no integer not null,
  revision bigint not null,
  ordinal integer not null,
  chunk_id text not null,
  embedding :vector(:dimensions),
  tsv tsvector not null,
  text text not null,
  headings text[] not null,
  page integer,
  start_offset integer not null,
  end_offset integer not null,
  primary key (doc_no, revision, ordinal),
  foreign key (doc_no, revision) references revisions (doc_no, revision) on delete cascade
);

-- The access that we want on documents, folders and collections. OpenFGA decides; this is what drift
-- compares it with.
create table tags (
  object text not null,
  relation text not null,
  subject text not null,
  expires_at timestamptz,
  primary key (object, relation, subject)
);

-- Objects whose tags changed and whose tuples are not known to agree yet.
create table unsettled (
  object text primary key,
  -- Everything that is found on the object goes, whoever wrote it.
  purge boolean not null,
  since timestamptz not null default now()
);

-- One writer at a time for an object's tags and tuples, across processes. Ends by itself.
create table leases (
  object text primary key,
  holder text not null,
  until timestamptz not null
);

-- The highest version of its source that was accepted: a lower one has no effect.
alter table documents add column accepted_version bigint;
