-- Directories that the service reads by itself, beside those that come by SCIM (docs/decisions/0059-read-directories.md).
alter table directories
  add column kind text not null default 'scim' constraint directories_kind_check check (kind in ('scim', 'ldap', 'keycloak')),
  -- What one has to say of a directory of its kind, and what it talks to.
  add column settings jsonb not null default '{}',
  add column origin text,
  -- The entry of DIRECTORY_SECRETS that it uses, by name: the secret itself is never stored.
  add column secret text,
  add column poll_seconds integer not null default 300,
  add column max_age_seconds integer not null default 86400,
  add column next_at timestamptz not null default now(),
  -- When the last reading began and ended, and when the last one began that was complete.
  add column began_at timestamptz,
  add column ended_at timestamptz,
  add column read_at timestamptz,
  add column failures integer not null default 0,
  -- Why the last reading failed, and what of the last complete one was not taken as it stands.
  add column problem text,
  add column problems jsonb not null default '[]',
  -- Nobody confirmed its memberships lately enough: those that give something are out of OpenFGA.
  add column is_stale boolean not null default false,
  -- People and blocks that are missing, and so many that only somebody's word ends them; those until then are ended.
  add column held_people integer not null default 0,
  add column held_blocks integer not null default 0,
  add column end_held_until timestamptz,
  drop constraint directories_key_attribute_check,
  add constraint directories_key_attribute_check check (kind <> 'scim' or key_attribute in ('externalId', 'userName')),
  add constraint directories_read_check check (kind = 'scim' or (origin is not null and secret is not null));

alter table directory_users
  -- The directory's own id of the entry whose key it is.
  add column immutable_id text,
  -- Inactive, and nothing of what they have is ended yet: they are missing, or what they are cannot be told.
  add column is_held boolean not null default false;

alter table directory_groups add column immutable_id text;
create unique index directory_groups_immutable_ids on directory_groups (directory, immutable_id) where immutable_id is not null;
