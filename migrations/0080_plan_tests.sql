-- What the truth table says of a planned model. null: made by a version that ran none, which counts as failed.
alter table model_plans add column tests jsonb;

-- Why somebody confirmed a plan although tests failed.
alter table model_approvals add column reason text;
