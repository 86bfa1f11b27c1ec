-- Proofs of possession (RFC 9449) that were shown once. Whichever process sees one first has the row: it is nowhere
-- good for a second request.
create table spent_proofs (
  -- Digest of the key's thumbprint and the proof's jti.
  id text primary key,
  -- By then the proof is too old to pass anyway.
  until timestamptz not null
);
create index spent_proofs_until on spent_proofs (until);
