-- What a search engine apart from this database holds, and what it shall hold: docs/decisions/0063.

-- An index in the engine. Its numbers mean what this history of the database says, and no other's: a recovery retires it.
create table search_generations (
  id text primary key,
  -- Lexemes stand in the engine as digests under this key.
  lexeme_key bytea not null,
  dimensions integer not null,
  -- How length dampens repetition in the engine's own scores. It cannot be changed in an index.
  per_word double precision not null,
  -- Searched: it holds everything that is in force.
  is_current boolean not null default false,
  created_at timestamptz not null default now(),
  -- The engine's own name for this very index: one made anew under its name is another.
  index_uuid text,
  -- When how many passages it has was last held against the database, and when each of them was.
  counted_at timestamptz not null default now(),
  compared_at timestamptz not null default now(),
  -- Searched no more. An index that is being made has it too, until it is there. The row stays until the engine has dropped the index.
  retired_at timestamptz,
  check (not is_current or retired_at is null)
);
create unique index search_generations_current on search_generations (is_current) where is_current;

create sequence engine_versions;

create table engine_publications (
  publication integer primary key,
  -- The most chunks that it ever had: so many passages an engine may hold.
  chunks integer not null,
  -- Of its content: the engine takes none in the place of a newer one.
  version bigint not null,
  -- Not in force any more, nor ever again.
  ended_at timestamptz,
  -- When every engine had forgotten it.
  removed_at timestamptz
);
create index engine_publications_ended on engine_publications (ended_at) where ended_at is not null and removed_at is null;

-- Which publications every copy of an index would find.
create table engine_found (
  generation text not null references search_generations on delete cascade,
  publication integer not null,
  found_at timestamptz not null default now(),
  primary key (generation, publication)
);

-- A process that does not know of the engine, for want of the setting, must not show what the others would not find.
create function found_in_search_engine() returns trigger language plpgsql as $$
begin
  -- Whoever brings an index into use waits for this transaction, and then sees what it has shown.
  lock table search_generations in row share mode;
  if exists (
    select from search_generations g where g.retired_at is null and not exists (
      select from engine_found f where f.generation = g.id and f.publication = new.publication
    )
  ) then
    raise exception 'The search engine does not find publication % yet.', new.publication using errcode = '55000';
  end if;
  return new;
end
$$;
create trigger index_publications_found before update of is_shown on index_publications
  for each row when (new.is_shown and not old.is_shown) execute function found_in_search_engine();
