-- Changes of the authorization model. The one in force is the row `authorization_model` of settings.

-- Every model that was ever in force, for going back.
create table models (
  -- OpenFGA's id.
  id text primary key,
  -- sha256 of the text.
  digest text not null,
  -- null: it was in force before texts were kept.
  dsl text,
  json jsonb not null,
  -- null: put in force by a start.
  plan text,
  activated_by text[] not null,
  activated_at timestamptz not null
);

create table model_plans (
  id text primary key,
  planner text not null,
  base_model text not null,
  digest text not null,
  dsl text,
  json jsonb not null,
  -- As it was shown to whoever confirms it.
  report jsonb not null,
  -- All that was confirmed to be gained, by relation and person: nothing beyond it may be gained at activation.
  gains jsonb not null,
  -- Already written to OpenFGA: a second try does not write it again.
  model_id text,
  state text not null check (state in ('open', 'active')),
  created_at timestamptz not null,
  expires_at timestamptz not null
);

create table model_approvals (
  plan text not null references model_plans (id),
  subject text not null,
  at timestamptz not null,
  primary key (plan, subject)
);
