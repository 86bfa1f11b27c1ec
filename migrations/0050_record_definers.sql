-- What runs as the record's owner looks up nothing where the service may create: a function or operator of the service's in
-- `public` that fits better than Postgres' own would run with the owner's rights (CVE-2018-1058).
create or replace function record_erase(whose text, nos bigint[], subjects text[], details jsonb[]) returns bigint
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare changed bigint;
begin
  if not exists (
    select 1 from public.record_people where alias = whose and erasing_since is not null and erased_at is null
  ) then
    raise exception 'nobody of this alias is being erased';
  end if;
  perform set_config('remit.record_change', 'erasure', true);
  update public.decision_records d set subject = given.subject, detail = given.detail
  from unnest(nos, subjects, details) given (record_no, subject, detail)
  where d.record_no = given.record_no;
  get diagnostics changed = row_count;
  perform set_config('remit.record_change', '', true);
  return changed;
end
$$;

create or replace function record_drop_oldest(before timestamptz) returns table (seal_no bigint, records bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare oldest bigint; gone bigint;
begin
  -- Whatever is asked for, nobody takes away what happened lately.
  if before > now() - interval '30 days' then
    raise exception 'records of the last 30 days cannot be dropped';
  end if;
  select l.seal_no into oldest from public.record_leaves l order by l.seal_no limit 1;
  if oldest is null or exists (select 1 from public.record_seals s where s.seal_no = oldest and s.newest_at >= before) then
    return;
  end if;
  -- The records' own times: whoever may write seals may write one that says that it is old.
  if exists (
    select 1 from public.record_leaves l join public.decision_records d on d.record_no = any(l.record_nos)
    where l.seal_no = oldest and d.at >= before
  ) then
    raise exception 'seal % holds records that are younger than it says', oldest;
  end if;
  perform set_config('remit.record_change', 'retention', true);
  delete from public.decision_records d using public.record_leaves l
    where l.seal_no = oldest and d.record_no = any(l.record_nos);
  get diagnostics gone = row_count;
  delete from public.record_leaves l where l.seal_no = oldest;
  perform set_config('remit.record_change', '', true);
  return query select oldest, gone;
end
$$;

create or replace function record_tidy() returns void language sql security definer
set search_path = pg_catalog, pg_temp as $$
  select gin_clean_pending_list('public.decision_records_objects'::regclass);
$$;
