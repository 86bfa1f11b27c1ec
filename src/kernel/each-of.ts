/**
 * Handles one after the other, whatever failed: one that cannot be done keeps no other from it. Throws the
 * first failure in the end.
 */
export async function eachOf<T>(items: Iterable<T>, handle: (item: T) => Promise<unknown>): Promise<void> {
  const failures: unknown[] = []
  for (const item of items) await handle(item).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}
