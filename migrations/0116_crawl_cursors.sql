-- Where a reading of everything goes on that was cut short (docs/decisions/0052-sources.md). `crawl` numbers them.
alter table sources
  add column crawl integer not null default 0,
  add column crawl_cursor text,
  add column crawl_began_at timestamptz;
-- By which of them an item was told, on a page before the cursor, and in which it was brought in.
alter table source_items
  add column told_in integer,
  add column brought_in integer,
  add column brought_version text;
