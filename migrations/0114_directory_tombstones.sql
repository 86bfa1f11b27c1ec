-- Of a deleted user nothing stays but the key: neither the userName nor a place in a list of members.
update directory_users set login = '' where deleted_at is not null;
delete from directory_members using directory_users
where member = 'user:' || account and deleted_at is not null and is_dormant;

-- Where a group is named.
create index desired_tuples_usersets on desired_tuples (subject) where subject like '%#%';
