-- What OpenFGA is known to hold of the number: one that says less is an older copy of itself. Less than the number, where
-- something died between raising it and telling.
alter table epochs add column told bigint not null default 0;
