-- Whose it is, as a keyed hash: signing out, a new password and a person who is disabled end what the authorization
-- server keeps of them.
alter table oauth_artifacts add column person_hash text;
create index oauth_artifacts_person on oauth_artifacts (person_hash) where person_hash is not null;
create index oauth_grants_subject on oauth_grants (subject);
-- Of those that are there nobody knows whose they are; they last minutes.
delete from oauth_artifacts where model in ('Session', 'Interaction');
