-- By which a process tells a server that was primary from the one that took over: docs/decisions/0064.

-- The number rises with each promotion. The control file's is behind until a checkpoint; the WAL's is not, but a hosted
-- Postgres may keep these functions to itself. null: nobody can tell.
create function server_timeline() returns bigint language plpgsql as $$
begin
  return ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
exception when others then
  return null;
end
$$;

-- What a process writes to know that its server can commit. A transaction's number alone does not wait for a standby; a
-- sequence's value does, and leaves no row behind.
create sequence heartbeats;
