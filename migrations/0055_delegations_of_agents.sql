-- What people lent to one agent, newest first, for whoever looks into it; an inner agent's are few, and found by the other.
create index delegations_agent on delegations (agent, created_at desc, id);
create index delegations_sub_agents on delegations using gin (sub_agents) where sub_agents <> '{}';
