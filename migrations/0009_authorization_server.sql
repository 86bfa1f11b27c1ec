-- The built-in authorization server: what it keeps, who may sign in, which APIs tokens are for.

-- Codes, refresh tokens, device codes, sessions, grants and the like. Ids are bearer values: only their keyed hash is
-- kept, and the rest is sealed with a key in REMIT_HOME, so that a copy of the database redeems nothing.
create table oauth_artifacts (
  model text not null,
  id_hash text not null,
  sealed bytea not null,
  -- The grant that it belongs to: revoking one ends all of them.
  grant_id text,
  user_code_hash text,
  uid_hash text,
  expires_at timestamptz not null,
  -- Set once, by the one redemption that succeeds.
  consumed_at timestamptz,
  primary key (model, id_hash)
);
create index oauth_artifacts_grant on oauth_artifacts (grant_id) where grant_id is not null;
create index oauth_artifacts_user_code on oauth_artifacts (user_code_hash) where user_code_hash is not null;
create index oauth_artifacts_uid on oauth_artifacts (uid_hash) where uid_hash is not null;
create index oauth_artifacts_expiry on oauth_artifacts (expires_at);

-- What a client is to the authorization server. Without a title it is known here and can start no flow.
alter table clients
  add column title text,
  add column redirect_uris text[] not null default '{}',
  -- Public keys (RFC 7517) by which it proves itself with private_key_jwt. null: a public client.
  add column jwks jsonb;

-- One consent at the authorization server: its grant, and the delegation that the person made by it.
create table oauth_grants (
  grant_id text primary key,
  client_id text not null references clients (client_id),
  subject text not null,
  -- Present for an agent's client, whose every token names it.
  delegation text references delegations (id),
  -- When the person signed in.
  signed_in_at timestamptz not null,
  expires_at timestamptz not null
);

-- Passwords of local accounts, as argon2id in its usual textual form.
create table passwords (
  person text primary key references people (key) on delete cascade,
  hash text not null,
  changed_at timestamptz not null
);

-- APIs of others that tokens can be for. Remit's own two, and agents as addressees, need no row.
create table resources (
  resource text primary key,
  scopes text[] not null check (cardinality(scopes) > 0),
  authorization_details_types text[] not null default '{}',
  -- null: every registered client of a person or an agent.
  allowed_clients text[],
  -- The client by which that API itself passes tokens on, and asks about them.
  owner_client text references clients (client_id)
);
