-- Whoever trains the IVF index holds a row of `leases`, like everybody who needs to be the only one at something.
drop table ivf_lease;
