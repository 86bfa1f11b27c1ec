import { z } from 'zod'
import { idPattern, isId } from './is-id.ts'

export { isId }

/**
 * An id of the contract. Its pattern and its example are shown to whoever reads the schema; `isId` decides.
 */
export const id = z
  .string()
  .refine(isId, `must match ${idPattern}, % only as %XX, no empty, "." or ".." segment`)
  .meta({ pattern: idPattern, examples: ['handbook/travel.md'] })
