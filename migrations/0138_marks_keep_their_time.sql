-- A mark that stood keeps the time since which it stands, as wherever else one is set: who waits longest is what alarms tell.
create or replace function service_ended() returns trigger language plpgsql as $$
begin
  with gone as (
    delete from desired_tuples
    where relation in ('writer', 'tagger') and subject = 'service:' || old.name and object in (
      select 'collection:' || collection from unnest(old.collections) as collection
      where tg_op = 'DELETE' or collection <> all(new.collections))
    returning object
  )
  insert into unreconciled (object, purge) select distinct object, false from gone order by 1
  on conflict (object) do update set number = nextval('unreconciled_numbers');
  return null;
end
$$;
