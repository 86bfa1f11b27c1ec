-- A link by address ends with the address, whichever way the directory takes it away.
create or replace function directory_user_changed() returns trigger language plpgsql as $$
declare
  before text := case when tg_op = 'UPDATE' then directory_address(old.attributes) end;
  after text := directory_address(new.attributes);
  ended boolean := tg_op = 'UPDATE' and old.is_active and not new.is_active;
begin
  if after is not null then
    insert into directory_addresses (directory, digest, account)
    values (new.directory, encode(sha256(convert_to(after, 'UTF8')), 'hex'), new.account) on conflict do nothing;
  end if;
  if ended or tg_op = 'UPDATE' and before is distinct from after then
    update source_people set state = 'suspended', changed_at = now(),
      -- One that is gone may come back; another one is another person's link.
      is_held = ended or after is not null,
      reason = case when ended then 'The directory deactivated this person.'
        when after is null then 'The directory gives this person no address.'
        else 'The directory gave this person another address.' end
    where subject = 'user:' || new.account and state <> 'unknown' and not is_held
      and (linked_by = 'address' and (ended or address is distinct from after) or linked_by = 'people' and ended);
  end if;
  return null;
end
$$;
