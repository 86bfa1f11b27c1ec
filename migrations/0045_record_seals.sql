-- What shows that the record was changed (docs/decisions/0025-record.md): a job seals what was committed about once a
-- second. No answer waits for it, and nothing is written into the record's own rows.

create table record_seals (
  -- 1, 2, 3 … without a gap.
  seal_no bigint primary key,
  sealed_at timestamptz not null,
  records int not null check (records > 0),
  first_no bigint not null,
  last_no bigint not null,
  -- Every number up to here was sealed, or waits in record_gaps, or was never committed.
  sealed_to bigint not null,
  -- Of the newest record in it: what retention goes by.
  newest_at timestamptz not null,
  -- SHA-256 over the digests of its records.
  digest bytea not null check (length(digest) = 32),
  -- SHA-256 of all of the above and the head before it: see src/audit/seal/head.ts.
  head bytea not null check (length(head) = 32),
  -- Ed25519 over the head.
  public_key bytea not null check (length(public_key) = 32),
  signature bytea not null check (length(signature) = 64)
);

-- Which records a seal covers, and the digest of each, 32 bytes one after the other: so a change is found in its place.
create table record_leaves (
  seal_no bigint primary key references record_seals (seal_no),
  record_nos bigint[] not null,
  digests bytea not null,
  check (length(digests) = 32 * cardinality(record_nos))
);

-- Numbers that were passed by: rolled back, or of a transaction that had not ended. Looked at until none can have it.
create table record_gaps (
  from_no bigint primary key,
  to_no bigint not null,
  since timestamptz not null,
  horizon xid8 not null
);

-- The alias of each person, which is what digests are over: HMAC-SHA256 of their id by a key of their own. Without the key
-- nobody can tell whose it was. Erased: only the alias is left.
create table record_people (
  alias text primary key,
  subject text unique,
  key bytea,
  erasing_since timestamptz,
  erased_at timestamptz,
  check (case when erased_at is null then num_nulls(subject, key) = 0 else num_nonnulls(subject, key) = 0 end)
);
create index record_people_erasing on record_people (erasing_since) where erasing_since is not null and erased_at is null;

-- Nobody changes a row, but for two things that say so: an erasure takes a person's id out, and retention takes whole seals
-- off the beginning. On native Postgres they are functions of a role that the service is not (docker/record-owner.sql).
create or replace function refuse_change() returns trigger language plpgsql as $$
begin
  if tg_op = 'UPDATE' and current_setting('remit.record_change', true) = 'erasure'
    and to_jsonb(new) - 'subject' - 'detail' = to_jsonb(old) - 'subject' - 'detail' then
    return new;
  end if;
  if tg_op = 'DELETE' and current_setting('remit.record_change', true) = 'retention' then
    return old;
  end if;
  raise exception '% is append-only', tg_table_name;
end
$$;
create trigger record_seals_append_only before update or delete on record_seals
  for each row execute function refuse_change();
create trigger record_seals_no_truncate before truncate on record_seals
  for each statement execute function refuse_change();
create trigger record_leaves_append_only before update or delete on record_leaves
  for each row execute function refuse_change();
create trigger record_leaves_no_truncate before truncate on record_leaves
  for each statement execute function refuse_change();

-- Puts a person's alias in the place of their id; gives how many rows it changed. Only while that person is being erased.
create function record_erase(whose text, nos bigint[], subjects text[], details jsonb[]) returns bigint
language plpgsql security definer set search_path = public, pg_temp as $$
declare changed bigint;
begin
  if not exists (select 1 from record_people where alias = whose and erasing_since is not null and erased_at is null) then
    raise exception 'nobody of this alias is being erased';
  end if;
  perform set_config('remit.record_change', 'erasure', true);
  update decision_records d set subject = given.subject, detail = given.detail
  from unnest(nos, subjects, details) given (record_no, subject, detail)
  where d.record_no = given.record_no;
  get diagnostics changed = row_count;
  perform set_config('remit.record_change', '', true);
  return changed;
end
$$;

-- Takes off the oldest seal that is still whole, with its records; its head stays. Null: it is younger than `before`.
create function record_drop_oldest(before timestamptz) returns table (seal_no bigint, records bigint)
language plpgsql security definer set search_path = public, pg_temp as $$
declare oldest bigint; gone bigint;
begin
  -- Whatever is asked for, nobody takes away what happened lately.
  if before > now() - interval '30 days' then
    raise exception 'records of the last 30 days cannot be dropped';
  end if;
  select l.seal_no into oldest from record_leaves l order by l.seal_no limit 1;
  if oldest is null or exists (select 1 from record_seals s where s.seal_no = oldest and s.newest_at >= before) then
    return;
  end if;
  perform set_config('remit.record_change', 'retention', true);
  delete from decision_records d using record_leaves l
    where l.seal_no = oldest and d.record_no = any(l.record_nos);
  get diagnostics gone = row_count;
  delete from record_leaves l where l.seal_no = oldest;
  perform set_config('remit.record_change', '', true);
  return query select oldest, gone;
end
$$;

-- New entries of the record's index are a list first, that the job which seals sorts in: no answer does.
alter index decision_records_objects set (fastupdate = on);
create function record_tidy() returns void language sql security definer set search_path = public, pg_temp as $$
  select gin_clean_pending_list('decision_records_objects');
$$;

-- What each agent reads, day by day: what its reach is measured against. Filled by the job that seals; names no person.
create table agent_reach (
  agent text not null,
  day date not null,
  document_id text not null,
  reads int not null,
  primary key (agent, day, document_id)
);
create index agent_reach_first on agent_reach (agent, document_id, day);
