/** Resources in one answer, at most; and where no `count` is given. */
export const pageMax = 500
/** Resources in an answer to a request without `count`. */
export const pageUsual = 100
/** Bytes of a request's body. A group of 10,000 with names fits. */
export const bodyBytesMax = 4 * 1024 * 1024
/** Operations of one `/Bulk`. */
export const bulkOperationsMax = 500
/** Members of one group. */
export const membersMax = 50_000
