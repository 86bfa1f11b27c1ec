-- Who may act, as every process holds it in memory: each change is numbered and told to all.

-- One row. The number is taken at the very end of the transaction that makes the change, and its row is locked until
-- that one is over: numbers are committed in order and without a gap, so whoever has seen number n has missed nothing
-- before it, however long another transaction took. Deferred also so that no two transactions wait for each other.
create table authority (
  single boolean primary key default true check (single),
  version bigint not null
);
insert into authority (version) values (0);

-- What changed, for whoever follows; swept after an hour, since who is later than that reads everything again.
create table authority_changes (
  version bigint primary key,
  -- A revocation's own kind and key; a delegation's id; the table of agents, clients, services or account links.
  kind text not null check (kind in ('jti', 'grant', 'subject', 'agent', 'delegation', 'registry')),
  key text not null,
  -- Of a revocation. null: for ever.
  until timestamptz,
  -- A revocation that was taken back.
  lifted boolean not null,
  at timestamptz not null default now()
);

create function authority_changed(kind text, key text, until timestamptz, lifted boolean) returns void
language plpgsql as $$
declare
  number bigint;
begin
  update authority set version = version + 1 returning version into number;
  insert into authority_changes values (number, kind, key, until, lifted);
  -- Delivered when this is committed, and to the committing session before its commit is answered.
  perform pg_notify('remit_authority', number::text);
end
$$;

create function revocation_changed() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    perform authority_changed(old.kind, old.key, old.until, true);
  else
    perform authority_changed(new.kind, new.key, new.until, false);
  end if;
  return null;
end
$$;
create constraint trigger revocations_told after insert or update on revocations
  deferrable initially deferred for each row execute function revocation_changed();
-- One that is over was forgotten by everybody already.
create constraint trigger revocations_lifted after delete on revocations
  deferrable initially deferred for each row when (old.until is null or old.until > now())
  execute function revocation_changed();

create function delegation_changed() returns trigger language plpgsql as $$
begin
  perform authority_changed('delegation', old.id, null, false);
  return null;
end
$$;
-- Only of one that counts: nobody holds a yes for one that is not live yet. Its later end is in whatever is held.
create constraint trigger delegations_told after update on delegations
  deferrable initially deferred for each row
  when (old.state = 'live' and old.* is distinct from new.*)
  execute function delegation_changed();
create constraint trigger delegations_gone after delete on delegations
  deferrable initially deferred for each row execute function delegation_changed();

create function registry_changed() returns trigger language plpgsql as $$
begin
  perform authority_changed('registry', tg_table_name, null, false);
  return null;
end
$$;
create constraint trigger agents_told after insert or update or delete on agents
  deferrable initially deferred for each row execute function registry_changed();
create constraint trigger clients_told after insert or update or delete on clients
  deferrable initially deferred for each row execute function registry_changed();
create constraint trigger services_told after insert or update or delete on services
  deferrable initially deferred for each row execute function registry_changed();
create constraint trigger account_links_told after insert or update or delete on account_links
  deferrable initially deferred for each row execute function registry_changed();
