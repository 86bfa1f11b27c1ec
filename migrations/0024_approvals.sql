-- What agents ask of the people they work for, and what was answered.
create table approvals (
  id text primary key,
  subject text not null,
  -- The outermost actor, whose question it is.
  agent text not null references agents (id),
  client text not null,
  delegation text not null references delegations (id),
  front text not null check (front in ('rest', 'ciba')),
  -- What is asked, as we resolved it.
  asked jsonb not null,
  -- Of what is asked: an equal one that is open is joined.
  digest text not null,
  -- The agent's own words. Shown, never believed.
  purpose text,
  binding_message text,
  -- Keyed hash of the one auth_req_id that may come of it (CIBA).
  reference text unique,
  state text not null check (state in ('pending', 'info_requested', 'approved', 'denied', 'expired')),
  -- One more with every change: who decides says which one they looked at.
  version integer not null default 1,
  -- The person's questions and the agent's answers: [{question, asked_at, answer?, answered_at?}].
  rounds jsonb not null default '[]',
  created_at timestamptz not null,
  -- Decides by itself, also where nobody has put `expired` here yet.
  expires_at timestamptz not null,
  extended boolean not null default false,
  decided_at timestamptz,
  -- The person's words to the agent.
  reason text,
  -- What was approved, narrowed or not, and the grant that came of it.
  answer jsonb,
  grant_id text,
  -- A person never saw it: they had blocked the agent.
  blocked boolean not null default false,
  txn text not null,
  check ((state = 'approved') = (answer is not null)),
  check ((state in ('approved', 'denied')) = (decided_at is not null))
);
create index approvals_asker on approvals (subject, agent, created_at);
create index approvals_open on approvals (expires_at) where state in ('pending', 'info_requested');

-- One row for each agent that has ever asked a person: who counts its questions holds this row.
create table approval_askers (
  subject text not null,
  agent text not null references agents (id),
  -- The person wants to hear nothing more of it since then.
  blocked_at timestamptz,
  primary key (subject, agent)
);

create function approval_changed() returns trigger language plpgsql as $$
begin
  -- Delivered when this is committed, and to the committing session before its commit is answered.
  perform pg_notify('remit_approvals', new.id || ' ' || new.version);
  return null;
end
$$;
create trigger approvals_told after insert or update on approvals
  for each row execute function approval_changed();
