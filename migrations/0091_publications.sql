-- What is brought into force has a number, and what the chunk index holds stands apart from texts:
-- docs/decisions/0042-chunk-index-port.md.

-- Never gives a number twice, also not where a document goes back to an earlier revision.
create sequence publication_numbers as integer;
alter table revisions add column publication integer not null default nextval('publication_numbers');
-- Of what is live.
alter table documents add column publication integer;
update documents set publication = nextval('publication_numbers') where live_revision is not null;

-- Passages of a staged revision, as they will be read: the chunk index never gets them.
create table staged_texts (
  doc_no integer not null,
  revision bigint not null,
  ordinal integer not null,
  chunk_id text not null,
  text text not null,
  headings text[] not null,
  page integer,
  start_offset integer not null,
  end_offset integer not null,
  primary key (doc_no, revision, ordinal),
  foreign key (doc_no, revision) references revisions (doc_no, revision) on delete cascade
);
insert into staged_texts (doc_no, revision, ordinal, chunk_id, text, headings, page, start_offset, end_offset)
  select doc_no, revision, ordinal, chunk_id, text, headings, page, start_offset, end_offset from staged_chunks;

-- A text says by itself whose it is.
alter table chunk_texts drop constraint chunk_texts_chunk_id_fkey;
alter table chunk_texts add column doc_no integer, add column ordinal integer;
update chunk_texts t set doc_no = c.doc_no, ordinal = c.ordinal from chunks c where c.chunk_id = t.chunk_id;
alter table chunk_texts alter column doc_no set not null, alter column ordinal set not null;
create index chunk_texts_doc_no on chunk_texts (doc_no);

-- What the chunk index in Postgres holds: staged until it is shown, shown until it is hidden.
create table index_publications (
  publication integer primary key,
  doc_no integer not null,
  chunks integer not null,
  is_shown boolean not null default false
);
create unique index index_publications_shown on index_publications (doc_no) where is_shown;
insert into index_publications (publication, doc_no, chunks, is_shown)
  select publication, doc_no, chunk_count, true from documents where publication is not null;
insert into index_publications (publication, doc_no, chunks)
  select r.publication, r.doc_no,
    (select count(*) from staged_chunks s where s.doc_no = r.doc_no and s.revision = r.revision)
  from revisions r where staged_text is not null;

alter table staged_chunks drop constraint staged_chunks_doc_no_revision_fkey,
  drop column text, drop column headings, drop column page, drop column start_offset, drop column end_offset;
