/** Resources in one answer, at most; and where no `count` is given. */
export const pageMax = 500
/** Resources in an answer to a request without `count`. */
export const pageUsual = 100
/** Bytes of a request's body. A group of 10,000 with names fits. */
export const bodyBytesMax = 4 * 1024 * 1024
/** Operations of one `/Bulk`. */
export const bulkOperationsMax = 500
/** Removals of members of one PATCH by a filter for anything but their ids: each reads the whole group. */
export const filteredEditsMax = 10
/** Members of one group, and of all groups in one answer with more than one. */
export const membersMax = 50_000
