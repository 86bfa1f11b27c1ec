-- The MCP tool by which something was asked; null: not by MCP.
alter table decision_records add column tool text;
