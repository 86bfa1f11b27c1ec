-- Directories that bring people and groups by SCIM. Each has one namespace of a trusted issuer and one prefix of groups.
create table directories (
  name text primary key,
  -- The trusted issuer whose people these are, and its namespace: people are user:NAMESPACE/KEY.
  issuer text not null unique,
  namespace text not null unique,
  -- Ends in /. Groups are group:PREFIX followed by their id.
  prefix text not null unique check (prefix like '%/'),
  -- Which attribute of a user is the issuer's `sub`.
  key_attribute text not null check (key_attribute in ('externalId', 'userName')),
  created_at timestamptz not null
);

create table directory_tokens (
  -- sha256; the token itself is kept nowhere.
  digest text primary key,
  directory text not null references directories,
  created_at timestamptz not null,
  expires_at timestamptz not null
);

create table directory_users (
  id text primary key,
  directory text not null references directories,
  -- The attribute as it was sent, and what it is behind user:NAMESPACE/. For good: no other id gets either.
  sub text not null,
  account text not null,
  -- Its userName, by which no two are told apart by case alone.
  login text not null,
  -- What SCIM reads back.
  attributes jsonb not null,
  is_active boolean not null,
  version bigint not null default 1,
  created_at timestamptz not null,
  changed_at timestamptz not null,
  -- Of a deleted one the row stays, without attributes, and keeps its account from anybody else.
  deleted_at timestamptz,
  unique (directory, sub),
  unique (directory, account)
);
create unique index directory_users_names on directory_users (directory, lower(login)) where deleted_at is null;
create index directory_users_order on directory_users (directory, created_at, id) where deleted_at is null;

create table directory_groups (
  id text primary key,
  directory text not null references directories,
  attributes jsonb not null,
  version bigint not null default 1,
  created_at timestamptz not null,
  changed_at timestamptz not null,
  deleted_at timestamptz
);
create index directory_groups_order on directory_groups (directory, created_at, id) where deleted_at is null;

-- Who is in a group, as OpenFGA names them: user:NAMESPACE/KEY or group:PREFIX/ID#member.
create table directory_members (
  group_id text not null references directory_groups,
  member text not null,
  -- The user's or the group's id.
  member_id text not null,
  -- Of somebody inactive: listed for the directory, and nothing in OpenFGA. Gone once they are active.
  is_dormant boolean not null,
  primary key (group_id, member)
);
create index directory_members_member on directory_members (member);

-- Memberships that OpenFGA may not hold as the rows above say. Written with the change itself; gone once it does.
create sequence directory_unsettled_numbers;
create table directory_unsettled (
  group_id text not null references directory_groups,
  member text not null,
  -- Of the latest change: whoever settled an older one leaves it.
  number bigint not null,
  primary key (group_id, member)
);

-- Tokens of an account that were issued before are over for good, whatever their own end says.
create table account_ends (
  issuer text not null,
  sub text not null,
  tokens_from timestamptz not null,
  primary key (issuer, sub)
);
create constraint trigger account_ends_told after insert or update on account_ends
  deferrable initially deferred for each row execute function registry_changed();
