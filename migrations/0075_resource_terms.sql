-- What another's API takes from tokens of a third: {API: {its scope: the scope here}}. And whether what is agreed to for it takes
-- the person in front of their device.
alter table resources add column accepts jsonb not null default '{}';
alter table resources add column takes_verification boolean not null default true;
