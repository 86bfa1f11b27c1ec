-- Passkeys, sign-in through another OpenID provider, and what binds both to the browser that asked.

create table passkeys (
  -- Credential id, base64url.
  id text primary key,
  -- A local account: who signs in elsewhere is let in there, and shut out there.
  person text not null references people (key) on delete cascade,
  -- COSE key (RFC 9052).
  public_key bytea not null,
  counter bigint not null,
  transports text[] not null default '{}',
  -- Whether it may be copied to other devices at all, which never changes, and whether it has been.
  backup_eligible boolean not null,
  backed_up boolean not null,
  title text not null,
  created_at timestamptz not null,
  last_used_at timestamptz
);
create index passkeys_person on passkeys (person);

-- Challenges that were answered, until they would be over: each is answered once. Keyed hashes.
create table passkey_challenges_used (
  challenge_hash text primary key,
  expires_at timestamptz not null
);
create index passkey_challenges_used_expiry on passkey_challenges_used (expires_at);

-- Sign-ins that are under way at another provider. The browser holds the one value that opens its row.
create table upstream_sign_ins (
  browser_hash text primary key,
  state_hash text not null,
  -- Keyed hash of what began it: a sign-in, or the session that wants to link.
  bound_to text not null,
  -- begun → claimed (its code is being redeemed, once) → answered (it is known who it was).
  stage text not null check (stage in ('begun', 'claimed', 'answered')),
  sealed bytea not null,
  expires_at timestamptz not null
);
create index upstream_sign_ins_expiry on upstream_sign_ins (expires_at);

-- People who signed in through a trusted issuer: their key is `namespace/key`, and this is who they are there.
alter table people
  add column upstream_issuer text,
  add column upstream_sub text,
  add constraint people_upstream_whole check ((upstream_issuer is null) = (upstream_sub is null)),
  add constraint people_upstream_key check ((upstream_issuer is null) = (position('/' in key) = 0));

-- The account elsewhere through which the person had signed in when they consented; their tokens say it.
alter table oauth_grants
  add column upstream_issuer text,
  add column upstream_sub text,
  add constraint oauth_grants_upstream_whole check ((upstream_issuer is null) = (upstream_sub is null));
