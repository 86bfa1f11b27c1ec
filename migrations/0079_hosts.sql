-- Hosts whose programs may not come, and names below them: with a document at another address they would be another agent.
create table denied_hosts (
  host text primary key,
  denied_at timestamptz not null
);
-- As approval_askers, for all agents that nobody registered whose documents are at one host.
create table approval_host_askers (
  subject text not null,
  host text not null,
  blocked_at timestamptz,
  primary key (subject, host)
);
insert into approval_host_askers (subject, host, blocked_at)
select a.subject, rtrim(substring(c.client_id from '^https://([^/:?#]+)'), '.'), min(a.blocked_at)
from approval_askers as a join clients as c on c.agent = a.agent
where a.blocked_at is not null and a.agent like 'cimd/%' and c.client_id like 'https://%'
group by 1, 2;
