-- Settings of a source that one administrator proposes and another is still to confirm: docs/decisions/0061-source-changes.md.
create table source_changes (
  source text primary key references sources on delete cascade,
  origin text not null,
  settings jsonb not null,
  secret text,
  proposed_by text not null,
  proposed_at timestamptz not null default now()
);
alter table sources
  -- Another one with each change: whoever reads by the settings of before writes nothing any more.
  add column edition integer not null default 0,
  -- What was confirmed before does not count.
  add column settings_at timestamptz;
