-- Where passages lie, for search by vectors: docs/decisions/0023-search-plans.md. Only nominates; losing it loses nothing.

-- One passage by its place in its document, and all of a document's.
create index chunks_place on chunks (doc_no, ordinal);
drop index chunks_doc_no;
-- Vectors of up to some 4,000 halves stay beside their rows, as it is with short ones.
alter table chunks set (toast_tuple_target = 8160);

-- As src/retrieval/cells/model-bytes.ts writes it. The newest counts; older ones go when nothing lies in them any more.
create table cell_models (
  generation integer primary key generated always as identity,
  -- Live passages when it was made.
  passages integer not null,
  model bytea not null,
  made_at timestamptz not null default now()
);
alter table cell_models alter column model set storage external;

-- In which cell of a model each passage of a live document lies, by ordinal: 2 bytes, and 32 of its code. Empty: gone.
create table document_cells (
  doc_no integer primary key references documents (doc_no),
  generation integer not null,
  cells bytea not null,
  codes bytea not null,
  -- A process that holds them in memory reads on from the snapshot that it saw.
  changed_in xid8 not null default pg_current_xact_id()
);
alter table document_cells alter column cells set storage external, alter column codes set storage external;
create index document_cells_changed_in on document_cells (changed_in);

-- Who looks after them now. It runs out: a process that dies keeps nobody waiting.
create table cell_lease (
  single boolean primary key default true check (single),
  holder text not null,
  until timestamptz not null
);
