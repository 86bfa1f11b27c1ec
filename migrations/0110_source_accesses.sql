-- Who may read an item, as its source said it, and what that came to: applied anew where an account of the source
-- becomes somebody else. Of items that were settled before it is not known: they are read again.
alter table source_items add column access text;
