-- When the process that receives an import was heard last: one that died, or lost its database, frees the idempotency key.
alter table jobs add column heard_at timestamptz not null default now();
