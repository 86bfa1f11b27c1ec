-- Ended before its time: its row stays, empty, until it would have been over, so that a request that has read it
-- before cannot write it back.
alter table oauth_artifacts add column ended_at timestamptz;
