-- The index by vectors is an inverted file (IVF): its tables and columns say so. Nothing but names changes.
alter table cell_models rename to ivf_models;
alter table ivf_models rename constraint cell_models_pkey to ivf_models_pkey;
alter sequence cell_models_generation_seq rename to ivf_models_generation_seq;

-- The partition of each passage of a document, and its quantized code.
alter table document_cells rename to document_codes;
alter table document_codes rename column cells to partitions;
alter table document_codes rename constraint document_cells_pkey to document_codes_pkey;
alter table document_codes rename constraint document_cells_doc_no_fkey to document_codes_doc_no_fkey;
alter index document_cells_changed_in rename to document_codes_changed_in;

alter table cell_lease rename to ivf_lease;
alter table ivf_lease rename constraint cell_lease_pkey to ivf_lease_pkey;
alter table ivf_lease rename constraint cell_lease_single_check to ivf_lease_single_check;
