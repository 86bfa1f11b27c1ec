-- Who may write which tuples under a model: the text of its allow-list. null: made by a version that kept none.
alter table models add column allow_list text;
alter table model_plans add column allow_list text;
