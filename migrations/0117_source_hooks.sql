-- By what a source may be woken (docs/sources.md): the secret is made of this salt and of a key that is in no database.
create table source_hooks (
  source text primary key references sources on delete cascade,
  salt text not null,
  called_at timestamptz
);
