-- Since when a browser is told: whoever adds others later cannot take its place.
alter table push_subscriptions add column saved_at timestamptz not null default now();

-- Browsers that are told no more, but for news of the account up to a moment: whoever has somebody's session or password
-- must not be able to silence the news of what they add.
create table push_ended (
  endpoint_hash text not null,
  person text not null,
  sealed bytea not null,
  saved_at timestamptz not null,
  news_until timestamptz not null,
  primary key (endpoint_hash, person)
);
create index push_ended_person on push_ended (person);
create index push_ended_until on push_ended (news_until);
