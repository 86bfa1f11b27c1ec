-- Gives the decision record an owner that the service is not: run once, as a superuser, in the service's database.
--   psql --set service=remit -d remit -f docker/record-owner.sql
-- From its next start on the service may read the record and add to it, and nothing else: it can neither change nor remove a
-- row, nor drop the table or the database, nor switch off a trigger. An erasure and retention go by two functions of the owner's.
-- Run it again before an upgrade, with the service stopped: until the next start what it guards belongs to the service.
\set ON_ERROR_STOP on
-- As a superuser: nothing is looked up where the service may create (CVE-2018-1058).
set search_path = pg_catalog, pg_temp;
do $$ begin
  if not exists (select from pg_roles where rolname = 'remit_record') then create role remit_record nologin; end if;
end $$;

-- Whoever owns a schema may drop what others have in it.
alter schema public owner to remit_record;
grant usage, create on schema public to :"service";

-- Where this ran before: the next start may change all of it, and then hands it over again.
create temp table remit_service ();
alter table remit_service owner to :"service";
do $$ declare
  one regprocedure; held regclass;
  service regrole := (select relowner from pg_class where oid = 'pg_temp.remit_service'::regclass);
begin
  -- Nor may the service drop its database from another one: pg-boss makes a schema there, and no more is needed.
  -- An owner that is somebody else keeps it.
  if service = (select datdba from pg_database where datname = current_database()) then
    execute format('alter database %I owner to remit_record', current_database());
    execute format('grant connect, create on database %I to %s', current_database(), service);
  end if;
  for held in select oid from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'r' and relowner = 'remit_record'::regrole loop
    execute format('alter table %s owner to %s', held, service);
  end loop;
  for one in select oid from pg_proc
    where pronamespace = 'public'::regnamespace and proowner = 'remit_record'::regrole loop
    execute format('alter function %s owner to %s', one, service);
  end loop;
end $$;
drop table remit_service;

-- Runs as a superuser: it may find nothing where the service may create. Made anew: after a restore it is the service's.
drop function if exists public.remit_guard_record();
create function public.remit_guard_record() returns void language plpgsql security definer
set search_path = pg_catalog, pg_temp as $$
declare service text := session_user; one text;
begin
  foreach one in array array['decision_records', 'record_seals', 'record_leaves'] loop
    execute format('alter table public.%I owner to remit_record', one);
    execute format('revoke all on public.%I from public, %I', one, service);
    execute format('grant select, insert on public.%I to %I', one, service);
  end loop;
  -- What is listed of it: by its owner's own function, at each seal.
  foreach one in array array['record_who', 'record_given'] loop
    execute format('alter table public.%I owner to remit_record', one);
    execute format('revoke all on public.%I from public, %I', one, service);
    execute format('grant select on public.%I to %I', one, service);
  end loop;
  -- pg_dump reads how far each sequence is, and ends at one that it may not read.
  for one in select oid::regclass::text from pg_class
    where relnamespace = 'public'::regnamespace and relkind = 'S' and relowner = 'remit_record'::regrole loop
    execute format('grant select on sequence %s to %I', one, service);
  end loop;
  -- The two that may change it also read who is being erased: in a table, which nobody can put a view in the place of.
  execute 'alter table public.record_people owner to remit_record';
  execute format('revoke all on public.record_people from public, %I', service);
  execute format('grant select, insert, update on public.record_people to %I', service);
  foreach one in array array['record_erase(text, bigint[], text[], jsonb[])', 'record_drop_oldest(timestamptz)', 'record_tidy()',
      'refuse_change()'] loop
    execute format('alter function public.%s owner to remit_record', one);
    execute format('revoke all on function public.%s from public', one);
    execute format('grant execute on function public.%s to %I', one, service);
  end loop;
  -- Only where a seal is: nobody may hang it on a table of their own.
  execute 'alter function public.record_list() owner to remit_record';
  execute format('revoke all on function public.record_list() from public, %I', service);
end
$$;
revoke all on function public.remit_guard_record() from public;
grant execute on function public.remit_guard_record() to :"service";
reset search_path;
