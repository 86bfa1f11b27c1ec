-- What an agent is shown as, how far it may go at most, and the keys by which it proves itself.
alter table agents
  add column title text,
  -- null: every scope that an agent may hold.
  add column scopes text[],
  -- null: wherever people lend it something. Empty: nowhere.
  add column collections text[],
  -- Public keys (RFC 7517) that verify its actor tokens. null: it proves itself by its client alone.
  add column jwks jsonb;
update agents set title = id;
alter table agents alter column title set not null;

-- What was lent can be for another's API: then it opens nothing here, and nothing at any other.
alter table delegations
  -- null: for Remit's own.
  add column resource text,
  -- What exactly was agreed to there (RFC 9396), as the person was shown it.
  add column authorization_details jsonb;
