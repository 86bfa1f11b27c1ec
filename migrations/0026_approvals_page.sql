-- What the page /approvals stands on: who was verified when, and where somebody is told that an answer is waited for.

-- When the person in front of this browser was last verified by more than what they know. null: not in this session.
alter table browser_sessions add column verified_at timestamptz;

-- From when on a passkey shows that its owner is there. One that was added without another one of theirs counts a day
-- later, unless it is their first: a thief of a session would add their own.
alter table passkeys add column verifies_from timestamptz;
update passkeys set verifies_from = created_at;
alter table passkeys alter column verifies_from set not null;
-- When somebody's passkey was last removed: what is added soon after is not taken for a first one.
alter table people add column passkey_removed_at timestamptz;

-- Browsers that are told by web push (RFC 8030) that somebody waits for an answer.
create table push_subscriptions (
  -- Keyed hash of the endpoint, which is a capability: who knows it can send there.
  endpoint_hash text primary key,
  -- Account key.
  person text not null,
  -- The browser session in which it was last seen; signing out there ends it. No reference: a session that is merely over does not.
  session_hash text not null,
  -- Endpoint and keys, sealed.
  sealed bytea not null,
  seen_at timestamptz not null
);
create index push_subscriptions_person on push_subscriptions (person);
create index push_subscriptions_session on push_subscriptions (session_hash);
create index push_subscriptions_seen on push_subscriptions (seen_at);

-- One row for each time that somebody was to be told: a new question, and each answer to theirs.
create table push_notices (
  approval text not null,
  -- How many of the person's questions were answered by then.
  round integer not null,
  tries integer not null,
  tried_at timestamptz not null,
  done boolean not null,
  primary key (approval, round)
);
create index push_notices_tried on push_notices (tried_at);
