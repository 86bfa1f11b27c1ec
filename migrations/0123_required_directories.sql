-- The people of such a directory count only while its last complete reading is younger than its max_age.
alter table directories add column required boolean not null default false,
  add constraint directories_required_check check (kind <> 'scim' or not required);
