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

-- Where it removes a service, no row brings back what that could write.
create function service_removed() returns trigger language plpgsql as $$
begin
  delete from desired_tuples
  where object in (select 'collection:' || unnest(old.collections)) and relation in ('writer', 'tagger')
    and subject = 'service:' || old.name;
  return null;
end
$$;
create trigger services_removed after delete on services for each row execute function service_removed();
