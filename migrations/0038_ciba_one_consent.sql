-- CIBA: the consent that comes of a yes is made once (decision 0017). Whatever several requests stand for one question,
-- one that was ended, or is over, is not made again by another of them.
alter table backchannel_requests add column consented boolean not null default false;
