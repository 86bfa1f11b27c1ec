-- CIBA: clients that sign whatever they ask people (decision 0017).

-- The one algorithm by which it signs. null: it need not.
alter table clients add column request_alg text;
