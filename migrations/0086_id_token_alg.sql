-- What a client's ID tokens are signed by. null: ES256, as every client's were.
alter table clients add column id_token_alg text;
