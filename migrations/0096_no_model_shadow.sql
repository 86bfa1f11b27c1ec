-- No planned model runs beside the one in force any more: plans and what-if answer before the change. What the record
-- holds of such runs stays there.
drop table model_shadow_differences;
drop table model_shadows;
