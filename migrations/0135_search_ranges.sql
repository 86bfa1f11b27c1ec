-- A generation is several indices: each has the publications of a range of numbers, and a search sends each its own
-- slice of the filter. docs/decisions/0063-opensearch.md.

-- Those that are there have one index each, under another name: they are dropped, and filled anew.
update search_generations set retired_at = coalesce(retired_at, now()), is_current = false;
alter table search_generations drop column index_uuid,
  -- Numbers of each index; of a generation of before none.
  add column width integer,
  add column shards integer,
  add column refresh_ms integer;

-- The indices. A row is there before its index is made, so that none is left behind.
create table search_ranges (
  generation text not null references search_generations on delete cascade,
  -- Numbers from `range * width` on.
  range integer not null,
  -- The engine's own name for this very index: one made anew under its name is another. null: it is being made.
  index_uuid text,
  primary key (generation, range)
);
