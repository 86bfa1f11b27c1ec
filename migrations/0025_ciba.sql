-- CIBA: programs that ask a person who is not at them (decision 0017).

-- Where a client is told that an answer is there. null: it polls.
alter table clients add column notification_endpoint text;

-- Which question each auth_req_id stands for. Several may stand for one question; each is redeemed by itself.
create table backchannel_requests (
  -- Keyed hash of the auth_req_id.
  id_hash text primary key,
  approval text not null,
  -- Who asked it of whom, under what was lent.
  subject text not null,
  agent text not null references agents (id) on delete cascade,
  client_id text not null references clients (client_id) on delete cascade,
  delegation text not null references delegations (id) on delete cascade,
  expires_at timestamptz not null,
  -- For a client that wants to be told: the auth_req_id and its own token, sealed. Gone once it was told, or given up.
  ping bytea,
  pings integer not null default 0,
  ping_after timestamptz not null
);
create index backchannel_requests_approval on backchannel_requests (approval);
create index backchannel_requests_ping on backchannel_requests (ping_after) where ping is not null;
create index backchannel_requests_expiry on backchannel_requests (expires_at);

alter table oauth_grants
  -- The thread of what was asked, where every token of the grant goes on with it.
  add column txn text,
  -- False: what was lent was lent before, and does not end with this grant.
  add column lends boolean not null default true;

-- The sign-in in which a yes was said: {signed_in_at, amr, upstream?: {issuer, sub}}. The token that comes of it names it.
alter table approvals add column decided_in jsonb;
