-- The trace (W3C Trace Context) that a decision belongs to, where its caller or an operator's collector has one.
alter table decision_records add column trace_id text;
create index decision_records_trace on decision_records (trace_id) where trace_id is not null;
