-- Accounts at trusted issuers that are a local account: one person, one OpenFGA user, by every door.
create table account_links (
  issuer text not null,
  -- As the issuer's preset reads it: `sub`, at Entra `tid.oid`.
  sub text not null,
  person text not null references people (key),
  linked_at timestamptz not null,
  -- An account elsewhere is nobody's or one person's; a person may have several.
  primary key (issuer, sub)
);
create index account_links_person on account_links (person);
