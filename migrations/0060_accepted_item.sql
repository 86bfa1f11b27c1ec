-- By which item of a job the document was last accepted: a snapshot lets stay what was accepted since it began, and nothing
-- that was merely sent. Not by the item's state: what was accepted may turn out to be unreadable before or after it is looked
-- at. Null: accepted before this column was there, so before any import that begins now.
alter table documents add column accepted_item bigint;
