-- Who the accounts of a source are: docs/decisions/0056-who-is-who.md.

-- The one address of a person that counts: the primary one, or the only one there is. ASCII capitals alone are made
-- small; nothing else is folded. Null: there is none, or it is not said which.
create function directory_address(attributes jsonb) returns text language sql immutable as $$
  select case when count(*) = 1 then min(lower(address collate "C")) end
  from (
    select email ->> 'value' as address
    from jsonb_array_elements(
      case jsonb_typeof(attributes -> 'emails') when 'array' then attributes -> 'emails' else '[]' end) as email
    where email -> 'primary' = 'true' or jsonb_array_length(attributes -> 'emails') = 1
  ) as counting
  where address is not null
$$;

-- Whom a directory ever gave an address to, by a digest of it. An address of two people, one after the other or at
-- once, is nobody's by itself. It stays when a user is deleted: the next one with that address is somebody else.
create table directory_addresses (
  directory text not null references directories,
  digest text not null,
  account text not null,
  primary key (directory, digest, account)
);
insert into directory_addresses (directory, digest, account)
select directory, encode(sha256(convert_to(directory_address(attributes), 'UTF8')), 'hex'), account
from directory_users where directory_address(attributes) is not null;

create table source_people (
  source text not null references sources on delete cascade,
  -- The source's own id of the account, which never becomes somebody else's.
  account text not null,
  -- What the source calls it, and the address that it verified: for whoever looks at the list.
  name text,
  address text,
  state text not null constraint source_people_state_check check (state in ('linked', 'suspended', 'unknown')),
  -- Who it is, or was until it was suspended.
  subject text,
  -- What says so: the settings of the source, the address at both sides, or two administrators.
  linked_by text constraint source_people_linked_by_check check (linked_by in ('settings', 'address', 'people')),
  -- Why it is nobody.
  reason text,
  -- Suspended until somebody says who it is. False: for as long as the reason holds.
  is_held boolean not null default false,
  -- The source named it in its last reading.
  is_told boolean not null default true,
  changed_at timestamptz not null default now(),
  primary key (source, account),
  constraint source_people_linked_check check (state <> 'linked' or subject is not null and linked_by is not null)
);
-- One to one.
create unique index source_people_linked on source_people (source, subject) where state = 'linked';
create index source_people_subjects on source_people (subject);

-- In the transaction of whoever changes a user, whichever feeder it is: no reading of a source has to come between.
create function directory_user_changed() returns trigger language plpgsql as $$
declare
  before text := case when tg_op = 'UPDATE' then directory_address(old.attributes) end;
  after text := directory_address(new.attributes);
  ended boolean := tg_op = 'UPDATE' and old.is_active and not new.is_active;
begin
  if after is not null then
    insert into directory_addresses (directory, digest, account)
    values (new.directory, encode(sha256(convert_to(after, 'UTF8')), 'hex'), new.account) on conflict do nothing;
  end if;
  if ended or before <> after then
    update source_people set state = 'suspended', is_held = true, changed_at = now(),
      reason = case when ended then 'The directory deactivated this person.'
        else 'The directory gave this person another address.' end
    where subject = 'user:' || new.account and state <> 'unknown' and not is_held
      and (linked_by = 'address' or linked_by = 'people' and ended);
  end if;
  return null;
end
$$;
create trigger directory_users_changed after insert or update on directory_users
  for each row execute function directory_user_changed();
