import type { DocumentAccess } from '@remit/client'
import type { SourceAccess } from './source.ts'

/** What is remembered of an item's access: in the words of the source, and what it came to in Remit. */
export interface Remembered {
  readonly said: SourceAccess
  readonly applied: DocumentAccess
}

/** As text. */
export const remembering = (said: SourceAccess, applied: DocumentAccess): string =>
  JSON.stringify({ said, applied } satisfies Remembered)

/** What {@link remembering} made. */
export const remembered = (entry: string): Remembered => JSON.parse(entry) as Remembered

/** Whom it denies, in Remit. */
export const deniedBy = (entry: string): readonly string[] => remembered(entry).applied.blocked ?? []
