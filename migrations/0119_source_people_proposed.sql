-- Who accounts of a source are, as one administrator says and another is still to confirm: the newest of each source.
create table source_people_proposed (
  source text primary key references sources on delete cascade,
  -- [{account, subject}]
  people jsonb not null,
  proposed_by text not null,
  proposed_at timestamptz not null default now()
);

-- OpenFGA may hold what the account's person was given by it: from the first reading that takes them for somebody
-- until one that takes them for nobody has ended.
alter table source_people add column gives boolean not null default false;
-- Looked for each second.
create index source_people_ending on source_people (source) where state = 'suspended' and gives;

-- Whom OpenFGA may keep from everything of a source, since what a suspended account gave them may stand there still.
create table source_blocks (
  source text not null references sources on delete cascade,
  subject text not null,
  -- It is there; false: it may be.
  is_written boolean not null default false,
  primary key (source, subject)
);
