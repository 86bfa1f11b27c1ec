-- A changed model that evaluates what is asked beside the one in force, for a while. Nobody is answered from it.
create table model_shadows (
  id text primary key,
  plan text not null references model_plans (id),
  -- In force meanwhile; OpenFGA's id.
  base_model text not null,
  started_by text not null,
  -- Of the questions, from 0 to 1.
  share double precision not null check (share > 0 and share <= 1),
  started_at timestamptz not null,
  ends_at timestamptz not null,
  ended_at timestamptz,
  ended_because text check (ended_because in ('over', 'stopped', 'model_changed')),
  check ((ended_at is null) = (ended_because is null)),
  -- Pairs of somebody and a document; then those of which the models say otherwise, and could not tell.
  asked bigint not null default 0,
  gained bigint not null default 0,
  lost bigint not null default 0,
  errors bigint not null default 0,
  -- Questions that no process had room for.
  dropped bigint not null default 0
);

-- One at a time.
create unique index model_shadows_running on model_shadows ((true)) where ended_at is null;

create table model_shadow_differences (
  shadow text not null references model_shadows (id) on delete cascade,
  -- user:anne, or user:anne by agent:research-bot.
  who text not null,
  document text not null,
  active text not null check (active in ('allowed', 'denied', 'error')),
  candidate text not null check (candidate in ('allowed', 'denied', 'error')),
  count bigint not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  primary key (shadow, who, document, active, candidate)
);
