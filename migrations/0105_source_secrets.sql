-- The entry of SOURCE_SECRETS that a source uses, by name: the secret itself is never stored.
alter table sources
  add column secret text,
  add column requests_per_minute integer not null default 300;
