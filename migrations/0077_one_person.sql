-- Links that are over, by which two names were one person for a time: whoever unlinks is not two people at once.
create table account_links_ended (
  issuer text not null,
  sub text not null,
  person text not null,
  ended_at timestamptz not null,
  primary key (issuer, sub, person)
);
create index account_links_ended_person on account_links_ended (person, ended_at);
