-- An agent's days are read by the key alone; and a count that goes up stays in its page.
drop index agent_reach_first;
alter table agent_reach set (fillfactor = 80);
