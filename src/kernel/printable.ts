/**
 * A name as it can be shown on a terminal or in a list: whatever would move a cursor, colour or hide
 * something becomes a question mark, and so does half of a surrogate pair, which Postgres does not keep: cut
 * first. Names of files are whatever somebody called them.
 */
export const printable = (text: string): string => text.replaceAll(/\p{C}/gu, '?')
