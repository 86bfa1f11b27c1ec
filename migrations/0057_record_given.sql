-- Who was given which document: what each record of an answer says, a narrow row for each document, so that counting them
-- reads no whole records. Filled where a seal is, by the record's owner, from the records that it holds: it cannot say what
-- they do not, and is no evidence. What is not sealed yet is read from the record. docs/decisions/0029-record-given.md.
set local statement_timeout = 0;

create table record_who (
  who bigint generated always as identity primary key,
  subject text not null,
  actors text[] not null,
  client text not null
);
create index record_who_subject on record_who (subject);

create table record_given (
  document_id text not null,
  at timestamptz not null,
  record_no bigint not null,
  -- Of record_who. No reference: it would be looked up for each row.
  who bigint not null,
  primary key (document_id, at, record_no) include (who)
);
create index record_given_who on record_given (who, at) include (document_id);
-- Rows come in the order of the numbers.
create index record_given_no on record_given using brin (record_no) with (pages_per_range = 16);
-- Both are read without their rows: those have to be marked as visible soon.
alter table record_given set (autovacuum_vacuum_insert_scale_factor = 0.02);

create trigger record_who_append_only before update or delete on record_who
  for each row execute function refuse_change();
create trigger record_who_no_truncate before truncate on record_who
  for each statement execute function refuse_change();
create trigger record_given_append_only before update or delete on record_given
  for each row execute function refuse_change();
create trigger record_given_no_truncate before truncate on record_given
  for each statement execute function refuse_change();

-- Whoever seals lists, in the same transaction: nobody can do the one without the other.
create function record_list() returns trigger language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
begin
  -- As the job that seals does: one at a time, and retention waits.
  perform pg_advisory_xact_lock(7364838);
  insert into public.record_who (subject, actors, client)
  select distinct d.subject, d.actors, d.client
  from unnest(new.record_nos) n join public.decision_records d on d.record_no = n
  where d.decision = 'allowed' and d.event in ('retrieved', 'document_read') and not exists (
    select from public.record_who w where w.subject = d.subject and w.actors = d.actors and w.client = d.client);
  insert into public.record_given (document_id, at, record_no, who)
  select distinct substr(object, 10), d.at, d.record_no, w.who
  from unnest(new.record_nos) n join public.decision_records d on d.record_no = n
    join public.record_who w on w.subject = d.subject and w.actors = d.actors and w.client = d.client
    cross join unnest(d.objects) object
  where d.decision = 'allowed' and d.event in ('retrieved', 'document_read') and starts_with(object, 'document:')
  order by d.record_no
  on conflict do nothing;
  return null;
end
$$;
create trigger record_leaves_list after insert on record_leaves for each row execute function record_list();

-- What was sealed before.
insert into record_who (subject, actors, client)
select distinct d.subject, d.actors, d.client
from record_leaves l cross join unnest(l.record_nos) n join decision_records d on d.record_no = n
where d.decision = 'allowed' and d.event in ('retrieved', 'document_read');
insert into record_given (document_id, at, record_no, who)
select distinct substr(object, 10), d.at, d.record_no, w.who
from record_leaves l cross join unnest(l.record_nos) n join decision_records d on d.record_no = n
  join record_who w on w.subject = d.subject and w.actors = d.actors and w.client = d.client
  cross join unnest(d.objects) object
where d.decision = 'allowed' and d.event in ('retrieved', 'document_read') and starts_with(object, 'document:')
order by 3
on conflict do nothing;

-- Which seals may hold a number.
create index record_seals_numbers on record_seals using gist (int8range(first_no, last_no, '[]'));

-- In their order, so that no more is read of an action, or of a trace that somebody gives to all of theirs, than is shown.
create index decision_records_txn_no on decision_records (txn, record_no);
drop index decision_records_txn;
alter index decision_records_txn_no rename to decision_records_txn;
create index decision_records_trace_no on decision_records (trace_id, record_no) where trace_id is not null;
drop index decision_records_trace;
alter index decision_records_trace_no rename to decision_records_trace;

-- As before (0050), but of what is sealed alone: a change of anything else would show nowhere. And it names nobody else.
create or replace function record_erase(whose text, nos bigint[], subjects text[], details jsonb[]) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare person text; changed bigint;
begin
  select p.subject into person from public.record_people p
    where p.alias = whose and p.erasing_since is not null and p.erased_at is null;
  if person is null then
    raise exception 'nobody of this alias is being erased';
  end if;
  perform set_config('remit.record_change', 'erasure', true);
  update public.decision_records d set subject = given.subject, detail = given.detail
  from unnest(nos, subjects, details) given (record_no, subject, detail)
  where d.record_no = given.record_no
    and (given.subject = d.subject or d.subject = person and given.subject = whose)
    and exists (
      select from public.record_seals s join public.record_leaves l on l.seal_no = s.seal_no
      where int8range(s.first_no, s.last_no, '[]') @> given.record_no and given.record_no = any(l.record_nos));
  get diagnostics changed = row_count;
  update public.record_who w set subject = whose where w.subject = person;
  perform set_config('remit.record_change', '', true);
  return changed;
end
$$;

-- As before (0050), and what was listed of it.
create or replace function record_drop_oldest(before timestamptz) returns table (seal_no bigint, records bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare oldest bigint; gone bigint; nos bigint[]; whos bigint[];
begin
  -- Whatever is asked for, nobody takes away what happened lately.
  if before > now() - interval '30 days' then
    raise exception 'records of the last 30 days cannot be dropped';
  end if;
  -- Nothing is listed meanwhile: whom it would name might be gone.
  perform pg_advisory_xact_lock(7364838);
  select l.seal_no, l.record_nos into oldest, nos from public.record_leaves l order by l.seal_no limit 1;
  if oldest is null or exists (select 1 from public.record_seals s where s.seal_no = oldest and s.newest_at >= before) then
    return;
  end if;
  -- The records' own times: whoever may write seals may write one that says that it is old.
  if exists (select 1 from public.decision_records d where d.record_no = any(nos) and d.at >= before) then
    raise exception 'seal % holds records that are younger than it says', oldest;
  end if;
  perform set_config('remit.record_change', 'retention', true);
  with dropped as (
    delete from public.record_given g
    where g.record_no between (select min(n) from unnest(nos) n) and (select max(n) from unnest(nos) n)
      and g.record_no = any(nos)
    returning g.who)
  select array_agg(distinct dropped.who) into whos from dropped;
  delete from public.record_who w
    where w.who = any(whos) and not exists (select from public.record_given g where g.who = w.who);
  delete from public.decision_records d where d.record_no = any(nos);
  get diagnostics gone = row_count;
  delete from public.record_leaves l where l.seal_no = oldest;
  perform set_config('remit.record_change', '', true);
  return query select oldest, gone;
end
$$;
