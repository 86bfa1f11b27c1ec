-- Jobs that can be listed, how fast they go, and content that failed: docs/decisions/0050-failed-content.md.

-- In the order in which they are listed. A number would tell a service how many jobs there are of others.
create index jobs_listed on jobs (owner, created_at desc, id desc);

-- `retry`: content that failed and is held is taken in once more.
alter table jobs drop constraint jobs_kind_check;
alter table jobs add constraint jobs_kind_check check (kind in ('document', 'withdrawal', 'import', 'retry'));

-- How many items end in a second, of those that the queue ends: each counts e times less after every minute. Null before the first.
alter table jobs add column pace double precision not null default 0;
alter table jobs add column paced_from timestamptz;
alter table jobs add column paced_at timestamptz;

-- What ends when it is accepted raises the total as well, and says nothing of what waits.
create function job_paced() returns trigger language plpgsql as $$
begin
  if new.paced_at is null then
    new.paced_from := now();
  else
    new.pace := new.pace * exp(-least(greatest(extract(epoch from now() - new.paced_at), 0), 600)::float8 / 60)
      + (new.done + new.failed - old.done - old.failed) / 60.0;
  end if;
  new.paced_at := greatest(new.paced_at, now());
  return new;
end
$$;
create trigger jobs_paced before update of done, failed on jobs for each row
  when (new.total = old.total and new.done + new.failed > old.done + old.failed) execute function job_paced();

-- How often this content was begun as a revision, this time included.
alter table revisions add column tries integer not null default 1;

-- The newest content of a document, where it could not be taken in. Never read by search.
create table failed_documents (
  doc_no integer not null references documents (doc_no),
  revision bigint not null,
  -- The service that sent it.
  source text not null,
  code text not null,
  detail text not null,
  tries integer not null,
  failed_at timestamptz not null default now(),
  -- Bytes of the content; what follows is null once they are not held any more.
  bytes integer not null,
  content bytea,
  title text,
  uri text,
  mime_type text,
  metadata jsonb,
  -- The tuples that came with it, as they were changed since.
  access jsonb,
  source_updated_at timestamptz,
  source_version bigint,
  primary key (doc_no, revision)
);
create index failed_documents_listed on failed_documents (source, failed_at desc);
create index failed_documents_held on failed_documents (source) include (bytes) where content is not null;

-- Whatever replaces a document, or withdraws it, raises its number: content that failed before is nobody's then.
create function drop_failed_content() returns trigger language plpgsql as $$
begin
  delete from failed_documents where doc_no = new.doc_no and revision < new.accepted_revision;
  return null;
end
$$;
create trigger documents_replaced after update of accepted_revision on documents for each row
  when (new.accepted_revision > old.accepted_revision) execute function drop_failed_content();
