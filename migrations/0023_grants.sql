-- What a person may be asked for beside what they lent, and what came of their yes.

-- One bit to an agent: that its person could be asked. Whose it is, for which question and which documents is fixed here
-- and told to nobody but the person.
create table offers (
  id text primary key,
  subject text not null,
  -- The outermost one.
  agent text not null references agents (id),
  delegation text not null references delegations (id),
  -- Of the question that was answered (src/retrieval/scope.ts).
  query_hmac text not null,
  -- Those of the best candidates of which OpenFGA said `can_be_told`, best first.
  document_ids text[] not null check (cardinality(document_ids) between 1 and 8),
  expires_at timestamptz not null
);
create index offers_expires_at on offers (expires_at);

-- How many offers were made lately: each tells a little of what is sensitive.
create table offer_limits (
  subject text not null,
  agent text not null references agents (id),
  -- Of the last hour, oldest first.
  made_at timestamptz[] not null,
  primary key (subject, agent)
);

-- A person's yes to exactly this. The row decides, on every request; its tuples alone open nothing, since nobody
-- presents a grant whose row does not count.
create table approval_grants (
  id text primary key,
  approval text not null,
  subject text not null,
  agent text not null references agents (id),
  delegation text not null references delegations (id),
  -- Documents; of a remembered one folders or collections; none of a vault call.
  objects text[] not null,
  -- Counts for this question alone.
  query_hmac text,
  -- Counts for this call alone, as its canonical JSON.
  vault_call text,
  expires_at timestamptz not null,
  max_uses int check (max_uses > 0),
  used int not null default 0,
  -- The service presents it by itself.
  remembered boolean not null,
  -- preparing: its tuples are being written, and the person's answer is not in yet.
  state text not null check (state in ('preparing', 'live', 'ended')),
  created_at timestamptz not null,
  live_at timestamptz,
  ended_at timestamptz,
  -- When its tuples were removed. null: mend() has to look at it once it is over.
  settled_at timestamptz,
  check ((cardinality(objects) = 0) = (vault_call is not null)),
  check (query_hmac is null or max_uses = 1),
  check (not remembered or (max_uses is null and vault_call is null)),
  check (max_uses is null or used <= max_uses)
);
-- One question has one answer.
create unique index approval_grants_approval on approval_grants (approval) where live_at is not null;
create index approval_grants_subject on approval_grants (subject, agent, delegation) where state = 'live';
create index approval_grants_delegation on approval_grants (delegation) where state <> 'ended';
create index approval_grants_unsettled on approval_grants (expires_at) where settled_at is null;

-- No process holds anything of a grant: its row is read for every question. Numbered all the same, so that a copy of the
-- database in which it still counts is noticed to be older (0019).
create function approval_grant_changed() returns trigger language plpgsql as $$
begin
  perform authority_changed('delegation', old.delegation, null, false);
  return null;
end
$$;
create constraint trigger approval_grants_told after update on approval_grants
  deferrable initially deferred for each row
  when (old.state = 'live' and new.state = 'ended')
  execute function approval_grant_changed();
