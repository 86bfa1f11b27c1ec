-- Which processes run, and what may no longer be answered without: docs/decisions/0068.

create table processes (
  id text primary key,
  version text not null,
  -- Names of restrictions that its code obeys.
  knows text[] not null,
  seen_at timestamptz not null
);

-- In force for good: each process that does not know one of them is refused.
create table restrictions (
  name text primary key,
  -- The version that brought it.
  since text not null,
  in_force_at timestamptz not null default now()
);
