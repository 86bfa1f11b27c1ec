-- What the record is asked by: how it went, and what it was about. Both are written with the row, from its event alone
-- (src/audit/facts.ts), so that no question has to read what each kind of event looks like.
alter table decision_records
  add column decision text not null default 'none' check (decision in ('allowed', 'denied', 'error', 'none')),
  -- type:id of what was given, asked for or changed; inner agents of the chain as well.
  add column objects text[] not null default '{}';

-- Rows of before.
alter table decision_records disable trigger decision_records_append_only;
update decision_records set
  decision = case
    when event = 'retrieved' then case
      when jsonb_array_length(detail -> 'released') > 0 then 'allowed'
      when (detail ->> 'errors')::int > 0 then 'error'
      when (detail ->> 'denied')::int + (detail ->> 'passed_over')::int > 0 then 'denied'
      else 'none' end
    when event = 'document_read' then case when detail -> 'released' = 'null' then 'denied' else 'allowed' end
    when event = 'collections_listed' then case
      when jsonb_array_length(detail -> 'collections') > 0 then 'allowed'
      when (detail ->> 'errors')::int > 0 then 'error'
      when (detail ->> 'denied')::int + (detail ->> 'passed_over')::int > 0 then 'denied'
      else 'none' end
    when event = 'approval_decided' then case when detail ->> 'decision' = 'approved' then 'allowed' else 'denied' end
    when event = 'vault_called' then case when detail ->> 'outcome' = 'answered' then 'allowed' else 'error' end
    when event in ('consented', 'token_exchanged', 'signed_in', 'user_verified', 'connection_used') then 'allowed'
    when event in ('consent_refused', 'sign_in_failed') then 'denied'
    else 'none' end,
  objects = array(
    select distinct object from (
      select 'document:' || (one ->> 'document_id') from jsonb_array_elements(
        case jsonb_typeof(detail -> 'released') when 'array' then detail -> 'released' else '[]' end) one
      union all select 'document:' || (detail ->> 'document_id')
      union all select 'collection:' || one from jsonb_array_elements_text(
        case when event = 'collections_listed' then detail -> 'collections' else '[]' end) one
      union all select kind || ':' || (detail ->> kind)
        from unnest(array['collection', 'approval', 'grant', 'connection', 'plan']) kind
      union all select 'agent:' || (detail ->> 'agent')
      union all select 'delegation:' || coalesce(delegation, detail ->> 'delegation')
      union all select coalesce(detail ->> 'object', detail #>> '{question,object}')
      union all select one from jsonb_array_elements_text(
        case when event = 'grant_made' then detail -> 'objects' else '[]' end) one
      union all select split_part(one, ' ', 3) from unnest(array['writes', 'deletes', 'added', 'removed']) list,
        jsonb_array_elements_text(
          case when event in ('access_changed', 'drift_mended') then detail -> list else '[]' end) one
      union all select unnest(actors[2:])
    ) found (object)
    where object like '%_:_%');
alter table decision_records enable trigger decision_records_append_only;

-- Newest first, by each of them: the last column puts rows of one instant in order.
drop index decision_records_at;
drop index decision_records_subject;
create index decision_records_at on decision_records (at, record_no);
create index decision_records_subject on decision_records (subject, at, record_no);
create index decision_records_actor on decision_records ((actors[1]), at, record_no) where actors <> '{}';
create index decision_records_client on decision_records (client, at, record_no);
create index decision_records_event on decision_records (event, at, record_no);
-- What went through is nearly all of it: those are found by anything else.
create index decision_records_refused on decision_records (decision, at, record_no)
  where decision in ('denied', 'error');
-- At once, not from a list that some later answer would have to sort in.
create index decision_records_objects on decision_records using gin (objects) with (fastupdate = off);
