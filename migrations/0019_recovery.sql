-- How far this database has come, so that an older copy of it is noticed: OpenFGA is told the number too.
create table epochs (
  single boolean primary key default true check (single),
  -- Raised while there is something to lose; always before OpenFGA is told, so that OpenFGA is never ahead of it.
  number bigint not null,
  raised_at timestamptz not null,
  -- Set while `remit recover` has begun and not ended: nobody is answered, whoever is started.
  recovering_since timestamptz,
  -- Tokens issued before this are refused.
  tokens_from timestamptz
);
insert into epochs (number, raised_at) values (0, now());

create constraint trigger epochs_told after update on epochs
  deferrable initially deferred for each row
  when ((old.recovering_since, old.tokens_from) is distinct from (new.recovering_since, new.tokens_from))
  execute function registry_changed();
