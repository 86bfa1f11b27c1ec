-- Somebody said `remit recover --anyway`: it holds until a recovery has ended, also for one that takes over from one that died.
alter table epochs add column said_copies boolean not null default false;
