-- The decision record: one row for each answer, committed before the answer leaves.
create table decision_records (
  record_no bigint generated always as identity primary key,
  at timestamptz not null default now(),
  txn text not null,
  event text not null,
  subject text not null,
  actors text[] not null,
  client text not null,
  delegation text,
  detail jsonb not null
);
create index decision_records_at on decision_records (at);
create index decision_records_txn on decision_records (txn);
create index decision_records_subject on decision_records (subject, at);

-- Append-only. On native Postgres the service's role lacks the privileges besides; a superuser can
-- always undo a trigger, which SECURITY.md says.
create function refuse_change() returns trigger language plpgsql as $$
begin
  raise exception 'decision_records is append-only';
end
$$;
create trigger decision_records_append_only
  before update or delete on decision_records
  for each row execute function refuse_change();
create trigger decision_records_no_truncate
  before truncate on decision_records
  for each statement execute function refuse_change();
