-- When the last backup was taken and how large it is, for whoever watches; and why the last one failed.
create table backup_run (
  single boolean primary key default true check (single),
  -- Of the last that ended well: what it holds is as it was then.
  taken_at timestamptz,
  ended_at timestamptz,
  bytes bigint,
  -- Whether OpenFGA's database is in it too.
  openfga boolean,
  failed_at timestamptz,
  failure text
);
insert into backup_run default values;

-- What a restored database was restored from. No service starts on it before `remit recover` has emptied this.
alter table epochs add column restored jsonb;
