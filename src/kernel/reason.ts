/**
 * What was thrown, in its own words, for a log or for whoever runs this. `thrown value` for what is no Error.
 * What the words may hold is the caller's to know: nothing is taken out of them.
 */
export const reasonOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : 'thrown value'
