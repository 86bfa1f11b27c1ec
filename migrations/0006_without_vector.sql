-- Passages that were taken in without a model: counted at each start and by /readyz, and given vectors in this order.
create index chunks_without_vector on chunks (chunk_id) where embedding is null;
