-- Every hold of the cells' upkeep has a number that each of its writes asks for: whoever stood still while another took
-- over writes nothing any more. The row stays, so that no number comes twice. A holder needs no name beside it.
alter table cell_lease add column number bigint not null default 1;
alter table cell_lease drop column holder;
