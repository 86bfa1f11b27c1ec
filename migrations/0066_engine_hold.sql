-- Whoever writes the embedded engine's tables beside others asks for the number under which it read them: a process that
-- stood still, or lost its lock, while another one took over writes nothing of what it held before.
create table engine_hold (
  single boolean primary key default true check (single),
  number bigint not null
);
