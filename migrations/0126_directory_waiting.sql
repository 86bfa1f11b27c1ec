-- What of the last reading of a directory waits for somebody's word, each by name (docs/decisions/0059-read-directories.md):
-- a number may stand for others by the time that somebody says yes to it.
create table directory_waiting (
  directory text not null references directories (name),
  -- end: a person is missing. unblock: a member is missing from a group that keeps them from something.
  -- return: a person who was ended would be active again.
  what text not null check (what in ('end', 'unblock', 'return')),
  member_id text not null,
  -- Of unblock the group; else nothing.
  group_id text not null,
  -- Somebody said yes, and the next reading does it.
  is_confirmed boolean not null default false,
  primary key (directory, what, member_id, group_id)
);

alter table directories drop column held_people, drop column held_blocks, drop column end_held_until;
