-- Tables say what they hold, by the words of docs/glossary.md. Nothing but names changes.

-- How every process hears what was revoked.
alter table authority rename to revocation_feed;
alter table revocation_feed rename constraint authority_pkey to revocation_feed_pkey;
alter table revocation_feed rename constraint authority_single_check to revocation_feed_single_check;
alter table authority_changes rename to revocation_feed_changes;
alter table revocation_feed_changes rename constraint authority_changes_pkey to revocation_feed_changes_pkey;
alter table revocation_feed_changes rename constraint authority_changes_kind_check to revocation_feed_changes_kind_check;
alter function authority_changed(text, text, timestamptz, boolean) rename to revocation_feed_changed;

create or replace function revocation_feed_changed(kind text, key text, until timestamptz, lifted boolean)
returns void language plpgsql as $$
declare
  number bigint;
begin
  update revocation_feed set version = version + 1 returning version into number;
  insert into revocation_feed_changes values (number, kind, key, until, lifted);
  -- Delivered when this is committed, and to the committing session before its commit is answered.
  perform pg_notify('remit_revocation_feed', number::text);
end
$$;

create or replace function approval_grant_changed() returns trigger language plpgsql as $$
begin
  perform revocation_feed_changed('delegation', old.delegation, null, false);
  return null;
end
$$;

create or replace function delegation_changed() returns trigger language plpgsql as $$
begin
  perform revocation_feed_changed('delegation', old.id, null, false);
  return null;
end
$$;

create or replace function registry_changed() returns trigger language plpgsql as $$
begin
  perform revocation_feed_changed('registry', tg_table_name, null, false);
  return null;
end
$$;

create or replace function revocation_changed() returns trigger language plpgsql as $$
begin
  if tg_op = 'DELETE' then
    perform revocation_feed_changed(old.kind, old.key, old.until, true);
  else
    perform revocation_feed_changed(new.kind, new.key, new.until, false);
  end if;
  return null;
end
$$;

-- Proofs that count once, by the replay guard.
alter table spent_proofs rename to used_proofs;
alter table used_proofs rename constraint spent_proofs_pkey to used_proofs_pkey;
alter index spent_proofs_until rename to used_proofs_until;

-- The tuples that Remit wants on an object, and the objects on which OpenFGA does not hold them yet.
alter table tags rename to desired_tuples;
alter table desired_tuples rename constraint tags_pkey to desired_tuples_pkey;
alter table unsettled rename to unreconciled;
alter table unreconciled rename constraint unsettled_pkey to unreconciled_pkey;
alter sequence unsettled_numbers rename to unreconciled_numbers;

-- What an agent read on each day, to compare the next one with.
alter table agent_reach rename to agent_baselines;
alter table agent_baselines rename constraint agent_reach_pkey to agent_baselines_pkey;
