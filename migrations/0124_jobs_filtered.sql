-- Lists of jobs by their state and kind begin where a page begins, however many others there are. The expression is
-- the one of src/ingest/job-list.ts.
create index jobs_filtered on jobs ((
  case when state = 'broken' then 'failed'
  when state = 'receiving' or done + failed < total then case when done + failed > 0 then 'running' else 'queued' end
  when failed > 0 and done = 0 then 'failed' else 'done' end
), kind, created_at desc, id desc);
create index jobs_filtered_of on jobs (owner, (
  case when state = 'broken' then 'failed'
  when state = 'receiving' or done + failed < total then case when done + failed > 0 then 'running' else 'queued' end
  when failed > 0 and done = 0 then 'failed' else 'done' end
), kind, created_at desc, id desc);
drop index jobs_listed;
