-- Each mark has a number of its own: who made OpenFGA agree takes away the mark that it read, never one that was set since.
create sequence unsettled_numbers;
alter table unsettled add column number bigint not null default nextval('unsettled_numbers');
