-- What was accepted last, as a digest, and as which revision: the same again is not read again. A process of an older version
-- raises accepted_revision alone, and then the digest is no longer of that revision.
alter table documents add column accepted_digest bytea, add column digest_revision bigint;
