-- Gives the decision record an owner that the service is not: run once, as a superuser, in the service's database.
--   psql --set service=remit -d remit -f docker/record-owner.sql
-- From its next start on the service may read the record and add to it, and nothing else: it can neither change nor remove a
-- row, nor drop the table, nor switch off a trigger. An erasure and retention go by two functions of the owner's.
-- An upgrade that changes these tables says so: give them back first (alter table … owner to remit).
do $$ begin
  if not exists (select from pg_roles where rolname = 'remit_record') then create role remit_record nologin; end if;
end $$;

-- Whoever owns a schema may drop what others have in it.
alter schema public owner to remit_record;
grant usage, create on schema public to :"service";

create or replace function remit_guard_record() returns void language plpgsql security definer
set search_path = pg_catalog, public, pg_temp as $$
declare service text := session_user; one text;
begin
  foreach one in array array['decision_records', 'record_seals', 'record_leaves'] loop
    execute format('alter table public.%I owner to remit_record', one);
    execute format('revoke all on public.%I from public, %I', one, service);
    execute format('grant select, insert on public.%I to %I', one, service);
  end loop;
  -- The two that may change it also read who is being erased.
  execute 'grant select on public.record_people to remit_record';
  foreach one in array array['record_erase(text, bigint[], text[], jsonb[])', 'record_drop_oldest(timestamptz)', 'record_tidy()',
      'refuse_change()'] loop
    execute format('alter function public.%s owner to remit_record', one);
    execute format('revoke all on function public.%s from public', one);
    execute format('grant execute on function public.%s to %I', one, service);
  end loop;
end
$$;
revoke all on function remit_guard_record() from public;
grant execute on function remit_guard_record() to :"service";
