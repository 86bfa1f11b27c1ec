import { readFile } from 'node:fs/promises'

/** The script that gives the record its owner. */
export const recordOwnerFile = new URL('../../docker/record-owner.sql', import.meta.url)

/** The same for a service's role, without what psql alone understands. */
export async function recordOwnerSql(role: string): Promise<string> {
  const text = await readFile(recordOwnerFile, 'utf8')
  return text.replaceAll(/^\\.*$/gm, '').replaceAll(':"service"', role)
}
