-- Every tuple that a caller was told of stands in desired_tuples first: docs/decisions/0075-tuples-first.md.

-- A process of 0.9.0 knows of no rows for groups, organizations and who writes where, and names none of these columns. So
-- it changes none of that any more: it gets no such object to itself, saves no service and moves nobody.
alter table leases add column tuples_first boolean not null default true;
alter table leases alter column tuples_first set default false;
alter table leases add constraint leases_tuples_first
  check (tuples_first or object !~ '^(collection|group|organization):');
alter table services add column tuples_first boolean not null default true;
alter table services alter column tuples_first drop default;
alter table person_moves add column tuples_first boolean not null default true;
alter table person_moves alter column tuples_first drop default;
-- Nor does it end a move that it had begun: the same call to a process of this version does.
update person_moves set tuples_first = ended_at is not null;
alter table person_moves add constraint person_moves_tuples_first check (tuples_first or ended_at is null);
-- One that had ended may run again. Each comparison of an object asks which keys are being moved.
alter table person_moves add column running boolean not null default false;
create index person_moves_open on person_moves (old_key) where ended_at is null or running;

-- Where a service goes, or a collection of its, no row brings back what it could write: also where a process of 0.9.0 does it,
-- or one gives it meanwhile. The mark has OpenFGA lose it, too.
create function service_ended() returns trigger language plpgsql as $$
begin
  with gone as (
    delete from desired_tuples
    where relation in ('writer', 'tagger') and subject = 'service:' || old.name and object in (
      select 'collection:' || collection from unnest(old.collections) as collection
      where tg_op = 'DELETE' or collection <> all(new.collections))
    returning object
  )
  insert into unreconciled (object, purge) select distinct object, false from gone order by 1
  on conflict (object) do update set since = now(), number = nextval('unreconciled_numbers');
  return null;
end
$$;
create trigger services_ended after delete or update of collections on services
  for each row execute function service_ended();
