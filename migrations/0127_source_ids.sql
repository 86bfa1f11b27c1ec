-- Ids of sources that were removed after somebody confirmed them. What people lent or were granted by the ids of their
-- items would be another source's: no source has such an id again.
create table source_ids (
  id text primary key
);

insert into source_ids (id)
select substr(source, 8) from documents where source like 'source/%'
union
select detail ->> 'source' from decision_records where event = 'source_confirmed' and detail ? 'source'
except
select id from sources;
