-- What an agent wants to send to an API of others stands beside its question, for the person to read. It is gone as soon
-- as the question is over, whichever way: the digest of it, which is what was agreed to, stays.
create function approval_over() returns trigger language plpgsql as $$
begin
  new.asked := new.asked - 'body';
  new.answer := new.answer - 'body';
  return new;
end
$$;
create trigger approvals_over before insert or update on approvals
  for each row when (new.state not in ('pending', 'info_requested')) execute function approval_over();
