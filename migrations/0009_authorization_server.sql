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
