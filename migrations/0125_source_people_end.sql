-- A link by address ends with the address, whichever way the directory takes it away. Who is only held, as where many
-- are missing at once, is linked again with the next reading: nothing of theirs ends for good.
create or replace function directory_user_changed() returns trigger language plpgsql as $$
declare
  before text := case when tg_op = 'UPDATE' then directory_address(old.attributes) end;
  after text := directory_address(new.attributes);
  ended boolean := tg_op = 'UPDATE' and (old.is_active or old.is_held) and not (new.is_active or new.is_held);
  held boolean := tg_op = 'UPDATE' and old.is_active and new.is_held;
begin
  if after is not null then
    insert into directory_addresses (directory, digest, account)
    values (new.directory, encode(sha256(convert_to(after, 'UTF8')), 'hex'), new.account) on conflict do nothing;
  end if;
  if ended or held or tg_op = 'UPDATE' and before is distinct from after then
    update source_people set state = 'suspended', changed_at = now(),
      -- One that is gone may come back; another one is another person's link.
      is_held = ended or not held and after is not null,
      reason = case when ended then 'The directory deactivated this person.'
        when held then 'The directory does not have this person at the moment.'
        when after is null then 'The directory gives this person no address.'
        else 'The directory gave this person another address.' end
    where subject = 'user:' || new.account and state <> 'unknown' and not is_held
      and (ended or held or address is distinct from after)
      and (linked_by = 'address' or linked_by = 'people' and (ended or held));
  end if;
  return null;
end
$$;
