-- Who may act: agents, clients, services, administrators, and what people have lent to agents.

-- Local accounts, by the key after `user:`. People of trusted issuers need no row.
create table people (
  key text primary key,
  name text not null
);

create table agents (
  id text primary key,
  owner text not null,
  purpose text not null,
  -- What a token's `act` claim says of this agent.
  issuer text not null,
  sub text not null,
  disabled_at timestamptz,
  unique (issuer, sub)
);

-- Programs of their own. `collections` mirrors the writer and tagger tuples, which decide.
create table services (
  name text primary key,
  collections text[] not null,
  -- Groups and organizations whose id starts with one of these may be written with directory.write.
  prefixes text[] not null
);

-- Clients of the built-in issuer. One that is not listed is an agent's.
create table clients (
  client_id text primary key,
  kind text not null check (kind in ('person', 'agent', 'service')),
  agent text references agents (id),
  service text references services (name),
  check ((kind = 'agent') = (agent is not null)),
  check ((kind = 'service') = (service is not null))
);

-- Written at the machine only; never from a tuple, a group or an issuer's claim.
create table administrators (
  subject text primary key,
  roles text[] not null check (
    cardinality(roles) > 0 and roles <@ array['security.read', 'security.write', 'agents.write']
  )
);

-- One row a consent. A token is checked against it before OpenFGA is asked anything.
create table delegations (
  id text primary key,
  subject text not null,
  agent text not null references agents (id),
  sub_agents text[] not null,
  scope text[] not null,
  purpose text not null,
  standing boolean not null,
  expires_at timestamptz not null,
  -- lending: its tuples are being written; nobody may use it yet.
  state text not null check (state in ('lending', 'live', 'revoked')),
  created_at timestamptz not null,
  revoked_at timestamptz,
  -- When its tuples were removed. null: mend() has to look at it once it is over.
  settled_at timestamptz
);
create index delegations_subject on delegations (subject, agent);
create index delegations_unsettled on delegations (expires_at) where settled_at is null;
create unique index delegations_standing on delegations (subject, agent) where standing and state <> 'revoked';

-- Tokens that are refused before they end. Looked at on every request.
create table revocations (
  kind text not null check (kind in ('jti', 'grant', 'subject', 'agent')),
  key text not null,
  -- null: for ever.
  until timestamptz,
  reason text not null,
  created_at timestamptz not null,
  primary key (kind, key)
);
