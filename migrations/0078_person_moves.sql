-- Keys of people that were given up for others. Written before anything is moved, so that a move that died goes on as it
-- began, and nobody is let in under the new key who was shut out under the old one.
create table person_moves (
  old_key text primary key,
  new_key text not null,
  was_disabled boolean not null,
  begun_at timestamptz not null,
  ended_at timestamptz
);
