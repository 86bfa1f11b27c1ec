-- Words apart from vectors: neither kind of search steps over what only the other reads.
create table chunk_words (
  chunk_id text primary key references chunks (chunk_id) on delete cascade,
  doc_no integer not null,
  ordinal integer not null,
  -- Words of the passage, its title and headings, repeated ones counted each time.
  words integer not null,
  tsv tsvector not null
) with (toast_tuple_target = 8160);
insert into chunk_words (chunk_id, doc_no, ordinal, words, tsv)
  select chunk_id, doc_no, ordinal, (select coalesce(sum(cardinality(positions)), 0) from unnest(tsv)), tsv from chunks;
alter table chunks drop column tsv;
create index chunk_words_doc_no on chunk_words (doc_no);
create index chunk_words_tsv on chunk_words using gin (tsv);

-- How common words are, as they were counted at one time. Ranks rest on the newest snapshot, never on live counts.
create table ranking_snapshots (
  snapshot integer primary key generated always as identity,
  per text not null check (per in ('deployment', 'collection')),
  -- Exact: tells when to count anew, never how to rank.
  passages integer not null,
  made_at timestamptz not null default now()
);

-- Roughly; `collection` is empty where the whole deployment is one corpus.
create table ranking_corpora (
  snapshot integer not null references ranking_snapshots (snapshot) on delete cascade,
  collection text not null,
  passages integer not null,
  words_on_average integer not null,
  primary key (snapshot, collection)
);

-- In coarse steps, and only words of more passages than a few.
create table ranking_words (
  snapshot integer not null references ranking_snapshots (snapshot) on delete cascade,
  collection text not null,
  lexeme text collate "C" not null,
  passages integer not null,
  primary key (snapshot, collection, lexeme)
);
