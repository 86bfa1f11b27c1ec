-- Each process looks every few seconds for who is to be told of a new passkey or link.
create index passkeys_created on passkeys (created_at);
create index account_links_linked on account_links (linked_at);
