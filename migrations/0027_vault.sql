-- The vault: accounts at APIs of others that people linked, and what each agent may do there. Tokens are sealed by a key
-- that is not in this database; no route gives one out.

create table connections (
  id text primary key,
  subject text not null,
  -- Name in VAULT_PROVIDERS.
  provider text not null,
  -- Whose the tokens are: a name that was given to another issuer must not send them there.
  issuer text not null,
  -- Its id there, and what people call it.
  account text not null,
  account_title text not null,
  -- needs_reconnect: the provider refuses to refresh. ended: taken back; nothing sealed is left.
  state text not null check (state in ('live', 'needs_reconnect', 'ended')),
  scopes text[] not null,
  -- Compact JWE (dir, A256GCM) under a data key of its own, that key wrapped, and by which version of the key.
  sealed text,
  wrapped_key bytea,
  key_version text,
  -- When the access token ends. null: nobody knows, or never.
  token_expires_at timestamptz,
  refreshable boolean not null,
  sealed_at timestamptz not null,
  -- Who may write: each refresh takes the next number for a while, and so does whatever ends or renews the connection.
  -- Whoever holds an older number writes nothing. No transaction is open while the provider is asked.
  lease bigint not null default 0,
  leased_until timestamptz,
  created_at timestamptz not null,
  ended_at timestamptz,
  constraint connections_sealed check (
    case when state = 'ended' then num_nonnulls(sealed, wrapped_key, key_version) = 0
      else num_nulls(sealed, wrapped_key, key_version) = 0 end)
);
-- One account is linked once by one person; it may be linked by others as well.
create unique index connections_account on connections (subject, provider, account) where state <> 'ended';
create index connections_key_version on connections (key_version, id) where state <> 'ended';

-- What the person agreed to, for one agent through one client: another client of the same agent is asked for anew.
create table connection_agents (
  connection text not null references connections (id) on delete cascade,
  agent text not null references agents (id) on delete cascade,
  client text not null,
  -- [{title, methods, paths}], as the person was shown them.
  rules jsonb not null,
  agreed_at timestamptz not null,
  primary key (connection, agent, client)
);
create index connection_agents_agent on connection_agents (agent, client);

-- An agent met its limit, and was given the address of a page. The id opens nothing: only this person sees it there.
create table connection_requests (
  id text primary key,
  subject text not null,
  agent text not null references agents (id) on delete cascade,
  client text not null,
  provider text not null,
  txn text not null,
  expires_at timestamptz not null,
  unique (subject, agent, client, provider)
);
create index connection_requests_expiry on connection_requests (expires_at);
