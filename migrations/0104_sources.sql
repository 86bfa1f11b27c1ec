-- Sources that the service reads by itself (docs/decisions/0052-sources.md). A source's documents are those whose
-- `source` is `source/ID`: they are read only while the rows here say that their permissions were confirmed lately.
do $$
begin
  if exists (select from services where name like 'source/%') then
    raise exception 'A service has a name that begins with source/, which is kept for sources now. Remove it before: remit service remove';
  end if;
end
$$;

create table sources (
  id text primary key,
  kind text not null,
  origin text not null,
  settings jsonb not null,
  collections text[] not null,
  state text not null constraint sources_state_check check (state in ('proposed', 'active', 'paused', 'removing')),
  proposed_by text not null,
  proposed_at timestamptz not null default now(),
  confirmed_by text,
  poll_seconds integer not null,
  crawl_seconds integer not null,
  max_age_seconds integer not null,
  purge_days integer not null,
  -- What was missing at that time may be purged, however much it is.
  purge_until timestamptz,
  cursor text,
  crawled_at timestamptz,
  -- Up to when groups, and the permissions of all settled items, are known to be as the source has them.
  groups_at timestamptz,
  items_at timestamptz,
  next_at timestamptz not null default now(),
  began_at timestamptz,
  ended_at timestamptz,
  failures integer not null default 0,
  problem text,
  -- Items that have no id of their own, with the reason.
  nameless jsonb not null default '[]',
  requests bigint not null default 0,
  throttled bigint not null default 0
);

create table source_items (
  source text not null references sources on delete cascade,
  document text not null,
  -- In Remit as the source has it; false while a change of it is under way.
  settled boolean not null default false,
  confirmed_at timestamptz,
  -- Why nobody may read it now.
  hidden text,
  -- The source did not tell it any more.
  missing_at timestamptz,
  primary key (source, document)
);
create index source_items_hidden on source_items (source, document) where hidden is not null;

create table source_tuples (
  source text not null references sources on delete cascade,
  tuple text not null,
  settled boolean not null,
  primary key (source, tuple)
);

-- A document of a source that nobody may read now: out of every search. Reading asks the rows above besides.
alter table documents add column closed boolean not null default false;
create index documents_of_sources on documents (source) where source like 'source/%';
drop trigger documents_changed on documents;
create trigger documents_changed before update of live_revision, chunk_count, collection, metadata, closed on documents
  for each row execute function document_changed();
