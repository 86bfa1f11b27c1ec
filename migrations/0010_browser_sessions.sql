-- A signed-in browser of a person, for our own pages. Signing out deletes the row.
create table browser_sessions (
  -- Keyed hash of the cookie's value, which is kept nowhere: a copy of this table signs nobody in.
  id_hash text primary key,
  -- Account key, `anne` or `namespace/key`.
  person text not null,
  -- How they proved who they are (RFC 8176).
  amr text[] not null,
  signed_in_at timestamptz not null,
  expires_at timestamptz not null
);
create index browser_sessions_person on browser_sessions (person);
create index browser_sessions_expiry on browser_sessions (expires_at);

-- How the person had proved who they are when they consented; their tokens say it.
alter table oauth_grants add column amr text[] not null default '{}';
-- Ending a delegation ends its grants.
create index oauth_grants_delegation on oauth_grants (delegation) where delegation is not null;
