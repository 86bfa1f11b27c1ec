-- By which an older version can say which one to start: docs/versions.md. null: it was applied before 0.9.0.
alter table migrations add column version text;
