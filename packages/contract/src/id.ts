import { z } from 'zod'

const pattern = '^[A-Za-z0-9._/@+=%-]{1,200}$'

/**
 * An id of the contract. Its pattern and its example are shown to whoever reads the schema; `isId` decides.
 */
export const id = z
  .string()
  .refine(isId, `must match ${pattern}, % only as %XX, no empty, "." or ".." segment`)
  .meta({ pattern, examples: ['handbook/travel.md'] })

/**
 * The one rule for ids on the wire: 1 to 200 of `A-Z a-z 0-9 . _ / @ + = % -`, `%` only as `%XX`,
 * no empty segment, no `.` or `..` segment. What passes is safe inside an OpenFGA object (`type:id`),
 * a path segment once encoded, and a log line.
 */
export function isId(value: string): boolean {
  if (!/^[A-Za-z0-9._/@+=%-]{1,200}$/.test(value)) return false
  if (/%(?![0-9A-Fa-f]{2})/.test(value)) return false
  return value.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..')
}
