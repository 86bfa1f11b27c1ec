-- Clients, beside its own, through which an agent may act: each time it says so itself, by a token of its key.
alter table agents add column host_clients text[] not null default '{}';
