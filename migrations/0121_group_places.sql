-- Where groups are named on what has no tags: on other groups and on organizations. A group that stands in a `blocked`
-- there keeps its members from something.
create table group_places (
  -- group:acme/staff#member
  subject text not null,
  -- group:eng, organization:acme/company
  object text not null,
  relation text not null,
  primary key (subject, object, relation)
);

-- Where somebody of a trusted issuer is named.
create index desired_tuples_people on desired_tuples (subject) where subject like 'user:%/%';
