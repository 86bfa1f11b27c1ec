-- Who somebody signed in as elsewhere, so that a session ends with the link through which it came, and by either name.
-- Of those that stand it is not known: whoever they are signs in again.
delete from browser_sessions;
alter table browser_sessions
  add column upstream_issuer text,
  add column upstream_sub text,
  -- Account key of that account without a link, `namespace/key`.
  add column upstream_person text,
  add constraint browser_sessions_upstream_whole
    check (num_nulls(upstream_issuer, upstream_sub, upstream_person) in (0, 3));
